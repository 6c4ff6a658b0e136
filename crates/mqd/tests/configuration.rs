//! What `mqd` makes of files, environment and flags, seen from outside: what it prints, says and exits with.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A run of mqd that only looks at its configuration.
struct Look {
    directory: tempfile::TempDir,
    command: Command,
}

impl Look {
    fn new(flag: &str) -> Look {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqd"));
        command.arg(flag).env_clear().current_dir(directory.path());
        Look { directory, command }
    }

    fn check() -> Look {
        Look::new("--check-config")
    }

    fn print() -> Look {
        Look::new("--print-config")
    }

    fn file(mut self, text: &str) -> Look {
        std::fs::write(self.directory.path().join("mqd.toml"), text).unwrap();
        self.command.args(["--config", "mqd.toml"]);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Look {
        self.command.env(name, value);
        self
    }

    fn flag(mut self, flag: &str, value: &str) -> Look {
        self.command.args([flag, value]);
        self
    }

    fn run(mut self) -> Output {
        self.command.output().unwrap()
    }

    /// What it prints; it must be content.
    fn accepted(self) -> String {
        let output = self.run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says; it must refuse, and print nothing.
    fn refused(self) -> String {
        let output = self.run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        said
    }
}

/// The line of a printed configuration that sets this key in this section.
fn line<'a>(printed: &'a str, section: &str, key: &str) -> &'a str {
    let from = printed.find(&format!("[{section}]")).unwrap();
    let found = printed[from..].lines().find(|line| line.starts_with(&format!("{key} = ")));
    found.unwrap_or_else(|| panic!("no {section}.{key} in\n{printed}"))
}

/// Without where the values come from.
fn values(printed: &str) -> String {
    let lines = printed.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value));
    lines.collect::<Vec<_>>().join("\n")
}

const TWO: &str = "[grpc]\nlisten = \"127.0.0.1:1111\"\n\n[broker]\nid = 7\n";

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let default = Look::print().accepted();
    assert_eq!(line(&default, "grpc", "listen"), "listen = \"127.0.0.1:9650\" # default");
    assert_eq!(line(&default, "broker", "id"), "id = 1 # default");
    assert_eq!(line(&default, "broker", "data_dir"), "data_dir = \"./mq-data\" # default");

    let file = Look::print().file(TWO).accepted();
    assert_eq!(line(&file, "grpc", "listen"), "listen = \"127.0.0.1:1111\" # mqd.toml:2");
    assert_eq!(line(&file, "broker", "id"), "id = 7 # mqd.toml:5");

    let environment = Look::print().file(TWO).env("MQ__GRPC__LISTEN", "127.0.0.1:2222").accepted();
    assert_eq!(line(&environment, "grpc", "listen"), "listen = \"127.0.0.1:2222\" # MQ__GRPC__LISTEN");
    assert_eq!(line(&environment, "broker", "id"), "id = 7 # mqd.toml:5");

    let all = Look::print().file(TWO).env("MQ__GRPC__LISTEN", "127.0.0.1:2222");
    let all = all.flag("--grpc-listen", "127.0.0.1:3333").flag("--broker-id", "9").accepted();
    assert_eq!(line(&all, "grpc", "listen"), "listen = \"127.0.0.1:3333\" # --grpc-listen");
    assert_eq!(line(&all, "broker", "id"), "id = 9 # --broker-id");
}

#[test]
fn what_is_printed_can_be_fed_back() {
    let odd = "[broker]\ndata_dir = 'a \"b\" # c\\d'\nrack = \"zone é\"\n[limits]\nrequest_bytes_max = 1234567\n\
               [retention]\ntrash_grace = \"1h 30m\"\n[telemetry]\nlevel = \"warn,mq_raft=debug\"\nformat = \"json\"\n";
    let first = Look::print().file(odd).accepted();
    assert_eq!(line(&first, "limits", "request_bytes_max"), "request_bytes_max = \"1234567B\" # mqd.toml:5");
    let second = Look::print().file(&first).accepted();
    assert_eq!(values(&first), values(&second));
    assert!(!second.contains("# default"), "everything is now said by the file:\n{second}");
}

