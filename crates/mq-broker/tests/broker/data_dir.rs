//! Starting again, and refusing to start.

use crate::running::{LONG, create, directory, options, produce, read_all, served, start, stop};
use mq_broker::{Broker, DataDirError, Options, StartError};
use mq_types::BrokerId;
use std::fs;
use std::path::Path;

async fn refused(options: Options) -> StartError {
    Broker::start(options).await.err().expect("the broker does not start")
}

/// The file's place for `founded` and its checksum stand in the layout drawn in `data_dir`.
fn set_unfounded(directory: &Path) {
    let file = directory.join("broker.meta");
    let mut bytes = fs::read(&file).expect("the broker wrote it");
    assert_eq!(bytes[10], 1, "the cluster was founded");
    bytes[10] = 0;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    bytes[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&file, bytes).expect("it is writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let topic = create(&broker, "orders", 3).await;
    for number in 0..3 {
        for value in ["a", "b"] {
            produce(&broker, "orders", number, &[value]).await;
        }
    }
    let cluster_id = broker.image().cluster_id.clone();
    stop(&broker).await;
    drop(broker);
    // With another number of shards everything is found all the same.
    for shards in [2, 1, 4] {
        let broker =
            Broker::start(Options { shards, ..options(directory.path()) }).await.expect("it starts again");
        assert_eq!(broker.image().cluster_id, cluster_id);
        assert_eq!(broker.image().topic("orders").map(|found| found.id), Some(topic.id));
        for number in 0..3 {
            served(&broker, "orders", number).await;
            let all = read_all(&broker, "orders", number, 0).await;
            assert_eq!(
                all,
                [(0, "a".to_owned()), (1, "b".to_owned())],
                "partition {number}, {shards} shards"
            );
        }
        stop(&broker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_dropped_lost_nothing_that_it_acknowledged() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a"]).await;
    drop(broker);
    // Its threads hold the directory until they have ended.
    let free = async {
        loop {
            match Broker::start(options(directory.path())).await {
                Ok(broker) => return broker,
                Err(StartError::DataDir(DataDirError::Locked { .. })) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let broker = tokio::time::timeout(LONG, free).await.expect("the threads end");
    served(&broker, "orders", 0).await;
    assert_eq!(read_all(&broker, "orders", 0, 0).await, [(0, "a".to_owned())]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_on_the_directory_is_refused_and_the_first_goes_on() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let error = refused(options(directory.path())).await;
    assert!(matches!(error, StartError::DataDir(DataDirError::Locked { .. })), "{error}");
    create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a"]).await;
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_id_is_refused() {
    let directory = directory();
    let broker = start(directory.path()).await;
    stop(&broker).await;
    drop(broker);
    let error = refused(Options { broker_id: BrokerId(2), ..options(directory.path()) }).await;
    let recorded =
        matches!(error, StartError::DataDir(DataDirError::OtherBroker { recorded: BrokerId(1), .. }));
    assert!(recorded, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_its_meta_file_is_not_founded_over() {
    let directory = directory();
    let broker = start(directory.path()).await;
    stop(&broker).await;
    drop(broker);
    fs::remove_file(directory.path().join("broker.meta")).expect("the broker wrote it");
    let error = refused(options(directory.path())).await;
    assert!(matches!(error, StartError::DataDir(DataDirError::MetaMissing { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_that_was_cut_short_is_finished_under_the_same_cluster_id() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let cluster_id = broker.image().cluster_id.clone();
    stop(&broker).await;
    drop(broker);
    // As after a crash between "quorum 0 is durable" and the note of it.
    set_unfounded(directory.path());
    let broker = start(directory.path()).await;
    assert_eq!(broker.image().cluster_id, cluster_id);
    create(&broker, "orders", 1).await;
    stop(&broker).await;
    drop(broker);
    // As after a crash before quorum 0 was written.
    set_unfounded(directory.path());
    for gone in ["state", "quorums"] {
        fs::remove_dir_all(directory.path().join(gone)).expect("the broker made it");
    }
    let broker = start(directory.path()).await;
    assert_eq!(broker.image().cluster_id, cluster_id);
    assert!(broker.image().topics.is_empty());
    stop(&broker).await;
}
