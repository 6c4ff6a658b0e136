//! The answering half of a stream: a task that fills a bounded queue, and the status with which it ends.
//!
//! The status has a place of its own behind the queue: a stream that failed never looks like one that ended well, also
//! when its client left no room to say so. What is answered is the services' business.

use crate::outlet::{Answers, Room};
use crate::status::status;
use futures::stream::{self, BoxStream, StreamExt};
use mq_broker::api::Error;
use std::future::Future;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What `run` answers, at most `waiting_max` of them ahead of the client. `run` is dropped when the client goes, so
/// every await in it must be a place where it may end.
pub(crate) fn stream<Answer, Run>(
    waiting_max: usize,
    run: impl FnOnce(mpsc::Sender<Answer>) -> Run,
) -> BoxStream<'static, Result<Answer, Status>>
where
    Answer: Send + 'static,
    Run: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (answers, queue) = mpsc::channel(waiting_max);
    let client = answers.clone();
    let running = run(answers);
    let task = tokio::spawn(async move {
        tokio::select! {
            ended = running => ended,
            () = client.closed() => Ok(()),
        }
    });
    let ended = async move {
        match task.await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(Err(reason)),
            Err(_) => Some(Err(status(&Error::Internal { what: "the stream's task was broken off" }))),
        }
    };
    let last = stream::once(ended).filter_map(|last| async move { last });
    ReceiverStream::new(queue).map(Ok).chain(last).boxed()
}

/// As [`stream`], for answers that each hold room from the budget, which goes into the body with them.
pub(crate) fn stream_with_room<Answer, Run>(
    waiting_max: usize,
    answers: Answers,
    run: impl FnOnce(mpsc::Sender<(Answer, Room)>) -> Run,
) -> BoxStream<'static, Result<Answer, Status>>
where
    Answer: Send + 'static,
    Run: Future<Output = Result<(), Status>> + Send + 'static,
{
    let hand_over = move |item: Result<(Answer, Room), Status>| {
        item.map(|(answer, room)| {
            answers.hand_over(room);
            answer
        })
    };
    stream(waiting_max, run).map(hand_over).boxed()
}

/// Runs a stream that only reads, and breaks it off when the broker stops.
pub(crate) async fn until_stopped(
    stopping: CancellationToken,
    run: impl Future<Output = Result<(), Status>>,
) -> Result<(), Status> {
    stopping.run_until_cancelled(run).await.unwrap_or_else(|| Err(crate::status::stopping()))
}
