//! Which read marks stay, and what they say about messages.

use relais_protocol::time::Timestamp;
use relais_store::{Query as _, StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::Person;

const DAY_MS: i64 = 86_400_000;
/// Far enough back that no mark made by a test is of the same day.
const LONG_AGO_MS: i64 = 1_700_000_000_000 / DAY_MS * DAY_MS;

/// A conversation in which nobody has read anything of `messages` messages.
async fn long_conversation(world: &World, lea: &Person, paul: &Person, messages: u64) -> String {
    let id = world.befriend(lea, paul).await;
    world.send(lea, &id, "modèle").await;
    let conversation = id.clone();
    let written = world.running.app().store().write(move |tx| {
        tx.execute(
            "INSERT INTO chat_messages (key, id, conversation_id, number, sender_id, content, mentions, attachments, \
             created_at) \
             WITH RECURSIVE n (number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM n WHERE number < $2) \
             SELECT m.key + n.number, m.id || n.number, $1, n.number, m.sender_id, 'x', '', '', m.created_at \
             FROM chat_messages m CROSS JOIN n WHERE m.conversation_id = $1",
            params![&conversation, messages],
        )?;
        tx.execute("UPDATE chat_conversations SET messages = $1 WHERE id = $2", params![messages, &conversation])?;
        tx.execute(
            "UPDATE chat_members SET unread = $1 WHERE conversation_id = $2 AND read_to = 0 AND unread > 0",
            params![messages, &conversation],
        )
    });
    let written: Result<u64, StoreError> = written.await;
    assert_eq!(written.unwrap(), 1, "one of two has not read");
    id
}

/// Notes that somebody read up to a message, at a time.
async fn mark(world: &World, id: &str, who: &Person, marks: Vec<(u64, i64)>) {
    let (id, who) = (id.to_owned(), who.id.clone());
    let written = world.running.app().store().write(move |tx| {
        for (up_to, at) in marks {
            let sql =
                "INSERT INTO chat_reads (conversation_id, user_id, up_to, read_at) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, params![&id, &who, up_to, at])?;
        }
        Ok::<_, StoreError>(())
    });
    written.await.unwrap();
}

/// The marks that are there, the first first.
async fn marks(world: &World, id: &str, who: &Person) -> Vec<u64> {
    let (id, who) = (id.to_owned(), who.id.clone());
    let read = world.running.app().store().read(move |tx| {
        let sql = "SELECT up_to FROM chat_reads WHERE conversation_id = $1 AND user_id = $2 ORDER BY up_to";
        tx.query(sql, params![&id, &who], |row| row.u64(0))
    });
    let read: Result<Vec<u64>, StoreError> = read.await;
    read.unwrap()
}

/// When somebody read each of the messages from 1 on.
async fn read_at(world: &World, id: &str, viewer: &Person, reader: &Person, count: u64) -> Vec<Value> {
    let path = format!("conversations/{id}/messages?after=0&limit={count}");
    let page = world.get(viewer, &path).await;
    let messages = page["messages"].as_array().unwrap().iter();
    let times = messages.map(|message| {
        let by = message["read_by"].as_array().unwrap();
        assert_eq!(by.len(), 1, "{message}");
        assert_eq!(by[0]["user_id"], reader.id.as_str());
        by[0]["read_at"].clone()
    });
    times.collect()
}

fn at(ms: i64) -> Value {
    json!(Timestamp::from_millis(ms))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_marks_of_long_ago_the_last_of_each_day_stays_and_all_messages_stay_read() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = long_conversation(&world, &lea, &paul, 200).await;
        let day = |up_to: u64| if up_to <= 2 { 0 } else { DAY_MS };
        let time = |up_to: u64| LONG_AGO_MS + day(up_to) + i64::try_from(up_to).unwrap();
        mark(&world, &id, &paul, (1..=100).map(|up_to| (up_to, time(up_to))).collect()).await;
        for up_to in 101..=103 {
            world.post(&paul, &format!("conversations/{id}/mark-read"), json!({ "up_to": up_to })).await;
        }
        let kept: Vec<u64> = std::iter::once(2).chain(4..=103).collect();
        assert_eq!(marks(&world, &id, &paul).await, kept);
        let expected: Vec<Value> = [2, 2, 4, 4, 5].into_iter().map(|up_to| at(time(up_to))).collect();
        assert_eq!(read_at(&world, &id, &lea, &paul, 5).await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_version_keeps_what_the_marks_say() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = long_conversation(&world, &lea, &paul, 250).await;
        let time = |up_to: u64| LONG_AGO_MS + i64::try_from(up_to / 10).unwrap() * DAY_MS + 1;
        mark(&world, &id, &paul, (1..=250).map(|up_to| (up_to, time(up_to))).collect()).await;
        let undone = world.running.app().store().write(|tx| {
            tx.execute("DROP INDEX chat_messages_undelivered", params![])?;
            tx.execute("DROP INDEX chat_reads_number", params![])?;
            tx.execute("DELETE FROM migrations WHERE version = 301", params![])
        });
        let undone: Result<u64, StoreError> = undone.await;
        assert_eq!(undone.unwrap(), 1);
        let world = world.restart().await;
        let last_of_days = (1..=15).map(|day| day * 10 - 1);
        let kept: Vec<u64> = last_of_days.chain(151..=250).collect();
        assert_eq!(marks(&world, &id, &paul).await, kept);
        let expected: Vec<Value> = (1..=30).map(|number| at(time(number))).collect();
        assert_eq!(read_at(&world, &id, &lea, &paul, 30).await, expected, "to the day");
        let path = format!("conversations/{id}/messages?before=201&limit=1");
        let (_, page) = world.call(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!(page["data"]["messages"][0]["read_at"], at(time(200)));
    })
    .await;
}
