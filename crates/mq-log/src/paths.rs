//! The names of files and directories below the data directory, and nothing about what is in them.
//!
//! ```text
//! state/<shard>/<generation>.a  .b                 what must be durable besides frames, in two copies
//! quorums/<quorum>-<replica>/<first_index>-<number>.seg  .idx
//! quorums/<quorum>-<replica>/<index>.snap
//! trash/<quorum>-<replica>/                        removed replicas
//! quarantine/<quorum>-<replica>/                   what a repair has cut off, kept for a person
//! quarantine/state-<shard>-<generation>.a  .b      state files that a repair has read past
//! ```

use mq_types::{Index, QuorumId, ReplicaId, SegmentNumber, ShardId};
use std::path::{Path, PathBuf};

pub(crate) const STATE: &str = "state";
pub(crate) const QUORUMS: &str = "quorums";
pub(crate) const TRASH: &str = "trash";
pub(crate) const QUARANTINE: &str = "quarantine";

/// The endings of the two copies of a state file.
pub(crate) const STATE_COPIES: [&str; 2] = ["a", "b"];

pub(crate) fn replica_name(quorum: QuorumId, replica: ReplicaId) -> String {
    format!("{quorum}-{replica}")
}

pub(crate) fn parse_replica_name(name: &str) -> Option<(QuorumId, ReplicaId)> {
    let (quorum, replica) = name.split_once('-')?;
    let ids = (QuorumId(quorum.parse().ok()?), ReplicaId(replica.parse().ok()?));
    (replica_name(ids.0, ids.1) == name).then_some(ids)
}

pub(crate) fn replica_dir(quorum: QuorumId, replica: ReplicaId) -> PathBuf {
    Path::new(QUORUMS).join(replica_name(quorum, replica))
}

pub(crate) fn trash_dir(quorum: QuorumId, replica: ReplicaId) -> PathBuf {
    Path::new(TRASH).join(replica_name(quorum, replica))
}

pub(crate) fn quarantine_dir(quorum: QuorumId, replica: ReplicaId) -> PathBuf {
    Path::new(QUARANTINE).join(replica_name(quorum, replica))
}

/// Where a state file goes that is bad in both copies.
pub(crate) fn quarantined_state_file(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    Path::new(QUARANTINE).join(parts.join("-"))
}

/// A file of a replica's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaFile {
    Segment { first_index: Index, number: SegmentNumber },
    Index { first_index: Index, number: SegmentNumber },
    Snapshot { index: Index },
}

impl ReplicaFile {
    pub(crate) fn name(self) -> String {
        match self {
            ReplicaFile::Segment { first_index, number } => format!("{:020}-{number}.seg", first_index.0),
            ReplicaFile::Index { first_index, number } => format!("{:020}-{number}.idx", first_index.0),
            ReplicaFile::Snapshot { index } => format!("{:020}.snap", index.0),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<ReplicaFile> {
        let (stem, ending) = name.rsplit_once('.')?;
        let file = if ending == "snap" {
            ReplicaFile::Snapshot { index: Index(stem.parse().ok()?) }
        } else {
            let (first_index, number) = stem.split_once('-')?;
            let first_index = Index(first_index.parse().ok()?);
            let number = SegmentNumber(number.parse().ok()?);
            match ending {
                "seg" => ReplicaFile::Segment { first_index, number },
                "idx" => ReplicaFile::Index { first_index, number },
                _ => return None,
            }
        };
        (file.name() == name).then_some(file)
    }
}

pub(crate) fn state_dir(shard: ShardId) -> PathBuf {
    Path::new(STATE).join(shard.to_string())
}

/// The two copies of a shard's state file.
pub(crate) fn state_files(shard: ShardId, generation: u64) -> [PathBuf; 2] {
    STATE_COPIES.map(|copy| state_dir(shard).join(format!("{generation}.{copy}")))
}

/// The generation of a state file of this name.
pub(crate) fn parse_state_name(name: &str) -> Option<u64> {
    let (generation, copy) = name.split_once('.')?;
    let parsed: u64 = generation.parse().ok()?;
    (STATE_COPIES.contains(&copy) && parsed.to_string() == generation).then_some(parsed)
}
