//! grpc-web by plain HTTP/1.1, as a browser sends it: one request, written and read byte by byte.

use mq_proto::v1;
use mq_tests::process::{Mqd, scratch};
use std::io::{Read, Write};
use std::net::TcpStream;
use tonic::codegen::Bytes;

/// A message in its gRPC frame.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

/// Sends one grpc-web call by HTTP/1.1 and answers everything that came back.
fn call(mqd: &Mqd, method: &str, message: &impl prost::Message) -> String {
    let body = framed(message);
    let mut stream = TcpStream::connect(mqd.grpc).expect("the broker listens");
    write!(
        stream,
        "POST /{method} HTTP/1.1\r\nHost: {}\r\nOrigin: http://example.test\r\nContent-Type: application/grpc-web+proto\r\n\
         X-Grpc-Web: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        mqd.grpc,
        body.len()
    )
    .expect("the broker reads");
    stream.write_all(&body).expect("the broker reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the broker answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_browser_is_answered_over_http_1() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    let create = v1::CreateTopicRequest { topic: "web".to_owned(), partition_count: 1, ..Default::default() };
    let answer = call(&mqd, "mq.v1.AdminService/CreateTopic", &create);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("grpc-status:0"), "{answer}");

    let record = v1::Record { value: Some(Bytes::from_static(b"from a browser")), ..Default::default() };
    let produce = v1::ProduceRequest { topic: "web".to_owned(), records: vec![record], ..Default::default() };
    let answer = call(&mqd, "mq.v1.ProducerService/Produce", &produce);
    assert!(answer.contains("grpc-status:0"), "{answer}");

    let spec = v1::offset_spec::Spec::Anchor(v1::Anchor::Latest.into());
    let read = v1::ReadRequest {
        topic: "web".to_owned(),
        stop: Some(v1::OffsetSpec { spec: Some(spec) }),
        ..Default::default()
    };
    let answer = call(&mqd, "mq.v1.ConsumerService/Read", &read);
    assert!(answer.contains("from a browser") && answer.contains("grpc-status:0"), "{answer}");
}

#[test]
fn a_browser_may_see_why_a_call_failed() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    let describe = v1::DescribeTopicRequest { topic: "nowhere".to_owned() };
    let answer = call(&mqd, "mq.v1.AdminService/DescribeTopic", &describe).to_lowercase();
    let exposed = answer.lines().find(|line| line.starts_with("access-control-expose-headers:"));
    assert!(
        exposed.is_some_and(|line| line.contains("mq-reason") && line.contains("grpc-status")),
        "{answer}"
    );
    assert!(answer.contains("unknown_topic"), "{answer}");
}
