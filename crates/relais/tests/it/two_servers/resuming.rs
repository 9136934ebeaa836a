//! A client goes on at the other server where it was at the first, whether that has heard of everything yet or not.

use relais_protocol::event::Topic;
use relais_store::StoreError;
use reqwest::Method;
use serde_json::{Value, json};

use super::Pair;
use crate::access::rights::{bearer, reader};
use crate::access::wire::{Raw, Socket, socket};
use crate::world::{Person, World};

const PAGE: &str = "page:a";

/// Stores an event with a number; its place in the log.
async fn note(world: &World, topic: &'static str, number: u32) -> String {
    let emitted = world.running.app().store().write(move |tx| {
        let topic = Topic::new(topic).unwrap();
        tx.emit(&topic, "changed", json!({ "n": number }).to_string())?;
        Ok::<_, StoreError>(())
    });
    emitted.await.unwrap();
    world.running.app().store().head().to_string()
}

/// The places in the log of the events of this number and after.
async fn notes(world: &World, topic: &'static str, numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let mut places = Vec::new();
    for number in numbers {
        places.push(note(world, topic, number).await);
    }
    places
}

async fn native(world: &World, who: &Person) -> Socket {
    let token = format!("Bearer {}", who.token);
    let mut socket = socket(world, "/api/v1/ws", &[("authorization", &token)]).await.unwrap();
    socket.text().await;
    socket
}

async fn heard(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text().await).unwrap()
}

