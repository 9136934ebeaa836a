use std::sync::Arc;

use relais_hub::{CloseCode, Ended, Filter, HubConfig, StartPosition, SubscribeError, Subscription};
use relais_protocol::event::{Cursor, Epoch, Event, Position};

use crate::support::{EPOCH, World, channel, no_preface, preface, soon, still};

fn after(seq: u64) -> StartPosition {
    StartPosition::Cursor(Cursor { epoch: EPOCH, seq })
}

/// A world whose first `count` events are only in the log, not in the hub's memory.
async fn with_past(config: HubConfig, topics: &[&str], count: usize) -> World {
    let world = World::new();
    for n in 0..count {
        world.publish(topics[n % topics.len()], "past");
    }
    world.hub.settled().await;
    world.restarted(config)
}

#[tokio::test]
async fn what_was_missed_comes_from_memory_after_the_preface_and_before_live_events() {
    let world = World::new();
    for _ in 0..5 {
        world.publish("t:1", "past");
    }
    let mut client = world.connect("a").await;
    let joined = world.hub.subscribe(&client.session, channel("t:1"), None, after(3), preface).await.unwrap();
    assert_eq!((joined.recovered, joined.replayed, joined.offset), (true, 2, Some(5)));
    assert_eq!(joined.cursor, Cursor { epoch: EPOCH, seq: 5 });
    world.publish("t:1", "live");
    assert_eq!(client.texts(4).await, ["joined true 2", "4 t:1 past", "5 t:1 past", "6 t:1 live"]);
}

#[tokio::test]
async fn what_memory_has_forgotten_comes_from_the_log_page_by_page() {
    let world = with_past(still(), &["t:1", "u:1"], 3000).await;
    let mut client = world.connect("a").await;
    let joined =
        world.hub.subscribe(&client.session, channel("t:*"), None, after(10), preface).await.unwrap();
    assert_eq!((joined.recovered, joined.replayed), (true, 1495));
    world.publish("t:2", "live");
    let got = client.until("3001 t:2 live").await;
    let expected = (11..=3000).filter(|seq| seq % 2 == 1).map(|seq| format!("{seq} t:1 past"));
    assert!(got[1..1496].iter().cloned().eq(expected));
    assert_eq!(got.len(), 1497);
}

#[tokio::test]
async fn a_topic_is_resumed_by_its_own_offset_too() {
    for world in [with_past(still(), &["t:1", "u:1"], 20).await, {
        let world = World::new();
        (0..20).for_each(|n| {
            world.publish(["t:1", "u:1"][n % 2], "past");
        });
        world
    }] {
        let mut client = world.connect("a").await;
        let from = StartPosition::Position(Position { epoch: EPOCH, offset: 7 });
        let joined = world.hub.subscribe(&client.session, channel("t:1"), None, from, preface).await.unwrap();
        assert_eq!((joined.recovered, joined.replayed, joined.offset), (true, 3, Some(10)));
        let expected = ["joined true 3", "15 t:1 past", "17 t:1 past", "19 t:1 past"];
        assert_eq!(client.texts(4).await, expected);
    }
}

#[tokio::test]
async fn a_client_that_another_server_told_more_goes_on_where_it_is() {
    let position = |offset| StartPosition::Position(Position { epoch: EPOCH, offset });
    for (from, replayed) in [(after(2), 2), (after(4), 0), (position(2), 2), (position(4), 0)] {
        let world = World::new();
        world.publish("t:1", "here");
        for _ in 0..3 {
            world.commit_elsewhere("t:1", "there");
        }
        let mut client = world.connect("a").await;
        let joined = world.hub.subscribe(&client.session, channel("t:1"), None, from, preface).await.unwrap();
        assert_eq!((joined.recovered, joined.replayed), (true, replayed), "{from:?}");
        world.publish("t:1", "live");
        let mut expected = vec![format!("joined true {replayed}")];
        expected.extend((5 - replayed as u64..5).map(|seq| format!("{seq} t:1 there")));
        expected.push("5 t:1 live".into());
        assert_eq!(client.texts(expected.len()).await, expected, "{from:?}");
    }
}

#[tokio::test]
async fn a_place_that_no_server_has_reached_is_not_recovered() {
    let world = World::new();
    world.publish("t:1", "here");
    world.commit_elsewhere("t:1", "there");
    let client = world.connect("a").await;
    let joined = world.hub.subscribe(&client.session, channel("t:1"), None, after(3), preface).await.unwrap();
    assert!(!joined.recovered);
}

#[tokio::test]
async fn several_channels_are_resumed_by_one_cursor_in_one_order() {
    let world = with_past(still(), &["t:1", "u:1", "v:1"], 30).await;
    let mut client = world.connect("a").await;
    let wanted = ["t:1", "t:*", "v:1"].map(|name| Subscription { channel: channel(name), filter: None });
    let joined =
        world.hub.subscribe_all(&client.session, wanted.into(), after(21), no_preface).await.unwrap();
    assert_eq!((joined.replayed, joined.offset), (6, None));
    let expected: Vec<String> = (22..=30)
        .filter(|seq| seq % 3 != 2)
        .map(|seq| format!("{seq} {} past", if seq % 3 == 1 { "t:1" } else { "v:1" }))
        .collect();
    assert_eq!(client.texts(6).await, expected);
}

