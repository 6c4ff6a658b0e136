//! What is checked of the entries of a peer's message before they can get into the log: whether this version can
//! carry out what they order. A log is applied whole or not at all, so an order that is met only when it is committed
//! leaves nothing but to stop.

use super::Serves;
use crate::controller::{self, Command, Controller, RecoverError};
use crate::partition::Control;
use mq_types::persist::{Snapshot, StartSnapshot};
use mq_types::{Body, Message, Offset};

/// What is wrong with one of a message's entries, or with its start snapshot, for a person to read.
pub(super) fn check(serves: &Serves, message: &Message) -> Result<(), String> {
    if let (Serves::Controller(_), Some(offered)) = (serves, &message.start) {
        check_image(offered).map_err(|problem| format!("its start snapshot: {problem}; it was dropped"))?;
    }
    message.entries.iter().try_for_each(|entry| {
        let problem = match (serves, &entry.body) {
            (Serves::Partition(_), Body::Control(bytes)) => match Control::decode(bytes) {
                Ok(Control::SetLogStart { offset }) => beyond_end(offset, entry.base_offset),
                Err(error) => Some(error.to_string()),
            },
            (Serves::Controller(_), Body::Command(bytes)) => {
                Command::decode(bytes).err().map(|error| error.to_string())
            }
            _ => None,
        };
        problem.map_or(Ok(()), |problem| Err(format!("its entry {}: {problem}; it was dropped", entry.index)))
    })
}

/// The controller goes on from it as it would after a restart.
fn check_image(offered: &StartSnapshot) -> Result<(), RecoverError> {
    let Some(data) = offered.machine.clone() else { return Ok(()) };
    let snapshot = Snapshot { index: offered.start.prev_index, data };
    Controller::recover(&snapshot, controller::Options::default()).map(drop)
}

fn beyond_end(offset: Offset, end: Offset) -> Option<String> {
    (offset > end).then(|| format!("it orders the log to start at {offset}, and the log ends at {end} there"))
}