#[test]
fn the_example_file_is_what_is_printed_without_any_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/mqd.example.toml");
    let example = std::fs::read_to_string(path).unwrap();
    assert_eq!(example, Look::print().accepted(), "renew it: mqd --print-config > deploy/mqd.example.toml");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_may_be_meant() {
    let said = Look::check().file("# a comment\n[grpc]\n\nlisen = \"127.0.0.1:1\"\n").refused();
    assert_eq!(said, "mqd: mqd.toml:4: unknown key \"grpc.lisen\"; did you mean \"grpc.listen\"?\n");
    let said = Look::check().file("[gprc]\nlisten = \"127.0.0.1:1\"\n").refused();
    assert_eq!(said, "mqd: mqd.toml:2: unknown key \"gprc.listen\"; did you mean \"grpc.listen\"?\n");
    let said = Look::check().file("replication_factor = 1\n").refused();
    let meant = "did you mean \"topic_defaults.replication_factor\"?";
    assert_eq!(said, format!("mqd: mqd.toml:1: unknown key \"replication_factor\"; {meant}\n"));
    let said = Look::check().file("[grpc]\n[entirely]\n[grpc.tls]\ncertificate = \"x\"\n").refused();
    assert!(
        said.contains("mqd.toml:2: unknown key \"entirely\"; mqd --print-config shows every key"),
        "{said}"
    );
    assert!(said.contains("mqd.toml:4: unknown key \"grpc.tls.certificate\""), "{said}");
}

#[test]
fn an_unknown_variable_of_ours_is_refused_and_others_are_left_alone() {
    let said = Look::check().env("MQ__GRPC__LISEN", "127.0.0.1:1").refused();
    assert_eq!(
        said,
        "mqd: unknown environment variable MQ__GRPC__LISEN; did you mean \"MQ__GRPC__LISTEN\"?\n"
    );
    Look::check().env("MQ_BROKERS", "127.0.0.1:1").env("MQUEUE", "x").env("LANG", "C").accepted();
}

#[test]
fn a_variable_that_is_almost_ours_is_told_of_and_left_alone() {
    for name in ["MQ_GRPC_LISTEN", "mq__grpc__listen", "MQ_GRPC__LISTEN"] {
        let output = Look::check().env(name, "127.0.0.1:1").run();
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "mqd: the environment variable {name} is not read; if it is meant for mqd, write MQ__GRPC__LISTEN\n"
        );
        assert_eq!((output.status.code(), said), (Some(0), expected));
    }
}

#[test]
fn a_segment_smaller_than_what_is_reserved_is_refused_where_it_was_set() {
    let said = Look::check().file("[log]\nsegment_bytes = \"1MiB\"").refused();
    assert!(said.contains("mqd.toml:2: log.preallocate_bytes is 16777216 bytes"), "{said}");
    Look::check().file("[log]\nsegment_bytes = \"1MiB\"\npreallocate_bytes = \"1MiB\"").accepted();
}

