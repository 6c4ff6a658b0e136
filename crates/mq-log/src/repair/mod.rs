//! Offline repair: what an operator may do about a log that recovery calls lost, or a state that it calls unknown.
//!
//! First a plan, which changes nothing and says what would be gone; then the same once more, by consent. Nothing is
//! ever overwritten, shortened or deleted by it: what the log no longer names goes to `quarantine/`.
//!
//! * **A lost log without another copy** is cut behind its last trustworthy frame ([`Remedy::Cut`]). With other
//!   members it is not: they serve what is lost here.
//! * **A state that is bad in both copies** is read past the bad place. What can be proven to be a replica's newest
//!   state goes on, everything else becomes lost ([`Fate`]).
//! * **A bad place below an intact end** costs that place alone, and nothing is cut for it.
//!
//! It decides nothing about whether the broker runs: the caller holds the data directory's lock from before the plan
//! until after it was carried out.

pub(crate) mod cut;
mod state;

use crate::disk::Disk;
use crate::recovery::{OpenError, open_state, prepare, replica_directories};
use crate::replica_recovery::examine;
use crate::state_record::ReplicaState;
use crate::state_recovery::{self, FoundState, Purpose};
use crate::{Options, paths};
use cut::CutPoint;
use mq_types::persist::{LostReason, Standing};
use mq_types::{Index, Offset, Position, QuorumId, ReplicaId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What a repair would do. It holds for as long as nobody writes to the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of the state files; `None`: they are good.
    pub state: Option<StatePlan>,
    /// Every replica that is not sound, once the state is known.
    pub replicas: Vec<ReplicaPlan>,
}

/// What becomes of state files with a place that is bad in both copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePlan {
    /// The two copies of every such file; they go to the quarantine.
    pub files: Vec<[PathBuf; 2]>,
    /// What becomes of the replicas that they tell of, and of those that nothing tells of any more.
    pub fates: Vec<(QuorumId, ReplicaId, Fate)>,
}

/// What a state that is partly unknown means for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has no other members, and its newest record stands behind the bad place: nothing of it is missing.
    Known,
    /// It has no other members, and its files are exactly those that its last known record names. It goes on in a
    /// new term. Records that were deleted since that record, in a segment that is still there, are readable again.
    Confirmed {
        /// The term.
        term: Term,
    },
    /// What it promised is not certain: it becomes lost.
    Lost,
    /// No record tells of it: its directory goes to the quarantine as it is.
    SetAside,
}

/// A replica that is not sound, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaPlan {
    /// The quorum.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
    /// What is the matter.
    pub standing: Standing,
    /// What can be done.
    pub remedy: Remedy,
}

/// What can be done about a replica that is not sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It can be cut, and is sound then.
    Cut(Cut),
    /// Nothing is done here.
    Refused(Refusal),
}

/// A cut, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file that cannot be trusted.
    pub file: PathBuf,
    /// From where on in it.
    pub position: Position,
    /// The last index that stays.
    pub last_index: Index,
    /// The offset that the next record gets.
    pub next_offset: Offset,
    /// What is known of what goes.
    pub gone: Gone,
    /// The snapshot goes: it is bad, or of an index that goes.
    pub drops_snapshot: bool,
    /// Files that go to the quarantine. What is cut off inside a file that stays is left in it.
    pub set_aside: Vec<PathBuf>,
}

/// What is known of the part of a log that goes. There may have been more behind it, of which nothing tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The last index known to have been written; none goes if it is not above the last one that stays.
    pub last_index: Index,
    /// The first offset above all records known to have been written.
    pub end_offset: Offset,
    /// Up to this index, entries are known to have been committed: their records were acknowledged.
    pub commit: Index,
    /// The highest term seen.
    pub term: Term,
}

impl Cut {
    /// How many entries are known to go.
    pub fn entries_gone(&self) -> u64 {
        self.gone.last_index.0.saturating_sub(self.last_index.0)
    }

