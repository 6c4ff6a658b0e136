//! ClusterService: what one broker knows.

use crate::running::{assert_refused, start};
use mq_proto::v1;
use tonic::Code;

#[tokio::test]
async fn a_cluster_is_described_with_the_topics_that_were_named() {
    let running = start().await;
    let topic = running.create("orders", 2).await;
    running.create("bills", 1).await;
    let describe = async |topics: &[&str]| {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let described = running.cluster().describe_cluster(v1::DescribeClusterRequest { topics }).await;
        described.expect("the call is good").into_inner()
    };
    let described = describe(&[]).await;
    assert!(!described.cluster_id.is_empty() && described.metadata_revision > 0);
    assert_eq!(described.topics, [], "none was named");
    let broker = &described.brokers[0];
    assert_eq!((broker.broker_id, broker.state()), (1, v1::BrokerState::Up));
    assert_eq!((broker.grpc_endpoint.as_str(), broker.rack.as_str()), ("advertised.example:9650", "here"));
    let described = describe(&["orders", "nope", "orders"]).await;
    assert_eq!(described.topics.len(), 1, "each once, and none that does not exist");
    assert_eq!((&described.topics[0].topic_id, described.topics[0].partitions.len()), (&topic.topic_id, 2));
    running.delete("orders").await;
    assert!(describe(&["orders"]).await.metadata_revision > described.metadata_revision);
    running.stop().await;
}

#[tokio::test]
async fn a_broker_on_which_all_is_well_is_healthy() {
    let running = start().await;
    running.create("orders", 2).await;
    let health = running.cluster().check_health(v1::CheckHealthRequest {}).await.expect("good").into_inner();
    assert!(health.healthy, "{:?}", health.findings);
    running.stop().await;
}

#[tokio::test]
async fn partitions_are_listed_in_pages() {
    let running = start().await;
    let topics = [("a", 3), ("a-b", 2), ("b", 1)];
    for (name, partitions) in topics {
        running.create(name, partitions).await;
    }
    running.append("a-b", 1, &["x", "y"]).await;
    let all: Vec<(String, i32)> =
        topics.iter().flat_map(|(name, count)| (0..*count).map(|n| ((*name).to_owned(), n))).collect();
    for page_size in 1..=7 {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        for _ in 0..=all.len() {
            let request = v1::ListPartitionsRequest { page_size, page_token, ..Default::default() };
            let page = running.cluster().list_partitions(request).await.expect("good").into_inner();
            assert!(page.partitions.len() <= page_size as usize);
            found.extend(page.partitions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let at = |status: &v1::PartitionStatus| status.topic_partition.clone().expect("it is named");
        let named: Vec<_> = found.iter().map(|status| (at(status).topic, at(status).partition)).collect();
        assert_eq!(named, all, "in pages of {page_size}");
        let offsets: Vec<_> =
            found.iter().map(|status| (status.log_start_offset, status.high_watermark)).collect();
        assert_eq!(offsets, [(0, 0), (0, 0), (0, 0), (0, 0), (0, 2), (0, 0)]);
        for status in &found {
            assert_eq!(status.partition.as_ref().expect("it is described").leader_id, 1);
            assert_eq!(at(status).topic_id.len(), 16);
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn partitions_are_listed_by_what_is_asked_of_them() {
    let running = start().await;
    running.create("a", 1).await;
    running.create("b", 2).await;
    let count = async |request: v1::ListPartitionsRequest| {
        running.cluster().list_partitions(request).await.map(|page| page.into_inner().partitions.len())
    };
    let of = |topics: &[&str]| v1::ListPartitionsRequest {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(count(of(&["b", "nope"])).await.expect("good"), 2);
    assert_eq!(count(v1::ListPartitionsRequest { unhealthy_only: true, ..of(&[]) }).await.expect("good"), 0);
    assert_eq!(count(v1::ListPartitionsRequest { moving_only: true, ..of(&[]) }).await.expect("good"), 0);
    let wrong = [
        v1::ListPartitionsRequest { page_token: "no token".to_owned(), ..of(&[]) },
        v1::ListPartitionsRequest { page_size: 1_001, ..of(&[]) },
        of(&vec!["a"; 10_001]),
    ];
    for request in wrong {
        let refused = count(request).await.expect_err("it means nothing");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    running.stop().await;
}
