//! Repair by an operator's consent: a plan changes nothing and says what goes, carrying it out keeps the rest, and a
//! crash anywhere inside it leaves the directory as it was or as it will be.

mod fixture;

use fixture::*;
use mq_log::disk::{Crash, Disk, Fault};
use mq_log::repair::{self, Cut, Fate, Plan, Refusal, Remedy, RepairError};
use mq_log::{MemDisk, ShardStore};
use mq_types::persist::{Create, LostReason, ReplicaWrite, Snapshot, Standing, Start};
use mq_types::{Index, Offset, Position, QuorumId, Term};
use std::path::{Path, PathBuf};

fn plan(disk: &MemDisk) -> Plan {
    let operations = disk.operations();
    let plan = repair::plan(disk).expect("it can be planned");
    assert_eq!(disk.operations(), operations, "a plan changes nothing");
    plan
}

/// The one cut of a plan that has nothing else.
fn cut_of(plan: &Plan) -> &Cut {
    assert_eq!((&plan.state, plan.replicas.len()), (&None, 1), "{plan:?}");
    match &plan.replicas[0].remedy {
        Remedy::Cut(cut) => cut,
        Remedy::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn refusal_of(plan: &Plan) -> Refusal {
    match plan.replicas.as_slice() {
        [replica] => match &replica.remedy {
            Remedy::Refused(refusal) => *refusal,
            Remedy::Cut(cut) => panic!("{cut:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn apply(disk: &MemDisk, plan: &Plan) -> Vec<Standing> {
    let outcomes = repair::apply(disk.clone(), small_options(7, 60), plan).expect("nothing fails");
    outcomes.iter().map(|outcome| outcome.standing).collect()
}

/// What is left of a model when everything behind `last_index` goes.
fn cut_model(model: &Model, last_index: Index) -> Model {
    let mut cut = model.clone();
    cut.entries.retain(|entry| entry.index <= last_index);
    cut.commit = cut.commit.min(last_index);
    // The frame behind the last one says that it is committed, and may be gone.
    cut.commit_on_disk = cut.commit_on_disk.min(Index(last_index.0.saturating_sub(1)));
    cut.membership.conf_index = cut.membership.conf_index.min(last_index);
    cut
}

/// Opens the disk: its partition must be sound and just this, and must take more records.
fn goes_on_as(disk: &MemDisk, model: &Model) {
    let shards = open(disk, small_options(1, 61));
    let (found, entries) = found_on(&shards)[&PARTITION].clone();
    let mut model = Model { vote: found.vote, ..model.clone() };
    model.matches(&found, &entries).unwrap_or_else(|error| panic!("{error}"));
    let highest = model.entries.iter().map(|entry| entry.term).max().unwrap_or(Term(0));
    assert!(found.vote.term >= highest);
    let mut store: ShardStore<MemDisk> = shards.into_iter().next().expect("there is one shard").store;
    append(&mut store, &mut model, found.vote.term.0 + 1, &[1, 2]);
    store.close().expect("nothing fails");
    let (found, entries) = found_on(&open(disk, small_options(1, 62)))[&PARTITION].clone();
    model.matches(&found, &entries).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan(disk), Plan::default());
}

/// Carries out the write that `change` makes of an empty one.
fn change(store: &mut ShardStore<MemDisk>, model: &mut Model, change: impl FnOnce(&mut ReplicaWrite)) {
    let mut write = model.write();
    change(&mut write);
    persist(store, model, &write);
}

/// A partition of one segment, entries 2 to 10 in rounds of their own, committed up to 8, stopped cleanly.
fn nine_entries(disk: &MemDisk) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    let write = ReplicaWrite { segment_size_bytes_max: Some(1 << 20), ..model.write() };
    persist(&mut store, &mut model, &write);
    for number in 2..=10u64 {
        let commit = Index((number - 1).min(8));
        let write = ReplicaWrite { commit, entries: model.next_entries(2, &[2]), ..model.write() };
        persist(&mut store, &mut model, &write);
    }
    store.close().expect("nothing fails");
    model
}

/// A partition of many small segments, stopped cleanly.
fn many_segments(disk: &MemDisk) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    for number in 0..30 {
        let commit = model.last_index();
        let entries = model.next_entries(2 + number / 10, &[1]);
        let write = ReplicaWrite { commit, entries, ..model.write() };
        persist(&mut store, &mut model, &write);
    }
    store.close().expect("nothing fails");
    model
}

/// Damages the frame header of the entry whose first record says this: so far before it does the header stand.
fn damage_entry(disk: &MemDisk, file: &Path, text: &str) {
    let change = |bytes: &mut Vec<u8>| {
        let text = text.as_bytes();
        let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
        bytes[at - 100] ^= 1;
    };
    disk.damage(file, change).expect("it exists");
}

fn quarantine() -> PathBuf {
    PathBuf::from(format!("quarantine/{PARTITION}-{}", replica(1)))
}

fn names(disk: &MemDisk, directory: &Path) -> Vec<String> {
    disk.list(directory).map_or(Vec::new(), |entries| entries.into_iter().map(|entry| entry.name).collect())
}

#[test]
fn a_bad_frame_at_the_end_is_cut_with_all_that_follows_and_said_before() {
    let disk = MemDisk::new();
    let model = nine_entries(&disk);
    let file = partition_files(&disk, ".seg").remove(0);
    damage_entry(&disk, &file, "7 of term 2");
    // The index point that recovery begins from lies before it.
    for file in partition_files(&disk, ".idx") {
        disk.unlink(&file).expect("it exists");
    }
    let bytes = bytes_of(&disk, &file);
    let plan = plan(&disk);
    assert_eq!(plan.replicas[0].standing, Standing::Lost(LostReason::CorruptEnd));
    let cut = cut_of(&plan).clone();
    assert_eq!((cut.file.clone(), cut.last_index, cut.next_offset), (file.clone(), Index(6), Offset(10)));
    assert_eq!(
        (cut.gone.last_index, cut.gone.end_offset, cut.gone.commit),
        (Index(10), Offset(18), Index(8))
    );
    assert_eq!((cut.entries_gone(), cut.records_gone(), cut.committed_gone()), (4, 8, 2));
    assert_eq!((cut.set_aside.len(), cut.drops_snapshot), (0, false));
    assert_eq!(apply(&disk, &plan), [Standing::Sound]);
    assert_eq!(bytes_of(&disk, &file), bytes, "the old bytes stay as they are");
    assert_eq!(partition_files(&disk, ".seg").len(), 2);
    goes_on_as(&disk, &cut_model(&model, Index(6)));
}

#[test]
fn a_lost_replica_is_cut_although_its_verdict_is_on_record() {
    let disk = MemDisk::new();
    let model = nine_entries(&disk);
    let file = partition_files(&disk, ".seg").remove(0);
    let end = frames_end(&disk, &file) as usize;
    disk.damage(&file, |bytes| bytes.truncate(end - 10)).expect("it exists");
    for start in 63..66 {
        let found = &open(&disk, small_options(1, start))[0].recovered[0];
        assert_eq!(found.standing, Standing::Lost(LostReason::CorruptEnd));
    }
    // What was known to be durable is still known: it is what the operator must hear of.
    let plan = plan(&disk);
    assert_eq!((cut_of(&plan).last_index, cut_of(&plan).gone.last_index), (Index(9), Index(10)));
    assert_eq!(apply(&disk, &plan), [Standing::Sound]);
    goes_on_as(&disk, &cut_model(&model, Index(9)));
}

#[test]
fn a_missing_or_headless_segment_is_where_the_log_is_cut_and_the_later_ones_are_kept_aside() {
    let disk = MemDisk::new();
    let model = many_segments(&disk);
    let files = partition_files(&disk, ".seg");
    assert!(files.len() > 4);
    for (number, file) in files.iter().enumerate() {
        for headless in [false, true] {
            let disk = disk.fork();
            match headless {
                true => disk.flip_bit(file, 8 * 70).expect("it exists"),
                false => disk.unlink(file).expect("it exists"),
            }
            let name = file.file_name().and_then(|name| name.to_str()).expect("it has a name");
            let first = Index(name[..20].parse().expect("it begins with its first index"));
            let plan = plan(&disk);
            let cut = cut_of(&plan).clone();
            assert_eq!((&cut.file, cut.position), (file, Position(0)));
            assert_eq!(cut.last_index, first.previous());
            // Of a headless newest segment the evidence tells how far it went, but not up to which offset.
            assert_eq!(cut.gone.last_index, model.last_index());
            let is_newest = number + 1 == files.len();
            assert!(is_newest || cut.gone.end_offset == model.next_offset(), "{cut:?}");
            assert_eq!(apply(&disk, &plan), [Standing::Sound]);
            let aside: Vec<_> = cut.set_aside.iter().map(|path| path.file_name().expect("a name")).collect();
            assert!(aside.len() >= 2 * (files.len() - number) - 1, "segments and indexes from there on");
            assert_eq!(names(&disk, &quarantine()), {
                let mut sorted: Vec<_> = aside.iter().map(|name| name.to_string_lossy()).collect();
                sorted.sort();
                sorted
            });
            goes_on_as(&disk, &cut_model(&model, first.previous()));
        }
    }
}

#[test]
fn a_partitions_bad_snapshot_is_dropped_and_no_record_goes() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1]);
    let snapshot = Some(Snapshot { index: Index(3), data: "producers".into() });
    persist(&mut store, &mut model.clone(), &ReplicaWrite { commit: Index(3), snapshot, ..model.write() });
    store.close().expect("nothing fails");
    let file = partition_files(&disk, ".snap").remove(0);
    disk.flip_bit(&file, 8 * 50).expect("it exists");
    let plan = plan(&disk);
    assert_eq!(plan.replicas[0].standing, Standing::Lost(LostReason::BadSnapshot));
    let cut = cut_of(&plan);
    assert_eq!((cut.entries_gone(), cut.records_gone(), cut.drops_snapshot), (0, 0, true));
    assert_eq!(apply(&disk, &plan), [Standing::Sound]);
    model.commit = Index(3);
    goes_on_as(&disk, &model);
    assert!(names(&disk, &quarantine()).iter().any(|name| name.ends_with(".snap")));
}

