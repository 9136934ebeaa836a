use std::net::IpAddr;
use std::sync::Arc;

use relais_hub::{
    CloseCode, HubConfig, Identity, OpenError, SessionSpec, StartPosition, SubscribeError, Subscription,
    Transport,
};
use relais_protocol::websocket::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Echo, World, channel, no_preface, spec, still};

fn queue(principal: &str, address: [u8; 4]) -> SessionSpec {
    SessionSpec { address: IpAddr::from(address), ..spec(principal, "plain", Transport::Queue) }
}

#[tokio::test]
async fn sessions_are_limited_in_all_per_principal_and_per_address() {
    let config =
        HubConfig { sessions_max: 5, sessions_per_principal_max: 2, sessions_per_address_max: 3, ..still() };
    let world = World::with(config);
    let open = |principal: &str, host: u8| world.hub.open(queue(principal, [127, 0, 0, host]));
    let _a = (open("a", 1).unwrap(), open("a", 1).unwrap());
    assert!(matches!(open("a", 2), Err(OpenError::TooManyForPrincipal { limit: 2, .. })));
    let _b = open("b", 1).unwrap();
    assert!(matches!(open("c", 1), Err(OpenError::TooManyForAddress { limit: 3, .. })));
    let _c = (open("c", 2).unwrap(), open("d", 2).unwrap());
    assert!(matches!(open("e", 3), Err(OpenError::TooManySessions(5))));
}

#[tokio::test]
async fn those_who_have_not_said_who_they_are_leave_places_to_those_who_have() {
    let world =
        World::with(HubConfig { sessions_max: 6, anonymous_max: 3, anonymous_per_address_max: 2, ..still() });
    let stranger = |host: u8| {
        world.hub.open(SessionSpec { identity: Identity::anonymous(), ..queue("", [127, 0, 0, host]) })
    };
    let (one, _two) = (stranger(1).unwrap(), stranger(1).unwrap());
    assert!(matches!(stranger(1), Err(OpenError::TooManyAnonymousForAddress { limit: 2, .. })));
    let _three = stranger(2).unwrap();
    assert!(matches!(stranger(3), Err(OpenError::TooManyAnonymous(3))));
    world.hub.open(queue("a", [127, 0, 0, 1])).unwrap();
    // An authenticated session is no longer anonymous.
    world.hub.identify(&one, Identity::of("user:1")).unwrap();
    let four = stranger(1).unwrap();
    drop(relais_hub::QueueBody::new(four));
    stranger(1).unwrap();
}

#[tokio::test]
async fn a_network_of_ipv6_counts_as_one_address() {
    let world = World::with(HubConfig { sessions_per_address_max: 1, ..still() });
    let open = |address: &str| {
        let address = address.parse().unwrap();
        world.hub.open(SessionSpec { address, ..queue("a", [127, 0, 0, 1]) })
    };
    let _one = open("2001:db8::1").unwrap();
    assert!(matches!(open("2001:db8::ffff:2"), Err(OpenError::TooManyForAddress { limit: 1, .. })));
    let _other = open("2001:db8:0:1::1").unwrap();
}

#[tokio::test]
async fn what_is_kept_of_messages_that_have_not_ended_is_limited() {
    let config = HubConfig { anonymous_message_bytes_max: 2_000, unfinished_bytes_max: 20_000, ..still() };
    let world = World::with(config);
    let limits = Limits { frame_bytes: 64 * 1024, ..Limits::default() };
    // The head of a frame of 60,000 bytes, and some of them.
    let half = |bytes: usize| [&[0x81, 0xfe, 0xea, 0x60, 0, 0, 0, 0][..], &vec![b'x'; bytes]].concat();
    let mut known = world.connect_within("a", limits).await;
    known.socket.get_mut().write_all(&half(15_000)).await.unwrap();
    let mut stranger = world.connect_within("b", limits).await;
    world.hub.identify(&stranger.session, Identity::anonymous()).unwrap();
    stranger.socket.get_mut().write_all(&half(2_000)).await.unwrap();
    assert_eq!(stranger.next().await, Err(CloseCode::TooBig.number()));
    let mut late = world.connect_within("c", limits).await;
    late.socket.get_mut().write_all(&half(15_000)).await.unwrap();
    assert_eq!(late.next().await, Err(CloseCode::TryLater.number()));
    assert!(known.session.is_open());
    // What is let go counts no more.
    drop(late);
    known.socket.get_mut().write_all(&vec![b'x'; 45_000]).await.unwrap();
    let mut next = world.connect_as("d", "plain", Echo(world.hub.clone())).await;
    next.say(&"y".repeat(15_000)).await;
    assert!(next.next().await.unwrap().starts_with("you said yyy"));
    assert!(known.session.is_open());
}

