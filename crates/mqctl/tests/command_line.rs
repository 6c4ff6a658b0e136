//! The program as a person meets it: arguments, exit codes, and what goes to stdout and stderr. No broker is needed.

use std::{
    io::Write,
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use clap::CommandFactory;
use mqctl::cli::Cli;

fn mqctl(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_mqctl");
    let ran = Command::new(program).args(args).env_remove("MQ_BROKERS").stdin(Stdio::null()).output();
    ran.expect("the program was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("messages are UTF-8")
}

/// A loopback port that was free a moment ago.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("it is bound").to_string()
}

fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    found.push((path.to_owned(), help));
    for child in command.get_subcommands() {
        leaves(child, &format!("{path} {}", child.get_name()), found);
    }
}

#[test]
fn the_command_tree_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_text_ends_with_three_examples_that_parse() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "mqctl", &mut found);
    assert!(found.len() > 20, "{} commands", found.len());
    for (path, help) in found {
        let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(examples.len(), 3, "{path}: {help}");
        for example in examples {
            let call = &example[example.find("mqctl").unwrap_or_else(|| panic!("{path}: {example}"))..];
            let call =
                call.split(" < ").next().and_then(|call| call.split(" > ").next()).expect("a first part");
            let words: Vec<String> =
                call.split_whitespace().map(|word| word.replace(['\'', '"'], "")).collect();
            match Cli::command().try_get_matches_from(&words) {
                Ok(_) => {}
                Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => {}
                Err(error) if example.contains('\'') => {
                    // Quoted words were split above: only that may be wrong with it.
                    assert_ne!(error.kind(), clap::error::ErrorKind::InvalidSubcommand, "{example}: {error}");
                }
                Err(error) => panic!("{path}: {example}: {error}"),
            }
        }
    }
}

#[test]
fn an_output_format_may_stand_before_or_after_the_command() {
    for args in [["-o", "json", "version"], ["version", "-o", "json"]] {
        let ran = mqctl(&args);
        let version: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
        assert_eq!(version["mqctl"], env!("CARGO_PKG_VERSION"));
        assert_eq!(ran.status.code(), Some(0));
    }
}

#[test]
fn a_broker_that_is_not_there_is_an_error_that_says_so() {
    let endpoint = free_endpoint();
    let ran = mqctl(&["--brokers", &endpoint, "topic", "list"]);
    assert_eq!(ran.status.code(), Some(1));
    let expected = format!("mqctl: could not reach {endpoint}: connection refused; is mqd running?\n");
    assert_eq!(text(&ran.stderr), expected);
    assert!(ran.stdout.is_empty());
}

#[test]
fn a_port_that_speaks_another_protocol_is_an_error_that_says_what_to_look_at() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let endpoint = listener.local_addr().expect("it is bound").to_string();
    // Ends with the test program: it waits for whoever else may connect.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.and_then(|mut stream| stream.write_all(answer));
        }
    });
    let ran = mqctl(&["--brokers", &endpoint, "topic", "list"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = text(&ran.stderr);
    assert!(said.contains("gRPC address"), "{said}");
}

#[test]
fn a_directory_is_no_file_of_records() {
    let ran = mqctl(&["produce", "t", "--file", "/"]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(text(&ran.stderr), "mqctl: / is a directory: name a file\n");
}

#[test]
fn a_healthcheck_without_a_broker_is_unhealthy() {
    let ran = mqctl(&["--brokers", &free_endpoint(), "healthcheck"]);
    assert_eq!(ran.status.code(), Some(10), "{}", text(&ran.stderr));
    let ran = mqctl(&["--brokers", &free_endpoint(), "healthcheck", "-o", "json"]);
    assert_eq!(ran.status.code(), Some(10), "{}", text(&ran.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    assert_eq!((&answer["answers"], &answer["endpoint"]), (&false.into(), &serde_json::Value::Null));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("connection refused")), "{answer}");
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let calls: [(&[&str], &str); 11] = [
        (&["produce", "t", "-p", "-1"], "-1 is not in 0..="),
        (&["consume", "t", "-p", "0,-1"], "-1 is not in 0..="),
        (&["topic", "trim", "t", "--to", "end", "-p", "-1"], "-1 is not in 0..="),
        (&["consume"], "TOPIC"),
        (&["consume", "t", "-o", "x"], "is no offset"),
        (&["consume", "t", "-f", "%s"], "%s names nothing"),
        (&["consume", "t", "-g", "g"], "not available yet"),
        (&["consume", "t", "--follow", "-o", "start:end"], "leave one of them out"),
        (&["produce", "t", "-k", "k", "-f", "%k %v\\n"], "leave one of them out"),
        (&["topic", "alter", "t"], "--partitions"),
        (&["-X", "client.ids=x", "topic", "list"], "did you mean \"client.id\""),
    ];
    for (args, message) in calls {
        let ran = mqctl(&[&["--brokers", "127.0.0.1:1"], args].concat());
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(message), "{args:?}: {}", text(&ran.stderr));
    }
}

#[test]
fn completion_scripts_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = mqctl(&["generate", "completion", shell]);
        assert!(ran.status.success() && text(&ran.stdout).contains("healthcheck"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let program = env!("CARGO_BIN_EXE_mqctl");
    let started = Command::new(program)
        .args(["generate", "completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.expect("the program was built");
    drop(child.stdout.take()); // the pipe is smaller than the script
    let ended = child.wait_with_output().expect("it ends by itself");
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), ""));
}

#[test]
fn the_nearest_word_is_suggested_and_no_other() {
    use mqctl::suggest::nearest;

    assert_eq!(nearest("ordesr", ["orders", "payments"]), Some("orders"));
    assert_eq!(nearest("Orders", ["orders", "payments"]), Some("orders"));
    assert_eq!(nearest("invoices", ["orders", "payments"]), None);
    assert_eq!(nearest("a", []), None);
    assert_eq!(nearest("", ["a"]), None);
    assert_eq!(nearest("x", ["a"]), None);
}
