//! What is said or stored at one server is heard at the other.

use serde_json::{Value, json};

use super::Pair;
use crate::access::rights::{accounts, bearer, tester, upload_under_way};
use crate::access::wire::{emit, socket};
use crate::world::until;
use relais::features::accounts::Grant;

fn contents(frames: &[Value]) -> Vec<&str> {
    let messages = frames.iter().filter(|frame| frame["type"] == "new_message");
    messages.map(|frame| frame["message"]["content"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_servers_take_at_once_is_heard_at_both_once_and_in_one_order() {
    let pair = Pair::start().await;
    let (lea, paul) = (pair.first.person("Lea").await, pair.first.person("Paul").await);
    let id = pair.first.befriend(&lea, &paul).await;
    let own = json!({ "include_own": true });
    let mut of_lea = pair.first.connect_with(&lea, own.clone()).await.0;
    let mut of_paul = pair.second.connect_with(&paul, own).await.0;
    let sends = (0..40).map(|number| {
        let (world, who) = if number % 2 == 0 { (&pair.first, &lea) } else { (&pair.second, &paul) };
        let id = &id;
        async move { world.send(who, id, &number.to_string()).await }
    });
    futures_util::future::join_all(sends).await;
    pair.first.running.app().store().catch_up().await.unwrap();
    pair.caught_up().await;
    let (lea_heard, paul_heard) = (of_lea.heard().await, of_paul.heard().await);
    assert_eq!(contents(&lea_heard).len(), 40);
    assert_eq!(contents(&lea_heard), contents(&paul_heard));
    let messages = pair.second.get(&lea, &format!("conversations/{id}/messages")).await;
    let stored: Vec<&str> =
        messages["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(stored, contents(&lea_heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_to_ask_for_what_the_other_server_took() {
    let pair = Pair::start().await;
    let (lea, paul) = (pair.first.person("Lea").await, pair.first.person("Paul").await);
    let mut of_paul = pair.second.connect(&paul).await;
    // The conversation begins at the other server, too.
    let id = pair.first.befriend(&lea, &paul).await;
    for text in ["bonjour", "tu es là ?"] {
        pair.first.send(&lea, &id, text).await;
        assert_eq!(of_paul.hear("new_message").await["message"]["content"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_one_server_took_is_served_by_the_other() {
    let pair = Pair::start().await;
    let lea = pair.first.person("Lea").await;
    let grant = Grant { societe: "rsp-bgs".into(), access: "write".into() };
    accounts(&pair.first).set_grant(&tester(), &lea.id, grant).await.unwrap();
    pair.caught_up().await;
    let token = format!("Bearer {}", lea.token);
    let mut listener = socket(&pair.second, "/api/files/ws", &[("authorization", &token)]).await.unwrap();
    assert!(listener.text().await.contains("connection"));
    let (mut upload, rest) = upload_under_way(&pair.first, &bearer(&lea)).await;
    upload.write(rest).await;
    assert_eq!(upload.answer().await.0, 200);
    assert!(listener.text().await.contains("file_uploaded"));
    let path = "/api/files/download/rsp-bgs/a.json";
    until("the second server serves the file", async || {
        pair.second.request(&lea, reqwest::Method::GET, path, Value::Null).await == (200, json!({ "a": 1 }))
    })
    .await;
    let plain = pair.second.config().relay_files_dir().join("rsp-bgs/a.json");
    assert_eq!(std::fs::read_to_string(plain).unwrap(), "{\"a\":1}", "each has the plain files");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_topic_come_in_order_whichever_server_took_them() {
    let pair = Pair::start().await;
    let lea = pair.first.person("Lea").await;
    let token = format!("Bearer {}", lea.token);
    let mut listener = socket(&pair.second, "/api/v1/ws", &[("authorization", &token)]).await.unwrap();
    listener.text().await;
    listener.say(r#"{"type":"subscribe","channel":"page:a"}"#).await;
    assert!(listener.text().await.contains("subscribed"));
    for number in 1..=10 {
        emit(if number % 3 == 0 { &pair.second } else { &pair.first }, "page:a").await;
    }
    for number in 1..=10 {
        let event: Value = serde_json::from_str(&listener.text().await).unwrap();
        assert_eq!((&event["name"], &event["offset"]), (&json!("changed"), &json!(number)));
    }
}
