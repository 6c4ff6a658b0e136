//! The other end of the wire: a real gRPC server on loopback whose answers are written down by the test, so that what
//! a broker does only rarely (refuse for now, break off) happens on cue.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use mq_client::{Client, Options, v1};
use mq_proto::v1::{
    admin_service_server::{AdminService, AdminServiceServer},
    consumer_service_server::{ConsumerService, ConsumerServiceServer},
    producer_service_server::{ProducerService, ProducerServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the peer does with a produce request; `Err` breaks the stream.
pub(crate) type OnProduce =
    dyn FnMut(v1::ProduceStreamRequest) -> Result<v1::ProduceStreamResponse, Status> + Send;
/// What the peer answers to the start of a fetch stream, before it ends the stream with the status, if there is one,
/// or else leaves it open.
pub(crate) type OnFetch = dyn FnMut(v1::FetchStart) -> (Vec<v1::FetchedPartition>, Option<Status>) + Send;
/// What the peer answers to DescribeTopic.
pub(crate) type OnDescribe =
    dyn FnMut(&Request<v1::DescribeTopicRequest>) -> Result<v1::Topic, Status> + Send;

#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) on_produce: Arc<Mutex<Box<OnProduce>>>,
    pub(crate) on_fetch: Arc<Mutex<Box<OnFetch>>>,
    pub(crate) on_describe: Arc<Mutex<Box<OnDescribe>>>,
    /// Every topic's `max.message.bytes`; none: it does not say.
    pub(crate) message_bytes_max: Option<usize>,
}

impl Peer {
    /// Knows every topic, with one partition; refuses to produce and to fetch.
    pub(crate) fn new() -> Peer {
        let topic = |request: &Request<v1::DescribeTopicRequest>| {
            let name = request.get_ref().topic.clone();
            Ok(v1::Topic { name, partition_count: 1, ..Default::default() })
        };
        Peer {
            on_produce: Arc::new(Mutex::new(Box::new(|_| Err(Status::unimplemented("not in this test"))))),
            on_fetch: Arc::new(Mutex::new(Box::new(|_| {
                (vec![], Some(Status::unimplemented("not in this test")))
            }))),
            on_describe: Arc::new(Mutex::new(Box::new(topic))),
            message_bytes_max: None,
        }
    }

    pub(crate) fn on_produce(
        self,
        act: impl FnMut(v1::ProduceStreamRequest) -> Result<v1::ProduceStreamResponse, Status> + Send + 'static,
    ) -> Peer {
        *self.on_produce.lock().expect("no panic while it is held") = Box::new(act);
        self
    }

    pub(crate) fn on_fetch(
        self,
        act: impl FnMut(v1::FetchStart) -> (Vec<v1::FetchedPartition>, Option<Status>) + Send + 'static,
    ) -> Peer {
        *self.on_fetch.lock().expect("no panic while it is held") = Box::new(act);
        self
    }

    pub(crate) fn on_describe(
        self,
        act: impl FnMut(&Request<v1::DescribeTopicRequest>) -> Result<v1::Topic, Status> + Send + 'static,
    ) -> Peer {
        *self.on_describe.lock().expect("no panic while it is held") = Box::new(act);
        self
    }

    /// Serves, and connects a client.
    pub(crate) async fn connect(self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let endpoint = listener.local_addr().expect("it is bound").to_string();
        let server = tonic::transport::Server::builder()
            .add_service(AdminServiceServer::new(self.clone()))
            .add_service(ProducerServiceServer::new(self.clone()))
            .add_service(ConsumerServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let options = Options { client_id: "test".to_owned(), ..Options::default() };
        Client::connect([endpoint], options).await.expect("it listens")
    }
}

#[tonic::async_trait]
impl ProducerService for Peer {
    type ProduceStreamStream = Answers<v1::ProduceStreamResponse>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceStreamRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let on_produce = Arc::clone(&self.on_produce);
        let answers = request
            .into_inner()
            .map(move |request| (on_produce.lock().expect("no panic while it is held"))(request?));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn produce(&self, _: Request<v1::ProduceRequest>) -> Result<Response<v1::ProduceResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[tonic::async_trait]
impl ConsumerService for Peer {
    type ReadStream = Answers<v1::ReadResponse>;
    type FetchStreamStream = Answers<v1::FetchStreamResponse>;

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn fetch_stream(
        &self,
        request: Request<Streaming<v1::FetchStreamRequest>>,
    ) -> Result<Response<Self::FetchStreamStream>, Status> {
        let first = request.into_inner().message().await?.and_then(|request| request.action);
        let Some(v1::fetch_stream_request::Action::Start(start)) = first else {
            return Err(Status::invalid_argument("a fetch stream begins with its start"));
        };
        let (fetched, end) = (self.on_fetch.lock().expect("no panic while it is held"))(start);
        let (answers, stream) = mpsc::channel(fetched.len() + 1);
        for fetched in fetched {
            answers
                .try_send(Ok(v1::FetchStreamResponse { fetched: Some(fetched) }))
                .expect("there is room for all");
        }
        match end {
            Some(status) => answers.try_send(Err(status)).expect("there is room for all"),
            None => drop(tokio::spawn(async move { answers.closed().await })),
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    /// Every partition holds offsets 0 to 2.
    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let offset_of = |spec: v1::PartitionOffsetSpec| {
            let is_end = spec.spec.and_then(|spec| spec.spec).is_some_and(|spec| {
                matches!(spec, v1::offset_spec::Spec::Anchor(anchor) if anchor == v1::Anchor::Latest as i32)
            });
            let offset = if is_end { 3 } else { 0 };
            v1::PartitionOffset { topic_partition: spec.topic_partition, offset, ..Default::default() }
        };
        let offsets = request.into_inner().partitions.into_iter().map(offset_of).collect();
        Ok(Response::new(v1::ListOffsetsResponse { offsets }))
    }
}

/// Writes the calls that no test needs.
macro_rules! unimplemented_calls {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl AdminService for Peer {
            async fn describe_topic(
                &self,
                request: Request<v1::DescribeTopicRequest>,
            ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
                let topic = (self.on_describe.lock().expect("no panic while it is held"))(&request)?;
                Ok(Response::new(v1::DescribeTopicResponse { topic: Some(topic) }))
            }

            async fn describe_configs(
                &self,
                _: Request<v1::DescribeConfigsRequest>,
            ) -> Result<Response<v1::DescribeConfigsResponse>, Status> {
                let bytes = self.message_bytes_max.ok_or_else(|| Status::unimplemented("not in this test"))?;
                let (key, value) = ("max.message.bytes".to_owned(), bytes.to_string());
                let configs = vec![v1::Config { key, value, ..Default::default() }];
                Ok(Response::new(v1::DescribeConfigsResponse { configs }))
            }

            $(async fn $name(&self, _: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                Err(Status::unimplemented("not in this test"))
            })*
        }
    };
}

unimplemented_calls! {
    create_topic(CreateTopicRequest) -> CreateTopicResponse;
    list_topics(ListTopicsRequest) -> ListTopicsResponse;
    add_partitions(AddPartitionsRequest) -> AddPartitionsResponse;
    delete_topic(DeleteTopicRequest) -> DeleteTopicResponse;
    restore_topic(RestoreTopicRequest) -> RestoreTopicResponse;
    delete_records(DeleteRecordsRequest) -> DeleteRecordsResponse;
    alter_configs(AlterConfigsRequest) -> AlterConfigsResponse;
}