#[tokio::test]
async fn a_place_is_free_again_when_its_session_has_ended() {
    let world = World::with(HubConfig { sessions_per_principal_max: 1, ..still() });
    for _ in 0..3 {
        let session = world.hub.open(queue("a", [127, 0, 0, 1])).unwrap();
        drop(relais_hub::QueueBody::new(session));
    }
}

#[tokio::test]
async fn a_session_counts_for_whom_it_turns_out_to_be() {
    let world = World::with(HubConfig { sessions_per_principal_max: 1, ..still() });
    let anonymous = || SessionSpec { identity: Identity::anonymous(), ..queue("", [127, 0, 0, 1]) };
    let (one, two) = (world.hub.open(anonymous()).unwrap(), world.hub.open(anonymous()).unwrap());
    world.hub.identify(&one, Identity::of("user:1")).unwrap();
    let refused = world.hub.identify(&two, Identity::of("user:1"));
    assert!(matches!(refused, Err(OpenError::TooManyForPrincipal { .. })));
    assert_eq!(*two.identity(), Identity::anonymous());
    world.hub.identify(&two, Identity::of("user:2")).unwrap();
    assert_eq!(*two.identity(), Identity::of("user:2"));
}

#[tokio::test]
async fn the_channels_of_a_session_are_limited_and_leaving_frees_a_place() {
    let world = World::with(HubConfig { subscriptions_per_session_max: 2, ..still() });
    let session = world.hub.open(queue("a", [127, 0, 0, 1])).unwrap();
    let join =
        |name: &str| world.hub.subscribe(&session, channel(name), None, StartPosition::Now, no_preface);
    join("t:1").await.unwrap();
    join("t:2").await.unwrap();
    assert!(matches!(join("t:3").await, Err(SubscribeError::TooManySubscriptions(2))));
    world.hub.unsubscribe(&session, channel("t:1"));
    join("t:3").await.unwrap();
    world.hub.settled().await;
    assert_eq!(world.hub.stats().subscriptions, 2);
}

#[tokio::test]
async fn what_a_principal_belongs_to_takes_no_place_of_what_a_session_asks_for() {
    let world = World::with(HubConfig { subscriptions_per_session_max: 2, ..still() });
    let session = world.hub.open(queue("a", [127, 0, 0, 1])).unwrap();
    let join =
        |name: &str| world.hub.subscribe(&session, channel(name), None, StartPosition::Now, no_preface);
    for number in 0..5 {
        let own = vec![Subscription { channel: channel(&format!("own:{number}")), filter: None }];
        world.hub.subscribe_members(&session, own, StartPosition::Now, no_preface).await.unwrap();
    }
    join("t:1").await.unwrap();
    join("t:2").await.unwrap();
    assert!(matches!(join("t:3").await, Err(SubscribeError::TooManySubscriptions(2))));
    world.hub.unsubscribe(&session, channel("own:0"));
    assert!(matches!(join("t:3").await, Err(SubscribeError::TooManySubscriptions(2))));
    world.hub.unsubscribe(&session, channel("t:1"));
    join("t:3").await.unwrap();
}

#[tokio::test]
async fn a_closed_session_joins_nothing() {
    let world = World::new();
    let session = world.hub.open(queue("a", [127, 0, 0, 1])).unwrap();
    world.hub.close(&session, CloseCode::Normal);
    let refused = world.hub.subscribe(&session, channel("t:1"), None, StartPosition::Now, no_preface).await;
    assert!(matches!(refused, Err(SubscribeError::SessionClosed)));
}

#[tokio::test]
async fn the_inbox_is_bounded_and_makes_the_publisher_wait_without_losing_anything() {
    let world = Arc::new(World::with(HubConfig { inbox_bytes: 2000, ..still() }));
    let mut client = world.connect("a").await;
    world.hub.subscribe(&client.session, channel("t:1"), None, StartPosition::Now, no_preface).await.unwrap();
    let publisher = Arc::clone(&world);
    let thread = std::thread::spawn(move || {
        (0..500).for_each(|_| {
            publisher.publish("t:1", "x");
        });
    });
    assert_eq!(client.texts(500).await.len(), 500);
    thread.join().unwrap();
}