    /// How many of them are known to have been committed.
    pub fn committed_gone(&self) -> u64 {
        self.gone.commit.min(self.gone.last_index).0.saturating_sub(self.last_index.0)
    }

    /// How many records are known to go.
    pub fn records_gone(&self) -> u64 {
        self.gone.end_offset.0.saturating_sub(self.next_offset.0)
    }
}

/// Why nothing is done here about a replica that is not sound, and what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bad place lies below an intact end.
    #[error(
        "a place below its end is bad, and nothing else: only readers of that place are refused, and a cut would cost \
         everything behind it; `mqctl log verify` names the place"
    )]
    BelowTheEnd,
    /// There are other members.
    #[error("other replicas hold this log: it is served from there, and nothing is cut here")]
    OtherMembers,
    /// It keeps the cluster's metadata.
    #[error(
        "it keeps the cluster's metadata: ids that were given out in the part that would go could be given out again, \
         and new topics would find old records. Put its files back from a copy, or replace the broker: move the data \
         directory away; `mqctl log dump` still prints what can be read"
    )]
    Metadata,
    /// The replica's directory is not there.
    #[error("its directory is missing: put it back")]
    DirectoryMissing,
    /// The verdict is not about its bytes.
    #[error(
        "what this replica promised is not certain, and no repair of its bytes can make it so. What is known to be \
         committed stays readable"
    )]
    Verdict,
}

/// Why there is no plan, or why it was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be read, or not be written to.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory has changed.
    #[error("the directory is not what it was when the repair was planned: nothing was done, plan it again")]
    Changed,
    /// Nothing is left from which the state could be told.
    #[error(
        "what this broker promised cannot be told any more: {} has no complete set of state files whose first batch, \
         which lists every replica, is good in either copy. Replace the broker: move the data directory away and start with an empty \
         one; `mqctl log dump` on a directory below quorums/ still prints its records",
        .state.display()
    )]
    StateGone {
        /// Where the state files are.
        state: PathBuf,
    },
}

/// What a replica is after a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The quorum.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its standing now.
    pub standing: Standing,
}

/// The state as a repair starts from it.
struct Situation {
    state: FoundState,
    plan: Option<StatePlan>,
    /// Directories that no record tells of.
    set_aside: BTreeSet<(QuorumId, ReplicaId)>,
}

/// Plans a repair of the data directory that is the disk's root. Changes nothing.
pub fn plan<D: Disk>(disk: &D) -> Result<Plan, RepairError> {
    let present = match replica_directories(disk) {
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Plan::default());
        }
        other => other?,
    };
    let situation = look(disk, &present, Purpose::Inspection)?;
    let options = Options::new(situation.state.shards.max(1), [0; 32]);
    let mut replicas = Vec::new();
    for state in situation.state.replicas.values() {
        if state.standing != Standing::Gone {
            replicas.extend(plan_replica(disk, state, situation.state.evidence_of(state), &options)?);
        }
    }
    Ok(Plan { state: situation.plan, replicas })
}

/// Carries a plan out: a start of the store, with this consent. A replica that is not what it was when it was planned
/// stays as it is. A crash inside it leaves the directory as it was or as it will be, and the repair can be begun
/// again. Gives back all replicas.
///
/// `options`: the number of shards does not count; it stays what it is.
pub fn apply<D: Disk>(disk: D, mut options: Options, plan: &Plan) -> Result<Vec<Outcome>, RepairError> {
    let present = prepare(&disk)?;
    let Situation { state, set_aside, plan: state_plan } = look(&disk, &present, Purpose::Recovery)?;
    if state_plan != plan.state {
        return Err(RepairError::Changed);
    }
    state::set_aside(&disk, &set_aside)?;
    let consents: BTreeMap<_, _> = plan
        .replicas
        .iter()
        .filter_map(|replica| match &replica.remedy {
            Remedy::Cut(cut) => Some(((replica.quorum, replica.replica), cut.last_index)),
            Remedy::Refused(_) => None,
        })
        .collect();
    let present = present.difference(&set_aside).copied().collect();
    options.shards = state.shards.max(1);
    let shards = open_state(disk, options, &present, state, &consents)?;
    let recovered = shards.iter().flat_map(|shard| &shard.recovered);
    Ok(recovered
        .map(|found| Outcome { quorum: found.quorum, replica: found.replica, standing: found.standing })
        .collect())
}