#[test]
fn a_value_of_a_wrong_kind_is_refused_with_its_line_and_what_is_expected() {
    for (text, expected) in [
        (
            "[grpc]\nlisten = 9650\n",
            "mqd.toml:2: grpc.listen is the number 9650; expected an IP address and a port",
        ),
        (
            "[grpc]\nlisten = \"localhost\"\n",
            "grpc.listen is the string \"localhost\"; expected an IP address",
        ),
        (
            "[broker]\nid = \"1\"\n",
            "mqd.toml:2: broker.id is the string \"1\"; expected a whole number from 1 to",
        ),
        ("[broker]\nid = 1.5\n", "broker.id is a number with a fraction; expected a whole number"),
        ("[broker]\nrack = [\"a\"]\n", "broker.rack is a list; expected a string"),
        ("[broker]\nrack.a = 1\n", "mqd.toml:2: unknown key \"broker.rack.a\""),
        ("broker = 1\n", "mqd.toml:1: \"broker\" is a section; write [broker] on a line of its own"),
        ("[[broker]]\nid = 1\n", "mqd.toml:1: \"broker\" is a section"),
        ("[security]\nallow_insecure_listeners = \"yes\"\n", "expected true or false"),
        (
            "[telemetry]\nlevel = \"inof\"\n",
            "telemetry.level is the string \"inof\"; expected error, warn, info",
        ),
        ("[telemetry]\nformat = \"xml\"\n", "expected \"text\" or \"json\""),
        ("[grpc]\nadvertise = \"http://x:1\"\n", "expected a host and a port"),
    ] {
        let said = Look::check().file(text).refused();
        assert!(said.contains(expected), "{text:?} gives\n{said}not\n{expected}");
    }
    let said = Look::check().flag("--broker-id", "x").refused();
    assert_eq!(said, "mqd: --broker-id: broker.id is \"x\"; expected a whole number from 1 to 2147483647\n");
    let said = Look::check().env("MQ__BROKER__ID", "0").refused();
    assert_eq!(
        said,
        "mqd: MQ__BROKER__ID: broker.id is \"0\"; expected a whole number from 1 to 2147483647\n"
    );
}

#[test]
fn sizes_and_durations_are_as_people_write_them() {
    for (written, shown) in [
        ("16MiB", "16MiB"),
        ("1 GiB", "1GiB"),
        ("65536", "64KiB"),
        ("1MB", "1000000B"),
        ("1.5MiB", "1536KiB"),
        ("100000B", "100000B"),
    ] {
        let printed = Look::print().env("MQ__LIMITS__REQUEST_BYTES_MAX", written).accepted();
        let expected = format!("request_bytes_max = \"{shown}\" # MQ__LIMITS__REQUEST_BYTES_MAX");
        assert_eq!(line(&printed, "limits", "request_bytes_max"), expected);
    }
    for (written, shown) in
        [("90s", "1m 30s"), ("1h30m", "1h 30m"), ("1500ms", "1s 500ms"), ("2days", "2days")]
    {
        let printed = Look::print().env("MQ__RETENTION__TRASH_GRACE", written).accepted();
        let expected = format!("trash_grace = \"{shown}\" # MQ__RETENTION__TRASH_GRACE");
        assert_eq!(line(&printed, "retention", "trash_grace"), expected);
    }
    for (key, value, expected) in [
        ("MQ__LIMITS__REQUEST_BYTES_MAX", "16 Elephants", "expected a size from 64KiB to 1GiB"),
        ("MQ__LIMITS__REQUEST_BYTES_MAX", "1KiB", "expected a size from 64KiB to 1GiB"),
        ("MQ__LIMITS__REQUEST_BYTES_MAX", "2GiB", "expected a size from 64KiB to 1GiB"),
        ("MQ__LIMITS__REQUEST_BYTES_MAX", "-1", "expected a size from 64KiB to 1GiB"),
        ("MQ__BROKER__STOP_TIMEOUT", "25", "expected a duration from 1s to 10m"),
        ("MQ__BROKER__STOP_TIMEOUT", "1ms", "expected a duration from 1s to 10m"),
        ("MQ__BROKER__STOP_TIMEOUT", "11m", "expected a duration from 1s to 10m"),
    ] {
        let said = Look::check().env(key, value).refused();
        assert!(said.contains(expected), "{value:?} gives\n{said}");
    }
}

