//! What holds for every call there is: it is served or says that it is not, and is described.

use crate::running::{connect, reason, start, start_with, within};
use mq_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Every call that is served; each is tested in the file of its service. All others are not built yet.
const SERVED: [&str; 18] = [
    "AdminService/AddPartitions",
    "AdminService/AlterConfigs",
    "AdminService/CreateTopic",
    "AdminService/DeleteRecords",
    "AdminService/DeleteTopic",
    "AdminService/DescribeConfigs",
    "AdminService/DescribeTopic",
    "AdminService/ListTopics",
    "AdminService/RestoreTopic",
    "ClusterService/CheckHealth",
    "ClusterService/DescribeCluster",
    "ClusterService/ListPartitions",
    "ConsumerService/Fetch",
    "ConsumerService/FetchStream",
    "ConsumerService/ListOffsets",
    "ConsumerService/Read",
    "ProducerService/Produce",
    "ProducerService/ProduceStream",
];

fn services() -> Vec<(String, Vec<String>)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let services = set.file.iter().flat_map(|file| {
        file.service.iter().map(|service| {
            let methods = service.method.iter().map(|method| method.name().to_owned()).collect();
            (format!("{}.{}", file.package(), service.name()), methods)
        })
    });
    services.collect()
}

/// Calls a method with one empty message, whatever its kind, and takes all that it answers.
async fn call(channel: Channel, path: String) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("the server accepts");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = path.parse().expect("a path");
    let messages = tonic::Request::new(tokio_stream::once(()));
    let mut answers = client.streaming(messages, path, codec).await?.into_inner();
    while within(answers.message()).await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn every_call_is_served_or_says_that_it_is_not() {
    let running = start().await;
    let mut unknown: BTreeSet<&str> = SERVED.into();
    for (service, methods) in services() {
        for method in methods {
            let outcome = call(running.channel(), format!("/{service}/{method}")).await;
            let name = format!("{}/{method}", service.trim_start_matches("mq.v1."));
            let is_served = unknown.remove(name.as_str());
            match outcome {
                Ok(()) => assert!(is_served, "{name} answers, although it is not built"),
                Err(status) => {
                    let said = (status.code() == Code::Unimplemented, reason(&status) == "UNIMPLEMENTED");
                    assert_eq!(said, (!is_served, !is_served), "{name}: {status:?}");
                    for trailer in ["mq-retriable", "mq-retry-after-ms"] {
                        assert!(status.metadata().contains_key(trailer), "{name} has no {trailer}");
                    }
                }
            }
        }
    }
    assert_eq!(unknown, BTreeSet::new(), "calls that there are not");
    running.stop().await;
}

#[test]
fn every_call_has_a_declared_permission_and_nothing_else_has_one() {
    for (service, methods) in services() {
        for method in methods {
            let call = format!("{service}/{method}");
            let permission = mq_grpc::permission(&call).unwrap_or_else(|| panic!("{call} needs none"));
            let looks = ["List", "Describe", "Check", "Explain"].iter().any(|verb| method.starts_with(verb));
            let only_looks = looks && method != "ListOffsets";
            assert_eq!(permission == mq_grpc::Permission::Describe, only_looks, "{call}");
        }
    }
    assert_eq!(mq_grpc::permission("mq.v1.AdminService/Newer"), None);
}

#[tokio::test]
async fn a_call_of_a_newer_client_is_refused_by_us_and_not_by_some_proxy() {
    let running = start().await;
    for path in ["/mq.v1.AdminService/Newer", "/mq.v1.QueueService/Pull"] {
        let refused = call(running.channel(), path.to_owned()).await.expect_err("there is no such call");
        assert_eq!((refused.code(), reason(&refused)), (Code::Unimplemented, "UNIMPLEMENTED"));
    }
    running.stop().await;
}

#[tokio::test]
async fn every_service_and_the_whole_report_their_health() {
    let running = start().await;
    let mut health = HealthClient::new(running.channel());
    let services = services().into_iter().map(|(service, _)| service);
    for service in services.chain([String::new()]) {
        let request = HealthCheckRequest { service: service.clone() };
        let status = health.check(request).await.expect("it is known").into_inner().status();
        // Groups are known, and every call says that they are not built.
        let expected =
            if service == "mq.v1.GroupService" { ServingStatus::NotServing } else { ServingStatus::Serving };
        assert_eq!(status, expected, "{service:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn both_versions_of_reflection_list_every_service() {
    let running = start().await;
    let expected: BTreeSet<String> = services().into_iter().map(|(service, _)| service).collect();
    macro_rules! listed {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as pb;
            let request = pb::ServerReflectionRequest {
                message_request: Some(pb::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
                ..Default::default()
            };
            let mut client = pb::server_reflection_client::ServerReflectionClient::new(running.channel());
            let mut answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await
                .expect("served")
                .into_inner();
            let answer = within(answers.message()).await.expect("no failure").expect("an answer");
            match answer.message_response.expect("a response") {
                pb::server_reflection_response::MessageResponse::ListServicesResponse(list) => {
                    list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for listed in [listed!(v1), listed!(v1alpha)] {
        assert!(listed.is_superset(&expected), "{listed:?}");
        assert!(listed.contains("grpc.health.v1.Health") && !listed.contains("mq.v1.QueueService"));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_and_the_connection_lives_on() {
    let options = mq_grpc::Options { request_bytes_max: 100_000, ..mq_grpc::Options::default() };
    let running = start_with(options).await;
    running.create("orders", 1).await;
    let sized = |bytes: usize| crate::running::to_partition("orders", 0, &["x".repeat(bytes).as_str()]);
    let refused = running.producer().produce(sized(200_000)).await.expect_err("it is too large");
    assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "BATCH_TOO_LARGE"));
    // More of the largest size at once than there is room for: they wait for each other, and all pass.
    let mut calls = Vec::new();
    for _ in 0..40 {
        let (mut producer, request) = (running.producer(), sized(150_000));
        calls.push(tokio::spawn(async move { producer.produce(request).await.map(|_| ()) }));
    }
    for call in calls {
        within(call).await.expect("no panic").expect("it is within the limit");
    }
    running.stop().await;
}

/// What a browser gets to see of a failed call.
#[tokio::test]
async fn a_browser_may_read_the_reason() {
    let running = start().await;
    let address = running.address.trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.expect("the server accepts");
    let body = [0, 0, 0, 0, 0]; // an empty message
    let head = format!(
        "POST /mq.v1.AdminService/DescribeTopic HTTP/1.1\r\nhost: {address}\r\norigin: http://page.example\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("it is sent");
    socket.write_all(&body).await.expect("it is sent");
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.expect("it is answered");
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.contains("mq-reason"), "{answer}");
    assert!(
        answer.contains("access-control-expose-headers") && answer.contains("access-control-allow-origin")
    );
    for exposed in ["grpc-status-details-bin", "mq-retriable", "mq-retry-after-ms"] {
        assert!(answer.contains(exposed), "{exposed} in {answer}");
    }
    drop(socket);
    drop(connect(&running.address).await);
    running.stop().await;
}