/// Reads the state, past bad places if need be.
fn look<D: Disk>(
    disk: &D,
    present: &BTreeSet<(QuorumId, ReplicaId)>,
    purpose: Purpose,
) -> Result<Situation, RepairError> {
    let error = match state_recovery::read(disk, present.len(), purpose) {
        Ok(state) => return Ok(Situation { state, plan: None, set_aside: BTreeSet::new() }),
        Err(error) => error,
    };
    match error {
        OpenError::StateUnknown { .. } | OpenError::StateMissing { .. } => {
            match state_recovery::salvage(disk, purpose)? {
                Some(salvaged) => Ok(state::judge(disk, salvaged, present, purpose)?),
                None => Err(RepairError::StateGone { state: PathBuf::from(paths::STATE) }),
            }
        }
        other => Err(other.into()),
    }
}

/// What can be done about one replica; `None`: nothing need be.
fn plan_replica<D: Disk>(
    disk: &D,
    state: &ReplicaState,
    evidence: Option<Index>,
    options: &Options,
) -> Result<Option<ReplicaPlan>, OpenError> {
    let examined = examine(disk, state.clone(), evidence, options, Purpose::Inspection)?;
    let dir = paths::replica_dir(state.quorum, state.replica);
    let standing = examined.state.standing;
    let refusal = match standing {
        Standing::Sound | Standing::Gone => return Ok(None),
        Standing::Damaged => Some(Refusal::BelowTheEnd),
        Standing::Lost(reason) => refusal(disk, &dir, state, reason)?,
    };
    let remedy = match refusal {
        Some(refusal) => Remedy::Refused(refusal),
        None => {
            let point = CutPoint::find(disk, &dir, &examined)?;
            Remedy::Cut(Cut {
                last_index: point.last_index(),
                next_offset: point.next_offset(),
                gone: point.gone(disk, &dir, &examined.state, evidence)?,
                drops_snapshot: state.snapshot_index.is_some()
                    && (examined.snapshot.is_none() || state.snapshot_index > Some(point.last_index())),
                set_aside: point.dropped_files(disk, &dir, state)?,
                position: Position(point.position),
                file: point.file,
            })
        }
    };
    Ok(Some(ReplicaPlan { quorum: state.quorum, replica: state.replica, standing, remedy }))
}

/// Why a lost replica is not cut, if it is not.
fn refusal<D: Disk>(
    disk: &D,
    dir: &Path,
    state: &ReplicaState,
    reason: LostReason,
) -> Result<Option<Refusal>, OpenError> {
    let is_there = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        other => other.map(|_| true).map_err(crate::recovery::io_failed("list", dir))?,
    };
    let is_of_bytes = match reason {
        LostReason::CorruptEnd | LostReason::MissingSegment | LostReason::BadSnapshot => true,
        LostReason::OpenRefused | LostReason::ShorterThanAcknowledged | LostReason::UnknownState => false,
    };
    Ok(if !is_sole_member(state) {
        Some(Refusal::OtherMembers)
    } else if !is_of_bytes {
        Some(Refusal::Verdict)
    } else if state.quorum < QuorumId::FIRST_PARTITION {
        Some(Refusal::Metadata)
    } else if !is_there {
        Some(Refusal::DirectoryMissing)
    } else {
        None
    })
}

/// Whether nobody else holds this log, or ever held it as a member that counts today.
fn is_sole_member(state: &ReplicaState) -> bool {
    let membership = &state.membership;
    membership.voters == [state.replica]
        && membership.learners.is_empty()
        && membership.voters_outgoing.is_empty()
        && membership.learners_next.is_empty()
}
