//! What is deleted, or written anew, is gone from every place that serves it.

use relais_protocol::event::{Channel, Topic};
use relais_store::{Query as _, StoreError, params};
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::{Person, text_until, until};
use relais::features::chat::Chat;

const SECRET: &str = "rendez-vous-secret";

/// Everything that the server tells this person of two conversations, from a place of the log on.
async fn told(world: &World, who: &Person, conversations: &[&str], since: &str) -> String {
    let mut all = String::new();
    let channels: String = conversations.iter().map(|id| format!("channel=conversation:{id}&")).collect();
    let poll = format!("/api/v1/poll?{channels}channel=user:{}&since={since}", who.id);
    let (status, polled) = world.request(who, reqwest::Method::GET, &poll, Value::Null).await;
    assert_eq!(status, 200, "{polled}");
    assert!(!polled["events"].as_array().unwrap().is_empty());
    all += &polled.to_string();
    let (mut socket, welcome) = world.connect_with(who, json!({ "since": since, "include_own": true })).await;
    assert_eq!(welcome["recovered"], true);
    all += &json!(socket.heard().await).to_string();
    let url = format!("http://{}/api/v1/events?{channels}since={since}", world.running.address());
    let stream = reqwest::Client::new().get(url).bearer_auth(&who.token).send().await.unwrap();
    all += &text_until(stream, |text| text.matches("event: message_deleted").count() >= 2).await;
    for path in ["conversations", "groups", "search?q=rendez"] {
        all += &world.get(who, path).await.to_string();
    }
    all += &world.overview(who, "/api/v1/chat").await.to_string();
    for id in conversations {
        all += &world.get(who, &format!("conversations/{id}/messages")).await.to_string();
    }
    all
}

/// The data of all events that are stored.
async fn stored(world: &World) -> String {
    let read = world
        .running
        .app()
        .store()
        .read(|tx| tx.query("SELECT data FROM events ORDER BY seq", params![], |row| row.text(0)));
    let read: Result<Vec<String>, StoreError> = read.await;
    read.unwrap().concat()
}

