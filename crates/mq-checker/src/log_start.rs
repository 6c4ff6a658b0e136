//! C10, as far as it is about one partition: the log start grows only, by policy or by request.

use crate::violation::{Check, Findings};
use mq_types::{Offset, Term};

/// What may have moved one partition's log start, and what must have.
#[derive(Debug, Default)]
pub(crate) struct LogStart {
    retention: bool,
    /// The highest log start that was ever asked for.
    requested: Offset,
    /// The highest deletion that was acknowledged.
    pub(crate) done: Deleted,
}

/// A deletion that was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deleted {
    /// The log start since.
    pub(crate) log_start: Offset,
    /// The term of the leader that said so; later ones know of it.
    pub(crate) term: Term,
    /// The event that said so.
    pub(crate) event: u32,
}

impl LogStart {
    /// What once was allowed may show at any time later.
    pub(crate) fn set_retention(&mut self, retention: bool) {
        self.retention |= retention;
    }

    /// A deletion was asked for; `None`: of everything committed.
    pub(crate) fn request(&mut self, before: Option<Offset>) {
        self.requested = self.requested.max(before.unwrap_or(Offset(u64::MAX)));
    }

    /// A deletion was acknowledged.
    pub(crate) fn delete(
        &mut self,
        before: Option<Offset>,
        log_start: Offset,
        term: Term,
        findings: &mut Findings,
    ) {
        self.check(log_start, "the answer to a deletion", findings);
        if let Some(before) = before.filter(|before| log_start < *before) {
            let text =
                format!("records below {before} are said to be deleted, but the log starts at {log_start}");
            findings.add(Check::C10, text);
        }
        if log_start > self.done.log_start {
            self.done = Deleted { log_start, term, event: findings.event };
        }
    }

    /// Somebody says that the log starts here.
    pub(crate) fn check(&self, log_start: Offset, who: &str, findings: &mut Findings) {
        if !self.retention && log_start > self.requested {
            let requested = self.requested;
            let text = format!(
                "{who} says that the log starts at {log_start}: no policy allows that, and at most {requested} \
                 was asked for"
            );
            findings.add(Check::C10, text);
        }
    }
}
