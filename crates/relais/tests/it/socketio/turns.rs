//! One thing at a time: the messages of a connection, whatever brings them, and those who leave and come again.

use relais_hub::{SubscribeError, Subscription};
use relais_protocol::event::{Cursor, Epoch};
use reqwest::Response;
use serde_json::json;
use tokio::task::JoinHandle;

use super::world::World;

/// A polling connection in the room that works on its first event, and the POST of that.
async fn busy(world: &World) -> (String, JoinHandle<Response>) {
    let sid = world.poll_open().await;
    let url = world.polling_url(&sid);
    let client = reqwest::Client::new();
    client.post(&url).body(r#"40/room,{"user":"ann"}"#).send().await.unwrap();
    let heard = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert!(heard.starts_with(r#"40/room,{"sid""#), "{heard}");
    let body = "42/room,[\"take your time\",1]\x1e42/room,[\"take your time\",2]";
    let post = tokio::spawn(async move { client.post(url).body(body).send().await.unwrap() });
    world.told("began 1").await;
    (sid, post)
}

fn work(world: &World) -> Vec<String> {
    world.calls.all().into_iter().filter(|call| !call.starts_with("connected")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_beside_one_that_is_worked_on_is_refused_and_the_work_goes_on_to_its_end() {
    let world = World::new();
    let (sid, first) = busy(&world).await;
    let second = reqwest::Client::new().post(world.polling_url(&sid));
    let refused = second.body(r#"42/room,["take your time",3]"#).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    world.gate.add_permits(3);
    assert_eq!(first.await.unwrap().text().await.unwrap(), "ok");
    world.told("disconnected user:ann").await;
    assert_eq!(work(&world), ["began 1", "ended 1", "began 2", "ended 2", "disconnected user:ann"]);
    world.holds(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_the_end_of_an_upgrade_is_refused() {
    let world = World::new();
    for _ in 0..50 {
        let sid = world.poll_open().await;
        let mut socket = world.open(&sid).await;
        socket.say("2probe").await;
        socket.say("5").await;
        let late = reqwest::get(world.polling_url(&sid)).await.unwrap();
        assert_eq!(late.status(), 400);
        assert_eq!(socket.next().await, "3probe");
        socket.say(r#"40/room,{"user":"ann"}"#).await;
        assert!(socket.next().await.starts_with("40/room,{"), "the socket is the transport");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_takes_over_waits_for_the_messages_of_the_last_post() {
    let world = World::new();
    let (sid, first) = busy(&world).await;
    let mut socket = world.open(&sid).await;
    socket.say("2probe").await;
    assert_eq!(socket.next().await, "3probe");
    socket.say("5").await;
    socket.say(r#"42/room,7["take your time",3]"#).await;
    // The server has read at least the `5` when it refuses this.
    assert_eq!(reqwest::get(world.polling_url(&sid)).await.unwrap().status(), 400);
    assert!(!work(&world).contains(&"began 3".to_owned()), "{:?}", world.calls.all());
    world.gate.add_permits(3);
    assert_eq!(first.await.unwrap().text().await.unwrap(), "ok");
    assert_eq!(socket.next().await, "43/room,7[]");
    assert_eq!(work(&world), ["began 1", "ended 1", "began 2", "ended 2", "began 3", "ended 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_left_cannot_act_for_the_one_who_came_after() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,1["keep me"]"#).await;
    assert_eq!(client.next().await, "43/room,1[]");
    let left = world.kept.lock().pop().unwrap();
    assert!(left.is_in());
    client.say("41/room,").await;
    client.join(&json!({ "user": "ann" })).await;

    assert!(!left.is_in());
    assert_eq!(left.channels(), []);
    assert!(left.emit("told", "1").is_err());
    assert!(left.ask("question", "1").await.is_err());
    left.leave(&"room:1".parse().unwrap());
    left.disconnect();
    world.holds(1, 1).await;
    world.publish("room:1", &json!(1));
    assert_eq!(client.next().await, r#"42/room,["news",1]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_while_they_join_a_channel_is_not_in_it() {
    let before = World::new();
    (1..=2).for_each(|n| before.publish("room:2", &json!(n)));
    // Its hub has to ask the log for them.
    let world = before.restarted();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,1["keep me"]"#).await;
    assert_eq!(client.next().await, "43/room,1[]");
    let socket = world.kept.lock().pop().unwrap();

    let held = world.log.held.lock().await;
    let since = Cursor { epoch: Epoch(7), seq: 1 };
    let wanted = vec![Subscription { channel: "room:2".parse().unwrap(), filter: None }];
    let joining = tokio::spawn(async move { socket.join_since(wanted, since).await });
    world.holds(1, 2).await;
    client.say("41/room,").await;
    world.told("disconnected user:ann").await;
    drop(held);
    assert!(matches!(joining.await.unwrap(), Err(SubscribeError::SessionClosed)));
    world.holds(1, 0).await;
}
