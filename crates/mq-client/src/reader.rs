//! Reading many partitions over one stream: the broker pushes against credit, and a connection that broke is opened
//! again where reading had got to. It decodes nothing and keeps no position beyond its own life.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mq_proto::v1::{
    BatchFormat, Credit, FetchPartition, FetchRequest, FetchResponse, FetchStart, FetchStreamRequest,
    FetchStreamResponse, FetchedPartition, IsolationLevel, OffsetSpec, PartitionOffsetSpec, ReadRequest,
    ReadResponse, Remove, Seek, TopicPartition, fetch_stream_request::Action, offset_spec::Spec,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use crate::{
    client::Client,
    error::{ClientError, Failure},
};

/// Actions (credit, seeks) waiting to be sent, at most: a broker that takes none of them is left and connected to again.
const ACTIONS_MAX: usize = 1_024;
/// The pause before a partition or a stream that failed for now is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a reader reads and how much it holds.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Bytes the broker may have sent that were not yet taken with [`Reader::next`]; one message may go beyond.
    pub credit_bytes: i64,
    /// Decoded records, or batches as they are stored.
    pub format: BatchFormat,
    /// Whether records of open transactions are read.
    pub isolation_level: IsolationLevel,
    /// How long a reader tries to come back after its connection was lost.
    pub reconnect_timeout: Duration,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        ReaderOptions {
            credit_bytes: 8 << 20,
            format: BatchFormat::Records,
            isolation_level: IsolationLevel::Unspecified,
            reconnect_timeout: Duration::from_secs(30),
        }
    }
}

/// Follows partitions from where each was told to begin, for ever.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    options: ReaderOptions,
    partitions: BTreeMap<(String, i32), Place>,
    stream: Option<Stream>,
    /// A stream that breaks as soon as it is opened is not opened again without a pause.
    opened_at: Instant,
    /// Partitions that failed for now, and when each is asked again.
    resting: VecDeque<(Instant, (String, i32))>,
    next_correlation: i64,
    /// Credit to give back when the next message is asked for: until then the last one is held by the caller.
    owed_bytes: i64,
}

/// How far a partition has been read.
#[derive(Clone, Debug)]
struct Place {
    topic_partition: TopicPartition,
    next_offset: i64,
    leader_epoch: i32,
    /// Answers of before this seek are passed over.
    seek: i64,
}

#[derive(Debug)]
struct Stream {
    actions: mpsc::Sender<FetchStreamRequest>,
    answers: Streaming<FetchStreamResponse>,
    endpoint: Arc<str>,
}

impl Client {
    /// Decoded records from a point on, until `stop` or until the stream is dropped: the simple way. It ends with
    /// the first failure.
    pub async fn read(&self, request: ReadRequest) -> Result<Streaming<ReadResponse>, ClientError> {
        let connection = self.connection();
        let answer = connection.consumer().read(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| ClientError::from_status(&connection.endpoint, &status, Duration::ZERO))
    }

    /// One long poll over many partitions.
    pub async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, ClientError> {
        self.call(request, |c, r| async move { c.consumer().fetch(r).await }).await
    }

    /// A reader of these partitions. Points other than offsets are looked up now, so that a lost connection cannot
    /// move them.
    pub async fn reader(
        &self,
        partitions: Vec<PartitionOffsetSpec>,
        options: ReaderOptions,
    ) -> Result<Reader, ClientError> {
        let mut reader = Reader {
            client: self.clone(),
            options,
            partitions: BTreeMap::new(),
            stream: None,
            opened_at: Instant::now(),
            resting: VecDeque::new(),
            next_correlation: 1,
            owed_bytes: 0,
        };
        reader.place(partitions).await?;
        reader.open().await?;
        Ok(reader)
    }
}

