//! One connection to a cluster through any of its brokers, and how a call is made on it.
//!
//! A call that was certainly not carried out (the broker said so, or could not be reached) is sent again until the
//! request timeout, to the next endpoint where this one is gone. Every other failure goes to the caller.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mq_proto::v1::{
    admin_service_client::AdminServiceClient, cluster_service_client::ClusterServiceClient,
    consumer_service_client::ConsumerServiceClient, producer_service_client::ProducerServiceClient,
};
use tokio::time::Instant;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    error::{Attempt, ClientError, root_cause},
    options::Options,
};

/// The pause before a second attempt when the broker names none; doubled for each further one.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two attempts.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connected client; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    client_id: ClientId,
    endpoints: Vec<Target>,
    connected: Mutex<Connection>,
}

/// A broker that can be connected to.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    endpoint: Endpoint,
}

/// The services of one broker, over one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: InterceptedService<Channel, ClientId>,
    /// `host:port`, for messages.
    pub(crate) endpoint: Arc<str>,
    target: usize,
    answer_bytes_max: usize,
}

/// Puts `mq-client-id` on every call.
#[derive(Clone, Debug)]
pub(crate) struct ClientId(MetadataValue<Ascii>);

impl Interceptor for ClientId {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("mq-client-id", self.0.clone());
        Ok(request)
    }
}

impl Client {
    /// Connects to the first of `endpoints` that answers (`host:port`; `http://` is assumed; an empty list means
    /// [`crate::DEFAULT_ENDPOINT`]). The others are turned to when that one cannot be reached any more.
    pub async fn connect<I>(endpoints: I, options: Options) -> Result<Client, ClientError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let client_id = MetadataValue::try_from(options.client_id.as_str())
            .map_err(|_| ClientError::BadClientId { client_id: options.client_id.clone() })?;
        let client_id = ClientId(client_id);
        let mut targets = endpoints
            .into_iter()
            .map(|e| Target::new(e.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        if targets.is_empty() {
            targets.push(Target::new(crate::DEFAULT_ENDPOINT, &options)?);
        }
        let connection = connect_any(&targets, 0, &client_id, &options).await?;
        let connected = Mutex::new(connection);
        Ok(Client { shared: Arc::new(Shared { options, client_id, endpoints: targets, connected }) })
    }

    /// The broker that calls go to now, `host:port`.
    pub fn endpoint(&self) -> String {
        self.connection().endpoint.to_string()
    }

    /// The settings it was connected with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn connection(&self) -> Connection {
        self.shared.connected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection of its own to the broker that calls go to now, or to the next that answers: bulk and
    /// latency-critical traffic do not share one, as all streams of a connection share one lock.
    pub(crate) async fn bulk_connection(&self) -> Result<Connection, ClientError> {
        let Shared { options, client_id, endpoints, .. } = &*self.shared;
        connect_any(endpoints, self.connection().target, client_id, options).await
    }

    /// One unary call, with its deadline and the retries described above.
    pub(crate) async fn call<Req, Res, Sent>(
        &self,
        request: Req,
        send: impl Fn(Connection, Request<Req>) -> Sent,
    ) -> Result<Res, ClientError>
    where
        Req: Clone,
        Sent: Future<Output = Result<Response<Res>, Status>>,
    {
        let timeout = self.shared.options.request_timeout;
        let deadline = Instant::now() + timeout;
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let connection = self.connection();
            let mut message = Request::new(request.clone());
            message.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let error = match send(connection.clone(), message).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => ClientError::from_status(&connection.endpoint, &status, timeout),
            };
            let wait = pause.max(error.retry_after());
            if !error.retriable() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            if matches!(error, ClientError::Unreachable { .. }) {
                self.turn_to_another(connection.target).await?;
            } else {
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            }
        }
    }

    /// Connects to the next endpoint after one that cannot be reached. An error if none can.
    async fn turn_to_another(&self, gone: usize) -> Result<(), ClientError> {
        let Shared { options, client_id, endpoints, connected } = &*self.shared;
        let connection = connect_any(endpoints, gone + 1, client_id, options).await?;
        *connected.lock().unwrap_or_else(PoisonError::into_inner) = connection;
        Ok(())
    }
}

impl Target {
    fn new(given: &str, options: &Options) -> Result<Target, ClientError> {
        let bad = || ClientError::BadEndpoint { endpoint: given.to_owned() };
        let name = given.strip_prefix("http://").unwrap_or(given).trim_end_matches('/');
        let port = name
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && !host.contains('/'))
            .map(|(_, port)| port);
        if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            return Err(bad());
        }
        let endpoint = Endpoint::from_shared(format!("http://{name}"))
            .map_err(|_| bad())?
            .user_agent(concat!("mq-client/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| bad())?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_adaptive_window(false)
            .max_frame_size(options.frame_bytes_max)
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .http2_keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_interval / 2);
        Ok(Target { name: name.to_owned(), endpoint })
    }
}

/// Tries every endpoint once, beginning with `first`.
async fn connect_any(
    targets: &[Target],
    first: usize,
    client_id: &ClientId,
    options: &Options,
) -> Result<Connection, ClientError> {
    assert!(!targets.is_empty(), "an empty list of endpoints is replaced when the client is made");
    let mut attempts = Vec::new();
    for turn in 0..targets.len() {
        let target = (first + turn) % targets.len();
        let Target { name, endpoint } = &targets[target];
        match endpoint.connect().await {
            Ok(channel) => {
                let channel = InterceptedService::new(channel, client_id.clone());
                let endpoint = Arc::from(name.as_str());
                return Ok(Connection {
                    channel,
                    endpoint,
                    target,
                    answer_bytes_max: options.answer_bytes_max,
                });
            }
            Err(error) => attempts.push(Attempt { endpoint: name.clone(), cause: root_cause(&error) }),
        }
    }
    Err(ClientError::Unreachable { attempts })
}

/// A generated client over our channel.
type Intercepted = InterceptedService<Channel, ClientId>;

impl Connection {
    pub(crate) fn admin(&self) -> AdminServiceClient<Intercepted> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(self.answer_bytes_max)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Intercepted> {
        ClusterServiceClient::new(self.channel.clone()).max_decoding_message_size(self.answer_bytes_max)
    }

    pub(crate) fn producer(&self) -> ProducerServiceClient<Intercepted> {
        ProducerServiceClient::new(self.channel.clone()).max_decoding_message_size(self.answer_bytes_max)
    }

    pub(crate) fn consumer(&self) -> ConsumerServiceClient<Intercepted> {
        ConsumerServiceClient::new(self.channel.clone()).max_decoding_message_size(self.answer_bytes_max)
    }
}
