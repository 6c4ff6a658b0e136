//! Things that happen, in words for whoever follows a run, and in numbers for its transcript.

use crate::queue::{At, Event};
use mq_engine::Effect;
use mq_types::Message;
use mq_types::persist::ReplicaWrite;
use std::fmt::Write;

/// The facts of an effect.
pub(crate) fn effect_numbers(at: At, effect: &Effect) -> [u64; 6] {
    let at = at as u64;
    match effect {
        Effect::Persist { number, write } => {
            let last = write.entries.last().map_or(0, |entry| entry.index.0);
            let term = write.vote.map_or(0, |vote| vote.term.0);
            [at, write.quorum.0, number.0, last, write.commit.0, term]
        }
        Effect::Send(message) => message_numbers(at, message),
        Effect::Read { quorum, read, from, until, .. } => [at, quorum.0, read.0, from.0, until.0, 3],
        Effect::Publish { quorum, view } => {
            [at, quorum.0, view.term.0, view.log_start.0, view.high_watermark.0, 4]
        }
        Effect::Reply { id, outcome } => [at, id.0, u64::from(outcome.is_ok()), 0, 0, 5],
        Effect::Image(image) => [at, image.revision.0, image.topics.len() as u64, 0, 0, 6],
        Effect::Command(_) => [at, 0, 0, 0, 0, 7],
        Effect::Closed { quorum } => [at, quorum.0, 0, 0, 0, 8],
        Effect::Event(_) => [at, 0, 0, 0, 0, 9],
        Effect::Join(_) => [at, 0, 0, 0, 0, 10],
    }
}

fn message_numbers(at: u64, message: &Message) -> [u64; 6] {
    let Message { quorum, to, kind, term, index, commit, .. } = message;
    [at << 32 | *kind as u64, quorum.0, to.0, term.0, index.0, commit.0]
}

/// An effect in words.
pub(crate) fn effect(at: At, effect: &Effect) -> String {
    let broker = at + 1;
    match effect {
        Effect::Persist { number, write } => {
            format!("b{broker}   persist #{} {}", number.0, self::write(write))
        }
        Effect::Send(message) => format!("b{broker}   send {}", self::message(message)),
        Effect::Publish { quorum, view } => format!(
            "b{broker}   publish q{quorum} term {} leader {:?} serving {} [{}, {})",
            view.term,
            view.leader.map(|leader| leader.broker().0),
            view.serving,
            view.log_start,
            view.high_watermark
        ),
        Effect::Image(image) => format!("b{broker}   image of revision {}", image.revision),
        Effect::Event(event) => format!("b{broker}   event {event:?}"),
        other => format!("b{broker}   {other:?}"),
    }
}

/// A message in words.
pub(crate) fn message(message: &Message) -> String {
    let Message { quorum, from, to, kind, term, index, log_term, commit, entries, reject, .. } = message;
    let (from, to) = (from.broker(), to.broker());
    let mut text =
        format!("q{quorum} b{from}>b{to} {kind:?} term {term} at {index}/{log_term} commit {commit}");
    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
        let _ = write!(text, " entries {}..={} of term {}", first.index, last.index, last.term);
    }
    if *reject {
        let _ = write!(text, " REJECT, hint {}", message.reject_hint);
    }
    text
}

/// A write in words.
pub(crate) fn write(write: &ReplicaWrite) -> String {
    let ReplicaWrite { quorum, commit, .. } = write;
    let mut text = format!("q{quorum} commit {commit}");
    let mut add = |name: &str, what: Option<String>| {
        if let Some(what) = what {
            let _ = write!(text, " {name} {what}");
        }
    };
    add("create", write.create.as_ref().map(|create| format!("{:?}", create.start)));
    add(
        "vote",
        write.vote.map(|vote| format!("{:?} in {}", vote.voted_for.map(|r| r.broker().0), vote.term)),
    );
    add("reset", write.reset.as_ref().map(|(start, _)| format!("{start:?}")));
    if let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) {
        add("entries", Some(format!("{}..={} of term {}", first.index, last.index, last.term)));
    }
    add("membership", write.membership.as_ref().map(|membership| format!("{membership:?}")));
    add("open", write.open.then(String::new));
    add("standing", write.standing.map(|standing| format!("{standing:?}")));
    add("snapshot", write.snapshot.as_ref().map(|snapshot| snapshot.index.to_string()));
    add("roll", write.roll.then(String::new));
    add("trim", write.trim.map(|trim| format!("{trim:?}")));
    add("remove", write.remove.then(String::new));
    text
}

/// The facts of an event.
pub(crate) fn event_numbers(event: &Event) -> [u64; 4] {
    match event {
        Event::Start { at, life } => [1, *at as u64, *life, 0],
        Event::Tick { at, life } => [2, *at as u64, *life, 0],
        Event::Turn { at, shard, .. } => [3, *at as u64, *shard as u64, 0],
        Event::GoOn { at, shard, .. } => [21, *at as u64, *shard as u64, 0],
        Event::Round { at, shard, .. } => [4, *at as u64, *shard as u64, 0],
        Event::Entries { at, wanted, .. } => [5, *at as u64, wanted.from.0, wanted.until.0],
        Event::Trash { at, .. } => [6, *at as u64, 0, 0],
        Event::Peer { at, message, .. } => [7, *at as u64, message.index.0, message.from.0],
        Event::Command { at, .. } => [8, *at as u64, 0, 0],
        Event::Join { at, from, life, .. } => [18, *at as u64, *from as u64, *life],
        Event::Joined { at, life, replica } => [19, *at as u64, *life, replica.0],
        Event::Call { at, call, .. } => [9, *at as u64, call.0, 0],
        Event::Read { at, .. } => [10, *at as u64, 0, 0],
        Event::Answer { call, .. } => [11, call.0, 0, 0],
        Event::Timeout { call } => [12, call.0, 0, 0],
        Event::Producer { number } => [13, *number as u64, 0, 0],
        Event::Consumer { number } => [14, *number as u64, 0, 0],
        Event::Admin => [15, 0, 0, 0],
        Event::Unreachable { at, to, .. } => [20, *at as u64, *to as u64, 0],
        Event::Fault { kind } => [16, *kind as u64, 0, 0],
        Event::Heal { fault } => [17, fault.0, 0, 0],
    }
}

/// An event in words.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Peer { at, message, .. } => format!("b{} gets {}", at + 1, self::message(message)),
        Event::Turn { at, shard, .. } => format!("b{} turn of shard {shard}", at + 1),
        Event::GoOn { at, shard, .. } => format!("b{} goes on with the turn of shard {shard}", at + 1),
        Event::Tick { at, .. } => format!("b{} tick", at + 1),
        Event::Round { at, shard, .. } => format!("b{} round of shard {shard} done", at + 1),
        other => {
            let mut text = format!("{other:?}");
            text.truncate(text.char_indices().nth(300).map_or(text.len(), |(at, _)| at));
            text
        }
    }
}
