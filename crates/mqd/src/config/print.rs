//! The effective configuration as TOML that can be fed back: every key, what it means, its value, and its source.

use super::Loaded;
use super::table::KEYS;
use std::fmt::Write;

const HEADING: &str = "\
# The configuration of mqd: every key, what it means, its value, and where that comes from.
# A flag wins over the environment, that over the file (mqd --config FILE), that over the default.
# In the environment grpc.listen is MQ__GRPC__LISTEN, and all other keys are named alike.
";

/// The text.
pub(crate) fn print(loaded: &Loaded) -> String {
    let mut config = loaded.config.clone();
    let mut text = HEADING.to_owned();
    let mut open_section = "";
    for key in KEYS {
        let (section, name) = key.split();
        if section != open_section {
            open_section = section;
            write!(text, "\n[{section}]\n").expect("a String takes everything");
        }
        for line in key.meaning.lines() {
            writeln!(text, "# {line}").expect("a String takes everything");
        }
        let value = key.field.to_toml(&mut config);
        let source = loaded.source(key.name);
        writeln!(text, "{name} = {value} # {source}").expect("a String takes everything");
    }
    assert_eq!(config, loaded.config, "printing changes nothing");
    text
}
