//! People who want to hear nothing of others.

use relais::features::accounts::{Accounts, Actor};
use reqwest::Method;
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::{Person, on_both_in_time};

const HOUR_MS: i64 = 3_600_000;

async fn invite(world: &World, from: &Person, to: &Person) -> (u16, Value) {
    world.call(from, Method::POST, "invitations", json!({ "to_user_id": to.id })).await
}

async fn notify(world: &World, from: &Person, to: &Person) -> (u16, Value) {
    let notice = json!({ "to_user_id": to.id, "title": "Bonjour" });
    world.call(from, Method::POST, "notifications/send", notice).await
}

/// Somebody with a token of now.
async fn again(world: &World, person: &Person) -> Person {
    let accounts = Accounts::new(world.running.app().auth().clone());
    let actor = Actor::named("test", None);
    Person { token: accounts.issue_token(&actor, &person.id, None).await.unwrap(), ..person.clone() }
}

/// `to` is invited and says no.
async fn refuse(world: &World, from: &Person, to: &Person) {
    let (status, invited) = invite(world, from, to).await;
    assert_eq!(status, 201, "{invited}");
    let path = format!("invitations/{}/respond", invited["data"]["invitation_id"].as_str().unwrap());
    world.put(to, &path, json!({ "action": "reject" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_waits_longer_each_time_and_then_for_the_other() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        // Once by mistake.
        refuse(&world, &lea, &paul).await;
        assert_eq!(notify(&world, &lea, &paul).await.1["code"], "paused_after_refusal");
        refuse(&world, &lea, &paul).await;
        for (hours, refusals) in [(1, 3), (24, 4), (168, 5), (720, 6)] {
            clock.advance_ms(HOUR_MS * hours - 1_000);
            let (lea, paul) = (again(&world, &lea).await, again(&world, &paul).await);
            let (status, refused) = invite(&world, &lea, &paul).await;
            assert_eq!((status, &refused["code"]), (429, &json!("paused_after_refusal")), "{refusals}");
            assert_eq!(refused["retry_after"], 1, "{refusals}");
            clock.advance_ms(1_000);
            refuse(&world, &lea, &paul).await;
        }
        clock.advance_ms(HOUR_MS * 24 * 3_650);
        let (lea, paul) = (again(&world, &lea).await, again(&world, &paul).await);
        for (status, refused) in [invite(&world, &lea, &paul).await, notify(&world, &lea, &paul).await] {
            assert_eq!((status, &refused["code"]), (403, &json!("recipient_refuses")));
        }
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let path = format!("groups/{}/invite", group.as_str().unwrap());
        let (_, refused) = world.call(&lea, Method::POST, &path, json!({ "to_user_id": paul.id })).await;
        assert_eq!(refused["code"], "recipient_refuses", "nor into a group");
        assert_eq!(invite(&world, &lea, &zoe).await.0, 201, "others are others");
        // He may ask himself, and then all is open.
        world.befriend(&paul, &lea).await;
        assert_eq!(notify(&world, &lea, &paul).await.0, 200);
        world.post(&lea, &path, json!({ "to_user_id": paul.id })).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_that_are_taken_back_are_not_a_way_around() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        for _ in 0..5 {
            let (status, invited) = invite(&world, &lea, &paul).await;
            assert_eq!(status, 201, "{invited}");
            let path = format!("invitations/{}", invited["data"]["invitation_id"].as_str().unwrap());
            world.delete(&lea, &path).await;
        }
        assert_eq!(invite(&world, &lea, &paul).await.1["code"], "paused_after_refusal");
        clock.advance_ms(24 * HOUR_MS);
        let lea = again(&world, &lea).await;
        assert_eq!(invite(&world, &lea, &paul).await.0, 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_blocked_does_not_reach_or_find_or_see_the_other() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let admin = world.user("Ada", true).await;
        let id = world.befriend(&lea, &paul).await;
        let mut desk = world.connect(&lea).await;
        let mut of_paul = world.connect(&paul).await;
        assert_eq!(of_paul.hear("user_presence").await["is_online"], true);
        world.put(&lea, &format!("blocks/{}", paul.id), Value::Null).await;
        world.put(&lea, &format!("blocks/{}", paul.id), Value::Null).await;
        let gone = of_paul.hear("user_presence").await;
        assert_eq!(
            (&gone["user_id"], &gone["is_online"], &gone["last_seen"]),
            (&json!(lea.id), &json!(false), &Value::Null)
        );
        let told = desk.hear("user_blocked").await;
        assert_eq!((&told["user_id"], told["cursor"].is_string()), (&json!(paul.id), true));

        let messages = format!("conversations/{id}/messages");
        let (status, refused) = world.call(&paul, Method::POST, &messages, json!({ "content": "?" })).await;
        assert_eq!((status, &refused["code"]), (403, &json!("recipient_refuses")));
        let (status, refused) = world.call(&lea, Method::POST, &messages, json!({ "content": "?" })).await;
        assert_eq!(
            (status, &refused["code"], &refused["user_id"]),
            (409, &json!("you_blocked"), &json!(paul.id))
        );
        assert_eq!(notify(&world, &paul, &lea).await.1["code"], "recipient_refuses");
        assert_eq!(world.get(&paul, "admins/search?q=lea").await["admins"], json!([]));
        assert_eq!(world.get(&lea, "admins/search?q=paul").await["admins"][0]["id"], paul.id.as_str());
        of_paul.say(&json!({ "type": "typing", "conversation_id": id })).await;
        of_paul.say(&json!({ "type": "watch_presence", "user_ids": [lea.id] })).await;
        assert_eq!(of_paul.hear("watching_presence").await["user_ids"], json!([]));
        drop(desk);
        let mut phone = world.connect(&lea).await;
        for (socket, who) in [(&mut of_paul, "Paul"), (&mut phone, "Lea")] {
            let heard = socket.heard().await;
            let quiet = |frame: &Value| {
                let name = frame["type"].as_str().unwrap();
                name != "user_typing" && name != "user_presence"
            };
            assert!(heard.iter().all(quiet), "{who}: {heard:?}");
        }
        let seen = world.get(&paul, "conversations").await["conversations"][0]["participant"].clone();
        assert_eq!((&seen["is_online"], &seen["last_seen"]), (&json!(false), &Value::Null));
        assert_eq!(world.get(&paul, &messages).await["messages"], json!([]), "what was said stays");

        let listed = world.get(&lea, "blocks").await["blocked"].clone();
        assert_eq!((&listed[0]["id"], listed.as_array().unwrap().len()), (&json!(paul.id), 1));
        let (_, audit) = world.request(&admin, Method::GET, "/api/v1/audit", Value::Null).await;
        let actions: Vec<&Value> =
            audit["entries"].as_array().unwrap().iter().map(|e| &e["action"]).collect();
        assert_eq!(actions.iter().filter(|action| **action == "chat.block").count(), 1, "{audit}");

        phone.say(&json!({ "type": "unblock_user", "user_id": paul.id })).await;
        phone.hear("user_unblocked").await;
        let back = of_paul.hear("user_presence").await;
        assert_eq!((&back["user_id"], &back["is_online"]), (&json!(lea.id), &json!(true)));
        world.send(&paul, &id, "merci").await;
        assert_eq!(world.get(&lea, "blocks").await["blocked"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_settles_invitations_and_is_not_told_to_whom_it_is_for() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let mut of_paul = world.connect(&paul).await;
        assert_eq!(invite(&world, &paul, &lea).await.0, 201);
        let mut of_lea = world.connect(&lea).await;
        of_lea.say(&json!({ "type": "block_user", "user_id": paul.id })).await;
        of_lea.hear("invitation_answered").await;
        assert_eq!(world.get(&lea, "invitations").await["invitations"], json!([]));
        let heard = of_paul.hear_all_until("invitation_rejected").await;
        assert!(heard.iter().all(|frame| !frame.to_string().contains("block")), "{heard:?}");
        assert_eq!(invite(&world, &paul, &lea).await.1["code"], "recipient_refuses");
        assert_eq!(invite(&world, &lea, &paul).await.1["code"], "you_blocked");
        let own = format!("blocks/{}", lea.id);
        assert_eq!(world.call(&lea, Method::PUT, &own, Value::Null).await.1["code"], "invalid_value");
        assert_eq!(
            world.call(&lea, Method::PUT, "blocks/nobody", Value::Null).await.1["code"],
            "user_not_found"
        );
    })
    .await;
}

/// Who is in a channel of the hub, as somebody sees it over the hub's own protocol.
async fn present(world: &World, who: &Person, channel: &str) -> Vec<String> {
    let mut socket = world.open_native().await;
    socket.say(&json!({ "type": "authenticate", "token": who.token })).await;
    socket.hear("authenticated").await;
    socket.say(&json!({ "type": "presence", "channel": channel })).await;
    let told = socket.hear("presence").await;
    let principals = told["members"].as_array().unwrap().iter();
    principals.map(|member| member["principal"].as_str().unwrap().to_owned()).collect()
}

async fn looks(socket: &mut super::world::Socket, conversation: &str) -> Value {
    socket.say(&json!({ "type": "watch_presence", "conversation_id": conversation })).await;
    socket.hear("watching_presence").await["online_count"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_blocked_sees_the_other_come_and_go_by_no_way_and_is_not_seen() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let direct = world.befriend(&paul, &lea).await;
        let members = json!({ "name": "Chantier", "member_ids": [lea.id, zoe.id] });
        let made = world.post(&paul, "groups", members).await;
        for (who, invited) in [&lea, &zoe].into_iter().zip(made["invitations"].as_array().unwrap()) {
            let path = format!("group-invitations/{}/respond", invited["id"].as_str().unwrap());
            world.put(who, &path, json!({ "action": "accept" })).await;
        }
        let group = made["group_id"].as_str().unwrap();
        let (of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        assert_eq!(looks(&mut of_paul, &direct).await, 2);
        assert_eq!(looks(&mut of_paul, group).await, 2);
        world.put(&lea, &format!("blocks/{}", paul.id), Value::Null).await;

        for id in [&*direct, group] {
            assert_eq!(looks(&mut of_paul, id).await, 1, "himself");
            for (who, other) in [(&paul, &lea), (&lea, &paul)] {
                let seen = present(&world, who, &format!("conversation:{id}")).await;
                assert!(seen.iter().all(|principal| !principal.ends_with(&other.id)), "{seen:?}");
            }
        }
        let found = world.get(&lea, "admins/search?q=paul").await["admins"][0].clone();
        assert_eq!((&found["id"], &found["is_online"]), (&json!(paul.id), &json!(false)));

        // Of those who go only Zoe is counted for him: she is told of the last, so that Lea's going was looked at before.
        let mut of_zoe = world.connect(&zoe).await;
        assert_eq!(looks(&mut of_zoe, group).await, 3, "others see everybody");
        assert_eq!(of_paul.hear("group_presence").await["online_count"], 2);
        drop(of_lea);
        while of_zoe.hear("group_presence").await["online_count"] != 2 {}
        let told = of_paul.heard().await;
        assert!(told.iter().all(|frame| !frame.to_string().contains("presence")), "{told:?}");
    })
    .await;
}

/// Moves when the invitations between two people were answered.
async fn date_answers(world: &World, shift_ms: i64) {
    let moved = world.running.app().store().write(move |tx| {
        tx.execute(
            "UPDATE chat_invitations SET answered_at = answered_at + $1",
            relais_store::params![shift_ms],
        )
    });
    let moved: Result<u64, relais_store::StoreError> = moved.await;
    assert!(moved.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_clock_that_leapt_has_nobody_wait_longer_than_any_other() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        refuse(&world, &lea, &paul).await;
        refuse(&world, &lea, &paul).await;
        date_answers(&world, 1_096 * 24 * HOUR_MS).await;
        let (status, refused) = invite(&world, &lea, &paul).await;
        assert_eq!((status, &refused["retry_after"]), (429, &json!(3_600)));
        clock.advance_ms(HOUR_MS);
        let lea = again(&world, &lea).await;
        assert_eq!(invite(&world, &lea, &paul).await.0, 201, "and it ends");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_of_a_clock_that_leapt_does_not_open_the_door_for_years() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let made = world.post(&lea, "groups", json!({ "name": "Chantier", "member_ids": [paul.id] })).await;
        let path = format!("invitations/{}/respond", made["invitations"][0]["id"].as_str().unwrap());
        world.put(&paul, &path, json!({ "action": "accept" })).await;
        date_answers(&world, 1_096 * 24 * HOUR_MS).await;
        clock.advance_ms(1_000);
        refuse(&world, &lea, &paul).await;
        refuse(&world, &lea, &paul).await;
        assert_eq!(invite(&world, &lea, &paul).await.1["code"], "paused_after_refusal");
    })
    .await;
}
