//! `mqctl log`: what lies on disk, read without a broker and without changing a byte.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use mq_log::{
    OsDisk,
    inspect::{Finding, Item, Summary, inspect},
};
use mq_types::EntryMeta;
use serde_json::{Value, json};

use crate::{
    cli::log::LogDirectory,
    exit::Exit,
    output::{NOT_PRINTED, Output, counted},
};

/// Prints everything, in the order of the files and of the bytes in them: a line (or a JSON object) per item.
pub(super) fn dump(output: Output, args: &LogDirectory, quiet: bool) -> anyhow::Result<Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut broken = None;
    let summary = walk(args, quiet, |item| {
        if broken.is_none() {
            broken = write_item(&mut out, output, &args.dir, item).err();
        }
    })?;
    if let Some(error) = broken {
        return Err(error).context(NOT_PRINTED);
    }
    out.flush().context(NOT_PRINTED)?;
    Ok(if summary.findings == 0 { Exit::Ok } else { Exit::Unhealthy })
}

/// Prints only what is wrong, and how much was checked.
pub(super) fn verify(output: Output, args: &LogDirectory, quiet: bool) -> anyhow::Result<Exit> {
    let mut findings = Vec::new();
    let summary = walk(args, quiet, |item| {
        if let Item::Finding(finding) = item {
            findings.push(finding);
        }
    })?;
    let mut out = io::stdout().lock();
    if output.is_json() {
        let findings: Vec<Value> = findings.iter().map(|finding| finding_json(&args.dir, finding)).collect();
        let verdict = json!({
            "clean": findings.is_empty(),
            "segments": summary.segments,
            "entries": summary.entries,
            "records": summary.records,
            "bytes": summary.bytes,
            "findings": findings,
        });
        writeln!(out, "{verdict:#}").context(NOT_PRINTED)?;
    } else {
        for finding in &findings {
            writeln!(out, "{}", finding_line(&args.dir, finding)).context(NOT_PRINTED)?;
        }
    }
    if !quiet {
        let Summary { segments, entries, records, bytes, findings } = summary;
        let verdict = if findings == 0 { "clean".to_owned() } else { format!("{findings} found wrong") };
        let entries = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        let [segments, records, bytes] =
            [(segments, "segment"), (records, "record"), (bytes, "byte")].map(|(n, word)| counted(n, word));
        eprintln!("{verdict}: {segments}, {entries}, {records}, {bytes} read");
    }
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::Unhealthy })
}

/// A finding in a file of no known quorum is always passed on: it may be what was asked for. The findings counted are
/// those passed on, the rest of the summary is all that was read.
///
/// # Errors
/// It cannot be read, or nothing of what was asked for is there: a mistyped name must not look like a clean log.
fn walk(args: &LogDirectory, quiet: bool, mut sink: impl FnMut(Item)) -> anyhow::Result<Summary> {
    let dir = &args.dir;
    let metadata = metadata(dir)?;
    let (root, path) = match (metadata.is_dir(), dir.file_name()) {
        (false, Some(name)) => (dir.parent().unwrap_or(Path::new("")).to_owned(), PathBuf::from(name)),
        _ => (dir.clone(), PathBuf::new()),
    };
    if !quiet && is_in_use(dir) {
        eprintln!("a broker is using {}: what it writes meanwhile may look damaged", dir.display());
    }
    let disk = OsDisk::read_only(root);
    let (mut found_any, mut findings) = (false, 0);
    let wanted =
        |item: &Item| args.quorum.is_none_or(|wanted| quorum_of(item).is_none_or(|quorum| quorum == wanted));
    let inspected = inspect(&disk, &path, &mut |item| {
        if wanted(&item) {
            found_any = true;
            findings += u64::from(matches!(item, Item::Finding(_)));
            sink(item);
        }
    });
    let summary = inspected.with_context(|| format!("could not read {}", dir.display()))?;
    match args.quorum {
        _ if found_any => Ok(Summary { findings, ..summary }),
        Some(quorum) => bail!("{} holds nothing of quorum {quorum}", dir.display()),
        None => bail!("{} holds no log: name a broker's data directory", dir.display()),
    }
}

/// Of what was named; an error if it is not there, or not for this user.
pub(super) fn metadata(path: &Path) -> anyhow::Result<Metadata> {
    std::fs::metadata(path).with_context(|| format!("could not look at {}", path.display()))
}

