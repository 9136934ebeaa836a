//! A person's own words, and the names of people and groups.

use relais::features::accounts::{Accounts, Actor, NewUser};
use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_kept_as_it_was_written_if_there_is_anything_to_see_in_it() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        for content in
            ["    fn main() {\n        todo!()\n    }", "  - un\n\t- deux", "\u{200f}שלום", "👩\u{200d}🔧"]
        {
            let sent = world.send(&lea, &id, content).await;
            assert_eq!(sent["content"], content);
            let path = format!("messages/{}", sent["id"].as_str().unwrap());
            let edited = world.put(&lea, &path, json!({ "content": format!("   {content}") })).await;
            assert_eq!(edited["message"]["content"], format!("   {content}"));
        }
        let path = format!("conversations/{id}/messages");
        for content in
            ["\u{200b}", "\u{2060} \u{feff}\n", "\u{3164}", "\u{2800}\u{2800}", "\u{ad}", " \u{202e} ", ""]
        {
            let (status, refused) =
                world.call(&lea, Method::POST, &path, json!({ "content": content })).await;
            assert_eq!((status, &refused["code"]), (400, &json!("invalid_value")), "{content:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_turns_nothing_around_it_and_can_be_seen() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let group = world.post(&lea, "groups", json!({ "name": "مشروع Dakar" })).await;
        assert_eq!(group["group"]["name"], "مشروع Dakar");
        let path = format!("groups/{}", group["group_id"].as_str().unwrap());
        for name in ["Chantier \u{202e}gpj.exe", "\u{2067}Dakar", "\u{200b}\u{200b}", "\u{3164}"] {
            for (method, path) in [(Method::POST, "groups"), (Method::PUT, &*path)] {
                let (status, refused) = world.call(&lea, method, path, json!({ "name": name })).await;
                assert_eq!((status, &refused["field"]), (400, &json!("name")), "{name:?}");
            }
        }
        let accounts = Accounts::new(world.running.app().auth().clone());
        let actor = Actor::named("test", None);
        let user = NewUser {
            email: "zoe@relais.fr".into(),
            password: "correct horse battery".into(),
            firstname: "Zoe\u{202e}".into(),
            ..NewUser::default()
        };
        assert_eq!(accounts.create_user(&actor, user).await.unwrap_err().code(), "invalid_value");
        let renamed = json!({ "firstname": "\u{2066}Lea" });
        let boss = world.user("Boss", true).await;
        let path = format!("/api/v1/users/{}", lea.id);
        let (status, _) = world.request(&boss, Method::PATCH, &path, renamed).await;
        assert_eq!(status, 400);
        let key = accounts.create_key(&actor, "clé\u{202e}", &["relay:read:*".to_owned()], None).await;
        assert_eq!(key.unwrap_err().code(), "invalid_value");
        let key = accounts.create_key(&actor, "\u{200b}", &["relay:read:*".to_owned()], None).await;
        assert_eq!(key.unwrap_err().code(), "invalid_value");
        let module = json!({ "module_id": "m1", "type": "Station", "name": "Four\u{202e}" });
        let (status, refused) = world.request(&boss, Method::POST, "/api/v1/modules", module).await;
        assert_eq!((status, &refused["field"]), (400, &json!("name")), "{refused}");
        assert_eq!(world.call(&lea, Method::GET, "groups", Value::Null).await.1["data"]["total"], 1);
    })
    .await;
}

/// A text that its program cut inside a character: JSON that names half of a surrogate pair.
const CUT: &str = r#"{"type":"send_message","conversation_id":"1","message":"Bonjour \ud83d"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cuts_a_text_inside_a_character_is_told_so_on_every_socket() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let mut of_chat = world.connect(&lea).await;
        let mut of_hub = world.open_native().await;
        of_hub.say(&json!({ "type": "authenticate", "token": lea.token })).await;
        of_hub.hear("authenticated").await;
        let of_hubs_own = r#"{"type":"subscribe","channel":"page:Bonjour \ud83d"}"#;
        for (socket, cut) in [(&mut of_chat, CUT), (&mut of_hub, of_hubs_own)] {
            socket.say_text(cut).await;
            assert_eq!(socket.hear("error").await["code"], "invalid_text");
        }
        let mut of_socketio = world.open_at("/socket.io/?EIO=4&transport=websocket").await;
        of_socketio.say_text(&format!("40/chat,{}", json!({ "token": lea.token }))).await;
        while !of_socketio.next_text().await.contains("authenticated") {}
        of_socketio.say_text(&format!("42/chat,7[\"send_message\",{CUT}]")).await;
        let refused = loop {
            let told = of_socketio.next_text().await;
            if let Some(acknowledged) = told.strip_prefix("43/chat,7") {
                break acknowledged.to_owned();
            }
        };
        assert!(refused.contains("invalid_text"), "{refused}");
    })
    .await;
}
