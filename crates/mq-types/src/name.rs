//! Which names topics and groups may have.
//!
//! Whether a name is taken, and who may use it, is not decided here.

/// The longest legal name of a topic or a group, in bytes. Kafka's limit for topics: a directory name has to fit.
pub const NAME_BYTES_MAX: usize = 249;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
}

impl std::fmt::Display for NameOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NameOf::Topic => "topic",
            NameOf::Group => "group",
        })
    }
}

/// Why a name is not legal, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a {of} name has at least 1 character")]
    Empty {
        /// What was to be named.
        of: NameOf,
    },
    /// It is too long.
    #[error("a {of} name has at most {NAME_BYTES_MAX} bytes; this one has {bytes}")]
    TooLong {
        /// What was to be named.
        of: NameOf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// `.` or `..`.
    #[error("a topic cannot be named \".\" or \"..\"; these mean directories")]
    Dots,
    /// A slash in a topic's name.
    #[error(
        "a topic name cannot contain '/' (at byte {at}): it is kept for namespaces; use '.', as in \"orders.eu\""
    )]
    Slash {
        /// Where, in bytes from 0.
        at: usize,
    },
    /// Another character that a topic's name cannot contain.
    #[error(
        "a topic name consists of the letters a-z and A-Z, digits, '.', '_' and '-'; byte {at} begins {character:?}"
    )]
    TopicCharacter {
        /// The first wrong character.
        character: char,
        /// Where, in bytes from 0.
        at: usize,
    },
    /// A character that a group's name cannot contain.
    #[error("a group name cannot contain control characters; byte {at} begins {character:?}")]
    GroupCharacter {
        /// The first wrong character.
        character: char,
        /// Where, in bytes from 0.
        at: usize,
    },
    /// White space at an end of a group's name.
    #[error("a group name cannot begin or end with white space")]
    GroupEnds,
}

/// Checks a topic's name by Kafka's rule: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
///
/// # Errors
/// The first reason why it is not legal.
pub fn check_topic_name(name: &str) -> Result<(), NameError> {
    check_length(NameOf::Topic, name)?;
    if matches!(name, "." | "..") {
        return Err(NameError::Dots);
    }
    let wrong =
        name.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
    match wrong {
        None => Ok(()),
        Some((at, '/')) => Err(NameError::Slash { at }),
        Some((at, character)) => Err(NameError::TopicCharacter { character, at }),
    }
}

/// Checks a group's name. Kafka takes any text and clients use it (spaces, colons, slashes), so only what would
/// mislead people is refused: control characters, and white space at the ends. 1 to 249 bytes.
///
/// # Errors
/// The first reason why it is not legal.
pub fn check_group_name(name: &str) -> Result<(), NameError> {
    check_length(NameOf::Group, name)?;
    if let Some((at, character)) = name.char_indices().find(|(_, c)| c.is_control()) {
        return Err(NameError::GroupCharacter { character, at });
    }
    if name.trim().len() != name.len() {
        return Err(NameError::GroupEnds);
    }
    Ok(())
}

fn check_length(of: NameOf, name: &str) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty { of }),
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(NameError::TooLong { of, bytes }),
    }
}
