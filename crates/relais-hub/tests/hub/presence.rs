use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::{
    CloseCode, Identity, Presence, PresenceWatcher, QueueBody, Session, StartPosition, Transport,
};
use relais_protocol::event::Channel;

use crate::support::{World, channel, no_preface, spec, still};

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl PresenceWatcher for Diary {
    fn entered(&self, channel: &Channel, principal: &Arc<str>) {
        self.0.lock().push(format!("{principal} entered {channel}"));
    }

    fn left(&self, channel: &Channel, principal: &Arc<str>) {
        self.0.lock().push(format!("{principal} left {channel}"));
    }
}

async fn enter(world: &World, principal: &str) -> Arc<Session> {
    let session = world.hub.open(spec(principal, "plain", Transport::Queue)).unwrap();
    world.hub.subscribe(&session, channel("m:1"), None, StartPosition::Now, no_preface).await.unwrap();
    session
}

#[tokio::test]
async fn the_first_session_in_and_the_last_one_out_are_noticed() {
    let diary = Arc::new(Diary::default());
    let world = World::watched(still(), Arc::clone(&diary) as _);
    let (one, two, bob) =
        (enter(&world, "ann").await, enter(&world, "ann").await, enter(&world, "bob").await);
    let ann = Presence { principal: "ann".into(), sessions: 2 };
    let there = Presence { principal: "bob".into(), sessions: 1 };
    assert_eq!(world.hub.presence(&channel("m:1")).await, [ann, there]);
    world.hub.unsubscribe(&one, channel("m:1"));
    world.hub.close(&bob, CloseCode::Normal);
    drop(QueueBody::new(two));
    assert_eq!(world.hub.presence(&channel("m:1")).await, []);
    let seen = ["ann entered m:1", "bob entered m:1", "bob left m:1", "ann left m:1"];
    assert_eq!(*diary.0.lock(), seen);
    world.hub.settled().await;
    assert_eq!(world.hub.stats().streams, 0);
}

#[tokio::test]
async fn who_turns_out_to_be_somebody_else_is_there_under_the_new_name() {
    let diary = Arc::new(Diary::default());
    let world = World::watched(still(), Arc::clone(&diary) as _);
    let session = enter(&world, "stranger").await;
    world.hub.identify(&session, Identity::of("ann")).unwrap();
    let ann = Presence { principal: "ann".into(), sessions: 1 };
    assert_eq!(world.hub.presence(&channel("m:1")).await, [ann]);
    assert_eq!(*diary.0.lock(), ["stranger entered m:1", "ann entered m:1", "stranger left m:1"]);
}

#[tokio::test]
async fn closing_a_principal_closes_all_its_sessions() {
    let world = World::new();
    let (one, two, bob) =
        (enter(&world, "ann").await, enter(&world, "ann").await, enter(&world, "bob").await);
    world.hub.close_principal("ann", CloseCode::Forbidden);
    world.hub.settled().await;
    assert_eq!([one, two, bob].map(|session| session.is_open()), [false, false, true]);
}
