//! From names to ids: the newest image, and what a client's words mean in it.
//!
//! Which broker leads is not looked up here: the published views know.

use crate::broker::{RETRY_SOON_MS, Resolved, TopicPartition};
use arc_swap::ArcSwap;
use mq_engine::api::Error;
use mq_engine::controller::{Image, Topic};
use mq_types::Index;
use std::sync::Arc;
use tokio::sync::watch;

/// The newest image, read by every call and replaced seldom.
pub(crate) struct Images {
    current: ArcSwap<Image>,
    revision: watch::Sender<Index>,
}

impl Images {
    /// Begins with an empty image.
    pub(crate) fn new() -> Images {
        Images { current: ArcSwap::from_pointee(Image::default()), revision: watch::Sender::new(Index(0)) }
    }

    /// Takes a newer image.
    pub(crate) fn publish(&self, image: Arc<Image>) {
        let revision = image.revision;
        let before = self.current.swap(image);
        assert!(before.revision <= revision, "revision {revision} after {}", before.revision);
        self.revision.send_replace(revision);
    }

    /// The image as it is now.
    pub(crate) fn current(&self) -> Arc<Image> {
        self.current.load_full()
    }

    /// To be told of the next one.
    pub(crate) fn watch(&self) -> watch::Receiver<Index> {
        self.revision.subscribe()
    }

    /// The first image with a revision above `seen`.
    pub(crate) async fn after(&self, seen: Index) -> Arc<Image> {
        // The sender is this object's own, so there is always a next revision to wait for.
        let _ = self.revision.subscribe().wait_for(|revision| *revision > seen).await;
        self.current()
    }
}

/// Finds a partition of a live topic by name (and id), or by the id alone.
pub(crate) fn resolve(image: &Image, to: &TopicPartition) -> Result<Resolved, Error> {
    let topic = find_topic(image, to)?;
    if let Some(asked) = to.topic_id
        && asked != topic.id
    {
        return Err(Error::TopicIdMismatch { topic: to.topic.clone(), asked, found: topic.id });
    }
    let partition = usize::try_from(to.partition).ok().and_then(|partition| topic.partitions.get(partition));
    let Some(partition) = partition else {
        return Err(Error::UnknownPartition {
            topic: topic.name.clone(),
            partition: to.partition,
            partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        });
    };
    Ok(Resolved { topic: Arc::clone(topic), partition: partition.id.0, quorum: partition.quorum })
}

fn find_topic<'image>(image: &'image Image, to: &TopicPartition) -> Result<&'image Arc<Topic>, Error> {
    let found = match to.topic_id {
        Some(id) if to.topic.is_empty() => {
            image.topics.get(&id).filter(|topic| topic.deleted_at_ms.is_none())
        }
        _ => image.topic(&to.topic),
    };
    let name = || match to.topic_id {
        Some(id) if to.topic.is_empty() => id.to_string(),
        _ => to.topic.clone(),
    };
    found.ok_or_else(|| match image.is_known() {
        true => Error::UnknownTopic { topic: name() },
        // This broker has started without hearing of the controller, and cannot say that the topic does not exist.
        false => Error::NoLeader { retry_after_ms: RETRY_SOON_MS },
    })
}

/// Whether a partition found earlier still belongs to a live topic.
pub(crate) fn check_live(image: &Image, at: &Resolved) -> Result<(), Error> {
    let live = image.topics.get(&at.topic.id).is_some_and(|topic| topic.deleted_at_ms.is_none());
    if live { Ok(()) } else { Err(Error::UnknownTopic { topic: at.topic.name.clone() }) }
}

#[cfg(test)]
mod tests;
