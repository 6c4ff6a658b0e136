//! What a client is told of a topic that is not in the image.

use super::*;
use mq_types::TopicId;

#[test]
fn a_topic_is_unknown_only_where_there_is_an_image_that_lacks_it() {
    for topic_id in [None, Some(TopicId([1; 16]))] {
        let topic = if topic_id.is_none() { "a".to_owned() } else { String::new() };
        let to = TopicPartition { topic, topic_id, partition: 0 };
        let mut image = Image::default();
        assert!(matches!(resolve(&image, &to), Err(Error::NoLeader { .. })), "it may be there all the same");
        image.revision = Index(5);
        assert!(matches!(resolve(&image, &to), Err(Error::UnknownTopic { .. })));
    }
}
