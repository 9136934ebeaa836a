//! A database that is out of reach for a while, and one whose connection is lost in the midst of a commit.

use std::time::Duration;

use relais_testkit::{Break, Proxy, TestDb};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Pair, SECRET};
use crate::access::rights::{accounts, disable};
use crate::access::wire::{emit, socket};
use crate::world::{Person, World, until};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of the way to the database.
type Outage = fn(&Proxy);

async fn hears_of_the_end_after(outage: Outage) {
    let database = TestDb::postgres();
    let (wire, address) = database.wire();
    let pair = Pair::start_second_on(database, &address).await;
    let lea = pair.first.person("Lea").await;
    pair.caught_up().await;
    let token = format!("Bearer {}", lea.token);
    let mut listener = socket(&pair.second, "/api/v1/ws", &[("authorization", &token)]).await.unwrap();
    listener.text().await;
    listener.say(r#"{"type":"subscribe","channel":"page:a"}"#).await;
    assert!(listener.text().await.contains("subscribed"));
    outage(&wire);
    emit(&pair.first, "page:a").await;
    disable(&accounts(&pair.first), &lea).await;
    emit(&pair.first, "page:a").await;
    // What needs no database goes on meanwhile.
    listener.say(r#"{"type":"ping"}"#).await;
    assert!(listener.text().await.contains("pong"));
    wire.restore();
    let heard = tokio::time::timeout(PATIENCE, listener.closed_after()).await.expect("it is closed");
    assert_eq!(heard.len(), 1, "what came before the end, and nothing after it: {heard:?}");
    assert!(heard[0].contains("changed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_refused_it_hears_what_ended_meanwhile() {
    hears_of_the_end_after(Proxy::refuse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_fell_silent_hears_what_ended_meanwhile() {
    hears_of_the_end_after(Proxy::hold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_is_away_says_so_and_goes_on_once_it_is_back() {
    let database = TestDb::postgres();
    let (wire, address) = database.wire();
    let world = World::on(&address, SECRET).await;
    let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
    let id = world.befriend(&lea, &paul).await;
    let mut of_paul = world.connect(&paul).await;
    // What his coming asks of the database is answered.
    of_paul.heard().await;
    wire.refuse();
    let said = json!({ "content": "1", "client_id": "a1" });
    let path = format!("conversations/{id}/messages");
    let (status, reply) = world.call(&lea, Method::POST, &path, said.clone()).await;
    assert_eq!(status, 503, "{reply}");
    until("it is not ready", async || ready(&world, &lea).await == 503).await;
    wire.restore();
    until("it is ready", async || ready(&world, &lea).await == 200).await;
    let sent = sent(&world, &lea, &path, &said).await;
    assert_eq!(of_paul.hear("new_message").await["message"]["id"], sent["message"]["id"]);
    assert_eq!(contents(&world, &paul, &id).await, ["1"]);
}

async fn ready(world: &World, who: &Person) -> u16 {
    world.request(who, Method::GET, "/readyz", Value::Null).await.0
}

/// Sends a message until it is taken, and once more: the same comes of it.
async fn sent(world: &World, who: &Person, path: &str, said: &Value) -> Value {
    until("the message is taken", async || world.call(who, Method::POST, path, said.clone()).await.0 != 503)
        .await;
    world.post(who, path, said.clone()).await
}

/// The messages that there are.
async fn contents(world: &World, who: &Person, conversation: &str) -> Vec<String> {
    let page = world.get(who, &format!("conversations/{conversation}/messages")).await;
    let content = |message: &Value| message["content"].as_str().unwrap().to_owned();
    page["messages"].as_array().unwrap().iter().map(content).collect()
}

/// A message whose commit is cut off: what its sender is told, and what comes of sending it again.
async fn cut_in_the_commit(place: Break) {
    let database = TestDb::postgres();
    let (wire, address) = database.wire();
    let world = World::on(&address, SECRET).await;
    let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
    let id = world.befriend(&lea, &paul).await;
    let other = World::on(database.address(), SECRET).await;
    let (mut of_paul, mut elsewhere) = (world.connect(&paul).await, other.connect(&paul).await);
    let path = format!("conversations/{id}/messages");
    let said = json!({ "content": "une fois", "client_id": "a1" });

    wire.break_at(&["une fois", "COMMIT"], place);
    let (status, reply) = world.call(&lea, Method::POST, &path, said.clone()).await;
    assert_eq!((status, &reply["code"]), (503, &json!("outcome_unknown")), "{place:?}: {reply}");
    wire.wait_broken();
    if place == Break::After {
        // The database works on the commit while the answer has nowhere to go.
        until("it is stored", async || contents(&other, &paul, &id).await == ["une fois"]).await;
    } else {
        assert!(contents(&other, &paul, &id).await.is_empty(), "it is not stored");
    }
    let again = sent(&world, &lea, &path, &said).await;
    world.send(&lea, &id, "ensuite").await;
    assert_eq!(contents(&world, &paul, &id).await, ["une fois", "ensuite"], "{place:?}");
    for listener in [&mut of_paul, &mut elsewhere] {
        let first = listener.hear("new_message").await;
        assert_eq!(first["message"]["id"], again["message"]["id"], "{place:?}");
        let next = listener.hear("new_message").await;
        assert_eq!(next["message"]["content"], "ensuite", "{place:?}: each once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_commit_was_not_answered_is_stored_and_heard_once() {
    cut_in_the_commit(Break::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_commit_got_lost_is_stored_and_heard_once_it_is_sent_again() {
    cut_in_the_commit(Break::Before).await;
}
