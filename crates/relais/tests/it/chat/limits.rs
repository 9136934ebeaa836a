//! Who is kept out, and what is refused.

use relais::config::ChatAccess;
use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;
use crate::world::{on_both_in_time, on_both_with};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_say_who_they_are_is_told_and_closed() {
    on_both(|world| async move {
        for (said, message) in [
            (json!({ "type": "join_conversation", "conversation_id": "1" }), "Authentification requise"),
            (json!({ "type": "authenticate" }), "Token requis"),
            (json!({ "type": "authenticate", "token": "abc" }), "Token invalide ou expiré"),
        ] {
            let mut socket = world.open().await;
            socket.say(&said).await;
            assert_eq!(socket.hear("error").await["message"], message);
            assert_eq!(socket.next().await, Err(4001));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_others_does_not_exist() {
    on_both(|world| async move {
        let (lea, paul, eve) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Eve").await);
        let id = world.befriend(&lea, &paul).await;
        let message = world.send(&lea, &id, "secret").await["id"].as_str().unwrap().to_owned();
        let mut of_eve = world.connect(&eve).await;
        for command in ["join_conversation", "send_message", "typing", "mark_read", "join_group"] {
            of_eve.say(&json!({ "type": command, "conversation_id": id, "message": "?" })).await;
            let refused = of_eve.hear("error").await;
            assert_eq!(refused["code"], "conversation_not_found", "{command}");
        }
        for command in ["edit_message", "delete_message"] {
            of_eve.say(&json!({ "type": command, "message_id": message, "content": "?" })).await;
            assert_eq!(of_eve.hear("error").await["code"], "message_not_found", "{command}");
        }
        for (method, path) in [
            (Method::GET, format!("conversations/{id}/messages")),
            (Method::GET, format!("conversations/{id}")),
            (Method::POST, format!("conversations/{id}/mark-read")),
            (Method::POST, format!("groups/{id}/leave")),
        ] {
            assert_eq!(world.call(&eve, method, &path, json!({})).await.0, 404, "{path}");
        }
        world.send(&paul, &id, "encore").await;
        assert!(of_eve.heard().await.is_empty());
        assert_eq!(world.get(&eve, "search?q=secret").await["messages"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_command_or_not_a_message_is_refused_with_its_reason() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_lea = world.connect(&lea).await;
        let long = "é".repeat(9_000);
        for (said, code) in [
            (json!({ "type": "dance" }), "unknown_command"),
            (json!([1]), "invalid_command"),
            (json!({ "type": "send_message", "conversation_id": id }), "invalid_value"),
            (json!({ "type": "send_message", "conversation_id": 7, "message": "?" }), "invalid_value"),
            (json!({ "type": "send_message", "conversation_id": id, "message": "  " }), "invalid_value"),
            (json!({ "type": "send_message", "conversation_id": id, "message": "a\u{0}b" }), "invalid_value"),
            (json!({ "type": "send_message", "conversation_id": id, "message": long }), "invalid_value"),
        ] {
            of_lea.say(&said).await;
            assert_eq!(of_lea.hear("error").await["code"], code, "{said}");
        }
        let path = format!("conversations/{id}/messages");
        let (status, refused) = world.call(&lea, Method::POST, &path, json!({ "content": "" })).await;
        assert_eq!(
            (status, &refused["error"], &refused["field"]),
            (400, &json!("Bad Request"), &json!("content"))
        );
        assert_eq!(world.call(&lea, Method::GET, "admins/search", Value::Null).await.0, 400, "q is required");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_fast_is_closed() {
    on_both_with(
        |config| config.hub.messages_per_s = 1,
        |world| async move {
            let mut socket = world.connect(&world.person("Lea").await).await;
            // More than are allowed in all the time that the test may take.
            socket.say_many(&json!({ "type": "ping" }), 100).await;
            let closed = loop {
                if let Err(code) = socket.next().await {
                    break code;
                }
            };
            assert_eq!(closed, 1008);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_may_be_for_administrators_alone() {
    on_both_with(
        |config| config.chat.access = ChatAccess::Admins,
        |world| async move {
            let (lea, boss, chief) =
                (world.person("Lea").await, world.user("Boss", true).await, world.user("Chief", true).await);
            assert_eq!(world.call(&lea, Method::GET, "conversations", Value::Null).await.0, 403);
            let invite = json!({ "to_user_id": lea.id });
            assert_eq!(world.call(&boss, Method::POST, "invitations", invite).await.0, 404);
            assert_eq!(world.get(&boss, "admins/search?q=lea").await["admins"], json!([]));
            world.befriend(&boss, &chief).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_no_message_can_have_is_after_all_of_them() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        world.send(&lea, &id, "bonjour").await;
        for (path, count) in [
            (format!("conversations/{id}/messages?before={}", u64::MAX), 1),
            (format!("conversations/{id}/messages?after={}", u64::MAX), 0),
            (format!("search?q=bonjour&before={}", u64::MAX), 1),
        ] {
            assert_eq!(world.get(&lea, &path).await["messages"].as_array().unwrap().len(), count, "{path}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_short_and_not_many() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let notice = |kind: &str, data: Value| json!({ "to_user_id": paul.id, "type": kind, "title": "Paie", "data": data });
        let told =
            |who, notice: Value| world.call(who, Method::POST, "notifications/send", notice);
        let long = |bytes: usize| Value::from("x".repeat(bytes - 2));
        for (notice, field) in [
            (notice(&"x".repeat(201), Value::Null), "type"),
            (notice("pay", long(64 * 1024 + 1)), "data"),
        ] {
            let (status, refused) = told(&lea, notice).await;
            assert_eq!((status, &refused["code"], &refused["field"]), (400, &json!("invalid_value"), &json!(field)));
        }
        assert_eq!(told(&lea, notice("pay", long(64 * 1024))).await.0, 200);

        let many = (0..200).map(|_| told(&lea, notice("pay", Value::Null)));
        let replies = futures_util::future::join_all(many).await;
        let done = replies.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(done, 59, "and the one before, in a time that stands still");
        let (_, refused) = replies.iter().find(|(status, _)| *status == 429).expect("a refusal");
        assert_eq!(refused["code"], "too_many_notifications");
        assert!(refused["retry_after"].as_u64().unwrap() >= 1);
        assert_eq!(told(&paul, json!({ "to_user_id": lea.id, "title": "Paie" })).await.0, 200, "a pace of his own");
        clock.advance_ms(1_000);
        let again = [told(&lea, notice("pay", Value::Null)).await.0, told(&lea, notice("pay", Value::Null)).await.0];
        assert_eq!(again, [200, 429], "one more each second");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_mentions_as_many_people_as_a_group_has_and_no_more() {
    on_both(|world| async move {
        let (lea, paul, eve) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Eve").await);
        let id = world.befriend(&lea, &paul).await;
        let path = format!("conversations/{id}/messages");
        let strangers = |count: usize| (0..count).map(|number| json!(format!("personne-{number:04}")));
        let mentions: Value = strangers(997).chain([&paul, &eve, &lea].map(|who| json!(who.id))).collect();
        let said = json!({ "content": "à tous", "mentions": mentions });
        let message = world.post(&lea, &path, said).await["message"].clone();
        let mut members = [&lea.id, &paul.id];
        members.sort();
        assert_eq!(message["mentions"], json!(members), "whoever else is named is left out");

        let too_many = json!({ "content": "à tous", "mentions": strangers(1_001).collect::<Value>() });
        let edit = format!("messages/{}", message["id"].as_str().unwrap());
        for (method, path) in [(Method::POST, &path), (Method::PUT, &edit)] {
            let (status, refused) = world.call(&lea, method, path, too_many.clone()).await;
            assert_eq!((status, &refused["code"]), (400, &json!("invalid_value")));
            assert_eq!(refused["field"], "mentions");
        }
        let edited = world.put(&lea, &edit, json!({ "content": "à tous", "mentions": mentions })).await;
        assert_eq!(edited["message"]["mentions"], json!(members));
        let mut of_lea = world.connect(&lea).await;
        for kind in ["send_message", "edit_message"] {
            let mut frame = too_many.clone();
            frame["type"] = kind.into();
            (frame["conversation_id"], frame["message_id"]) = (json!(id), message["id"].clone());
            of_lea.say(&frame).await;
            assert_eq!(of_lea.hear("error").await["code"], "invalid_value", "{kind}");
        }
    })
    .await;
}
