//! What a caller is told when no broker is there.

use std::net::TcpListener;

use mq_client::{Client, ClientError, Options};

/// A loopback port that was free a moment ago.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("it is bound").to_string()
}

#[tokio::test]
async fn a_refused_connection_names_the_endpoint_and_the_way_out() {
    let endpoint = free_endpoint();
    let error = Client::connect([&endpoint], Options::default()).await.expect_err("nobody listens there");
    assert_eq!(error.to_string(), format!("could not reach {endpoint}: connection refused; is mqd running?"));
    assert!(error.retriable() && !error.outcome_unknown());
}

#[tokio::test]
async fn every_endpoint_is_tried_and_named() {
    let (first, second) = (free_endpoint(), free_endpoint());
    let error =
        Client::connect([&first, &second], Options::default()).await.expect_err("nobody listens there");
    let ClientError::Unreachable { attempts } = error else { panic!("{error}") };
    let tried: Vec<_> = attempts.iter().map(|attempt| attempt.endpoint.as_str()).collect();
    assert_eq!(tried, [first.as_str(), second.as_str()]);
}

#[tokio::test]
async fn an_endpoint_without_a_port_is_refused_before_anything_is_sent() {
    for bad in ["localhost", ":9650", "127.0.0.1:", "127.0.0.1:99999", "", "https://127.0.0.1:9650"] {
        let error = Client::connect([bad], Options::default()).await.expect_err(bad);
        assert!(matches!(error, ClientError::BadEndpoint { .. }), "{bad}: {error}");
    }
}
