//! The configuration: any file and any environment are accepted or refused, never with a panic. What was accepted can
//! be printed and read back; what was refused is explained in lines that a person can read.
//!
//! An input is the file, then names and values of variables, with bytes 0xFF (which are in no text) between them.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// A program cannot be imported, and building all of a broker for this would be slow and of no use.
#[path = "../../../crates/mqd/src/config/mod.rs"]
#[expect(dead_code, reason = "the program uses all of it")]
mod config;

/// The longest line about one problem, in bytes.
const LINE_BYTES_MAX: usize = 2_000;
const SEPARATOR: u8 = 0xFF;
/// Variables of one environment.
const VARIABLES_MAX: usize = 8;

/// Checks everything that holds for any file and environment.
pub fn check(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == SEPARATOR);
    let text = parts.next().unwrap_or_default();
    let mut environment = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next())
        && environment.len() < VARIABLES_MAX
    {
        environment.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())));
    }
    match load(text, environment) {
        Ok(loaded) => {
            let printed = config::print(&loaded);
            let again = load(printed.as_bytes(), Vec::new());
            let again = again.unwrap_or_else(|refused| panic!("{refused}\nin what was printed:\n{printed}"));
            assert_eq!(loaded.config, again.config, "{printed}");
            assert_eq!(values(&printed), values(&config::print(&again)));
        }
        Err(refused) => {
            let said = refused.to_string();
            assert_eq!(said.lines().count(), refused.0.len(), "a line for each problem: {said:?}");
            for line in said.lines() {
                assert!(line.len() <= LINE_BYTES_MAX, "{} bytes: {line:?}", line.len());
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

/// Inputs to begin with: what is printed, every key alone in the file and in the environment, and mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let loaded = load(b"", Vec::new()).expect("the defaults are good");
    let printed = config::print(&loaded);
    let bare = values(&printed);
    let mut seeds = vec![Vec::new(), bare.clone().into_bytes()];
    let mut section = "";
    for line in bare.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once(" = ") {
            seeds.push(format!("[{section}]\n{line}\n").into_bytes());
            let name = format!("MQ__{}__{}", section.to_uppercase(), key.to_uppercase());
            let plain = value.trim_matches('"').as_bytes();
            seeds.push([b"", name.as_bytes(), plain].join(&SEPARATOR));
        }
    }
    let mistakes = [
        "grpc.listen = 7\nbroker = 1\n[limit]\n[broker.id]\nx = 1.5\n",
        "[broker]\nrack = 'a \"b\" é'\ndata_dir = \"\"\"a\\tb\\\\c\"\"\"\nid = 0x7\n",
        "a.b.c.d = [{x = 1}, 1979-05-27]\n",
        "[log]\nsegment_bytes = 1048576\npreallocate_bytes = \"1GiB\"\n",
        "[grpc]\nlisten = \"0.0.0.0:1\"\nadvertise = \"host:9\"\n[security]\nallow_insecure_listeners = true\n",
        "[telemetry]\nlevel = \"warn, mq_raft=debug\"\n[retention]\ninterval = \"1h 30m\"\n",
    ];
    seeds.extend(mistakes.map(|text| text.as_bytes().to_vec()));
    seeds
}

fn load(text: &[u8], environment: Vec<(OsString, OsString)>) -> Result<config::Loaded, config::Refused> {
    let mut file = tempfile::NamedTempFile::new().expect("the temporary directory is writable");
    file.write_all(text).expect("the temporary directory has room");
    let path: &Path = file.path();
    config::load(Some(path), environment, &[])
}

/// A printed configuration without comments, which say where values come from.
fn values(printed: &str) -> String {
    let lines = printed.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value));
    lines.collect::<Vec<_>>().join("\n")
}
