use std::sync::Arc;

use relais_hub::{Filter, StartPosition, SubscribeError};
use relais_protocol::event::Event;

use crate::support::{World, channel, no_preface, preface, soon, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_gets_every_event_in_order() {
    let world = World::new();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = world.connect("a").await;
        world
            .hub
            .subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface)
            .await
            .unwrap();
        clients.push(client);
    }
    for n in 0..500 {
        world.publish("t:1", &n.to_string());
    }
    let expected: Vec<String> = (0..500).map(|n| format!("{} t:1 {n}", n + 1)).collect();
    for client in &mut clients {
        assert_eq!(client.texts(500).await, expected);
    }
}

#[tokio::test]
async fn a_burst_costs_fewer_writes_than_frames() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    for _ in 0..1000 {
        world.publish("t:1", "x");
    }
    client.texts(1000).await;
    world.hub.settled().await;
    let stats = world.hub.stats();
    assert_eq!((stats.published, stats.delivered), (1000, 1000));
    assert!(stats.writes < 1000, "{} writes", stats.writes);
}

#[tokio::test]
async fn an_event_that_two_channels_cover_comes_once_and_in_order() {
    let world = World::new();
    let mut client = world.connect("a").await;
    for name in ["t:*", "t:1", "u:1"] {
        world
            .hub
            .subscribe(&client.session, channel(name), None, StartPosition::Now, no_preface)
            .await
            .unwrap();
    }
    for n in 0..50 {
        world.publish(["u:1", "t:1", "t:2", "v:1"][n % 4], "x");
    }
    world.publish("t:9", "end");
    let got = client.until("51 t:9 end").await;
    let expected: Vec<String> = (0..50)
        .filter(|n| n % 4 != 3)
        .map(|n| format!("{} {} x", n + 1, ["u:1", "t:1", "t:2"][n % 4]))
        .chain(["51 t:9 end".to_owned()])
        .collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_filter_decides_event_by_event() {
    let world = World::new();
    let mut client = world.connect("a").await;
    let only_odd: Arc<dyn Filter> = Arc::new(|event: &Event| event.seq % 2 == 1);
    let all = channel("t:*");
    world.hub.subscribe(&client.session, all, Some(only_odd), StartPosition::Now, no_preface).await.unwrap();
    for _ in 0..6 {
        world.publish("t:1", "x");
    }
    world.publish("t:1", "end");
    assert_eq!(client.until("7 t:1 end").await, ["1 t:1 x", "3 t:1 x", "5 t:1 x", "7 t:1 end"]);
}

#[tokio::test]
async fn the_preface_comes_before_live_events_and_personal_frames_after_what_waits() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, preface).await.unwrap();
    world.publish("t:1", "x");
    world.hub.settled().await;
    world.hub.send(&client.session, text("only for you"));
    assert_eq!(client.texts(3).await, ["joined true 0", "1 t:1 x", "only for you"]);
}

#[tokio::test]
async fn who_left_gets_what_came_before_and_nothing_after() {
    let world = World::new();
    let mut client = world.connect("a").await;
    for name in ["t:1", "t:2"] {
        world
            .hub
            .subscribe(&client.session, channel(name), None, StartPosition::Now, no_preface)
            .await
            .unwrap();
    }
    world.publish("t:1", "before");
    world.hub.unsubscribe(&client.session, channel("t:1"));
    world.publish("t:1", "after");
    world.publish("t:2", "end");
    assert_eq!(client.until("3 t:2 end").await, ["1 t:1 before", "3 t:2 end"]);
}

#[tokio::test]
async fn a_revoked_principal_leaves_at_once_with_all_sessions_and_is_told() {
    let world = World::new();
    let (mut one, mut two, mut other) =
        (world.connect("bad").await, world.connect("bad").await, world.connect("good").await);
    for client in [&one, &two, &other] {
        world
            .hub
            .subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface)
            .await
            .unwrap();
    }
    world.publish("t:1", "before");
    world.hub.revoke("bad", channel("t:1"));
    world.publish("t:1", "secret");
    world.hub.settled().await;
    for client in [&one, &two] {
        world.hub.send(&client.session, text("end"));
    }
    for client in [&mut one, &mut two] {
        assert_eq!(client.until("end").await, ["1 t:1 before", "revoked t:1", "end"]);
    }
    assert_eq!(other.texts(2).await, ["1 t:1 before", "2 t:1 secret"]);
}

#[tokio::test]
async fn a_second_subscription_to_the_same_channel_is_refused_and_changes_nothing() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    let again = world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, preface).await;
    assert!(matches!(again, Err(SubscribeError::AlreadySubscribed(_))));
    world.publish("t:1", "x");
    assert_eq!(client.next().await.unwrap(), "1 t:1 x");
}

#[tokio::test]
async fn an_event_published_twice_is_delivered_once() {
    let world = World::new();
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    world.publish("t:1", "x");
    let same = Arc::clone(&world.log.events.lock()[0]);
    world.hub.publish(same);
    world.publish("t:1", "y");
    assert_eq!(client.texts(2).await, ["1 t:1 x", "2 t:1 y"]);
}

#[tokio::test]
async fn when_the_hub_stops_its_connections_end() {
    let world = World::new();
    let client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    let session = Arc::clone(&client.session);
    let World { hub, .. } = world;
    drop(hub);
    soon("the end", client.ended).await.unwrap();
    assert!(!session.is_open());
}
