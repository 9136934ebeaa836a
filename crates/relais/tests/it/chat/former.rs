//! What clients of an earlier chat rely on.

use reqwest::Method;
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::Person;

/// The frames of these types.
fn of_type<'a>(frames: &'a [Value], kinds: &[&str]) -> Vec<&'a Value> {
    frames.iter().filter(|frame| kinds.contains(&frame["type"].as_str().unwrap())).collect()
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_value_comes_under_any_of_its_names_or_under_several() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let several =
            |id: &str| json!({ "toUserId": id, "to_user_id": id, "recipient_id": id, "recipientId": id });
        for (number, names) in [
            &["toUserId"][..],
            &["recipientId"],
            &["user_id"],
            &["toUserId", "to_user_id", "recipient_id", "recipientId"],
        ]
        .iter()
        .enumerate()
        {
            let guest = world.person(&format!("Guest{number}")).await;
            let body: Value = names.iter().map(|name| ((*name).to_owned(), json!(guest.id))).collect();
            let invited = world.post(&lea, "invitations", body).await;
            assert_eq!(invited["invitation"]["to_user_id"], guest.id.as_str(), "{names:?}");
        }
        let (paul, zoe) = (world.person("Paul").await, world.person("Zoe").await);
        let mut notice = several(&paul.id);
        notice["title"] = "Paie".into();
        assert_eq!(world.call(&lea, Method::POST, "notifications/send", notice).await.0, 200);

        let mut torn = several(&paul.id);
        torn["recipientId"] = zoe.id.as_str().into();
        torn["title"] = "Paie".into();
        for path in ["invitations", "notifications/send", "group-invitations"] {
            let (status, refused) = world.call(&lea, Method::POST, path, torn.clone()).await;
            assert_eq!((status, &refused["code"]), (422, &json!("invalid_body")), "{path}");
            assert!(refused["message"].as_str().unwrap().contains("to_user_id"), "{refused}");
        }
        let to_paul = world.get(&paul, "invitations").await;
        assert_eq!(to_paul["invitations"], json!([]), "nobody was asked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_have_their_fields_under_any_name_too() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_lea = world.connect(&lea).await;
        let both = json!({
            "type": "send_message", "conversationId": id, "conversation_id": id, "group_id": id,
            "message": { "content": "une fois", "clientId": "a1" }, "client_id": "a1", "content": "une fois",
        });
        of_lea.say(&both).await;
        let sent = of_lea.hear("message_sent").await;
        assert_eq!((&sent["conversation_id"], &sent["client_id"]), (&json!(id), &json!("a1")));
        for (field, other) in
            [("conversationId", "?"), ("group_id", "?"), ("client_id", "a2"), ("content", "deux fois")]
        {
            let mut torn = both.clone();
            torn[field] = other.into();
            of_lea.say(&torn).await;
            assert_eq!(of_lea.hear("error").await["code"], "invalid_value", "{field}");
        }
        let messages = world.get(&lea, &format!("conversations/{id}/messages")).await["messages"].clone();
        assert_eq!(messages.as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_lists_have_conversations_of_two_and_the_new_one_has_groups_too() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await];
        let [lea, paul, zoe] = &people;
        let direct = world.befriend(lea, paul).await;
        let group = world.post(lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let pending =
            world.post(lea, "invitations", json!({ "to_user_id": zoe.id })).await["invitation_id"].clone();
        for base in ["/api/chat", "/api/admin/chat"] {
            let listed = world.overview(lea, base).await["conversations"].clone();
            let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|listed| &listed["id"]).collect();
            assert_eq!(ids, [&json!(direct), &pending], "{base}");
            for conversation in listed.as_array().unwrap() {
                assert!(conversation["participant"]["firstname"].is_string(), "{conversation}");
            }
        }
        let listed = world.overview(lea, "/api/v1/chat").await["conversations"].clone();
        let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|listed| &listed["id"]).collect();
        assert_eq!(ids, [&group, &json!(direct), &pending]);
        for base in ["/api/chat", "/api/admin/chat", "/api/v1/chat", "/chat"] {
            let (_, listed) = world.request(lea, Method::GET, &format!("{base}/groups"), Value::Null).await;
            assert_eq!(listed["data"]["groups"][0]["id"], group, "{base}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_fetches_messages_has_received_them_and_their_senders_are_told() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let mut of_lea = world.connect(&lea).await;
        for content in ["un", "deux", "trois"] {
            assert_eq!(world.send(&lea, &id, content).await["delivered_at"], Value::Null);
        }
        let own = world.get(&lea, &format!("conversations/{id}/messages")).await["messages"].clone();
        assert_eq!(own[2]["delivered_at"], Value::Null, "one's own are not received by that");
        assert!(!types(&of_lea.heard().await).contains(&"messages_delivered"));

        let last =
            world.get(&paul, &format!("conversations/{id}/messages?limit=2")).await["messages"].clone();
        let told = of_lea.hear("messages_delivered").await;
        assert_eq!(
            (&told["conversation_id"], &told["user_id"], &told["from"], &told["up_to"]),
            (&json!(id), &json!(paul.id), &json!(2), &json!(3))
        );
        for message in last.as_array().unwrap() {
            assert_eq!(message["delivered_at"], told["delivered_at"]);
        }
        let seen = world.get(&lea, &format!("conversations/{id}/messages")).await["messages"].clone();
        let delivered: Vec<&Value> =
            seen.as_array().unwrap().iter().map(|one| &one["delivered_at"]).collect();
        assert_eq!(delivered, [&Value::Null, &told["delivered_at"], &told["delivered_at"]]);

        world.get(&paul, &format!("conversations/{id}/messages")).await;
        let told = of_lea.hear("messages_delivered").await;
        assert_eq!((&told["from"], &told["up_to"]), (&json!(1), &json!(1)));
        world.get(&paul, &format!("conversations/{id}/messages")).await;
        assert_eq!(types(&of_lea.heard().await), Vec::<&str>::new(), "once");
    })
    .await;
}

