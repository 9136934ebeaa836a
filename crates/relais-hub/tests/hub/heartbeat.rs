use std::sync::Arc;

use futures_util::StreamExt;
use relais_hub::{CloseCode, Ended, Identity, OpenError, SessionSpec, Transport};
use relais_protocol::websocket::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Echo, World, soon, spec};

#[tokio::test]
async fn a_silent_client_is_pinged_and_its_pong_keeps_it() {
    let world = World::new();
    let mut client = world.connect_as("a", "plain", Echo(world.hub.clone())).await;
    for _ in 0..6 {
        world.tick(25).await;
        let Some(Ok(Message::Ping(_))) = soon("a ping", client.socket.next()).await else {
            panic!("a ping every 25 s")
        };
        // The client library sends its pong with its next write.
        client.say("x").await;
        assert_eq!(client.next().await.unwrap(), "you said x");
    }
    assert!(client.session.is_open());
}

#[tokio::test]
async fn a_client_that_never_answers_is_closed_and_forgotten() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.tick(59).await;
    assert!(client.session.is_open());
    world.tick(1).await;
    assert!(!client.session.is_open());
    assert_eq!(client.next().await, Err(CloseCode::ServiceRestart.number()));
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_is_cut_off() {
    let world = World::new();
    let client = world.connect("a").await;
    world.hub.close(&client.session, CloseCode::Normal);
    world.tick(4).await;
    assert_eq!(world.hub.stats().sessions, 1);
    world.tick(1).await;
    assert_eq!(world.hub.stats().sessions, 0);
    assert_eq!(soon("the end", client.ended).await.unwrap(), Ended::ByServer(CloseCode::Normal));
}

#[tokio::test]
async fn who_does_not_say_who_they_are_in_time_is_closed() {
    let world = World::new();
    let open = |principal: &str| {
        let identify_within_s = Some(10);
        let spec = SessionSpec { identify_within_s, ..spec(principal, "plain", Transport::Queue) };
        world.hub.open(spec).unwrap()
    };
    let (stranger, user) = (open("x"), open("y"));
    world.hub.identify(&user, Identity::of("user:1")).unwrap();
    // The second in which they came had begun before.
    world.tick(10).await;
    assert_eq!((stranger.is_open(), user.is_open()), (true, true));
    world.tick(1).await;
    assert_eq!((stranger.is_open(), user.is_open()), (false, true));
}

#[tokio::test]
async fn a_session_that_nobody_runs_does_not_stay() {
    let world = World::new();
    let (near, _far) = world.sockets().await;
    let session = world.hub.open(spec("a", "plain", Transport::socket(near))).unwrap();
    world.tick(65).await;
    assert_eq!((world.hub.stats().sessions, Arc::strong_count(&session)), (0, 1));
}

#[tokio::test]
async fn a_drain_sends_everybody_away_and_lets_nobody_in() {
    let world = World::new();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(world.connect("a").await);
    }
    let hub = world.hub.clone();
    let drain = tokio::spawn(async move { hub.drain(std::time::Duration::from_millis(50)).await });
    for mut client in clients {
        assert_eq!(client.next().await, Err(CloseCode::ServiceRestart.number()));
        assert_eq!(client.end().await, Ended::ByServer(CloseCode::ServiceRestart));
    }
    soon("the drain", drain).await.unwrap();
    let late = world.hub.open(spec("a", "plain", Transport::Queue));
    assert!(matches!(late, Err(OpenError::Draining)));
}

/// A fragment in the middle of a message, and a ping after it whose pong shows that both have arrived.
async fn fragment(client: &mut Client, head: u8, payload: &[u8]) {
    let mut bytes = vec![head, 0x80 | 126, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&[0x89, 0x80, 0, 0, 0, 0]);
    client.socket.get_mut().write_all(&bytes).await.unwrap();
    while !matches!(soon("a pong", client.socket.next()).await, Some(Ok(Message::Pong(_)))) {}
}

#[tokio::test]
async fn a_message_that_does_not_come_to_its_end_closes_the_connection() {
    let limits =
        Limits { frame_bytes: 1024, message_bytes: 1024 * 1024, fragments: 1_000, ..Limits::default() };
    let world = World::new();
    let (mut stalled, mut slow) =
        (world.connect_within("a", limits).await, world.connect_within("b", limits).await);
    fragment(&mut stalled, 0x01, &[b'x'; 200]).await;
    fragment(&mut slow, 0x01, &[b'x'; 300]).await;
    for _ in 0..59 {
        world.tick(1).await;
        fragment(&mut stalled, 0x00, &[b'x'; 200]).await;
        fragment(&mut slow, 0x00, &[b'x'; 300]).await;
    }
    assert!(stalled.session.is_open());
    for _ in 0..25 {
        world.tick(1).await;
        fragment(&mut slow, 0x00, &[b'x'; 300]).await;
    }
    assert!(!stalled.session.is_open() && slow.session.is_open());
    assert_eq!(stalled.next().await, Err(CloseCode::Policy.number()));
}
