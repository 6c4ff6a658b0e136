//! A turn of a shard: its engine decides, and the effects are carried out one after another, unless the process ends or
//! the shard's thread is held up between two of them.

use crate::broker::{Broker, End};
use crate::queue::{Event, Wanted};
use crate::sometimes;
use crate::stage::{Out, Stage};
use crate::tell;
use mq_engine::{Effect, Input};
use std::collections::VecDeque;
use std::sync::Arc;

/// What happens between two effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The process ends.
    ForEver,
    /// The shard's thread does not run for so long, in microseconds. Those that read and the other shards' do.
    Us(u64),
}

impl Broker {
    /// After so many more effects there is a halt.
    pub(crate) fn plan_halt(&mut self, effects_left: u64, halt: Halt) {
        self.halt = Some((effects_left, halt));
    }

    /// All that waits for the shard is one turn of its engine.
    pub(crate) fn turn(&mut self, shard: usize, stage: &mut Stage) -> Result<(), End> {
        let now = self.clock.read(stage.now_us());
        let Some(process) = &mut self.process else { return Ok(()) };
        let running = &mut process.shards[shard];
        running.turn_is_due = false;
        if running.halted.is_some() {
            return Ok(());
        }
        running.has_tick = false;
        let mut inputs = std::mem::take(&mut running.done);
        inputs.append(&mut running.inputs);
        let effects = running.engine.turn(now, inputs);
        self.carry_out_all(shard, effects.into(), stage)
    }

    fn carry_out_all(
        &mut self,
        shard: usize,
        mut effects: VecDeque<Effect>,
        stage: &mut Stage,
    ) -> Result<(), End> {
        while let Some(effect) = effects.pop_front() {
            if let Some(what) = crate::events::broken(&effect, self.has_lost_disk) {
                return Err(End::Broken(what));
            }
            match &mut self.halt {
                Some((0, Halt::ForEver)) => return Err(End::Stopped),
                Some((0, Halt::Us(for_us))) => {
                    sometimes!("a thread was held up between two effects");
                    let event = Event::GoOn { at: self.at, life: self.life, shard };
                    stage.queue.after(*for_us, event);
                    self.halt = None;
                    effects.push_front(effect);
                    if let Some(process) = &mut self.process {
                        process.shards[shard].halted = Some(effects);
                    }
                    return Ok(());
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
            self.carry_out(shard, effect, stage);
        }
        self.begin_round(shard, stage);
        Ok(())
    }

    /// A thread that was held up runs again.
    pub(crate) fn go_on(&mut self, shard: usize, stage: &mut Stage) -> Result<(), End> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(effects) = process.shards[shard].halted.take() else { return Ok(()) };
        self.wake(shard, stage);
        self.carry_out_all(shard, effects, stage)
    }

    /// No thread is held up any more.
    pub(crate) fn end_halts(&mut self, stage: &mut Stage) {
        self.halt = None;
        for shard in 0..usize::from(self.shards) {
            stage.queue.after(0, Event::GoOn { at: self.at, life: self.life, shard });
        }
    }

    fn carry_out(&mut self, shard: usize, effect: Effect, stage: &mut Stage) {
        let at = self.at;
        stage.step(&tell::effect_numbers(at, &effect), || tell::effect(at, &effect));
        let Some(process) = &mut self.process else { return };
        match effect {
            Effect::Persist { number, write } => {
                stage.record.written(stage.queue.now_us(), &write);
                process.shards[shard].backlog.push(number, write);
            }
            Effect::Send(message) => {
                crate::events::mark_sent(&message, &process.views);
                stage.record.sent(stage.queue.now_us(), &message);
                stage.out.push(Out::Peer(Box::new(message)));
            }
            Effect::Read { quorum, replica, read, from, until, size_bytes_max } => {
                let wanted = Box::new(Wanted { quorum, replica, read, from, until, size_bytes_max });
                let event = Event::Entries { at, life: self.life, shard, wanted };
                stage.queue.after(self.disk.read_us(), event);
            }
            Effect::Publish { quorum, view } => {
                stage.record.published(stage.queue.now_us(), quorum, &view);
                if process.views.get(&quorum).is_some_and(|old| old.log_start < view.log_start) {
                    sometimes!("the log start moved");
                }
                process.views.insert(quorum, view);
            }
            Effect::Reply { id, outcome } => self.reply(shard, id, outcome, stage),
            Effect::Image(image) => {
                stage.copies.learn(&image);
                self.founds &= image.cluster_id.is_empty();
                process.image = Arc::clone(&image);
                for other in 1..process.shards.len() {
                    self.give(other, Input::Image(Arc::clone(&image)), stage);
                }
            }
            Effect::Command(command) => stage.out.push(Out::Command(Box::new(command))),
            Effect::Join(info) => stage.out.push(Out::Join(Box::new(info))),
            Effect::Closed { quorum } => {
                process.views.remove(&quorum);
                process.readers.remove(&quorum);
            }
            Effect::Event(event) => crate::events::mark(&event, &process.views),
        }
    }
}