#[test]
fn what_was_deleted_does_not_come_back_with_a_cut() {
    let disk = MemDisk::new();
    let mut model = nine_entries(&disk);
    let (mut store, _) = reopen(&disk, 5);
    let trim = Some(mq_types::persist::Trim::Offset(Offset(12)));
    change(&mut store, &mut model, |write| write.trim = trim);
    drop(store);
    let disk = crash_process(&disk);
    let file = partition_files(&disk, ".seg").remove(0);
    damage_entry(&disk, &file, "5 of term 2");
    for file in partition_files(&disk, ".idx") {
        disk.unlink(&file).expect("it exists");
    }
    let plan = plan(&disk);
    assert_eq!((cut_of(&plan).last_index, cut_of(&plan).next_offset), (Index(4), Offset(12)));
    assert_eq!(apply(&disk, &plan), [Standing::Sound]);
    let found = &open(&disk, small_options(1, 66))[0].recovered[0];
    assert_eq!((found.start.log_start, found.next_offset), (Offset(12), Offset(12)));
    assert_eq!(found.last_index, Index(4));
}

#[test]
fn what_cannot_be_made_good_by_a_cut_is_refused_with_what_to_do() {
    // Others hold the log too.
    let disk = MemDisk::new();
    let mut model = nine_entries(&disk);
    let (mut store, _) = reopen(&disk, 5);
    let members = Some(membership(8, &[1, 2]));
    change(&mut store, &mut model, |write| write.membership = members);
    store.close().expect("nothing fails");
    let file = partition_files(&disk, ".seg").remove(0);
    disk.flip_bit(&file, 8 * 70).expect("it exists");
    assert_eq!(refusal_of(&plan(&disk)), Refusal::OtherMembers);
    // The directory is gone.
    let disk = MemDisk::new();
    nine_entries(&disk);
    disk.rename(&partition_dir(), Path::new("elsewhere")).expect("it exists");
    assert_eq!(refusal_of(&plan(&disk)), Refusal::DirectoryMissing);
    // The verdict is not about the bytes, or about a place below the end.
    for (standing, refusal) in [
        (Standing::Lost(LostReason::ShorterThanAcknowledged), Refusal::Verdict),
        (Standing::Damaged, Refusal::BelowTheEnd),
    ] {
        let disk = MemDisk::new();
        let mut model = nine_entries(&disk);
        let (mut store, _) = reopen(&disk, 5);
        change(&mut store, &mut model, |write| write.standing = Some(standing));
        drop(store);
        let plan = plan(&disk);
        assert_eq!(refusal_of(&plan), refusal);
        assert_eq!(apply(&disk, &plan), [standing], "a refused replica stays as it is");
    }
    // The cluster's metadata.
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    create_controller(&mut store);
    store.close().expect("nothing fails");
    let file = PathBuf::from(format!("quorums/0-{}/00000000000000000002-1.seg", replica(1)));
    disk.flip_bit(&file, 8 * 70).expect("it exists");
    assert_eq!(refusal_of(&plan(&disk)), Refusal::Metadata);
}