/// A key may be any text in TOML. Its line breaks, and a megabyte of it, would make the message unreadable.
#[test]
fn what_somebody_wrote_is_repeated_on_one_line_and_in_part() {
    let said = Look::check().file("\"a\\nb\\u0007\" = 1\n").refused();
    assert!(said.starts_with("mqd: mqd.toml:1: unknown key \"a\\nb\\u{7}\"; "), "{said}");
    let said = Look::check().env("MQ__A\nB", "").refused();
    assert!(said.starts_with("mqd: unknown environment variable MQ__A\\nB; "), "{said}");
    let long = "x".repeat(100_000);
    for text in [format!("{long} = 1\n"), format!("[grpc]\nlisten = \"{long}\"\n"), format!("[{long}\n")] {
        let said = Look::check().file(&text).refused();
        assert!(said.lines().count() == 1 && said.len() < 1_000, "{} bytes: {:.2000}", said.len(), said);
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let said = Look::check().file("[broker]\nid = 0\n[grpc]\nx = 1\n").env("MQ__NO", "").refused();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(said.contains("MQ__NO"), "{said}");
    let (id, x) = (said.find("mqd.toml:2").unwrap(), said.find("mqd.toml:4").unwrap());
    assert!(id < x, "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_refused_with_the_reason() {
    let said = Look::check().flag("--config", "missing.toml").refused();
    assert!(said.contains("could not read the configuration file missing.toml: No such file"), "{said}");
    let said = Look::check().file("[grpc]\nlisten = \n").refused();
    assert!(said.contains("mqd.toml:2: this is not TOML"), "{said}");
    let said = Look::check().file("[broker]\nid = 1\nid = 2\n").refused();
    assert!(said.contains("mqd.toml:3: this is not TOML: duplicate key"), "{said}");
    let look = Look::check().file("");
    let path: PathBuf = look.directory.path().join("mqd.toml");
    std::fs::write(path, [0xff, 0xfe, 0x00]).unwrap();
    let said = look.refused();
    assert!(said.contains("it is not UTF-8 text"), "{said}");
}

#[test]
fn a_listener_that_strangers_reach_is_refused_unless_the_configuration_says_so() {
    for (key, listener) in
        [("MQ__GRPC__LISTEN", "grpc"), ("MQ__PEER__LISTEN", "peer"), ("MQ__ADMIN__LISTEN", "admin")]
    {
        let said = Look::check().env(key, "192.0.2.1:9000").refused();
        assert!(said.starts_with(&format!("mqd: {key}: {listener}.listen is 192.0.2.1:9000")), "{said}");
        assert!(said.contains("set security.allow_insecure_listeners = true"), "{said}");
        Look::check()
            .env(key, "192.0.2.1:9000")
            .env("MQ__SECURITY__ALLOW_INSECURE_LISTENERS", "true")
            .accepted();
    }
    // And serving refuses as checking does.
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqd"));
    let output = command.env_clear().args(["--grpc-listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither TLS nor authentication"));
}

#[test]
fn an_address_that_no_client_could_connect_to_is_not_advertised() {
    let open = || {
        Look::check()
            .env("MQ__SECURITY__ALLOW_INSECURE_LISTENERS", "true")
            .flag("--grpc-listen", "0.0.0.0:9650")
    };
    assert!(open().refused().contains("set grpc.advertise"));
    open().env("MQ__GRPC__ADVERTISE", "mq.example.org:9650").accepted();
}

#[test]
fn listeners_have_different_addresses() {
    let said = Look::check().flag("--admin-listen", "127.0.0.1:9650").refused();
    let expected =
        "--admin-listen: admin.listen is 127.0.0.1:9650, and so is grpc.listen; give them different ports";
    assert!(said.contains(expected), "{said}");
    let said = Look::check().flag("--grpc-listen", "127.0.0.1:9652").refused();
    let expected = "--grpc-listen: grpc.listen is 127.0.0.1:9652, and so is admin.listen";
    assert!(said.contains(expected), "what somebody set is named, not a default: {said}");
    let any = Look::check().flag("--admin-listen", "127.0.0.1:0").flag("--grpc-listen", "127.0.0.1:0");
    any.accepted();
}

#[test]
fn a_reader_that_goes_away_has_had_enough() {
    let Look { directory, mut command } = Look::print();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    drop(directory);
}