/// The number of the next event.
async fn number(socket: &mut Socket) -> u64 {
    heard(socket).await["data"]["n"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_client_goes_on_by_cursor_and_by_position() {
    let pair = Pair::start().await;
    let lea = pair.first.person("Lea").await;
    let places = notes(&pair.first, PAGE, 1..=5).await;
    for from in [
        json!({ "since": places[2] }),
        json!({ "since": places[4] }),
        json!({ "position": { "epoch": places[0].split('-').next().unwrap(), "offset": 3 } }),
        json!({ "position": { "epoch": places[0].split('-').next().unwrap(), "offset": 5 } }),
    ] {
        // Each finds a server that has not heard of the last events, as a rule.
        let of_the_last = from["since"] == places[4].as_str() || from["position"]["offset"] == 5;
        let mut client = native(&pair.second, &lea).await;
        let mut subscribe = from.clone();
        subscribe["type"] = "subscribe".into();
        subscribe["channel"] = PAGE.into();
        client.say(&subscribe.to_string()).await;
        let welcome = heard(&mut client).await;
        assert_eq!(welcome["recovered"], true, "{from}: {welcome}");
        let expected: &[u64] = if of_the_last { &[] } else { &[4, 5] };
        for expected in expected {
            assert_eq!(number(&mut client).await, *expected, "{from}");
        }
        client.say(r#"{"type":"unsubscribe","channel":"page:a"}"#).await;
        assert_eq!(heard(&mut client).await["type"], "unsubscribed", "{from}: nothing came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_from_server_to_server_hears_everything_once_and_in_order() {
    let pair = Pair::start().await;
    let lea = pair.first.person("Lea").await;
    let mut place = note(&pair.first, PAGE, 0).await;
    let mut expected = 1;
    for round in 0..6_u32 {
        let (here, there) =
            if round % 2 == 0 { (&pair.second, &pair.first) } else { (&pair.first, &pair.second) };
        note(there, PAGE, expected).await;
        let mut client = native(here, &lea).await;
        client.say(&json!({ "type": "subscribe", "channel": PAGE, "since": place }).to_string()).await;
        assert_eq!(heard(&mut client).await["recovered"], true, "round {round}");
        note(there, PAGE, expected + 1).await;
        for wanted in expected..expected + 2 {
            let event = heard(&mut client).await;
            assert_eq!(event["data"]["n"], wanted, "round {round}");
            event["cursor"].as_str().unwrap().clone_into(&mut place);
        }
        expected += 2;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_goes_on_at_the_other_server() {
    let pair = Pair::start().await;
    let (lea, paul) = (pair.first.person("Lea").await, pair.first.person("Paul").await);
    let id = pair.first.befriend(&lea, &paul).await;
    let mut of_paul = pair.first.connect(&paul).await;
    pair.first.send(&lea, &id, "1").await;
    let cursor = of_paul.hear("new_message").await["cursor"].clone();
    drop(of_paul);
    for content in ["2", "3"] {
        pair.first.send(&lea, &id, content).await;
    }
    let (mut of_paul, welcome) = pair.second.connect_with(&paul, json!({ "since": cursor })).await;
    assert_eq!(welcome["recovered"], true, "{welcome}");
    pair.first.send(&lea, &id, "4").await;
    for content in ["2", "3", "4"] {
        assert_eq!(of_paul.hear("new_message").await["message"]["content"], content);
    }
}

/// A client of Socket.IO in the chat's namespace, with what it was told when it came in.
async fn socketio(world: &World, auth: &Value) -> (Socket, Value) {
    let mut client = socket(world, "/socket.io/?EIO=4&transport=websocket", &[]).await.unwrap();
    client.text().await;
    client.say(&format!("40/chat,{auth}")).await;
    let welcome = client.text().await;
    let welcome = serde_json::from_str(welcome.strip_prefix("40/chat,").expect("it is in")).unwrap();
    (client, welcome)
}

/// The arguments of the next event of this name.
async fn event(client: &mut Socket, name: &str) -> Value {
    loop {
        let text = client.text().await;
        if let Some(event) = text.strip_prefix("42/chat,")
            && let Ok(event) = serde_json::from_str::<Value>(event)
            && event[0] == name
        {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_recovers_at_the_other_server() {
    let pair = Pair::start().await;
    let (lea, paul) = (pair.first.person("Lea").await, pair.first.person("Paul").await);
    let id = pair.first.befriend(&lea, &paul).await;
    let auth = json!({ "token": paul.token, "recovery": true });
    let (mut client, welcome) = socketio(&pair.first, &auth).await;
    pair.first.send(&lea, &id, "1").await;
    let first = event(&mut client, "new_message").await;
    drop(client);
    for content in ["2", "3"] {
        pair.first.send(&lea, &id, content).await;
    }
    let auth = json!({ "token": paul.token, "pid": welcome["pid"], "offset": first[2] });
    let (mut client, back) = socketio(&pair.second, &auth).await;
    assert_eq!(back["pid"], welcome["pid"], "its own private id means that nothing is missing");
    pair.first.send(&lea, &id, "4").await;
    for content in ["2", "3", "4"] {
        assert_eq!(event(&mut client, "new_message").await[1]["message"]["content"], content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_polls_of_the_relay_go_on_at_the_other_server() {
    let pair = Pair::start().await;
    let lea = reader(&pair.first).await;
    // What gave her the grant is no news any more: it would end what she has just opened.
    pair.caught_up().await;
    let places = notes(&pair.first, "societe:rsp-bgs", 1..=4).await;
    // The first finds a server that has not heard of the last events, as a rule.
    for (place, expected) in [(&places[3], &[][..]), (&places[1], &[3, 4])] {
        let mut stream = Raw::to(&pair.second).await;
        stream
            .write(format!(
                "GET /api/files/events HTTP/1.1\r\nHost: localhost\r\n{}\r\nLast-Event-ID: {place}\r\n\r\n",
                bearer(&lea)
            ))
            .await;
        let welcome = stream.read_to("event: connection\ndata: ").await;
        let told = stream.read_to("\n\n").await;
        assert!(told.contains("\"recovered\":true"), "{welcome}{told}");
        for number in expected {
            stream.read_to("event: changed\n").await;
            let told = stream.read_to("\n\n").await;
            assert!(told.contains(&format!("\"n\":{number},")), "{told}");
        }
        for path in ["/api/files/changes?", "/api/files/societe/rsp-bgs/changes?"] {
            let path = format!("{path}since={place}");
            let (status, page) = pair.second.request(&lea, Method::GET, &path, Value::Null).await;
            assert_eq!(status, 200, "{page}");
            let numbers: Vec<u64> = page["changes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|change| change["n"].as_u64().unwrap())
                .collect();
            assert_eq!(numbers, expected, "{path}");
        }
        let path = format!("/api/v1/poll?channel=societe:rsp-bgs&since={place}");
        let (status, page) = pair.second.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((status, page["events"].as_array().unwrap().len()), (200, expected.len()), "{page}");
    }
}
