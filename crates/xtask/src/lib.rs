//! The checks and chores of the repository: `cargo xtask tidy`, `layers`, `test`, `fuzz` and `long`.
//!
//! A library only so that its own tests can plant what each check must find. Nothing here is part of a broker.

pub mod fuzz;
pub mod layers;
pub mod long;
pub mod mutants;
pub mod steps;
pub mod tidy;