impl Reader {
    /// The next answer that carries records or moves on. An error of one partition leaves the others readable:
    /// calling again goes on with them, and [`Reader::seek`] wakes that one. Safe to drop half way.
    pub async fn next(&mut self) -> Result<FetchedPartition, ClientError> {
        loop {
            if self.stream.is_none() {
                self.come_back().await?;
            }
            self.pay_credit();
            self.wake_rested();
            let wake_at = self.resting.front().map(|&(instant, _)| instant);
            let Some(Stream { answers, endpoint, .. }) = &mut self.stream else { continue };
            let answer = tokio::select! {
                answer = answers.message() => answer,
                () = sleep_until(wake_at) => continue,
            };
            match answer {
                Ok(Some(FetchStreamResponse { fetched: Some(fetched) })) => {
                    self.owed_bytes += i64::from(fetched.credit_bytes);
                    if let Some(answer) = self.take(fetched) {
                        return answer;
                    }
                }
                Ok(Some(FetchStreamResponse { fetched: None })) => {} // an event this client does not know
                Ok(None) => self.stream = None,
                Err(status) => {
                    let error = ClientError::from_status(endpoint, &status, Duration::ZERO);
                    self.stream = None;
                    // Reading twice harms nobody, so only a broker that refuses for good ends it.
                    if error.failure().is_some_and(|failure| !failure.retriable) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Moves partitions, or adds them.
    pub async fn seek(&mut self, partitions: Vec<PartitionOffsetSpec>) -> Result<(), ClientError> {
        let moved = self.place(partitions).await?;
        self.send_seek(moved);
        Ok(())
    }

    /// Stops reading one partition.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        let key = (topic.to_owned(), partition);
        self.resting.retain(|(_, resting)| *resting != key);
        if let Some(place) = self.partitions.remove(&key) {
            self.act(Action::Remove(Remove { partitions: vec![place.topic_partition] }));
        }
    }

    /// The offset of the next record of a partition; none: it is not being read.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.partitions.get(&(topic.to_owned(), partition)).map(|place| place.next_offset)
    }

    /// Looks up what is no offset yet, and remembers where each partition begins.
    async fn place(&mut self, specs: Vec<PartitionOffsetSpec>) -> Result<Vec<(String, i32)>, ClientError> {
        let is_known = |spec: &PartitionOffsetSpec| {
            matches!(spec.spec, Some(OffsetSpec { spec: Some(Spec::Offset(_)) }))
        };
        let (known, asked): (Vec<_>, Vec<_>) = specs.into_iter().partition(is_known);
        let mut places = Vec::with_capacity(known.len() + asked.len());
        for PartitionOffsetSpec { topic_partition, spec } in known {
            let Some(OffsetSpec { spec: Some(Spec::Offset(offset)) }) = spec else { continue };
            places.push((topic_partition.unwrap_or_default(), offset));
        }
        if !asked.is_empty() {
            for (spec, found) in asked.iter().zip(self.client.list_offsets(asked.clone()).await?) {
                if let Some(error) = found.error {
                    return Err(error.into());
                }
                let named = found.topic_partition.or_else(|| spec.topic_partition.clone());
                places.push((named.unwrap_or_default(), found.offset));
            }
        }
        let seek = self.next_correlation;
        let mut keys = Vec::with_capacity(places.len());
        for (topic_partition, next_offset) in places {
            let key = (topic_partition.topic.clone(), topic_partition.partition);
            keys.push(key.clone());
            self.partitions.insert(key, Place { topic_partition, next_offset, leader_epoch: 0, seek });
        }
        Ok(keys)
    }

    /// Notes how far an answer goes. None: it is of before a seek, of a partition that was removed, or says only
    /// that its partition rests for now.
    fn take(&mut self, mut fetched: FetchedPartition) -> Option<Result<FetchedPartition, ClientError>> {
        let named = fetched.topic_partition.as_ref()?;
        let key = (named.topic.clone(), named.partition);
        let place = self.partitions.get_mut(&key)?;
        if fetched.correlation_id < place.seek {
            return None;
        }
        if let Some(error) = fetched.error.take() {
            let error = ClientError::from(error);
            if !error.retriable() {
                return Some(Err(of_partition(error, &key)));
            }
            self.resting.push_back((Instant::now() + error.retry_after().max(RETRY_PAUSE), key));
            return None;
        }
        if fetched.next_offset > place.next_offset {
            place.next_offset = fetched.next_offset;
            place.leader_epoch = fetched.leader_epoch;
        }
        Some(Ok(fetched))
    }

    async fn open(&mut self) -> Result<(), ClientError> {
        let connection = self.client.bulk_connection().await?;
        let (actions, queue) = mpsc::channel(ACTIONS_MAX);
        let start = Action::Start(FetchStart {
            partitions: self.partitions.values().map(Place::to_fetch).collect(),
            credit_bytes: self.options.credit_bytes,
            format: self.options.format.into(),
            isolation_level: self.options.isolation_level.into(),
        });
        let first = FetchStreamRequest { action: Some(start) };
        actions.try_send(first).expect("the queue is new and has room");
        for place in self.partitions.values_mut() {
            place.seek = 0; // the new stream has seen no seek yet
        }
        self.resting.clear();
        self.owed_bytes = 0;
        let endpoint = Arc::clone(&connection.endpoint);
        let opened = connection.consumer().fetch_stream(Request::new(ReceiverStream::new(queue))).await;
        let answers = opened
            .map_err(|status| ClientError::from_status(&endpoint, &status, Duration::ZERO))?
            .into_inner();
        self.stream = Some(Stream { actions, answers, endpoint });
        self.opened_at = Instant::now();
        Ok(())
    }

    /// Opens the stream again where reading had got to, trying for `reconnect_timeout`.
    async fn come_back(&mut self) -> Result<(), ClientError> {
        tokio::time::sleep_until(self.opened_at + RETRY_PAUSE).await;
        let deadline = Instant::now() + self.options.reconnect_timeout;
        loop {
            let Err(error) = self.open().await else { return Ok(()) };
            let for_good = error.failure().is_some_and(|failure| !failure.retriable);
            if for_good || Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(error.retry_after().max(RETRY_PAUSE)).await;
        }
    }

    fn pay_credit(&mut self) {
        // Small answers are paid for together: a grant per answer would double the messages.
        if self.options.credit_bytes > 0 && self.owed_bytes >= self.options.credit_bytes / 4 {
            let bytes = std::mem::take(&mut self.owed_bytes);
            self.act(Action::Credit(Credit { bytes }));
        }
    }

    fn wake_rested(&mut self) {
        let now = Instant::now();
        let mut rested = Vec::new();
        while self.resting.front().is_some_and(|&(instant, _)| instant <= now) {
            rested.extend(self.resting.pop_front().map(|(_, key)| key));
        }
        if !rested.is_empty() {
            self.send_seek(rested);
        }
    }

    fn send_seek(&mut self, keys: Vec<(String, i32)>) {
        let correlation_id = self.next_correlation;
        self.next_correlation += 1;
        let mut partitions = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(place) = self.partitions.get_mut(&key) {
                place.seek = correlation_id;
                partitions.push(place.to_fetch());
            }
        }
        self.act(Action::Seek(Seek { correlation_id, partitions }));
    }

    /// A stream that has broken, or that does not take what it is told, is left; the next one begins where we are.
    fn act(&mut self, action: Action) {
        if let Some(stream) = &self.stream {
            let request = FetchStreamRequest { action: Some(action) };
            if stream.actions.try_send(request).is_err() {
                self.stream = None;
            }
        }
    }
}

impl Place {
    fn to_fetch(&self) -> FetchPartition {
        FetchPartition {
            topic_partition: Some(self.topic_partition.clone()),
            start: Some(OffsetSpec { spec: Some(Spec::Offset(self.next_offset)) }),
            max_bytes: 0,
            leader_epoch: self.leader_epoch,
        }
    }
}

/// Says which partition it was, for people and in the metadata.
fn of_partition(error: ClientError, (topic, partition): &(String, i32)) -> ClientError {
    let ClientError::Refused(failure) = error else { return error };
    let mut metadata = failure.metadata.clone();
    metadata.entry("topic".to_owned()).or_insert_with(|| topic.clone());
    metadata.entry("partition".to_owned()).or_insert_with(|| partition.to_string());
    let message = format!("{topic}/{partition}: {}", failure.message);
    ClientError::Refused(Box::new(Failure { message, metadata, ..*failure }))
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
