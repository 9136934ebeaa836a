//! What people do with each other.

use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;
use super::world::Socket;
use crate::world::Person;

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

/// The one event of this kind: whoever was let into a conversation just now hears it as soon as they listen.
async fn only(socket: &mut Socket, kind: &str) -> Value {
    let first = socket.hear(kind).await;
    let others = socket.heard().await;
    assert!(!types(&others).contains(&kind), "{kind} once, and {:?}", types(&others));
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_meet_talk_and_read() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Léa").await, world.person("Paul").await);
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);

        let found = world.get(&lea, "admins/search?q=PAÜL").await;
        assert_eq!(found["admins"][0]["id"], paul.id.as_str());
        let invited =
            world.post(&lea, "invitations", json!({ "toUserId": paul.id, "message": "Bonjour" })).await;
        let told = of_paul.hear("new_invitation").await["invitation"].clone();
        assert_eq!(told["id"], invited["invitation_id"]);
        assert_eq!(told["from_user"]["firstname"], "Léa");
        assert_eq!(told["fromUser"], told["from_user"]);
        let pending = world.get(&lea, "conversations").await["conversations"][0].clone();
        assert_eq!((&pending["status"], &pending["id"]), (&json!("pending"), &invited["invitation_id"]));
        assert_eq!(world.get(&paul, "invitations").await["invitations"][0]["_id"], invited["invitation_id"]);

        let path = format!("invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        let begun = world.put(&paul, &path, json!({ "action": "accept" })).await;
        let id = begun["conversation_id"].as_str().unwrap().to_owned();
        assert_eq!(begun["conversation"]["participant"]["id"], lea.id.as_str());
        let accepted = of_lea.hear("invitation_accepted").await;
        assert_eq!(
            (accepted["conversation_id"].as_str(), &accepted["participant_id"]),
            (Some(&*id), &json!(paul.id))
        );
        assert_eq!(accepted["conversation"]["participant"]["id"], paul.id.as_str());

        // Nobody joined anything: who is in a conversation hears it.
        let sent = world.send(&lea, &id, " Salut Paul ").await;
        assert_eq!(
            (&sent["content"], &sent["sender_id"], &sent["number"]),
            (&json!("Salut Paul"), &json!(lea.id), &json!(1))
        );
        assert_ne!(sent["delivered_at"], Value::Null, "Paul is connected");
        let heard = of_paul.hear("new_message").await;
        assert_eq!((&heard["conversation_id"], &heard["message"]), (&json!(id), &sent));
        assert!(!types(&of_lea.heard().await).contains(&"new_message"), "one's own message is no news");

        of_paul
            .say(&json!({ "type": "send_message", "conversation_id": id, "message": "Salut Léa", "id": 7 }))
            .await;
        let answer = of_paul.hear("message_sent").await;
        assert_eq!((&answer["id"], &answer["message"]["content"]), (&json!(7), &json!("Salut Léa")));
        assert_eq!(only(&mut of_lea, "new_message").await["message"]["id"], answer["message"]["id"]);

        let listed = world.get(&lea, "conversations").await["conversations"][0].clone();
        assert_eq!(
            (&listed["unread_count"], &listed["last_message"]["content"]),
            (&json!(1), &json!("Salut Léa"))
        );
        let marked = world.post(&lea, &format!("conversations/{id}/mark-read"), Value::Null).await;
        assert_eq!(marked["marked_read"], 1);
        let read = of_paul.hear("messages_read").await;
        assert_eq!((&read["conversation_id"], &read["user_id"]), (&json!(id), &json!(lea.id)));
        let messages = world.get(&paul, &format!("conversations/{id}/messages")).await["messages"].clone();
        assert_eq!(messages[1]["read_by"][0]["user_id"], lea.id.as_str());
        assert_eq!((&messages[0]["is_read"], &messages[1]["is_read"]), (&json!(false), &json!(true)));
        assert_eq!(
            world.post(&lea, &format!("conversations/{id}/mark-read"), Value::Null).await["marked_read"],
            0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_are_not_doubled_and_can_be_rejected_and_cancelled() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let mut of_lea = world.connect(&lea).await;
        let invite =
            |from, to: String| world.call(from, Method::POST, "invitations", json!({ "to_user_id": to }));
        let (status, refused) = invite(&lea, lea.id.clone()).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_value")));
        assert_eq!(invite(&lea, "nobody".into()).await.0, 404);
        let (status, sent) = invite(&lea, paul.id.clone()).await;
        assert_eq!(status, 201);
        let id = sent["data"]["invitation_id"].as_str().unwrap().to_owned();
        let (status, again) = invite(&lea, paul.id.clone()).await;
        assert_eq!(
            (status, &again["code"], &again["invitation_id"]),
            (409, &json!("already_invited"), &json!(id))
        );
        assert_eq!(invite(&paul, lea.id.clone()).await.1["code"], "invited_by_them");
        let respond = format!("invitations/{id}/respond");
        assert_eq!(
            world.call(&lea, Method::PUT, &respond, json!({ "action": "accept" })).await.0,
            404,
            "not hers"
        );
        assert_eq!(world.call(&paul, Method::PUT, &respond, json!({ "action": "maybe" })).await.0, 400);
        let rejected = world.put(&paul, &respond, json!({ "action": "reject" })).await;
        assert_eq!(rejected, json!({ "conversation_id": null, "conversation": null }));
        assert_eq!(of_lea.hear("invitation_rejected").await["invitation_id"], id.as_str());
        assert_eq!(world.call(&paul, Method::PUT, &respond, json!({ "action": "accept" })).await.0, 409);

        let second =
            invite(&lea, paul.id.clone()).await.1["data"]["invitation_id"].as_str().unwrap().to_owned();
        world.delete(&lea, &format!("invitations/{second}")).await;
        assert_eq!(world.get(&paul, "invitations").await["invitations"], json!([]));
        world.befriend(&paul, &lea).await;
        assert_eq!(invite(&lea, paul.id.clone()).await.1["code"], "already_in_conversation");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lets_people_in_and_out() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await];
        let [lea, paul, zoe] = &people;
        let (mut of_paul, mut of_zoe) = (world.connect(paul).await, world.connect(zoe).await);
        let group = world.post(lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let id = group.as_str().unwrap();
        world.send(lea, id, "avant").await;
        for guest in [paul, zoe] {
            let invited =
                world.post(lea, &format!("groups/{id}/invite"), json!({ "to_user_id": guest.id })).await;
            assert_eq!(invited["invitation"]["group_name"], "Chantier");
            let waiting = world.get(guest, "group-invitations").await["invitations"][0]["id"].clone();
            assert_eq!(waiting, invited["invitation_id"]);
            let path = format!("group-invitations/{}/respond", waiting.as_str().unwrap());
            let joined = world.put(guest, &path, json!({ "action": "accept" })).await;
            assert_eq!(joined["conversation"]["unread_count"], 0, "what was before is read");
        }
        assert_eq!(of_paul.hear("conversation_joined").await["conversation_id"], id);
        assert_eq!(of_paul.hear("member_joined").await["user_id"], zoe.id.as_str(), "after his own");
        world.send(lea, id, "bienvenue").await;
        assert_eq!(of_paul.hear("new_message").await["message"]["content"], "bienvenue");
        assert_eq!(of_zoe.hear("new_message").await["message"]["content"], "bienvenue");

        let out = format!("groups/{id}/members/{}", zoe.id);
        assert_eq!(world.call(paul, Method::DELETE, &out, Value::Null).await.0, 403);
        world.delete(lea, &out).await;
        assert_eq!(of_zoe.hear("left_conversation").await["conversation_id"], id);
        world.send(lea, id, "entre nous").await;
        assert_eq!(of_paul.hear("new_message").await["message"]["content"], "entre nous");
        assert!(!types(&of_zoe.heard().await).contains(&"new_message"), "who is out hears nothing");
        let messages = format!("groups/{id}/messages");
        assert_eq!(world.call(zoe, Method::GET, &messages, Value::Null).await.0, 404);
        assert_eq!(world.call(zoe, Method::POST, &messages, json!({ "content": "?" })).await.0, 404);

        world.post(lea, &format!("groups/{id}/leave"), Value::Null).await;
        assert_eq!(of_paul.hear("owner_changed").await["user_id"], paul.id.as_str());
        world.put(paul, &format!("groups/{id}"), json!({ "name": "Chantier 2" })).await;
        assert_eq!(world.get(paul, "groups").await["groups"][0]["name"], "Chantier 2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_into_a_group_on_the_word_of_somebody_who_is_out_of_it() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Eve").await];
        let [lea, paul, eve] = &people;
        let group = world.post(lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let id = group.as_str().unwrap();
        let invite = async |who: &Person, guest: &Person| {
            let path = format!("groups/{id}/invite");
            let invited = world.post(who, &path, json!({ "to_user_id": guest.id })).await;
            format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap())
        };
        let accept = json!({ "action": "accept" });
        let of_paul = invite(lea, paul).await;
        world.put(paul, &of_paul, accept.clone()).await;
        let of_eve = invite(paul, eve).await;
        world.delete(lea, &format!("groups/{id}/members/{}", paul.id)).await;
        let (status, refused) = world.call(eve, Method::PUT, &of_eve, accept.clone()).await;
        assert_eq!((status, &refused["code"]), (409, &json!("invitation_settled")));

        let of_eve = invite(lea, eve).await;
        world.post(lea, &format!("groups/{id}/leave"), Value::Null).await;
        assert_eq!(world.call(eve, Method::PUT, &of_eve, accept).await.0, 409, "the group is empty");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_their_name_has_it_at_once() {
    on_both(|world| async move {
        let (admin, lea, paul) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        assert_eq!(world.send(&lea, &id, "avant").await["sender"]["lastname"], "Martin");
        let (path, name) = (format!("/api/v1/users/{}", lea.id), json!({ "lastname": "Durand" }));
        assert_eq!(world.request(&admin, Method::PATCH, &path, name).await.0, 200);
        assert_eq!(world.send(&lea, &id, "après").await["sender"]["lastname"], "Durand");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_edited_deleted_and_found() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_paul = world.connect(&paul).await;
        let first = world.send(&lea, &id, "Le béton arrive à l'été").await["id"].as_str().unwrap().to_owned();
        let second = world.send(&lea, &id, "la grue aussi").await["id"].as_str().unwrap().to_owned();
        let search = |words: &'static str| {
            let (world, paul) = (&world, &paul);
            async move {
                let found = world.get(paul, &format!("search?q={words}")).await;
                let found = found["messages"].as_array().unwrap().clone();
                found.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            }
        };
        assert_eq!(search("BETON%20ete").await, [&*first], "whatever accents and capitals");
        assert_eq!(search("gru").await, [&*second], "beginnings of words");
        assert_eq!(search("l").await, [&*second, &*first], "the latest first");
        assert!(search("parpaing").await.is_empty());
        assert!(search("%22%27%28*%3A").await.is_empty(), "no word in it");

        let path = format!("messages/{first}");
        assert_eq!(world.call(&paul, Method::PUT, &path, json!({ "content": "non" })).await.0, 403);
        world.put(&lea, &path, json!({ "content": "Le parpaing arrive" })).await;
        let edited = of_paul.hear("message_edited").await["message"].clone();
        assert_eq!(edited["content"], "Le parpaing arrive");
        assert_ne!(edited["edited_at"], Value::Null);
        assert_eq!(search("parpaing").await, [&*first]);
        assert!(search("beton").await.is_empty());

        assert_eq!(world.get(&paul, "conversations").await["conversations"][0]["unread_count"], 2);
        world.delete(&lea, &path).await;
        let deleted = of_paul.hear("message_deleted").await["message"].clone();
        assert_eq!((&deleted["content"], &deleted["number"]), (&json!(""), &json!(1)));
        assert!(search("parpaing").await.is_empty());
        assert_eq!(world.get(&paul, "conversations").await["conversations"][0]["unread_count"], 1);
        assert_eq!(world.call(&lea, Method::DELETE, &path, Value::Null).await.0, 404, "it is gone already");
        let messages = world.get(&paul, &format!("conversations/{id}/messages")).await["messages"].clone();
        assert_eq!(messages.as_array().unwrap().len(), 2, "a tombstone stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_who_is_there_and_who_types() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let id = world.befriend(&lea, &paul).await;
        let (mut of_lea, mut of_zoe) = (world.connect(&lea).await, world.connect(&zoe).await);
        let mut phone = world.connect(&paul).await;
        let presence = of_lea.hear("user_presence").await;
        assert_eq!((&presence["user_id"], &presence["is_online"]), (&json!(paul.id), &json!(true)));
        assert_eq!(
            world.get(&lea, "conversations").await["conversations"][0]["participant"]["is_online"],
            true
        );
        let desk = world.connect(&paul).await;
        phone.say(&json!({ "type": "typing", "conversation_id": id, "is_typing": true })).await;
        let typing = of_lea.hear("user_typing").await;
        assert_eq!((&typing["user_id"], &typing["username"]), (&json!(paul.id), &json!("Paul Martin")));
        // One of two devices goes: he is still there.
        drop(desk);
        phone.say(&json!({ "type": "user_presence", "is_online": false })).await;
        let gone = of_lea.hear("user_presence").await;
        assert_eq!(gone["is_online"], false);
        let seen = world.get(&lea, "conversations").await["conversations"][0]["participant"].clone();
        assert_eq!((&seen["is_online"], &seen["last_seen"]), (&json!(false), &gone["last_seen"]));
        assert!(of_zoe.heard().await.is_empty(), "strangers learn nothing");
    })
    .await;
}