#[tokio::test]
async fn filters_apply_to_what_was_missed() {
    let world = with_past(still(), &["t:1"], 6).await;
    let mut client = world.connect("a").await;
    let even: Arc<dyn Filter> = Arc::new(|event: &Event| event.seq.is_multiple_of(2));
    world.hub.subscribe(&client.session, channel("t:1"), Some(even), after(0), preface).await.unwrap();
    assert_eq!(client.texts(4).await, ["joined true 3", "2 t:1 past", "4 t:1 past", "6 t:1 past"]);
}

#[tokio::test]
async fn a_place_that_cannot_be_resumed_starts_afresh_and_says_so() {
    let config = HubConfig { recover_events_max: 50, ..still() };
    let world = with_past(config, &["t:1"], 100).await;
    world.log.forget_before(20);
    let elsewhere = Epoch(8);
    let places = [
        ("another life of the log", StartPosition::Cursor(Cursor { epoch: elsewhere, seq: 99 })),
        ("ahead of the head", after(1000)),
        ("older than what is kept", after(18)),
        ("more than may be replayed", after(40)),
        ("an offset of another life", StartPosition::Position(Position { epoch: elsewhere, offset: 99 })),
        ("an offset ahead", StartPosition::Position(Position { epoch: EPOCH, offset: 1000 })),
        ("an offset that is gone", StartPosition::Position(Position { epoch: EPOCH, offset: 18 })),
    ];
    for (n, (why, from)) in places.into_iter().enumerate() {
        let mut client = world.connect("a").await;
        let joined = world.hub.subscribe(&client.session, channel("t:1"), None, from, preface).await.unwrap();
        assert_eq!((joined.recovered, joined.replayed), (false, 0), "{why}");
        let live = world.publish("t:1", "live");
        assert_eq!(live, 101 + n as u64);
        assert_eq!(client.texts(2).await, ["joined false 0".to_owned(), format!("{live} t:1 live")], "{why}");
    }
}

#[tokio::test]
async fn exactly_as_much_as_may_be_replayed_is_replayed() {
    let world = with_past(HubConfig { recover_events_max: 50, ..still() }, &["t:1"], 100).await;
    world.log.forget_before(51);
    let client = world.connect("a").await;
    let joined =
        world.hub.subscribe(&client.session, channel("t:1"), None, after(50), preface).await.unwrap();
    assert_eq!((joined.recovered, joined.replayed), (true, 50));
}

#[tokio::test]
async fn too_many_bytes_are_not_replayed() {
    let world = with_past(HubConfig { recover_bytes_max: 100, ..still() }, &["t:1"], 50).await;
    let client = world.connect("a").await;
    let joined = world.hub.subscribe(&client.session, channel("t:1"), None, after(0), preface).await.unwrap();
    assert!(!joined.recovered);
}

#[tokio::test]
async fn an_offset_resumes_a_single_topic_only() {
    let world = World::new();
    let client = world.connect("a").await;
    let from = StartPosition::Position(Position { epoch: EPOCH, offset: 0 });
    let refused = world.hub.subscribe(&client.session, channel("t:*"), None, from, preface).await;
    assert!(matches!(refused, Err(SubscribeError::NotATopic(_))));
    assert_eq!(world.hub.stats().subscriptions, 0);
}

#[tokio::test]
async fn when_the_log_cannot_be_read_the_client_is_sent_back_to_resume_later() {
    let world = with_past(still(), &["t:1"], 5).await;
    world.log.break_down();
    let mut client = world.connect("a").await;
    let failed = world.hub.subscribe(&client.session, channel("t:1"), None, after(0), preface).await;
    assert!(matches!(failed, Err(SubscribeError::Log(_))));
    world.publish("t:1", "live");
    assert_eq!(client.next().await, Err(CloseCode::Internal.number()));
    assert_eq!(client.end().await, Ended::ByServer(CloseCode::Internal));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishing_and_resuming_at_the_same_time_loses_and_repeats_nothing() {
    const EVENTS: u64 = 3000;
    // A short memory, so that some resume from memory and some from the log.
    let world = Arc::new(World::with(HubConfig { history_events_max: 100, ..still() }));
    world.log.forget_before(1);
    let publisher = {
        let world = Arc::clone(&world);
        std::thread::spawn(move || {
            for n in 0..EVENTS {
                world.publish(if n % 3 == 0 { "u:1" } else { "t:1" }, "x");
                if n % 10 == 0 {
                    std::thread::yield_now();
                }
            }
            world.publish("t:1", "end");
        })
    };
    let mut readers = Vec::new();
    for reader in 0..40_u64 {
        let world = Arc::clone(&world);
        readers.push(tokio::spawn(async move {
            let mut client = world.connect(&format!("reader {reader}")).await;
            // Never after the last event, which everyone waits for: the publisher may have ended already.
            let head = world.hub.head().seq.min(EVENTS);
            let start = head.saturating_sub(reader * 20);
            let name = if reader % 2 == 0 { "t:1" } else { "t:*" };
            world
                .hub
                .subscribe(&client.session, channel(name), None, after(start), no_preface)
                .await
                .unwrap();
            let got = client.until(&format!("{} t:1 end", EVENTS + 1)).await;
            let expected: Vec<String> = (start + 1..=EVENTS)
                .filter(|seq| (seq - 1) % 3 != 0)
                .map(|seq| format!("{seq} t:1 x"))
                .chain([format!("{} t:1 end", EVENTS + 1)])
                .collect();
            assert!(got == expected, "reader {reader} from {start}: {} of {}", got.len(), expected.len());
        }));
    }
    for reader in readers {
        soon("every event", reader).await.unwrap();
    }
    publisher.join().unwrap();
}