/// Quorum 0, as a founder begins it, with a few entries.
fn create_controller(store: &mut ShardStore<MemDisk>) -> Model {
    let snapshot = Some(Snapshot { index: Index(1), data: "image".into() });
    let create = Create { start: Start::BOOTSTRAP, membership: membership(1, &[1]), opened: true, snapshot };
    let mut model = Model::of(&create, CONTROLLER, replica(1));
    let write = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(CONTROLLER, replica(1)) };
    store.persist_round(vec![write]).expect("nothing fails");
    append(store, &mut model, 2, &[0, 0]);
    model
}

#[test]
fn a_plan_that_no_longer_fits_does_nothing() {
    let disk = MemDisk::new();
    nine_entries(&disk);
    let file = partition_files(&disk, ".seg").remove(0);
    let end = frames_end(&disk, &file) as usize;
    disk.damage(&file, |bytes| bytes.truncate(end - 10)).expect("it exists");
    let plan = plan(&disk);
    disk.damage(&file, |bytes| bytes.truncate(end - 400)).expect("it exists");
    assert_eq!(apply(&disk, &plan), [Standing::Lost(LostReason::CorruptEnd)]);
}

/// Quorum 0 and two partitions in one state file: quorum 0 is written of last, the first partition before the last
/// but one batch. Gives back the positions of the batches.
fn several_records(disk: &MemDisk) -> (Vec<Model>, Vec<usize>) {
    let mut store = fresh(disk);
    create_controller(&mut store);
    let mut first = create_partition(&mut store);
    append(&mut store, &mut first, 2, &[1, 2]);
    store.close().expect("nothing fails");
    let (mut store, _) = reopen(disk, 3);
    let mut controller = Model { quorum: CONTROLLER, ..first.clone() };
    for term in 5..8 {
        change(&mut store, &mut controller, |write| write.vote = Some(vote(term)));
    }
    store.close().expect("nothing fails");
    let bytes = bytes_of(disk, &state_file(disk, "a"));
    let batches = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == *b"mqst").collect();
    (vec![controller, first], batches)
}

