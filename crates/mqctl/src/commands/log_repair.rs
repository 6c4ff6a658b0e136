//! `mqctl log repair`: says what a stopped broker's directory has lost and what a repair would cost, and carries it
//! out by consent. What is decided is in `mq_log::repair`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
};

use anyhow::{Context, anyhow, bail};
use mq_log::{
    Options, OsDisk,
    repair::{self, Cut, Fate, Plan, Remedy, RepairError, ReplicaPlan},
};
use mq_types::persist::{LostReason, Standing};
use serde_json::{Value, json};

use super::log::metadata;
use crate::{
    cli::log::LogRepair,
    exit::Exit,
    output::{Output, counted},
    session::confirm,
};

/// Plans, asks, and repairs, all of it under the directory's lock.
pub(super) fn run(output: Output, args: &LogRepair, quiet: bool) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    metadata(dir)?;
    match metadata(&dir.join("quorums")) {
        Ok(found) if found.is_dir() => {}
        Err(error) if is_permission_denied(&error) => return Err(error),
        _ => bail!("{} holds no log: name a broker's data directory", dir.display()),
    }
    let _lock = lock(dir, args.dry_run)?;
    let plan = match repair::plan(&OsDisk::read_only(dir)) {
        Err(error @ RepairError::StateGone { .. }) => {
            eprintln!("mqctl: {}: {error}", dir.display());
            return Ok(Exit::Unhealthy);
        }
        // As part of the message: the error names its cause itself.
        other => other.map_err(|error| anyhow!("could not plan a repair of {}: {error}", dir.display()))?,
    };
    let say = |message: &str| {
        if !quiet {
            eprintln!("{message}");
        }
    };
    if plan == Plan::default() {
        output.print_json(&plan_json(dir, &plan, false))?;
        say("nothing to repair: every log's end and the state are good (mqctl log verify reads every byte)");
        return Ok(Exit::Ok);
    }
    let cuts = cuts(&plan);
    let refused = plan.replicas.len() - cuts.len();
    let is_of_use = plan.state.is_some() || !cuts.is_empty();
    if !output.is_json() {
        output.print(&(), |_| describe(dir, &plan))?;
    }
    if args.dry_run || !is_of_use {
        output.print_json(&plan_json(dir, &plan, false))?;
        say(if is_of_use { "nothing was changed: a dry run" } else { "nothing was changed: see above" });
        return Ok(Exit::Unhealthy);
    }
    if !confirm(&question(dir, &plan), args.yes)? {
        say("nothing was repaired");
        return Ok(Exit::Error);
    }
    // The number of shards stays what it is, whatever is said here.
    let options = Options::new(1, rand::random());
    let outcomes = repair::apply(OsDisk::new(dir), options, &plan)
        .map_err(|error| anyhow!("could not repair {}; it can be begun again: {error}", dir.display()))?;
    output.print_json(&plan_json(dir, &plan, true))?;
    let still: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.standing != Standing::Sound)
        .map(|outcome| format!("quorum {} is {}", outcome.quorum, said(outcome.standing)))
        .collect();
    say(&format!("repaired: {} cut, {refused} left as they are", cuts.len()));
    if !still.is_empty() {
        say(&format!("not sound: {}", still.join("; ")));
    }
    Ok(if still.is_empty() { Exit::Ok } else { Exit::Unhealthy })
}

