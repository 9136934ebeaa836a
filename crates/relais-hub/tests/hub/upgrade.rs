use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use relais_hub::{CloseCode, QueueBody, StartPosition, Transport, run_socket};
use relais_protocol::websocket::Limits;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{Client, Silent, World, channel, no_preface, soon, spec, still, text};
use relais_hub::HubConfig;

/// A session that began with a queue, and has its socket now.
async fn upgraded(world: &World, body: QueueBody, first: Bytes) -> Client {
    let (near, far) = world.sockets().await;
    let session = world.hub.upgrade(body, near, first).unwrap();
    let run = run_socket(Arc::clone(&session), Bytes::new(), Silent, Limits::default());
    let ended = tokio::spawn(run);
    let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    Client { session, socket, ended }
}

#[tokio::test]
async fn what_waits_goes_to_the_socket_in_order_and_then_what_comes() {
    let world = World::new();
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    let mut body = QueueBody::new(Arc::clone(&session));
    world.hub.subscribe(&session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    world.publish("t:1", "taken");
    assert!(soon("a chunk", body.next()).await.is_some());
    world.publish("t:1", "waits");
    world.hub.settled().await;
    let mut client = upgraded(&world, body, text("first")).await;
    world.publish("t:1", "comes");
    assert_eq!(client.texts(3).await, ["first", "2 t:1 waits", "3 t:1 comes"]);
}

#[tokio::test]
async fn a_session_that_was_upgraded_ends_with_its_socket() {
    let world = World::new();
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    let client = upgraded(&world, QueueBody::new(session), Bytes::new()).await;
    world.hub.settled().await;
    assert_eq!(world.hub.stats().sessions, 1);
    client.end().await;
    world.hub.settled().await;
    assert_eq!(world.hub.stats().sessions, 0);
}

#[tokio::test]
async fn a_session_that_has_ended_takes_no_socket() {
    let world = World::new();
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    let body = QueueBody::new(Arc::clone(&session));
    world.hub.close(&session, CloseCode::Normal);
    world.tick(10).await;
    let (near, _far) = world.sockets().await;
    assert!(world.hub.upgrade(body, near, Bytes::new()).is_err());
}

#[tokio::test]
async fn a_client_that_must_identify_itself_later_has_its_own_time_for_it() {
    let world = World::with(HubConfig { idle_timeout_s: 600, ..still() });
    let mut client = world.connect("a").await;
    world.hub.identify_within(&client.session, Some(5));
    world.tick(4).await;
    world.hub.identify_within(&client.session, None);
    world.tick(10).await;
    world.hub.identify_within(&client.session, Some(5));
    world.tick(4).await;
    // Nobody gets more time by asking again.
    world.hub.identify_within(&client.session, Some(5));
    world.tick(2).await;
    assert_eq!(client.next().await, Err(4001));
}