fn state_file(disk: &MemDisk, ending: &str) -> PathBuf {
    let mut names = names(disk, Path::new("state/0"));
    names.retain(|name| name.ends_with(ending));
    assert_eq!(names.len(), 1);
    Path::new("state/0").join(&names[0])
}

/// Damages this batch in both copies.
fn damage_batch(disk: &MemDisk, at: usize) {
    for (ending, bit) in [("a", 1), ("b", 3)] {
        disk.flip_bit(&state_file(disk, ending), at as u64 * 8 + 8 * 30 + bit).expect("it exists");
    }
}

#[test]
fn a_state_with_a_bad_place_goes_on_where_the_newest_record_can_be_proven() {
    let disk = MemDisk::new();
    let (models, batches) = several_records(&disk);
    damage_batch(&disk, batches[1]);
    mq_log::open(disk.fork(), small_options(1, 4)).expect_err("the state is not known");
    let plan = plan(&disk);
    let state = plan.state.clone().expect("it is bad");
    assert_eq!(state.files.len(), 1);
    let confirmed = Fate::Confirmed { term: Term(3) };
    let expected = [(CONTROLLER, replica(1), Fate::Known), (PARTITION, replica(1), confirmed)];
    assert_eq!((state.fates.as_slice(), plan.replicas.len()), (expected.as_slice(), 0));
    assert_eq!(apply(&disk, &plan), [Standing::Sound; 2]);
    assert_eq!(names(&disk, Path::new("quarantine")).len(), 2, "both copies are kept");
    let (_, found) = reopen(&disk, 4);
    assert_eq!(found[0].vote, models[0].vote);
    assert_eq!((found[1].vote.term, found[1].vote.voted_for), (Term(3), None));
    goes_on_as(&disk, &models[1]);
}

#[test]
fn what_cannot_be_proven_becomes_lost() {
    // A file that the last known record does not name: a newer record named it.
    let disk = MemDisk::new();
    let (_, batches) = several_records(&disk);
    damage_batch(&disk, batches[1]);
    disk.create(&partition_dir().join("00000000000000000004-2.seg")).expect("it is new");
    let plan = plan(&disk);
    let fates = &plan.state.as_ref().expect("it is bad").fates;
    assert_eq!(fates[1], (PARTITION, replica(1), Fate::Lost));
    assert_eq!(apply(&disk, &plan), [Standing::Sound, Standing::Lost(LostReason::UnknownState)]);
    // Its bytes stay, and no cut makes it sound again.
    assert_eq!(partition_files(&disk, ".seg").len(), 2);
    assert_eq!(refusal_of(&repair::plan(&disk).expect("it can be planned")), Refusal::Verdict);
}