fn is_permission_denied(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Nobody else may use the directory until this is dropped.
fn lock(dir: &Path, dry_run: bool) -> anyhow::Result<Option<File>> {
    let path = dir.join("lock");
    let opened = match dry_run {
        true => File::open(&path),
        false => OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path),
    };
    let file = match opened {
        // Without the file there is no broker; a dry run makes none.
        Err(error) if dry_run && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("could not open {}", path.display()))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => bail!("a broker is using {}: stop it first", dir.display()),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

fn cuts(plan: &Plan) -> Vec<&Cut> {
    let remedies = plan.replicas.iter().map(|replica| &replica.remedy);
    remedies.filter_map(|remedy| if let Remedy::Cut(cut) = remedy { Some(cut) } else { None }).collect()
}

fn question(dir: &Path, plan: &Plan) -> String {
    let cuts = cuts(plan);
    let records: u64 = cuts.iter().map(|cut| cut.records_gone()).sum();
    let entries: u64 = cuts.iter().map(|cut| cut.entries_gone()).sum();
    let mut parts = Vec::new();
    if plan.state.is_some() {
        parts.push("go on from the state as told above".to_owned());
    }
    if !cuts.is_empty() {
        let logs = counted(cuts.len() as u64, "log");
        let records = counted(records, "record");
        parts.push(format!("cut {logs} and give up at least {records} ({}) for good", entry(entries)));
    }
    format!("In {}: {}?", dir.display(), parts.join(", and "))
}

fn entry(number: u64) -> String {
    if number == 1 { "1 entry".to_owned() } else { format!("{number} entries") }
}

fn describe(dir: &Path, plan: &Plan) -> String {
    let mut lines = Vec::new();
    if let Some(state) = &plan.state {
        for [a, b] in &state.files {
            let (a, b) = (dir.join(a), dir.join(b));
            let quarantine = dir.join("quarantine");
            lines.push(format!(
                "state: {} and {} are bad at the same place; what can be read is written anew, and they go to {}",
                a.display(),
                b.display(),
                quarantine.display(),
            ));
        }
        for (quorum, replica, fate) in &state.fates {
            lines.push(format!("quorum {quorum}, replica {replica}: {}", fate_said(*fate)));
        }
    }
    for replica in &plan.replicas {
        let (quorum, id) = (replica.quorum, replica.replica);
        lines.push(format!("quorum {quorum}, replica {id}: {}", said(replica.standing)));
        match &replica.remedy {
            Remedy::Cut(cut) => lines.extend(cut_said(dir, replica, cut)),
            Remedy::Refused(refusal) => lines.push(format!("  not repaired: {refusal}")),
        }
    }
    lines.join("\n")
}

fn cut_said(dir: &Path, replica: &ReplicaPlan, cut: &Cut) -> Vec<String> {
    let mut lines = vec![format!(
        "  cut: {} cannot be trusted from byte {} on; index {} stays the last one, and the next record gets offset {}",
        dir.join(&cut.file).display(),
        cut.position,
        cut.last_index,
        cut.next_offset,
    )];
    let (last, end) = (cut.gone.last_index, cut.gone.end_offset);
    lines.push(match cut.entries_gone() {
        0 => "  gone: nothing that is known of".to_owned(),
        entries => {
            let offsets = match cut.records_gone() {
                0 => "no offset is known of".to_owned(),
                records => format!(
                    "offsets {} to {} ({})",
                    cut.next_offset,
                    end.0.saturating_sub(1),
                    counted(records, "record")
                ),
            };
            let committed = match cut.committed_gone() {
                0 => "none of them is known to have been committed".to_owned(),
                some => format!("{some} of them are known to have been committed, so acknowledged"),
            };
            let first = cut.last_index.next();
            format!("  gone: {} ({first} to {last}), {offsets}; {committed}", entry(entries))
        }
    });
    if cut.drops_snapshot {
        lines.push("  gone: its snapshot, which is bad or of an index that goes".to_owned());
    }
    if !cut.set_aside.is_empty() {
        let quarantine = dir.join("quarantine").join(format!("{}-{}", replica.quorum, replica.replica));
        lines.push(format!(
            "  kept: {} that the log no longer has, in {}",
            counted(cut.set_aside.len() as u64, "file"),
            quarantine.display(),
        ));
    }
    lines
}

fn fate_said(fate: Fate) -> String {
    match fate {
        Fate::Known => "goes on: its newest record is good".to_owned(),
        Fate::Confirmed { term } => format!(
            "goes on in term {term}: its files are those that its last good record names (records deleted since then \
             may be readable again)"
        ),
        Fate::Lost => {
            "becomes lost: what it promised is not certain; what is known to be committed stays readable"
                .to_owned()
        }
        Fate::SetAside => "no good record tells of it: its directory goes to quarantine/ as it is".to_owned(),
    }
}

fn said(standing: Standing) -> &'static str {
    match standing {
        Standing::Sound => "sound",
        Standing::Damaged => "damaged below its end",
        Standing::Gone => "removed",
        Standing::Lost(LostReason::CorruptEnd) => "lost: entries known to be on the disk are missing or bad",
        Standing::Lost(LostReason::MissingSegment) => "lost: a segment is missing, or its head is bad",
        Standing::Lost(LostReason::BadSnapshot) => "lost: its snapshot is missing or bad",
        Standing::Lost(LostReason::OpenRefused) => "lost: the controller knows it in another directory",
        Standing::Lost(LostReason::ShorterThanAcknowledged) => "lost: it once acknowledged more than it has",
        Standing::Lost(LostReason::UnknownState) => "lost: its newest state is not known",
    }
}

fn plan_json(dir: &Path, plan: &Plan, repaired: bool) -> Value {
    let state = plan.state.as_ref().map(|state| {
        let fates = state.fates.iter().map(|(quorum, replica, fate)| {
            let (name, term) = match fate {
                Fate::Known => ("known", None),
                Fate::Confirmed { term } => ("confirmed", Some(term.0)),
                Fate::Lost => ("lost", None),
                Fate::SetAside => ("set_aside", None),
            };
            json!({ "quorum": quorum.0, "replica": replica.0, "fate": name, "term": term })
        });
        let files = state.files.iter().flatten().map(|file| dir.join(file));
        json!({ "files": files.collect::<Vec<_>>(), "replicas": fates.collect::<Vec<_>>() })
    });
    let replicas = plan.replicas.iter().map(|replica| {
        let (cut, refused) = match &replica.remedy {
            Remedy::Cut(cut) => (Some(cut_json(dir, cut)), None),
            Remedy::Refused(refusal) => (None, Some(refusal.to_string())),
        };
        json!({
            "quorum": replica.quorum.0,
            "replica": replica.replica.0,
            "standing": format!("{:?}", replica.standing),
            "cut": cut,
            "refused": refused,
        })
    });
    json!({ "repaired": repaired, "state": state, "replicas": replicas.collect::<Vec<_>>() })
}

fn cut_json(dir: &Path, cut: &Cut) -> Value {
    json!({
        "file": dir.join(&cut.file),
        "position": cut.position.0,
        "last_index": cut.last_index.0,
        "next_offset": cut.next_offset.0,
        "gone_last_index": cut.gone.last_index.0,
        "gone_end_offset": cut.gone.end_offset.0,
        "gone_entries": cut.entries_gone(),
        "gone_records": cut.records_gone(),
        "gone_committed_entries": cut.committed_gone(),
        "drops_snapshot": cut.drops_snapshot,
        "set_aside": cut.set_aside.iter().map(|file| dir.join(file)).collect::<Vec<_>>(),
    })
}
