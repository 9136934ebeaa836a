//! Coming back, sending again, and one order for everybody.

use serde_json::{Value, json};

use super::on_both;

fn contents(frames: &[Value]) -> Vec<&str> {
    let messages = frames.iter().filter(|frame| frame["type"] == "new_message");
    messages.map(|frame| frame["message"]["content"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_was_missed_once_and_in_order_also_after_a_restart() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_paul = world.connect(&paul).await;
        world.send(&lea, &id, "1").await;
        let cursor = of_paul.hear("new_message").await["cursor"].clone();
        drop(of_paul);
        for content in ["2", "3"] {
            world.send(&lea, &id, content).await;
        }
        let world = world.restart().await;
        world.send(&lea, &id, "4").await;
        let (mut of_paul, welcome) = world.connect_with(&paul, json!({ "since": cursor })).await;
        assert_eq!((&welcome["recovered"], &welcome["cursor"]), (&json!(true), &cursor));
        assert_eq!(contents(&of_paul.heard().await), ["2", "3", "4"]);
        let (_, welcome) = world.connect_with(&paul, json!({ "since": "0000000000000001-5" })).await;
        assert_eq!(welcome["recovered"], false, "a place of another life");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_again_is_one_message_for_ever() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        let said = json!({
            "type": "send_message", "conversation_id": id, "sender_id": paul.id,
            "message": { "content": "une fois", "client_id": "a1" },
        });
        of_lea.say(&said).await;
        let first = of_lea.hear("message_sent").await;
        assert_eq!((&first["duplicate"], &first["message"]["sender_id"]), (&json!(false), &json!(lea.id)));
        let world = {
            drop((of_lea, of_paul.heard().await));
            world.restart().await
        };
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        of_lea.say(&said).await;
        let again = of_lea.hear("message_sent").await;
        assert_eq!((&again["duplicate"], &again["message"]["id"]), (&json!(true), &first["message"]["id"]));
        assert!(contents(&of_paul.heard().await).is_empty());
        let messages = world.get(&paul, &format!("conversations/{id}/messages")).await;
        assert_eq!(messages["messages"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_one_order() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let own = json!({ "include_own": true });
        let (mut of_lea, mut of_paul) =
            (world.connect_with(&lea, own.clone()).await.0, world.connect_with(&paul, own).await.0);
        let sends = (0..40).map(|number| {
            let (world, id, who) = (&world, &id, if number % 2 == 0 { &lea } else { &paul });
            async move { world.send(who, id, &number.to_string()).await }
        });
        futures_util::future::join_all(sends).await;
        let (lea_heard, paul_heard) = (of_lea.heard().await, of_paul.heard().await);
        assert_eq!(contents(&lea_heard).len(), 40);
        assert_eq!(contents(&lea_heard), contents(&paul_heard));
        let messages = world.get(&lea, &format!("conversations/{id}/messages")).await;
        let stored: Vec<&str> =
            messages["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
        assert_eq!(stored, contents(&lea_heard));
        let page = world.get(&lea, &format!("conversations/{id}/messages?before=11&limit=3")).await;
        let numbers: Vec<u64> =
            page["messages"].as_array().unwrap().iter().map(|m| m["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [8, 9, 10]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_somebody_is_delivered_when_they_come() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_lea = world.connect(&lea).await;
        assert_eq!(world.send(&lea, &id, "tu es là ?").await["delivered_at"], Value::Null);
        let _of_paul = world.connect(&paul).await;
        let delivered = of_lea.hear("messages_delivered").await;
        assert_eq!((&delivered["user_id"], &delivered["up_to"]), (&json!(paul.id), &json!(1)));
        let messages = world.get(&lea, &format!("conversations/{id}/messages")).await;
        assert_eq!(messages["messages"][0]["delivered_at"], delivered["delivered_at"]);
    })
    .await;
}
