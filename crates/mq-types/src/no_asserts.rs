//! Asserts that check nothing, for builds with planted bugs: what a bug does must be seen from outside, not by the code
//! that has it. Compiled into the crates that have bugs planted in them, by path; they hide the usual macros.
//!
//! What they are about is evaluated all the same: it may have effects.

macro_rules! assert {
    ($holds:expr $(, $($words:tt)*)?) => {{
        let holds: bool = $holds;
        if false {
            ::std::assert!(holds $(, $($words)*)?);
        }
    }};
}

macro_rules! assert_eq {
    ($left:expr, $right:expr $(, $($words:tt)*)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if false {
                    ::std::assert_eq!(left, right $(, $($words)*)?);
                }
            }
        }
    };
}
