//! Sessions that negotiated compression receive the same as others.

use std::sync::Arc;

use relais_hub::{Filter, QueueBody, Session, StartPosition, Subscription, Transport};
use relais_protocol::event::{Cursor, Event};
use relais_protocol::websocket::compress_frames;

use crate::support::{EPOCH, World, channel, preface, spec, text};

fn open(world: &World) -> QueueBody {
    QueueBody::new(world.hub.open(spec("a", "plain", Transport::Queue)).unwrap())
}

async fn join(
    world: &World,
    session: &Arc<Session>,
    names: &[&str],
    filter: Option<Arc<dyn Filter>>,
    from: StartPosition,
) {
    let wanted = names.iter().map(|name| Subscription { channel: channel(name), filter: filter.clone() });
    world.hub.subscribe_all(session, wanted.collect(), from, preface).await.unwrap();
}

/// Everything that may be sent to a session: it is compressed after the first two channels if `compress`.
async fn a_story(compress: bool) -> Vec<u8> {
    let world = World::new();
    let long = "x".repeat(2_000);
    let (mut body, other) = (open(&world), open(&world));
    let session = Arc::clone(body.session());
    join(&world, other.session(), &["t:1"], None, StartPosition::Now).await;
    join(&world, &session, &["t:1", "t:2"], None, StartPosition::Now).await;
    if compress {
        world.hub.compress(&session);
    }
    let mut heard = Vec::new();
    let odd: Arc<dyn Filter> = Arc::new(|event: &Event| event.seq % 2 == 1);
    for name in ["t:1", "t:2", "t:1", "t:2", "t:1"] {
        world.publish(name, &long);
    }
    world.hub.settled().await;
    world.hub.send(&session, text(&long));
    join(&world, &session, &["t:3"], None, StartPosition::Now).await;
    world.publish("t:3", "short");
    world.hub.unsubscribe(&session, channel("t:1"));
    world.publish("t:1", "not heard");
    let missed = StartPosition::Cursor(Cursor { epoch: EPOCH, seq: 1 });
    join(&world, &session, &["t:*"], Some(odd), missed).await;
    world.publish("t:9", &long);
    world.hub.settled().await;
    heard.extend(body.take_waiting().unwrap());
    heard
}

#[tokio::test]
async fn what_is_told_compressed_is_what_is_told_plainly() {
    let (plain, compressed) = (a_story(false).await, a_story(true).await);
    let mut packed = Vec::new();
    compress_frames(&plain, &mut packed);
    assert!(packed.len() < plain.len() / 10, "{} of {} bytes", packed.len(), plain.len());
    assert_eq!(compressed, packed);
}

#[tokio::test]
async fn the_place_of_a_session_among_others_is_known_after_it_changed() {
    let world = World::new();
    let mut bodies: Vec<QueueBody> = (0..6).map(|_| open(&world)).collect();
    for body in &bodies {
        join(&world, body.session(), &["t:1"], None, StartPosition::Now).await;
    }
    for place in [1, 0, 4] {
        world.hub.compress(bodies[place].session());
    }
    for place in [0, 2, 5] {
        world.hub.unsubscribe(bodies[place].session(), channel("t:1"));
    }
    world.hub.settled().await;
    bodies.iter_mut().for_each(|body| drop(body.take_waiting()));
    world.publish("t:1", &"x".repeat(2_000));
    world.hub.settled().await;
    let heard: Vec<Option<u8>> =
        bodies.iter_mut().map(|body| body.take_waiting().map(|bytes| bytes[0])).collect();
    assert_eq!(heard, [None, Some(0xc1), None, Some(0x81), Some(0xc1), None]);
}
