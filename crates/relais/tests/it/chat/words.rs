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
