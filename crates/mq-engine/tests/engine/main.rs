//! Inputs and effects at the engine's boundary: an engine, or several, on durable maps in memory.
//!
//! The shell of these tests carries out effects in the order given and decides only when writes become durable and
//! when a broker crashes.

mod brokers;
mod cluster;
mod damaged;
mod disk;
mod late_news;
mod lifecycle;
mod lost;
mod members;
mod on_the_log;
mod orders;
mod power_cuts;
mod produce;
mod retention;
mod shell;
mod starts;
