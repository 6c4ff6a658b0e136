//! Filling and emptying.

use super::{End, Inbox};
use mq_engine::Input;
use mq_engine::controller::Image;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn ticks_and_images_replace_the_one_before_and_the_rest_keeps_its_order() {
    let inbox = Inbox::new(1);
    inbox.push([Input::DiskRoom { available: false }]);
    inbox.tick();
    inbox.image(Arc::new(Image::default()));
    inbox.tick();
    let newest = Arc::new(Image::default());
    inbox.image(Arc::clone(&newest));
    inbox.push([Input::DiskRoom { available: true }]);
    let taken = inbox.take();
    match &taken.inputs[..] {
        [
            Input::DiskRoom { available: false },
            Input::DiskRoom { available: true },
            Input::Image(image),
            Input::Tick,
        ] => assert!(Arc::ptr_eq(image, &newest)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sleeping_shard_is_woken_by_what_comes() {
    let inbox = Arc::new(Inbox::new(1));
    let shard = std::thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || (inbox.take().inputs.len(), inbox.take().end)
    });
    inbox.tick();
    while !inbox.lock().asleep {
        std::thread::yield_now();
    }
    let deadline = Instant::now();
    inbox.end(End::Drain(deadline));
    assert_eq!(shard.join().expect("the shard ends"), (1, Some(End::Drain(deadline))));
}

#[test]
fn what_may_be_lost_is_dropped_when_much_waits_and_what_may_not_is_kept() {
    let inbox = Inbox::new(1);
    for _ in 0..super::WAITING_BEFORE_OFFERS_DROP_MAX + 10 {
        inbox.offer(Input::Stop);
    }
    inbox.push([Input::Tick]);
    assert_eq!(inbox.take().inputs.len(), super::WAITING_BEFORE_OFFERS_DROP_MAX + 1);
}

#[test]
fn a_closed_inbox_keeps_nothing_and_ends_its_shard() {
    let inbox = Inbox::new(1);
    let kept = Arc::new(Image::default());
    inbox.image(Arc::clone(&kept));
    inbox.close();
    inbox.image(Arc::clone(&kept));
    assert_eq!(Arc::strong_count(&kept), 1);
    assert_eq!(inbox.take().end, Some(End::Now));
}
