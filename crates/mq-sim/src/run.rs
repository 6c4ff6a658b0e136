//! One seed, from an empty cluster to a verdict: faults, then none, then everything must work and agree.

use crate::liveness;
use crate::markers;
use crate::swarm::Swarm;
use crate::tally::Tally;
use crate::transcript::{Keep, Transcript};
use crate::world::World;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What it was like.
    pub swarm: Swarm,
    /// What it did.
    pub tally: Tally,
    /// How often each marker was hit, in the order of [`markers::ALL`].
    pub markers: [u64; markers::ALL.len()],
    /// What happened, as one number and as far as it was to be kept.
    pub transcript: Transcript,
    /// The broken promise, if one was found.
    pub violation: Option<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(swarm: &Swarm, keep: Keep) -> Outcome {
    let _ = markers::take(); // of a run that was broken off by a panic
    let mut world = World::new(swarm.clone(), keep);
    let lived = live(&mut world);
    let mut tally = std::mem::take(&mut world.stage.tally);
    tally.simulated_us = world.stage.now_us();
    tally.operations = world.clients.calls_count();
    tally.facts = world.stage.record.count();
    tally.messages_lost = world.network.lost;
    tally.messages_duplicated = world.network.duplicated;
    tally.messages_late = world.network.late;
    let violation = lived.map_or_else(Some, |()| world.stage.record.finish());
    Outcome {
        swarm: swarm.clone(),
        tally,
        markers: markers::take(),
        transcript: world.stage.transcript,
        violation,
    }
}

fn live(world: &mut World) -> Result<(), String> {
    world.start();
    world.run_until(world.swarm.safety_us)?;
    world.heal();
    liveness::check(world)
}