/// A group of one person's, and what it takes for another to come in.
async fn group_of(world: &World, owner: &Person, guests: &[&Person]) -> String {
    let ids: Vec<&str> = guests.iter().map(|guest| &*guest.id).collect();
    let made = world.post(owner, "groups", json!({ "name": "Chantier", "member_ids": ids })).await;
    made["group_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_groups_are_there_as_their_clients_know_them() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await];
        let [lea, paul, zoe] = &people;
        let (status, made) = world
            .request(lea, Method::POST, "/chat/groups", json!({
                "name": "Chantier", "memberIds": [lea.id, paul.id, paul.id], "member_ids": [lea.id, paul.id, paul.id],
            }))
            .await;
        assert_eq!(status, 201, "{made}");
        let id = made["data"]["group_id"].as_str().unwrap().to_owned();
        let asked = made["data"]["invitations"].as_array().unwrap();
        assert_eq!(asked.len(), 1, "neither oneself nor somebody twice");
        assert_eq!((&asked[0]["to_user_id"], &asked[0]["group_id"]), (&json!(paul.id), &json!(id)));
        let invited = world.post(lea, &format!("groups/{id}/invite"), json!({ "user_id": zoe.id })).await;
        let of_zoe = invited["invitation_id"].as_str().unwrap();

        let pending = world.get(lea, &format!("groups/{id}/pending-invitations")).await;
        let names: Vec<&Value> =
            pending["invitations"].as_array().unwrap().iter().map(|one| &one["to_user"]["firstname"]).collect();
        assert_eq!((names, &pending["total"]), (vec![&json!("Paul"), &json!("Zoe")], &json!(2)));
        for path in ["group-invitations/pending", "groups/invitations/pending", "group-invitations"] {
            assert_eq!(world.get(zoe, path).await["invitations"][0]["id"], of_zoe, "{path}");
        }
        for path in [format!("groups/{id}/members"), format!("groups/{id}/pending-invitations")] {
            assert_eq!(world.call(zoe, Method::GET, &path, Value::Null).await.0, 404, "not in it yet");
        }

        let cancel = format!("group-invitations/{of_zoe}/cancel");
        assert_eq!(world.call(paul, Method::PUT, &cancel, Value::Null).await.0, 404, "not his");
        world.put(lea, &cancel, Value::Null).await;
        world.delete(lea, &cancel).await;
        assert_eq!(world.get(zoe, "group-invitations/pending").await["invitations"], json!([]));

        let of_paul = asked[0]["id"].as_str().unwrap();
        world.put(paul, &format!("group-invitations/{of_paul}/respond"), json!({ "action": "accept" })).await;
        let members = world.get(paul, &format!("groups/{id}/members")).await["members"].clone();
        let shown: Vec<_> =
            members.as_array().unwrap().iter().map(|member| (&member["id"], &member["role"])).collect();
        assert_eq!(
            shown,
            [(&json!(lea.id), &json!("owner")), (&json!(paul.id), &json!("member"))]
        );
        let direct = world.befriend(lea, zoe).await;
        assert_eq!(world.call(lea, Method::GET, &format!("groups/{direct}/members"), Value::Null).await.0, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_somebody_who_is_nobody_is_not_made() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let body = json!({ "name": "Chantier", "member_ids": [paul.id, "nobody"] });
        let (status, refused) = world.call(&lea, Method::POST, "groups", body).await;
        assert_eq!(
            (status, &refused["code"], &refused["user_id"]),
            (404, &json!("user_not_found"), &json!("nobody"))
        );
        assert_eq!(world.get(&lea, "groups").await["groups"], json!([]));
        assert_eq!(world.get(&paul, "group-invitations").await["invitations"], json!([]));
        let torn = json!({ "group_id": "other", "user_id": paul.id });
        let id = group_of(&world, &lea, &[]).await;
        assert_eq!(world.call(&lea, Method::POST, &format!("groups/{id}/invite"), torn).await.0, 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_groups_is_told_under_its_former_names_too() {
    on_both(|world| async move {
        let people = [world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await];
        let [lea, paul, zoe] = &people;
        let (mut of_lea, mut of_paul) = (world.connect(lea).await, world.connect(paul).await);
        let id = group_of(&world, lea, &[paul]).await;
        let created = of_lea.hear("group_created").await;
        assert_eq!((&created["group_id"], &created["group"]["name"]), (&json!(id), &json!("Chantier")));
        let asked = of_paul.hear("group_invitation").await;
        assert_eq!((&asked["group_id"], &asked["group_name"]), (&json!(id), &json!("Chantier")));
        let invitation = asked["invitation"]["id"].as_str().unwrap();
        assert_eq!(asked["invitation"]["from_user"]["firstname"], "Lea");

        world
            .put(paul, &format!("group-invitations/{invitation}/respond"), json!({ "action": "accept" }))
            .await;
        let joined = of_lea.hear("group_member_joined").await;
        assert_eq!((&joined["group_id"], &joined["user_id"]), (&json!(id), &json!(paul.id)));
        let accepted = of_lea.hear("group_invitation_accepted").await;
        assert_eq!((&accepted["group_id"], &accepted["user_id"]), (&json!(id), &json!(paul.id)));
        of_paul.hear("conversation_joined").await;

        of_paul.say(&json!({ "type": "join_group", "group_id": id })).await;
        assert_eq!(of_paul.hear("joined_group").await["group_id"], id.as_str());
        of_paul.say(&json!({ "type": "group_typing", "group_id": id })).await;
        let typing = of_lea.hear("group_user_typing").await;
        assert_eq!((&typing["group_id"], &typing["user_id"]), (&json!(id), &json!(paul.id)));
        // Also if it is said as of any conversation.
        of_lea.say(&json!({ "type": "typing", "conversation_id": id })).await;
        assert_eq!(of_paul.hear("group_user_typing").await["user_id"], lea.id.as_str());

        let sent = world.send(lea, &id, "bonjour").await;
        let heard = of_paul.hear_all_until("new_group_message").await;
        assert_eq!(types(&heard).last_chunk(), Some(&["new_message", "new_group_message"]), "ours first");
        let [ours, theirs] = heard.last_chunk().unwrap();
        assert_eq!((&theirs["group_id"], &theirs["message"]), (&json!(id), &sent));
        assert_eq!((&ours["message"], &ours["cursor"]), (&theirs["message"], &theirs["cursor"]));
        world.post(paul, &format!("groups/{id}/mark-read"), Value::Null).await;
        assert_eq!(of_lea.hear("group_messages_read").await["user_id"], paul.id.as_str());

        world.post(paul, &format!("groups/{id}/leave"), Value::Null).await;
        let left = of_lea.hear("group_member_left").await;
        assert_eq!((&left["group_id"], &left["user_id"]), (&json!(id), &json!(paul.id)));
        assert_eq!(of_paul.hear("group_member_left").await["group_id"], id.as_str());

        // Between two people nothing has a name of groups, though what ends in the group may still be told meanwhile.
        let direct = world.befriend(lea, zoe).await;
        let mut of_zoe = world.connect(zoe).await;
        world.send(lea, &direct, r#"","group_id":"g","#).await;
        of_lea.say(&json!({ "type": "typing", "conversation_id": direct })).await;
        world.post(zoe, &format!("conversations/{direct}/mark-read"), Value::Null).await;
        of_zoe.hear("user_typing").await;
        let (of_zoe, of_lea) = (of_zoe.heard().await, of_lea.heard().await);
        let named =
            ["new_group_message", "group_user_typing", "group_messages_read", "group_invitation_accepted"];
        for heard in [of_zoe, of_lea] {
            let others = of_type(&heard, &named).into_iter().filter(|event| event["group_id"] != id.as_str());
            assert_eq!(others.collect::<Vec<_>>(), Vec::<&Value>::new());
        }
    })
    .await;
}
