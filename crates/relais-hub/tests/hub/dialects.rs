use std::sync::Arc;

use relais_hub::{Dialect, StartPosition, SubscribeError, Subscription};
use relais_protocol::event::{Channel, Cursor, Event};
use relais_protocol::websocket::text_frame_with;

use crate::support::{EPOCH, Plain, World, channel, no_preface, preface};

/// Frames are `name: seq`.
struct Named(&'static str);

impl Dialect for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        text_frame_with(out, |out| out.extend_from_slice(format!("{}: {}", self.0, event.seq).as_bytes()));
    }

    fn ping(&self) -> bytes::Bytes {
        Plain("plain").ping()
    }

    fn close(&self, reason: &relais_hub::CloseReason) -> bytes::Bytes {
        Plain("plain").close(reason)
    }
}

fn named(name: &'static str) -> Arc<dyn Dialect> {
    Arc::new(Named(name))
}

fn listen(name: &str) -> Vec<Subscription> {
    vec![Subscription { channel: channel(name), filter: None }]
}

fn from(seq: u64) -> StartPosition {
    StartPosition::Cursor(Cursor { epoch: EPOCH, seq })
}

#[tokio::test]
async fn a_session_hears_one_channel_in_several_dialects_in_order() {
    let world = World::new();
    let mut client = world.connect("a").await;
    let (one, two) = (named("one"), named("two"));
    let hub = &world.hub;
    hub.subscribe_all_as(&client.session, &one, listen("t:1"), StartPosition::Now, no_preface).await.unwrap();
    hub.subscribe_all_as(&client.session, &two, listen("t:1"), StartPosition::Now, no_preface).await.unwrap();
    hub.subscribe(&client.session, channel("t:2"), None, StartPosition::Now, no_preface).await.unwrap();
    world.publish("t:1", "x");
    world.publish("t:2", "y");
    assert_eq!(client.texts(3).await, ["one: 1", "two: 1", "2 t:2 y"]);

    let again =
        hub.subscribe_all_as(&client.session, &one, listen("t:1"), StartPosition::Now, no_preface).await;
    assert!(matches!(again, Err(SubscribeError::AlreadySubscribed(Channel::Topic(_)))));
}

#[tokio::test]
async fn leaving_a_channel_in_one_dialect_leaves_it_in_the_other() {
    let world = World::new();
    let mut client = world.connect("a").await;
    let (one, two) = (named("one"), named("two"));
    for dialect in [&one, &two] {
        let hub = &world.hub;
        hub.subscribe_all_as(&client.session, dialect, listen("t:1"), StartPosition::Now, no_preface)
            .await
            .unwrap();
    }
    world.hub.unsubscribe_as(&client.session, &*one, channel("t:1"));
    world.publish("t:1", "x");
    assert_eq!(client.texts(1).await, ["two: 1"]);
    world.hub.revoke("a", channel("t:1"));
    assert_eq!(client.texts(1).await, ["revoked t:1"]);
    world.hub.settled().await;
    assert_eq!(world.hub.stats().subscriptions, 0);
}

#[tokio::test]
async fn what_was_missed_is_told_in_the_dialect_of_the_subscription() {
    let world = World::new();
    for _ in 0..3 {
        world.publish("t:1", "x");
    }
    let mut client = world.connect("a").await;
    let one = named("one");
    world.hub.subscribe_all_as(&client.session, &one, listen("t:1"), from(1), preface).await.unwrap();
    world.publish("t:1", "x");
    assert_eq!(client.texts(4).await, ["joined true 2", "one: 2", "one: 3", "one: 4"]);
}