/// Whether a broker holds the lock of this data directory now.
fn is_in_use(dir: &Path) -> bool {
    let lock = File::open(dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Which quorum an item belongs to: by its record, or by its file (`quorums/<quorum>-<replica>/…`).
fn quorum_of(item: &Item) -> Option<u64> {
    match item {
        Item::Replica { quorum, .. } | Item::Segment { quorum, .. } => Some(quorum.0),
        Item::Entry { file, .. } | Item::Torn { file, .. } | Item::Finding(Finding { file, .. }) => {
            let directory = file.parent()?.file_name()?.to_str()?;
            directory.split_once('-')?.0.parse().ok()
        }
    }
}

fn write_item(out: &mut impl Write, output: Output, dir: &Path, item: Item) -> io::Result<()> {
    if output.is_json() {
        return writeln!(out, "{}", item_json(dir, &item));
    }
    match item {
        Item::Replica { quorum, replica, version, vote, opened, standing, start, membership } => writeln!(
            out,
            "replica {quorum}-{replica}: version {version}, term {}, vote {}, opened {opened}, {standing:?}, begins \
             after index {} term {} at offset {}, log start {}, voters {:?}, learners {:?} as of index {}",
            vote.term,
            vote.voted_for.map_or("nobody".to_owned(), |id| id.to_string()),
            start.prev_index,
            start.prev_term,
            start.base_offset,
            start.log_start,
            membership.voters.iter().map(|id| id.0).collect::<Vec<_>>(),
            membership.learners.iter().map(|id| id.0).collect::<Vec<_>>(),
            membership.conf_index,
        ),
        Item::Segment { file, quorum, replica, number, prev_index, prev_term, base_offset } => writeln!(
            out,
            "segment {}: quorum {quorum}, replica {replica}, number {number}, after index {prev_index} term \
             {prev_term}, offset {base_offset}",
            file.display(),
        ),
        Item::Entry { position, meta, len_bytes, commit, synced, .. } => {
            let EntryMeta { index, term, kind, base_offset, span, appended_at_ms } = meta;
            writeln!(
                out,
                "  {position:>10}  index {index}, term {term}, {kind:?}, offset {base_offset}+{span}, {len_bytes} \
                 bytes, at {appended_at_ms} ms, commit {commit}, synced {synced}",
            )
        }
        Item::Torn { file, position, len_bytes } => writeln!(
            out,
            "{}: position {position}: {len_bytes} bytes that a crash left behind; the next start cuts them",
            dir_file(dir, &file).display(),
        ),
        Item::Finding(finding) => writeln!(out, "{}", finding_line(dir, &finding)),
    }
}

fn finding_line(dir: &Path, finding: &Finding) -> String {
    let index = finding.index.map(|index| format!(", index {index}")).unwrap_or_default();
    let offset = finding.offset.map(|offset| format!(", offset {offset}")).unwrap_or_default();
    let file = dir_file(dir, &finding.file);
    format!("{}: position {}{index}{offset}: {}", file.display(), finding.position, finding.problem)
}

/// As it can be opened from here.
fn dir_file(dir: &Path, file: &Path) -> PathBuf {
    if dir.is_dir() { dir.join(file) } else { dir.to_owned() }
}

fn finding_json(dir: &Path, finding: &Finding) -> Value {
    json!({
        "file": dir_file(dir, &finding.file),
        "position": finding.position.0,
        "index": finding.index.map(|index| index.0),
        "offset": finding.offset.map(|offset| offset.0),
        "problem": finding.problem.to_string(),
    })
}

fn item_json(dir: &Path, item: &Item) -> Value {
    match item {
        Item::Replica { quorum, replica, version, vote, opened, standing, start, membership } => json!({
            "item": "replica",
            "quorum": quorum.0,
            "replica": replica.0,
            "version": version,
            "term": vote.term.0,
            "voted_for": vote.voted_for.map(|id| id.0),
            "opened": opened,
            "standing": format!("{standing:?}"),
            "prev_index": start.prev_index.0,
            "prev_term": start.prev_term.0,
            "base_offset": start.base_offset.0,
            "log_start": start.log_start.0,
            "conf_index": membership.conf_index.0,
            "voters": membership.voters.iter().map(|id| id.0).collect::<Vec<_>>(),
            "learners": membership.learners.iter().map(|id| id.0).collect::<Vec<_>>(),
        }),
        Item::Segment { file, quorum, replica, number, prev_index, prev_term, base_offset } => json!({
            "item": "segment",
            "file": dir_file(dir, file),
            "quorum": quorum.0,
            "replica": replica.0,
            "number": number.0,
            "prev_index": prev_index.0,
            "prev_term": prev_term.0,
            "base_offset": base_offset.0,
        }),
        Item::Entry { file, position, meta, len_bytes, commit, synced } => json!({
            "item": "entry",
            "file": dir_file(dir, file),
            "position": position.0,
            "index": meta.index.0,
            "term": meta.term.0,
            "kind": format!("{:?}", meta.kind),
            "base_offset": meta.base_offset.0,
            "span": meta.span,
            "len_bytes": len_bytes,
            "appended_at_ms": meta.appended_at_ms,
            "commit": commit.0,
            "synced": synced.0,
        }),
        Item::Torn { file, position, len_bytes } => json!({
            "item": "torn",
            "file": dir_file(dir, file),
            "position": position.0,
            "len_bytes": len_bytes,
        }),
        Item::Finding(finding) => {
            let mut value = finding_json(dir, finding);
            value["item"] = "finding".into();
            value
        }
    }
}