async fn into_group(world: &World, lea: &Person, group: &str, guest: &Person) {
    let invited = world.post(lea, &format!("groups/{group}/invite"), json!({ "to_user_id": guest.id })).await;
    let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
    world.put(guest, &path, json!({ "action": "accept" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_written_anew_is_told_nowhere_any_more() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let direct = world.befriend(&lea, &paul).await;
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let group = group.as_str().unwrap();
        into_group(&world, &lea, group, &paul).await;
        let since = world.get(&paul, "conversations").await["cursor"].as_str().unwrap().to_owned();
        let new = json!({ "content": SECRET, "mentions": [paul.id], "attachments": [SECRET] });
        let mut messages = Vec::new();
        for id in [&*direct, group] {
            let sent = world.post(&lea, &format!("conversations/{id}/messages"), new.clone()).await;
            messages.push(sent["message"]["id"].as_str().unwrap().to_owned());
        }
        // Whoever comes in is shown the last message.
        into_group(&world, &lea, group, &zoe).await;
        assert!(stored(&world).await.matches(SECRET).count() >= 4);
        let again = json!({ "content": format!("{SECRET} à midi") });
        world.put(&lea, &format!("messages/{}", messages[1]), again).await;
        let sent = world.send(&lea, &direct, SECRET).await["id"].as_str().unwrap().to_owned();
        world.put(&lea, &format!("messages/{sent}"), json!({ "content": "à midi" })).await;
        for message in &messages {
            world.delete(&lea, &format!("messages/{message}")).await;
        }
        assert!(!stored(&world).await.contains(SECRET), "in the log");
        let both = [&*direct, group];
        for who in [&paul, &lea] {
            let told = told(&world, who, &both, &since).await;
            assert!(!told.contains(SECRET), "from memory: {told}");
            assert!(told.contains("à midi"));
        }
        let world = world.restart().await;
        let told = told(&world, &paul, &both, &since).await;
        assert!(!told.contains(SECRET), "from the database: {told}");
        let late = world.connect_with(&zoe, json!({ "since": since })).await.0.heard().await;
        assert!(!json!(late).to_string().contains(SECRET), "who came later");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_an_upgrade_leaves_the_log() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let gone = world.send(&lea, &id, "au revoir").await["id"].as_str().unwrap().to_owned();
        let kept = world.send(&lea, &id, SECRET).await["id"].as_str().unwrap().to_owned();
        // As an earlier version left it: the row is empty, and no event knows of it.
        let undone = world.running.app().store().write({
            let gone = gone.clone();
            move |tx| {
                let sql = "UPDATE chat_messages SET content = '', deleted_at = created_at WHERE id = $1";
                tx.execute(sql, params![&gone])?;
                tx.execute("UPDATE chat_messages SET seq = NULL", params![])?;
                tx.execute("DELETE FROM chat_told", params![])?;
                let head =
                    "UPDATE chat_backfill SET below = (SELECT seq + 1 FROM log_head) WHERE task = 'log'";
                tx.execute(head, params![])
            }
        });
        let undone: Result<u64, StoreError> = undone.await;
        assert_eq!(undone.unwrap(), 1);
        assert!(stored(&world).await.contains("au revoir"));
        let world = world.restart().await;
        until("it is gone", async || !stored(&world).await.contains("au revoir")).await;
        world.delete(&lea, &format!("messages/{kept}")).await;
        assert!(!stored(&world).await.contains(SECRET), "known to the events again");
        let store = world.running.app().store();
        let channel = Channel::Topic(Topic::new(&format!("conversation:{id}")).unwrap());
        let names: Vec<String> = store
            .events_after(&channel, 0, store.head().seq, 100)
            .await
            .unwrap()
            .iter()
            .map(|event| event.name.to_string())
            .collect();
        assert_eq!(names.iter().filter(|name| *name == "new_message").count(), 2, "{names:?}");
    })
    .await;
}

/// One number out of the database.
async fn count(world: &World, sql: &'static str) -> u64 {
    let read = world.running.app().store().read(move |tx| tx.query_one(sql, params![], |row| row.u64(0)));
    let read: Result<u64, StoreError> = read.await;
    read.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_costs_the_same_however_many_there_were() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let since = world.get(&paul, "conversations").await["cursor"].as_str().unwrap().to_owned();
        let message = world.send(&lea, &id, SECRET).await["id"].as_str().unwrap().to_owned();
        let path = format!("messages/{message}");
        for number in 1..=20 {
            world
                .put(&lea, &path, json!({ "content": format!("{SECRET} {number}"), "mentions": [paul.id] }))
                .await;
        }
        world.put(&lea, &path, json!({ "content": "à midi", "mentions": [] })).await;
        assert_eq!(count(&world, "SELECT COUNT(*) FROM chat_told").await, 1, "the event of the last edit");
        // The first event each time, and from the second edit on the event of the one before.
        assert_eq!(count(&world, "SELECT COUNT(*) FROM amendments").await, 21 + 20);
        let stored = stored(&world).await;
        assert!(!stored.contains(SECRET), "in the log");
        assert_eq!(stored.matches("à midi").count(), 2, "as it was sent first, and with the last edit");
        let heard = world.connect_with(&paul, json!({ "since": since })).await.0.heard().await;
        let of_message = heard.iter().filter(|frame| frame["message"]["id"] == message.as_str());
        let texts: Vec<&str> =
            of_message.map(|frame| frame["message"]["content"].as_str().unwrap()).collect();
        assert_eq!((texts[0], texts[20], texts[21]), ("à midi", "", "à midi"));
        assert!(heard.iter().all(|frame| !frame["message"]["mentions"].to_string().contains(&paul.id)));
        world.delete(&lea, &path).await;
        assert!(!self::stored(&world).await.contains("à midi"), "in the log");
        assert_eq!(count(&world, "SELECT COUNT(*) FROM chat_told").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_text_was_told_is_forgotten_with_the_log() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut messages = Vec::new();
        for text in ["un", "deux"] {
            let message = world.send(&lea, &id, text).await["id"].as_str().unwrap().to_owned();
            world.put(&lea, &format!("messages/{message}"), json!({ "content": SECRET })).await;
            messages.push(message);
        }
        let (store, chat) = (world.running.app().store(), world.running.app().service::<Chat>());
        let all = store.retention_now().plus_millis(3_600_000);
        assert!(store.trim_events(all, 1).await.unwrap() > 0);
        chat.forget_trimmed().await.unwrap();
        assert_eq!(count(&world, "SELECT COUNT(*) FROM chat_told").await, 1, "of the event that is kept");
        for message in &messages {
            world.put(&lea, &format!("messages/{message}"), json!({ "content": "à midi" })).await;
        }
        assert!(!stored(&world).await.contains(SECRET));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_on_the_same_database_serves_it_no_more_either() {
    const KEY: &str = "a secret that both servers have in common";
    let database = relais_testkit::TestDb::postgres();
    let first = World::on(database.address(), KEY).await;
    let second = World::on(database.address(), KEY).await;
    let (lea, paul) = (first.person("Lea").await, first.person("Paul").await);
    let id = first.befriend(&lea, &paul).await;
    let since = first.get(&paul, "conversations").await["cursor"].as_str().unwrap().to_owned();
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(first.send(&lea, &id, SECRET).await["id"].as_str().unwrap().to_owned());
    }
    // The second server has them in memory.
    second.running.app().store().catch_up().await.unwrap();
    for text in [format!("{SECRET} à midi"), "à midi".to_owned()] {
        first.put(&lea, &format!("messages/{}", messages[0]), json!({ "content": text })).await;
        second.running.app().store().catch_up().await.unwrap();
    }
    for message in &messages[1..] {
        first.delete(&lea, &format!("messages/{message}")).await;
    }
    second.running.app().store().catch_up().await.unwrap();
    let told = told(&second, &paul, &[&id], &since).await;
    assert!(!told.contains(SECRET), "from memory: {told}");
    assert!(told.contains("à midi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_with_an_invitation_to_which_nobody_agreed_is_gone_from_the_log() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        for (number, end) in ["cancel", "reject", "block", "blocked"].into_iter().enumerate() {
            for group_id in [Value::Null, group.clone()] {
                let paul = world.person(&format!("Paul{number}{}", group_id.is_null())).await;
                let since = world.get(&paul, "conversations").await["cursor"].as_str().unwrap().to_owned();
                let new = json!({ "to_user_id": paul.id, "message": SECRET, "group_id": group_id });
                let id = world.post(&lea, "invitations", new).await["invitation_id"].clone();
                let id = id.as_str().unwrap();
                assert!(stored(&world).await.contains(SECRET), "while it waits");
                match end {
                    "cancel" => world.delete(&lea, &format!("invitations/{id}")).await,
                    "reject" => {
                        let path = format!("invitations/{id}/respond");
                        world.put(&paul, &path, json!({ "action": "reject" })).await
                    }
                    "block" => world.put(&lea, &format!("blocks/{}", paul.id), Value::Null).await,
                    _ => world.put(&paul, &format!("blocks/{}", lea.id), Value::Null).await,
                };
                assert!(!stored(&world).await.contains(SECRET), "{end}");
                for who in [&paul, &lea] {
                    let poll = format!("/api/v1/poll?channel=user:{}&since={since}", who.id);
                    let (status, polled) = world.request(who, reqwest::Method::GET, &poll, Value::Null).await;
                    assert_eq!(status, 200, "{polled}");
                    assert!(!polled.to_string().contains(SECRET), "from memory: {end}");
                    assert!(polled.to_string().contains(id), "what is told of it stays");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_the_word_of_an_invitation_of_somebody_who_has_left_the_group() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let group = group.as_str().unwrap();
        into_group(&world, &lea, group, &paul).await;
        let new = json!({ "to_user_id": zoe.id, "message": SECRET });
        world.post(&paul, &format!("groups/{group}/invite"), new).await;
        world.post(&paul, &format!("groups/{group}/leave"), Value::Null).await;
        assert!(!stored(&world).await.contains(SECRET));
        assert_eq!(count(&world, "SELECT COUNT(*) FROM chat_invitations WHERE message <> ''").await, 0);
    })
    .await;
}