#[test]
fn among_others_nothing_that_is_uncertain_is_trusted() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1]);
    let members = Some(membership(2, &[1, 2, 3]));
    let write = ReplicaWrite { membership: members, commit: Index(2), ..model.write() };
    persist(&mut store, &mut model, &write);
    for term in 5..8 {
        change(&mut store, &mut model, |write| write.vote = Some(vote(term)));
    }
    store.close().expect("nothing fails");
    let bytes = bytes_of(&disk, &state_file(&disk, "a"));
    let batches: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == *b"mqst").collect();
    damage_batch(&disk, batches[3]);
    let plan = plan(&disk);
    assert_eq!(plan.state.clone().expect("it is bad").fates, [(PARTITION, replica(1), Fate::Lost)]);
    assert_eq!(refusal_of(&plan), Refusal::OtherMembers);
    assert_eq!(apply(&disk, &plan), [Standing::Lost(LostReason::UnknownState)]);
}

#[test]
fn a_directory_that_no_record_tells_of_is_set_aside_and_not_deleted() {
    let disk = MemDisk::new();
    let (_, batches) = several_records(&disk);
    damage_batch(&disk, batches[1]);
    let unknown = PathBuf::from("quorums/1025-4294967298");
    disk.create_dir(&unknown).expect("it is new");
    disk.create(&unknown.join("00000000000000000002-1.seg")).expect("it is new");
    let plan = plan(&disk);
    let fates = &plan.state.as_ref().expect("it is bad").fates;
    assert_eq!(fates[2], (QuorumId(1025), replica(2), Fate::SetAside));
    apply(&disk, &plan);
    assert_eq!(names(&disk, Path::new("quarantine/1025-4294967298")), ["00000000000000000002-1.seg"]);
    assert!(!names(&disk, Path::new("quorums")).contains(&"1025-4294967298".to_owned()));
}

#[test]
fn without_the_first_batch_nothing_is_guessed() {
    let disk = MemDisk::new();
    let (_, batches) = several_records(&disk);
    damage_batch(&disk, batches[0]);
    let refused = repair::plan(&disk);
    assert!(matches!(refused, Err(RepairError::StateGone { .. })), "{refused:?}");
    let refused = repair::apply(disk.clone(), small_options(1, 60), &Plan::default());
    assert!(matches!(refused, Err(RepairError::StateGone { .. })), "{refused:?}");
}

/// Stops the repair at every operation of the disk. What is found then is what was there before, and then the repair
/// goes through; or what there is to be afterwards.
fn crash_everywhere(broken: &MemDisk, after: &Model) {
    let planned = plan(broken);
    let trial = broken.fork();
    let before = trial.operations();
    apply(&trial, &planned);
    let steps = trial.operations() - before;
    assert!(steps > 10, "{steps} operations");
    let mut again = 0;
    for step in 0..steps {
        for crash in [Crash::Process, Crash::Machine { seed: step }, Crash::Machine { seed: step + 1000 }] {
            let disk = broken.fork();
            disk.plan_fault(disk.operations() + step, Fault::Stop);
            repair::apply(disk.clone(), small_options(1, 60), &planned).expect_err("it is stopped");
            let disk = disk.crash(crash);
            let plan = plan(&disk);
            if plan != Plan::default() {
                assert_eq!(plan.replicas, planned.replicas, "step {step}, {crash:?}");
                // The broker may have been started in between, unless it refuses to.
                drop(mq_log::open(disk.clone(), small_options(1, 59)));
                let plan = repair::plan(&disk).expect("it can be planned");
                apply(&disk, &plan);
                again += 1;
            }
            goes_on_as(&disk, after);
        }
    }
    assert!(again > 5 && again < 3 * steps, "{again} of {steps}");
}

#[test]
fn a_crash_at_any_operation_of_a_cut_leaves_it_undone_or_done() {
    let disk = MemDisk::new();
    let model = many_segments(&disk);
    let files = partition_files(&disk, ".seg");
    let file = &files[files.len() - 2];
    disk.flip_bit(file, 8 * 70).expect("it exists");
    let last_index = cut_of(&plan(&disk)).last_index;
    assert!(last_index > Index(10) && last_index < model.last_index());
    crash_everywhere(&disk, &cut_model(&model, last_index));
}

#[test]
fn a_crash_at_any_operation_of_a_state_repair_leaves_it_undone_or_done() {
    let disk = MemDisk::new();
    let (models, batches) = several_records(&disk);
    damage_batch(&disk, batches[1]);
    crash_everywhere(&disk, &models[1]);
}
