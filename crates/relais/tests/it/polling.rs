//! Long polling: what one reply holds, and to whom it is given.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use relais_protocol::event::{Cursor, Topic};
use relais_store::StoreError;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Person, World, on_both};

const CHANNELS: [&str; 3] = ["page:a", "page:b", "page:c"];

/// Stores events, each in the next channel, with so many bytes of data.
async fn emit(world: &World, count: usize, bytes: usize) {
    let emitted = world.running.app().store().write(move |tx| {
        for number in 0..count {
            let topic = Topic::new(CHANNELS[number % CHANNELS.len()]).unwrap();
            let data = json!({ "number": number, "padding": "x".repeat(bytes) });
            tx.emit(&topic, "changed", data.to_string())?;
        }
        Ok::<_, StoreError>(())
    });
    emitted.await.unwrap();
}

async fn poll(world: &World, who: &Person, since: &str) -> Value {
    let channels: Vec<String> = CHANNELS.iter().map(|channel| format!("channel={channel}")).collect();
    let path = format!("/api/v1/poll?{}&since={since}", channels.join("&"));
    let (status, page) = world.request(who, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page
}

/// Polls until there is no more.
async fn pages(world: &World, who: &Person, mut since: String) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    loop {
        let page = poll(world, who, &since).await;
        since = page["cursor"].as_str().unwrap().to_owned();
        pages.push(page["events"].as_array().unwrap().clone());
        if page["has_more"] == false {
            return pages;
        }
    }
}

fn numbers(pages: &[Vec<Value>]) -> Vec<u64> {
    pages.iter().flatten().map(|event| event["data"]["number"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_a_slow_line_asks_for_fewer_events() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let mut since = world.running.app().store().head().to_string();
        emit(&world, 5, 10).await;
        let mut found = Vec::new();
        for count in [2, 2, 1] {
            let page = poll(&world, &lea, &format!("{since}&limit=2")).await;
            since = page["cursor"].as_str().unwrap().to_owned();
            found.push(page["events"].as_array().unwrap().clone());
            assert_eq!(
                (found.last().unwrap().len(), &page["has_more"]),
                (count, &json!(count == 2 && found.len() < 3))
            );
        }
        assert_eq!(numbers(&found), [0, 1, 2, 3, 4]);
        for wrong in ["0", "501", "x", ""] {
            let path = format!("/api/v1/poll?channel=page:a&limit={wrong}");
            assert_eq!(world.request(&lea, Method::GET, &path, Value::Null).await.0, 400, "{wrong}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_has_500_events_of_all_channels_together_and_the_next_goes_on() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let since = world.running.app().store().head().to_string();
        emit(&world, 1_300, 10).await;
        let pages = pages(&world, &lea, since).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 300]);
        assert_eq!(numbers(&pages), (0..1_300).collect::<Vec<_>>(), "in order and each once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_has_few_megabytes_but_always_an_event() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let since = world.running.app().store().head().to_string();
        emit(&world, 150, 60_000).await;
        emit(&world, 2, 5_000_000).await;
        let pages = pages(&world, &lea, since).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [69, 69, 12, 1, 1]);
        assert_eq!(numbers(&pages), (0..150).chain(0..2).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_of_a_conversation_during_the_wait_is_not_told_what_is_said_there() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await;
        let id = group["group_id"].as_str().unwrap();
        let invited =
            world.post(&lea, &format!("groups/{id}/invite"), json!({ "to_user_id": paul.id })).await;
        let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        world.put(&paul, &path, json!({ "action": "accept" })).await;

        let since = world.running.app().store().head();
        let path = format!("/api/v1/poll?channel=conversation:{id}&since={since}&wait=60");
        let asked = world.request(&paul, Method::GET, &path, Value::Null);
        let removed = async {
            // By the time that these are answered the poll waits. Should it come later, it is refused as well.
            for _ in 0..10 {
                world.get(&paul, "conversations").await;
            }
            world.delete(&lea, &format!("groups/{id}/members/{}", paul.id)).await;
            world.send(&lea, id, "entre nous").await;
        };
        let ((status, reply), ()) = tokio::join!(asked, removed);
        assert_eq!((status, &reply["code"]), (404, &json!("conversation_not_found")), "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_beyond_every_event_is_not_one_to_go_on_from() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let beyond = Cursor { seq: u64::MAX, ..world.running.app().store().head() };
        let path = format!("/api/v1/poll?channel=page:a&since={beyond}");
        let (status, reply) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((status, &reply["code"]), (410, &json!("cursor_expired")));
    })
    .await;
}
