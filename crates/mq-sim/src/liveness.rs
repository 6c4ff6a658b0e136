//! After the faults: every partition acknowledges, every consumer reaches the end, and all replicas come to hold the
//! same.

use crate::broker::broker_id;
use crate::payload;
use crate::queue::At;
use crate::record::running_hash;
use crate::whole;
use crate::world::World;
use mq_checker::history::{Fact, FinalContent, FinalLog, Placed, RunningHash};
use mq_engine::View;
use mq_engine::controller::Members;
use mq_log::ReadError;
use mq_types::persist::Standing;
use mq_types::{Index, Offset, QuorumId};
use std::ops::Range;

/// How often it is looked, in microseconds.
const STEP_US: u64 = 200_000;
/// How long each part may take, in microseconds.
const ACKNOWLEDGED_US_MAX: u64 = 10_000_000;
const READ_US_MAX: u64 = 30_000_000;
const EQUAL_US_MAX: u64 = 30_000_000;
const MEMBERS_US_MAX: u64 = 30_000_000;
/// How much of a log is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Lets a healed world come to rest, and holds what is there against what it should be.
pub(crate) fn check(world: &mut World) -> Result<(), String> {
    let healed_at_us = world.stage.now_us();
    world.clients.healed_at_us = Some(healed_at_us);
    let (partitions, readers) = (world.clients.lasting_partitions(), world.clients.readers());
    world.stage.record.fact(healed_at_us, Fact::Healed { partitions, readers });

    wait(world, healed_at_us + ACKNOWLEDGED_US_MAX, "not every partition acknowledges", |world| {
        let partitions = world.clients.partitions();
        if partitions.is_empty() {
            return Err("there is none".to_owned());
        }
        let silent: Vec<QuorumId> =
            partitions.into_iter().filter(|quorum| !world.clients.alive.contains(quorum)).collect();
        silent.is_empty().then_some(()).ok_or(format!("{silent:?}"))
    })?;
    world.clients.is_closing = true;
    wait(world, healed_at_us + READ_US_MAX, "not every consumer reaches the end", |world| {
        if !world.clients.has_produced() {
            return Err("a produce is not answered".to_owned());
        }
        let mut behind = Vec::new();
        for quorum in world.clients.partitions() {
            // Also that of a leader which is about to leave: those who should be there may not have caught up yet.
            let processes = world.brokers.iter().filter_map(|broker| broker.process.as_ref());
            let views = processes.filter_map(|process| process.views.get(&quorum));
            let end = views.map(|view| view.high_watermark).max();
            let position = world.clients.slowest_position(quorum);
            if end.is_none_or(|end| position < end) {
                behind.push((quorum, position, end));
            }
        }
        behind.is_empty().then_some(()).ok_or(format!("{behind:?}"))
    })?;
    let until_us = world.stage.now_us() + MEMBERS_US_MAX;
    wait(world, until_us, "the members do not become those that are wanted", |world| {
        whole::image(&world.brokers, &world.stage.record)?;
        // All others are there, and of each quorum most are sound.
        let is_led_by_damaged = |quorum: &QuorumId| {
            let views = views(world, *quorum);
            views.iter().any(|(_, view)| view.serving && view.standing == Standing::Damaged)
        };
        let unlucky = world.clients.partitions().into_iter().find(is_led_by_damaged);
        unlucky.map_or(Ok(()), |quorum| Err(format!("a damaged replica of quorum {quorum} leads")))
    })?;
    let until_us = world.stage.now_us() + EQUAL_US_MAX;
    wait(world, until_us, "replicas do not come to hold the same", |world| {
        let mut apart = Vec::new();
        for quorum in world.clients.partitions() {
            let views = views(world, quorum);
            let bounds = |view: &View| (view.log_start, view.high_watermark);
            let is_whole = members(world, quorum)
                .is_some_and(|members| members.leaving.is_empty() && members.replicas.len() == views.len());
            if !is_whole || views.iter().any(|(_, view)| bounds(view) != bounds(&views[0].1)) {
                let members = members(world, quorum).cloned();
                apart.push((
                    quorum,
                    members,
                    views.iter().map(|(at, view)| (*at, bounds(view))).collect::<Vec<_>>(),
                ));
            }
        }
        apart.is_empty().then_some(()).ok_or(format!("{apart:?}"))
    })?;
    for quorum in world.clients.partitions() {
        for log in final_logs(world, quorum)? {
            world.stage.record.fact(world.stage.queue.now_us(), Fact::FinalLog(log));
        }
    }
    world.stage.record.violation().map_or(Ok(()), Err)
}

