//! Who a connection belongs to, what it hears, its limits, and that nothing stays behind.

use std::sync::Arc;

use relais_hub::{CloseCode, CloseReason, HubConfig, Ticks};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_come_in_is_told_why_with_a_code() {
    let world = World::new();
    let mut client = world.connect().await;
    client.say(r#"40/room,{"user":"mallory"}"#).await;
    assert_eq!(client.next().await, r#"44/room,{"message":"not you","data":{"code":"forbidden"}}"#);
    client.join(&json!({ "user": "ann" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_may_be_one_of_a_family() {
    let world = World::new();
    let mut client = world.connect().await;
    for name in ["/room-7", "/room-8"] {
        client.say(&format!("40{name},{{}}")).await;
        assert!(client.next().await.starts_with(&format!("40{name},{{\"sid\"")));
    }
    world.publish("room:1", &json!(1));
    let mut heard = [client.next().await, client.next().await];
    heard.sort();
    assert_eq!(heard, [r#"42/room-7,["news",1]"#, r#"42/room-8,["news",1]"#]);
    client.say("40/rooms,{}").await;
    assert_eq!(client.next().await, r#"44/rooms,{"message":"Invalid namespace"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_does_not_say_who_they_are_in_time_is_closed() {
    let world = World::new();
    let mut silent = world.connect().await;
    silent.join(&json!({})).await;
    let mut known = world.connect().await;
    known.join(&json!({})).await;
    known.say(r#"42/room,1["i am","ann"]"#).await;
    assert_eq!(known.next().await, "43/room,1[true]");
    world.tick(6).await;
    assert_eq!(silent.heard().await, Err(4001));
    known.say(r#"42/room,2["whoami"]"#).await;
    assert_eq!(known.next().await, r#"43/room,2["user:ann"]"#);
    known.say(r#"42/room,3["i am","bob"]"#).await;
    assert_eq!(known.next().await, "43/room,3[false]", "a connection belongs to one person");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stays_unknown_by_leaving_and_coming_again() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({})).await;
    world.told("connected anonymous false").await;
    for _ in 0..2 {
        world.tick(2).await;
        client.say("41/room,").await;
        client.join(&json!({})).await;
    }
    world.tick(2).await;
    assert_eq!(client.heard().await, Err(4001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_whose_connection_ends_while_its_body_comes_is_told_why() {
    let world = World::new();
    let sid = world.poll_open().await;
    let (url, client) = (world.polling_url(&sid), reqwest::Client::new());
    for packet in [r#"40/room,{"user":"ann"}"#, r#"42/room,["keep me"]"#] {
        assert_eq!(client.post(&url).body(packet).send().await.unwrap().text().await.unwrap(), "ok");
    }
    let kept = world.kept.lock()[0].clone();
    let body = r#"42/room,["whoami"]"#;
    let mut post = world.post_head(&sid, body.len()).await;
    kept.close(CloseReason::new(CloseCode::Forbidden, "not any more"));
    world.hub.settled().await;
    post.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    post.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("\"message\":\"not any more\""),
        "{answer}"
    );
    let later = client.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(later.contains("not any more"), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_joins_nothing_is_closed() {
    let world = World::with(|settings| settings.connect_within_s = 3);
    let mut client = world.connect().await;
    world.tick(4).await;
    assert_eq!(client.heard().await, Err(4001));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asks_for_is_limited_and_what_it_belongs_to_is_not() {
    let config = HubConfig { ticks: Ticks::Manual, subscriptions_per_session_max: 1, ..HubConfig::default() };
    let world = World::on(Arc::default(), config, |_| {});
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,1["listen since",["room:2","0000000000000007-0"]]"#).await;
    assert!(client.next().await.starts_with("43/room,1["), "what it is a member of");
    for (number, name, joined) in [(2, "room:3", true), (3, "room:4", false)] {
        client.say(&format!(r#"42/room,{number}["listen","{name}"]"#)).await;
        assert_eq!(client.next().await, format!("43/room,{number}[{joined}]"));
    }
    client.say(r#"42/room,4["stop","room:3"]"#).await;
    assert_eq!(client.next().await, "43/room,4[]");
    client.say(r#"42/room,5["listen","room:4"]"#).await;
    assert_eq!(client.next().await, "43/room,5[true]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_what_it_listens_to_and_no_longer() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,1["listen","room:2"]"#).await;
    assert_eq!(client.next().await, "43/room,1[true]");
    world.publish("room:1", &json!(1));
    world.publish("room:2", &json!(2));
    assert_eq!(client.next().await, r#"42/room,["news",1]"#);
    assert_eq!(client.next().await, r#"42/room,["news",2]"#);
    client.say(r#"42/room,2["stop","room:2"]"#).await;
    assert_eq!(client.next().await, "43/room,2[]");
    world.holds(1, 1).await;
    world.publish("room:2", &json!(3));
    world.publish("room:1", &json!(4));
    assert_eq!(client.next().await, r#"42/room,["news",4]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_joined_from_a_place_leaves_nothing_out() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    for n in 1..=3 {
        world.publish("room:2", &json!(n));
    }
    client.say(r#"42/room,1["listen since",["room:2","0000000000000007-1"]]"#).await;
    assert_eq!(client.next().await, r#"42/room,["news",2]"#);
    assert_eq!(client.next().await, r#"42/room,["news",3]"#);
    assert_eq!(client.next().await, "43/room,1[true]");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_asks_and_the_client_answers() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,["ask me"]"#).await;
    assert_eq!(client.next().await, r#"42/room,1["question",1]"#);
    client.say(r#"43/room,1["yes"]"#).await;
    world.told(r#"answered Ok("\"yes\"")"#).await;
    client.say(r#"42/room,["ask me"]"#).await;
    assert_eq!(client.next().await, r#"42/room,2["question",1]"#);
    drop(client);
    world.told("answered Err(NoAnswer)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_thrown_out_leaves_at_once_and_may_come_again() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,["throw me out"]"#).await;
    assert_eq!(client.next().await, "41/room,");
    world.told("disconnected user:ann").await;
    world.holds(1, 0).await;
    client.join(&json!({ "user": "ann" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_a_connection_may_send_end_it() {
    let world = World::with(|settings| settings.events_per_s = 5);
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    let (began, mut answers) = (std::time::Instant::now(), 0);
    // So many at once that no connection is slow enough to be allowed all of them, however busy the computer is.
    for id in 1..=1_000 {
        client.try_say(&format!(r#"42/room,{id}["whoami"]"#)).await;
    }
    let code = loop {
        match client.heard().await {
            Ok(_) => answers += 1,
            Err(code) => break code,
        }
    };
    assert_eq!(code, 1008);
    let allowed = 2.0 * 5.0 + 5.0 * began.elapsed().as_secs_f64();
    // Joining was one of them.
    assert!((9.0..=allowed).contains(&f64::from(answers)), "{answers} were answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_leave_nothing_behind() {
    let world = World::new();
    for _ in 0..10 {
        let mut joined = world.connect().await;
        joined.join(&json!({ "user": "ann" })).await;
        drop(joined);
        drop(world.connect().await);
        let sid = world.poll_open().await;
        let client = reqwest::Client::new();
        let url = world.polling_url(&sid);
        let said = client.post(&url).body(r#"40/room,{"user":"bob"}"#).send().await.unwrap();
        assert_eq!(said.text().await.unwrap(), "ok");
        let heard = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert!(heard.starts_with(r#"40/room,{"sid""#), "{heard}");
        client.post(&url).body("1").send().await.unwrap();
    }
    world.holds(0, 0).await;
    let count = |calls: &[String], what: &str| calls.iter().filter(|call| call.starts_with(what)).count();
    world.calls.until("everybody has left", |calls| count(calls, "disconnected") == 20).await;
    assert_eq!(count(&world.calls.all(), "connected"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_client_that_falls_silent_is_forgotten() {
    let world = World::new();
    let sid = world.poll_open().await;
    let url = world.polling_url(&sid);
    reqwest::Client::new().post(&url).body(r#"40/room,{"user":"ann"}"#).send().await.unwrap();
    world.tick(70).await;
    world.told("disconnected user:ann").await;
    world.holds(0, 0).await;
    assert_eq!(refusal(reqwest::get(&url).await.unwrap()).await, 1012);
}

/// A library that lost its GET, and goes on sending, would wait for its answers for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_polling_client_that_only_sends_is_ended_like_a_silent_one() {
    let world = World::new();
    let url = world.polling_url(&world.poll_open().await);
    let post = |body: &'static str| reqwest::Client::new().post(&url).body(body).send();
    assert_eq!(post(r#"40/room,{"user":"ann"}"#).await.unwrap().status(), 200);
    world.tick(40).await;
    assert_eq!(post(r#"42/room,["tell me",1]"#).await.unwrap().status(), 200);
    world.tick(30).await;
    assert_eq!(refusal(post(r#"42/room,["tell me",2]"#).await.unwrap()).await, 1012);
}

/// The close code that a polling client is told with the refusal of a request, which has a reason beside it.
async fn refusal(response: reqwest::Response) -> i64 {
    assert_eq!(response.status(), 400);
    let told: Value = response.json().await.unwrap();
    assert_eq!(told["code"], 1, "a session that clients have to leave: {told}");
    assert!(told["message"].as_str().unwrap().len() > 10, "{told}");
    told["close_code"].as_i64().unwrap_or_else(|| panic!("{told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_client_is_told_why_its_connection_ends_as_often_as_it_asks() {
    let world = World::with(|settings| settings.connect_within_s = 3);
    let sid = world.poll_open().await;
    let url = world.polling_url(&sid);
    world.tick(4).await;
    assert_eq!(refusal(reqwest::get(&url).await.unwrap()).await, 4001);
    let client = reqwest::Client::new();
    assert_eq!(refusal(client.post(&url).body("40/room,{}").send().await.unwrap()).await, 4001);
    assert_eq!(refusal(reqwest::get(&url).await.unwrap()).await, 4001);
    let made_up = reqwest::get(world.polling_url("nobody")).await.unwrap().text().await.unwrap();
    assert_eq!(made_up, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_an_event_like_others() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    client.say(r#"42/room,3[1,"a"]"#).await;
    assert_eq!(client.next().await, r#"43/room,3["\"a\""]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_tells_every_client() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&json!({ "user": "ann" })).await;
    let sid = world.poll_open().await;
    let held = tokio::spawn(reqwest::get(world.polling_url(&sid)));
    world.told("connected user:ann false").await;
    let drained = tokio::spawn({
        let hub = world.hub.clone();
        async move { hub.drain(std::time::Duration::ZERO).await }
    });
    assert_eq!(client.heard().await, Err(1012));
    drop(client);
    // Whether its GET was there already or comes now, it learns that its session is over.
    assert_eq!(refusal(held.await.unwrap().unwrap()).await, 1012);
    world.tick(10).await;
    drained.await.unwrap();
}
