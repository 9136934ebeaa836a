//! What a large group costs.

use relais_store::{Query as _, StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::world::Socket;
use super::{World, on_both};
use crate::world::{Person, on_both_with};

/// Bytes of the data of all events after a place of the log.
async fn stored_since(world: &World, seq: u64) -> u64 {
    let sum = world.running.app().store().read(move |tx| {
        let sql = "SELECT CAST(COALESCE(SUM(LENGTH(data)), 0) AS BIGINT) FROM events WHERE seq > $1";
        tx.query_one(sql, params![seq], |row| row.u64(0))
    });
    let sum: Result<u64, StoreError> = sum.await;
    sum.unwrap()
}

/// Makes a group of these people, in which each but the first is invited and accepts.
async fn build(world: &World, people: &[Person]) -> String {
    let group = world.post(&people[0], "groups", json!({ "name": "Chantier de la gare" })).await;
    let id = group["group_id"].as_str().unwrap().to_owned();
    for guest in &people[1..] {
        join(world, &people[0], guest, &id).await;
    }
    id
}

async fn join(world: &World, owner: &Person, guest: &Person, group: &str) {
    let invited =
        world.post(owner, &format!("groups/{group}/invite"), json!({ "to_user_id": guest.id })).await;
    let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
    world.put(guest, &path, json!({ "action": "accept" })).await;
}

async fn people(world: &World, count: usize) -> Vec<Person> {
    let mut people = Vec::new();
    for number in 0..count {
        people.push(world.person(&format!("Membre{number:04}")).await);
    }
    people
}

fn bytes(frame: &Value) -> usize {
    frame.to_string().len()
}

async fn presence_heard(socket: &mut Socket) -> usize {
    let heard = socket.heard().await;
    heard.iter().filter(|frame| frame["type"].as_str().unwrap().ends_with("_presence")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_of_a_group_costs_the_same_however_many_there_are() {
    on_both(|world| async move {
        let people = people(&world, 35).await;
        let id = build(&world, &people[..25]).await;
        let before = world.running.app().store().head().seq;
        for guest in &people[25..] {
            join(&world, &people[0], guest, &id).await;
        }
        let each = stored_since(&world, before).await / 10;
        assert!(each <= 1_000, "a thousand members cost at most a megabyte; one costs {each} bytes");
        let group = world.get(&people[1], &format!("groups/{id}")).await["group"].clone();
        assert_eq!((&group["member_count"], &group["participants"]), (&json!(35), &json!([])));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_into_a_large_group_are_told_all_that_they_were_told_in_a_small_one() {
    on_both(|world| async move {
        let people = people(&world, 22).await;
        let [owner, member, guest] = [&people[0], &people[1], &people[21]];
        let id = build(&world, &people[..21]).await;
        let (mut of_owner, mut of_member, mut of_guest) =
            (world.connect(owner).await, world.connect(member).await, world.connect(guest).await);
        join(&world, owner, guest, &id).await;
        let invited = of_guest.hear("new_invitation").await;
        let invitation = &invited["invitation"];
        assert_eq!(
            (&invitation["group_id"], &invitation["group_name"]),
            (&json!(id), &json!("Chantier de la gare"))
        );
        assert_eq!(
            (&invitation["from_user_id"], &invitation["to_user_id"]),
            (&json!(owner.id), &json!(guest.id))
        );
        assert_eq!(
            (&invitation["_id"], &invitation["fromUser"]),
            (&invitation["id"], &invitation["from_user"])
        );
        assert_eq!((&invitation["status"], &invitation["message"]), (&json!("pending"), &json!("")));
        let joined = of_guest.hear("conversation_joined").await;
        let listed = world.get(guest, "groups").await["groups"][0].clone();
        assert_eq!(joined["conversation"]["member_count"], 22);
        for (field, value) in joined["conversation"].as_object().unwrap() {
            assert_eq!(value, &listed[field], "{field}");
        }
        assert_eq!(joined["invitation_id"], invitation["id"], "also who was away learns what became of it");
        let came = of_member.hear("member_joined").await;
        for field in ["conversation_id", "group_id"] {
            assert_eq!(came[field], id.as_str(), "{field}");
        }
        assert_eq!((&came["user_id"], &came["user"]["id"]), (&json!(guest.id), &json!(guest.id)));
        assert_eq!((&came["user"]["firstname"], &came["member_count"]), (&json!("Membre0021"), &json!(22)));
        let accepted = of_owner.hear("invitation_accepted").await;
        assert_eq!((&accepted["participant_id"], &accepted["group_id"]), (&json!(guest.id), &json!(id)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_again_when_a_group_is_small_again() {
    on_both(|world| async move {
        let people = people(&world, 21).await;
        let id = build(&world, &people[..20]).await;
        let mut of_owner = world.connect(&people[0]).await;
        join(&world, &people[0], &people[20], &id).await;
        assert_eq!(of_owner.hear("member_joined").await["member_count"], 21);
        world.delete(&people[0], &format!("groups/{id}/members/{}", people[3].id)).await;
        world.post(&people[5], &format!("groups/{id}/leave"), Value::Null).await;
        let left = of_owner.hear("member_removed").await;
        assert_eq!(left["user_id"], people[5].id.as_str());
        let listed = world.get(&people[0], &format!("groups/{id}")).await["group"].clone();
        assert_eq!(listed["participants"].as_array().unwrap().len(), 19);
        assert_eq!(listed["member_count"], Value::Null);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_group_is_told_once_that_somebody_comes_and_only_if_it_looks() {
    on_both(|world| async move {
        let people = people(&world, 30).await;
        let id = build(&world, &people).await;
        let mut watcher = world.connect(&people[0]).await;
        watcher.say(&json!({ "type": "watch_presence", "group_id": id })).await;
        let watching = watcher.hear("watching_presence").await;
        assert_eq!((&watching["member_count"], &watching["online_count"]), (&json!(30), &json!(1)));
        let mut others = Vec::new();
        for person in &people[1..] {
            others.push(world.connect(person).await);
        }
        let counted = loop {
            let told = watcher.hear("group_presence").await;
            if told["online_count"] == 30 {
                break told;
            }
        };
        assert_eq!((&counted["group_id"], &counted["member_count"]), (&json!(id), &json!(30)));
        for socket in &mut others {
            assert_eq!(presence_heard(socket).await, 0, "nobody else looks");
        }
        // One person is looked at.
        let member = json!({ "type": "watch_presence", "user_ids": [people[2].id, "nobody"] });
        others[0].say(&member).await;
        let mut frames = [others[0].next().await.unwrap(), others[0].next().await.unwrap()];
        frames.sort_by_key(|frame| frame["type"].as_str().unwrap().to_owned());
        assert_eq!((&frames[0]["type"], &frames[0]["is_online"]), (&json!("user_presence"), &json!(true)));
        assert_eq!(frames[1]["user_ids"], json!([people[2].id]));
        drop(others.remove(1));
        let gone = others[0].hear("user_presence").await;
        assert_eq!((&gone["user_id"], &gone["is_online"]), (&json!(people[2].id), &json!(false)));
        others[0].say(&json!({ "type": "unwatch_presence", "user_ids": [people[2].id] })).await;
        others[0].hear("unwatched_presence").await;
        let _again = world.connect(&people[2]).await;
        assert_eq!(presence_heard(&mut others[0]).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_costs_each_member_little_however_many_have_read_it() {
    on_both(|world| async move {
        let people = people(&world, 30).await;
        let id = build(&world, &people).await;
        let message = world.send(&people[0], &id, &"x".repeat(200)).await["id"].as_str().unwrap().to_owned();
        let mut of_last = world.connect(&people[29]).await;
        for reader in &people[1..29] {
            world.post(reader, &format!("conversations/{id}/mark-read"), Value::Null).await;
        }
        let heard = of_last.heard().await;
        let told = heard.iter().filter(|frame| frame["type"] == "messages_read").count();
        assert_eq!(told, 11, "those whom the message shows, and the first beyond");
        world.put(&people[0], &format!("messages/{message}"), json!({ "content": "y".repeat(200) })).await;
        let edited = of_last.hear("message_edited").await;
        assert!(bytes(&edited) <= 2_048, "{} bytes: {edited}", bytes(&edited));
        assert_eq!(edited["message"]["read_by"].as_array().unwrap().len(), 10);
        let messages = world.get(&people[29], &format!("conversations/{id}/messages")).await;
        assert_eq!(messages["messages"][0]["read_by"], edited["message"]["read_by"]);
        let mut after = String::new();
        let mut readers = Vec::new();
        loop {
            let page =
                world.get(&people[29], &format!("messages/{message}/reads?limit=9&after={after}")).await;
            assert_eq!(page["count"], 28);
            let some = page["reads"].as_array().unwrap().clone();
            let Some(last) = some.last() else { break };
            after = last["user_id"].as_str().unwrap().to_owned();
            readers.extend(some);
        }
        assert_eq!(readers.len(), 28);
        let stranger = world.person("Inconnue").await;
        let path = format!("messages/{message}/reads");
        assert_eq!(world.call(&stranger, Method::GET, &path, Value::Null).await.0, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_in_a_large_group_has_read_it_on_all_their_devices() {
    on_both(|world| async move {
        let people = people(&world, 14).await;
        let id = build(&world, &people).await;
        world.send(&people[0], &id, "à tous").await;
        for reader in &people[1..13] {
            world.post(reader, &format!("conversations/{id}/mark-read"), Value::Null).await;
        }
        let last = &people[13];
        let (mut plain, mut all) =
            (world.connect(last).await, world.connect_with(last, json!({ "include_own": true })).await.0);
        world.post(last, &format!("conversations/{id}/mark-read"), Value::Null).await;
        let read = all.hear("messages_read").await;
        assert_eq!((&read["user_id"], &read["count"]), (&json!(last.id), &json!(1)));
        let heard = plain.heard().await;
        assert!(heard.iter().all(|frame| frame["type"] != "messages_read"), "{heard:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_owns_as_many_groups_as_the_setting_says() {
    on_both_with(
        |config| config.chat.groups_owned_max = 2,
        |world| async move {
            let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
            let named = json!({ "name": "Chantier" });
            let first = world.post(&lea, "groups", named.clone()).await["group_id"].clone();
            world.post(&lea, "groups", named.clone()).await;
            let (status, refused) = world.call(&lea, Method::POST, "groups", named.clone()).await;
            assert_eq!(
                (status, &refused["code"], &refused["owned"]),
                (409, &json!("too_many_groups"), &json!(2))
            );
            world.post(&paul, "groups", named.clone()).await;
            world.post(&lea, &format!("groups/{}/leave", first.as_str().unwrap()), Value::Null).await;
            world.post(&lea, "groups", named).await;
        },
    )
    .await;
}