/// Lets time pass until this holds.
fn wait(
    world: &mut World,
    until_us: u64,
    what: &str,
    holds: impl Fn(&World) -> Result<(), String>,
) -> Result<(), String> {
    loop {
        world.run_until(world.stage.now_us() + STEP_US)?;
        let Err(why) = holds(world) else { return Ok(()) };
        if world.stage.now_us() >= until_us {
            return Err(format!("C13: {what} although the faults are over: {why}"));
        }
    }
}

/// Who should be a member, as the newest metadata say.
fn members(world: &World, quorum: QuorumId) -> Option<&Members> {
    let processes = world.brokers.iter().filter_map(|broker| broker.process.as_ref());
    let newest = processes.max_by_key(|process| process.image.revision)?;
    newest.image.members(quorum)
}

/// What every replica of a partition shows that should be there.
fn views(world: &World, quorum: QuorumId) -> Vec<(At, View)> {
    let processes = world.brokers.iter().filter_map(|broker| Some((broker.at, broker.process.as_ref()?)));
    let is_wanted =
        |at: At| members(world, quorum).is_some_and(|members| members.on(broker_id(at)).is_some());
    processes
        .filter(|(at, _)| is_wanted(*at))
        .filter_map(|(at, process)| Some((at, process.views.get(&quorum)?.clone())))
        .collect()
}

/// What a replica holds of a log without a gap.
struct Piece {
    from: Offset,
    records: Vec<Placed>,
    to: Offset,
}

impl Piece {
    fn hashed(self) -> (Range<Offset>, RunningHash) {
        (self.from..self.to, running_hash(&self.records))
    }
}

/// Everything that the replicas of a partition hold. What cannot be read of one, because bits of it have flipped, is left
/// out, and nothing else; one replica must hold all.
fn final_logs(world: &World, quorum: QuorumId) -> Result<Vec<FinalLog>, String> {
    let mut logs = Vec::new();
    // The checker needs the records of one replica, and of the others that they are the same.
    let mut has_records = false;
    for (at, view) in views(world, quorum) {
        let View { replica, log_start, high_watermark, .. } = view;
        let mut pieces = read_all(world, at, quorum, &view)?;
        let content = match pieces.len() {
            1 if !has_records => {
                has_records = true;
                FinalContent::Records(pieces.remove(0).records)
            }
            1 => FinalContent::Hash(running_hash(&pieces[0].records)),
            _ => FinalContent::Parts(pieces.into_iter().map(Piece::hashed).collect()),
        };
        // All have applied as much: that was waited for.
        logs.push(FinalLog { quorum, replica, applied: Index(1), log_start, high_watermark, content });
    }
    if !has_records {
        return Err(format!("C3: no replica of quorum {quorum} can be read from its start to its end"));
    }
    Ok(logs)
}

/// Everything that a replica holds and that can be read.
fn read_all(world: &World, at: At, quorum: QuorumId, view: &View) -> Result<Vec<Piece>, String> {
    let View { replica, log_start, high_watermark, .. } = *view;
    let broker = &world.brokers[at];
    let process = broker.process.as_ref().expect("it has a view");
    let reader = process.readers.get(&quorum).expect("what has a view has a reader");
    let piece = |from| Piece { from, records: Vec::new(), to: from };
    let mut pieces = vec![piece(log_start)];
    let mut next = log_start;
    while next < high_watermark {
        let failed = |what: &str| format!("replica {replica} of quorum {quorum} at offset {next}: {what}");
        let read = match reader.read(next, high_watermark, READ_BYTES) {
            Ok(read) => read,
            Err(ReadError::Corrupt(place)) if broker.disk.rot.explains(&place) && place.end_offset > next => {
                next = place.end_offset;
                pieces.push(piece(next));
                continue;
            }
            Err(error) => return Err(failed(&error.to_string())),
        };
        if read.next_offset <= next {
            return Err(failed("nothing lies there, below the high watermark"));
        }
        let piece = pieces.last_mut().expect("there is one from the start on");
        for batch in &read.batches {
            let found = payload::records(batch).map_err(|error| failed(&error.to_string()))?;
            let wanted = found.into_iter().filter(|(offset, _)| *offset >= log_start);
            piece.records.extend(wanted.map(|(offset, identity)| Placed { offset, identity }));
        }
        next = read.next_offset;
        piece.to = next;
    }
    Ok(pieces)
}
