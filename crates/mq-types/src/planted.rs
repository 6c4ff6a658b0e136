//! Planted bugs: places where a build made for it does the wrong thing, to show that the tests notice.
//!
//! Nothing of it is in any other build: without `--cfg mq_planted` (all of them, one switched on at a time) or
//! `--cfg mq_mutant="its name"` (that one), `planted!` is the constant `false`.

/// Whether this bug is planted.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        cfg!(mq_mutant = $name) || $crate::planted::is_on($name)
    };
}

/// Whether this bug is switched on.
#[cfg(not(mq_planted))]
#[must_use]
pub const fn is_on(_: &str) -> bool {
    false
}

#[cfg(mq_planted)]
pub use switch::{is_on, switch_on};

/// One switch a thread: the simulator hunts a bug on each.
#[cfg(mq_planted)]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Whether this bug is switched on in this thread.
    #[must_use]
    pub fn is_on(name: &str) -> bool {
        ON.get() == Some(name)
    }

    /// Switches one on in this thread, and all others off.
    pub fn switch_on(name: Option<&'static str>) {
        ON.set(name);
    }
}
