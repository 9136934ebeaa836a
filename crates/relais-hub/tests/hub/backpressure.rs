use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt};
use relais_hub::{CloseCode, Ended, HubConfig, QueueBody, Session, StartPosition, Transport};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, World, channel, no_preface, soon, spec, still};

fn small() -> HubConfig {
    HubConfig { queue_bytes: 64 * 1024, batch_bytes: 8 * 1024, send_buffer_bytes: 4 * 1024, ..still() }
}

async fn subscribed(world: &World, name: &str) -> Client {
    let client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel(name), None, StartPosition::Now, no_preface).await.unwrap();
    client
}

/// Publishes until so much waits for a session that does not read that the kernel takes no more by itself.
async fn fill(world: &World, session: &Session) {
    while session.queued_bytes() < 32 * 1024 {
        world.publish("t:1", &"x".repeat(1000));
        world.hub.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_told_to_resume_and_the_others_lose_nothing() {
    let world = World::with(small());
    let mut slow = subscribed(&world, "t:1").await;
    let mut quick = subscribed(&world, "t:1").await;
    let mut published: Vec<String> = Vec::new();
    while slow.session.is_open() {
        let seq = world.publish("t:1", &"x".repeat(900));
        published.push(format!("{seq} t:1 {}", "x".repeat(900)));
        assert_eq!(quick.next().await.unwrap(), *published.last().unwrap());
        world.hub.settled().await;
    }
    assert_eq!(world.hub.stats().slow_closed, 1);
    let mut got = Vec::new();
    let code = loop {
        match slow.next().await {
            Ok(text) => got.push(text),
            Err(code) => break code,
        }
    };
    assert_eq!(code, CloseCode::SlowConsumer.number());
    assert!(!got.is_empty() && got == published[..got.len()], "what came is whole, in order, from the start");
    assert!(quick.session.is_open());
    assert_eq!(slow.end().await, Ended::ByServer(CloseCode::SlowConsumer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_catches_up_in_time_gets_everything_in_order() {
    let world = World::with(small());
    let mut client = subscribed(&world, "t:1").await;
    fill(&world, &client.session).await;
    for _ in 0..10 {
        world.publish("t:1", "more");
    }
    let last = world.publish("t:1", "end");
    let got = client.until(&format!("{last} t:1 end")).await;
    let seqs: Vec<u64> = got.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    assert_eq!(client.session.queued_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_slow_client_only_the_newest_ephemeral_value_of_each_key_waits() {
    let world = World::with(small());
    let mut client = subscribed(&world, "t:1").await;
    fill(&world, &client.session).await;
    let full = client.session.queued_bytes();
    for n in 0..10_000 {
        world.publish_ephemeral("t:1", "left", &format!("left {n}"));
        world.publish_ephemeral("t:1", "right", &format!("right {n}"));
    }
    world.hub.settled().await;
    assert!(client.session.is_open() && client.session.queued_bytes() <= full, "nothing piles up");
    let got = client.until("0 t:1 right 9999").await;
    let values: Vec<&String> = got.iter().filter(|text| text.starts_with("0 ")).collect();
    assert_eq!(values, ["0 t:1 left 9999", "0 t:1 right 9999"]);
    world.publish_ephemeral("t:1", "left", "quick again");
    assert_eq!(client.next().await.unwrap(), "0 t:1 quick again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_ping_does_not_wait_behind_what_a_slow_client_has_not_read() {
    let world = World::with(small());
    let mut client = subscribed(&world, "t:1").await;
    fill(&world, &client.session).await;
    let last = world.publish("t:1", "end");
    world.hub.settled().await;
    let waiting = client.session.queued_bytes();
    client.socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    soon("the ping arrives", async {
        while client.session.queued_bytes() == waiting {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (mut seqs, mut pong_after): (Vec<u64>, _) = (Vec::new(), None);
    while seqs.len() < usize::try_from(last).unwrap() {
        match soon("a frame", client.socket.next()).await.unwrap().unwrap() {
            Message::Text(text) => seqs.push(text.split(' ').next().unwrap().parse().unwrap()),
            Message::Pong(_) => pong_after = Some(seqs.len()),
            _ => {}
        }
    }
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "whole frames in their order");
    assert!(pong_after.is_some_and(|texts| texts + 20 < seqs.len()), "{pong_after:?} of {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_slowly_what_waits_is_alive() {
    let world = World::with(small());
    let mut client = subscribed(&world, "t:1").await;
    fill(&world, &client.session).await;
    for _ in 0..12 {
        world.tick(10).await;
        // More than the buffers of the system hold: something was written since.
        for _ in 0..100 {
            world.publish("t:1", &"x".repeat(1000));
            client.next().await.unwrap();
        }
        fill(&world, &client.session).await;
    }
    assert!(client.session.is_open());
    // What is read last may make room a moment later.
    world.tick(120).await;
    assert!(!client.session.is_open(), "whoever reads nothing is not");
}

#[tokio::test]
async fn one_frame_larger_than_the_queue_still_passes() {
    let world = World::with(small());
    let mut client = subscribed(&world, "t:1").await;
    let huge = "x".repeat(300 * 1024);
    world.publish("t:1", &huge);
    assert_eq!(client.next().await.unwrap(), format!("1 t:1 {huge}"));
}

#[tokio::test]
async fn a_queue_gives_all_that_waits_in_one_chunk_and_ends_with_its_session() {
    let world = World::new();
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    let mut body = QueueBody::new(Arc::clone(&session));
    world.hub.subscribe(&session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    for n in 0..3 {
        world.publish("t:1", &n.to_string());
    }
    world.hub.settled().await;
    let chunk = soon("a chunk", body.next()).await.unwrap();
    assert_eq!(chunk.len(), 3 * (2 + "1 t:1 0".len()));
    world.hub.close(&session, CloseCode::Normal);
    assert!(soon("the close frame", body.next()).await.is_some());
    assert_eq!(soon("the end", body.next()).await, None);
    drop(body);
    world.hub.settled().await;
    assert_eq!(world.hub.stats().sessions, 0);
}

#[tokio::test]
async fn a_queue_that_nobody_takes_from_is_closed() {
    let world = World::with(small());
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    world.hub.subscribe(&session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    while session.is_open() {
        world.publish("t:1", &"x".repeat(1000));
        world.hub.settled().await;
    }
    assert!(session.queued_bytes() < 200, "only the close frame is left");
}

#[tokio::test]
async fn dropping_the_body_ends_the_session() {
    let world = World::new();
    let session = world.hub.open(spec("a", "plain", Transport::Queue)).unwrap();
    drop(QueueBody::new(session));
    world.hub.settled().await;
    assert_eq!(world.hub.stats().sessions, 0);
}
