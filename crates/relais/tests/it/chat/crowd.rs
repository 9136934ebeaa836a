//! Many messages at the same moment, and the words of messages that a crash left to be noted.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use relais_store::{Backend, Query as _, StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;
use crate::world::{Person, World};

const EACH: u64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_sent_at_the_same_time_are_each_taken_once_or_refused_alone() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let (zoe, marc) = (world.person("Zoe").await, world.person("Marc").await);
        let id = world.befriend(&lea, &paul).await;
        let closed = world.befriend(&lea, &zoe).await;
        world.put(&zoe, &format!("blocks/{}", lea.id), Value::Null).await;
        let path = format!("conversations/{id}/messages");
        let said = |content: String, name: String| json!({ "content": content, "client_id": name });
        let mut posts = Vec::new();
        for number in 0..EACH {
            for who in [&lea, &paul] {
                posts.push((who, path.clone(), said(format!("{number}"), format!("n{number}"))));
            }
            // Again, and the name for something else, by strangers, and to somebody who does not want it.
            posts.push((&lea, path.clone(), said(format!("{number}"), format!("n{number}"))));
            posts.push((&paul, path.clone(), said("other".to_owned(), format!("n{number}"))));
            posts.push((&marc, path.clone(), said("me too".to_owned(), format!("n{number}"))));
            let unwanted = said("hello".to_owned(), format!("z{number}"));
            posts.push((&lea, format!("conversations/{closed}/messages"), unwanted));
        }
        let all = posts.iter().map(|(who, path, body)| world.call(who, Method::POST, path, body.clone()));
        let answers = join_all(all).await;
        let mut stored = BTreeSet::new();
        for (number, six) in answers.chunks(6).enumerate() {
            let status = |at: usize| six[at].0;
            let of = |at: usize| six[at].1["data"]["message"]["id"].as_str().map(str::to_owned);
            let mut of_lea = [status(0), status(2)];
            of_lea.sort_unstable();
            assert_eq!((of_lea, of(0)), ([200, 201], of(2)), "{number}: sending again makes none");
            let mut of_paul = [status(1), status(3)];
            of_paul.sort_unstable();
            assert_eq!(of_paul, [201, 409], "{number}: a name is one message");
            assert_eq!((status(4), status(5)), (404, 403), "{number}: {:?}", six[5].1);
            stored.extend([of(0), of(1).or(of(3))]);
        }
        assert_eq!(stored.len() as u64, 2 * EACH);
        let messages = world.get(&lea, &format!("{path}?limit=100")).await["messages"].clone();
        let numbers: Vec<u64> =
            messages.as_array().unwrap().iter().map(|message| message["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=2 * EACH).collect::<Vec<_>>(), "without gaps");
        let rows = world.running.app().store().read(|tx| {
            let sql = "SELECT unread, read_to FROM chat_members WHERE conversation_id = \
                       (SELECT conversation_id FROM chat_messages LIMIT 1) ORDER BY user_id";
            tx.query(sql, params![], |row| Ok((row.u64(0)?, row.u64(1)?)))
        });
        let rows: Result<Vec<(u64, u64)>, StoreError> = rows.await;
        assert!(rows.unwrap().iter().all(|(unread, _)| *unread == EACH), "everybody has those of the other");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_in_a_group_has_the_messages_of_the_others_to_read() {
    on_both(|world| async move {
        let mut people = Vec::new();
        for name in ["Ana", "Bob", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hal", "Ida", "Jo"] {
            people.push(world.person(name).await);
        }
        let group = world.post(&people[0], "groups", json!({ "name": "Chantier" })).await;
        let group = group["group_id"].as_str().unwrap().to_owned();
        for guest in &people[1..] {
            let invited = world
                .post(&people[0], &format!("groups/{group}/invite"), json!({ "to_user_id": guest.id }))
                .await;
            let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
            world.put(guest, &path, json!({ "action": "accept" })).await;
        }
        let posts = (0..10).flat_map(|_| &people[..3]).map(|who| world.send(who, &group, "béton"));
        join_all(posts).await;
        let wanted = group.clone();
        let unread = world.running.app().store().read(move |tx| {
            let sql = "SELECT user_id, unread FROM chat_members WHERE conversation_id = $1 LIMIT 100";
            tx.query(sql, params![&wanted], |row| Ok((row.text(0)?, row.u64(1)?)))
        });
        let unread: Result<Vec<(String, u64)>, StoreError> = unread.await;
        for (user_id, unread) in unread.unwrap() {
            let has_written = people[..3].iter().any(|who| who.id == user_id);
            assert_eq!(unread, if has_written { 20 } else { 30 }, "{user_id}");
        }
    })
    .await;
}

/// What a search finds, of all messages.
async fn found(world: &World, who: &Person, query: &str) -> Vec<String> {
    let found = world.get(who, &format!("search?q={query}")).await;
    assert_eq!(found["complete"], true);
    let content = |message: &Value| message["content"].as_str().unwrap().to_owned();
    found["messages"].as_array().unwrap().iter().map(content).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_a_crash_left_to_be_noted_are_found_after_the_start() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        world.send(&lea, &id, "béton").await;
        let edited = world.send(&lea, &id, "parpaing").await;
        assert_eq!(found(&world, &paul, "beton").await, ["béton"]);
        // As if the server had been killed after the messages and before their words.
        let taken_back = world.running.app().store().write(|tx| {
            let words = match tx.backend() {
                Backend::Sqlite => "DELETE FROM chat_words WHERE rowid >= 1",
                Backend::Postgres => "DELETE FROM chat_words WHERE key >= 1",
            };
            tx.execute(words, params![])?;
            tx.execute("UPDATE chat_backfill SET below = 1 WHERE task = 'fresh words'", params![])
        });
        let taken_back: Result<u64, StoreError> = taken_back.await;
        assert_eq!(taken_back.unwrap(), 1);
        // What is edited before its words are noted has the words of what it says now, once.
        let path = format!("messages/{}", edited["id"].as_str().unwrap());
        world.put(&lea, &path, json!({ "content": "ardoise" })).await;
        let world = world.restart().await;
        assert_eq!(found(&world, &paul, "beton").await, ["béton"]);
        assert_eq!(found(&world, &paul, "ardoise").await, ["ardoise"]);
        assert!(found(&world, &paul, "parpaing").await.is_empty());
        world.put(&lea, &path, json!({ "content": "tuile" })).await;
        assert_eq!(found(&world, &paul, "tuile").await, ["tuile"]);
        assert!(found(&world, &paul, "ardoise").await.is_empty());
    })
    .await;
}
