//! A store that crashes, anywhere: what comes back is what the returned rounds wrote, perhaps with all or a beginning
//! of the round that was cut short, and nothing else.

#[path = "../fixture/mod.rs"]
mod fixture;
mod operations;
mod scenario;
mod states;
