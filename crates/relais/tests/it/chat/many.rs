//! Somebody in more conversations than a page shows, and than a connection may ask for.

use relais_store::{StoreError, WriteTx, params};
use serde_json::{Value, json};

use super::world::Socket;
use super::{World, on_both};
use crate::world::Person;

/// More than a page, and more than `hub.subscriptions_per_session_max`.
const CONVERSATIONS: u64 = 1_200;

/// Groups of these two, numbered from 1: in the last Paul has three unread messages, in the others one.
async fn many_groups(world: &World, lea: &Person, paul: &Person) {
    let template = world.post(lea, "groups", json!({ "name": "modèle" })).await["group_id"].clone();
    let (template, lea, paul) = (template.as_str().unwrap().to_owned(), lea.id.clone(), paul.id.clone());
    let written = world.running.app().store().write(move |tx: &mut WriteTx<'_>| {
        tx.execute(
            "INSERT INTO chat_conversations (id, kind, name, created_by, created_at, messages, active_at) \
             WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < $2) \
             SELECT 'g' || n.number, 'group', 'Groupe ' || n.number, c.created_by, c.created_at, 0, n.number / 7 \
             FROM chat_conversations c CROSS JOIN n WHERE c.id = $1",
            params![&template, CONVERSATIONS],
        )?;
        for (who, role) in [(&lea, "owner"), (&paul, "member")] {
            tx.execute(
                "INSERT INTO chat_members (conversation_id, user_id, role, joined_at, read_to, unread) \
                 SELECT id, $1, $2, created_at, 0, CASE WHEN id = 'g1200' THEN 3 ELSE 1 END \
                 FROM chat_conversations WHERE id LIKE 'g%'",
                params![who, role],
            )?;
        }
        Ok::<_, StoreError>(())
    });
    written.await.unwrap();
}

/// A page of all conversations.
async fn list(world: &World, who: &Person, query: &str) -> Value {
    let path = format!("/api/v1/chat/conversations?{query}");
    let (status, reply) = world.request(who, reqwest::Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{reply}");
    reply["data"].clone()
}

fn ids(page: &Value) -> Vec<String> {
    page["conversations"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_conversation_is_heard_listed_and_counted() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        world.get(&paul, "conversations").await;
        many_groups(&world, &lea, &paul).await;
        let first = list(&world, &paul, "").await;
        assert_eq!((ids(&first).len(), &first["total"]), (500, &json!(CONVERSATIONS)));
        assert_eq!(first["unread_total"], CONVERSATIONS + 2);
        let (mut all, mut page) = (ids(&first), first);
        while let Some(next) = page["next"].as_str() {
            page = list(&world, &paul, &format!("after={next}&limit=300")).await;
            all.extend(ids(&page));
        }
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((all.len(), once.len()), (1_200, 1_200), "each once");
        assert_eq!(all[0], "g1200");
        assert_eq!(world.get(&paul, "groups?limit=1").await["total"], CONVERSATIONS);
        assert_eq!(world.get(&paul, "conversations").await["total"], 0, "of two people");
        assert_eq!(
            world.call(&paul, reqwest::Method::GET, "conversations?after=x", Value::Null).await.0,
            400
        );

        let (mut of_paul, welcome) = world.connect_with(&paul, json!({})).await;
        for id in ["g1", "g600", "g1200"] {
            world.send(&lea, id, id).await;
            assert_eq!(of_paul.hear("new_message").await["message"]["content"], id);
        }
        let invited = world.post(&lea, "invitations", json!({ "to_user_id": paul.id })).await;
        let path = format!("invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        let direct = world.put(&paul, &path, json!({ "action": "accept" })).await["conversation_id"].clone();
        world.send(&lea, direct.as_str().unwrap(), "encore une").await;
        assert_eq!(of_paul.hear("new_message").await["message"]["content"], "encore une");
        drop(of_paul);
        let world = world.restart().await;
        let (mut of_paul, back) = world.connect_with(&paul, json!({ "since": welcome["cursor"] })).await;
        assert_eq!(back["recovered"], true);
        let heard = of_paul.hear_all_until("new_message").await;
        assert_eq!(heard.last().unwrap()["message"]["content"], "g1");
        let rest: Vec<Value> = of_paul.heard().await;
        let messages = rest.iter().filter(|frame| frame["type"] == "new_message").count();
        assert_eq!(messages, 3, "from the log: {rest:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_have_pages_and_are_counted() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        for number in 0..5 {
            let group = world.post(&lea, "groups", json!({ "name": format!("G{number}") })).await;
            let path = format!("groups/{}/invite", group["group_id"].as_str().unwrap());
            world.post(&lea, &path, json!({ "to_user_id": paul.id })).await;
        }
        world.post(&lea, "invitations", json!({ "to_user_id": paul.id })).await;
        let alone = world.get(&paul, "invitations?limit=1").await;
        assert_eq!((&alone["total"], &alone["next"]), (&json!(1), &Value::Null));
        let (mut path, mut names) = ("group-invitations?limit=2".to_owned(), Vec::new());
        loop {
            let page = world.get(&paul, &path).await;
            assert_eq!(page["total"], 5);
            names.extend(page["invitations"].as_array().unwrap().iter().map(|i| i["group_name"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("group-invitations?limit=2&after={next}");
        }
        assert_eq!(names, ["G0", "G1", "G2", "G3", "G4"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_found_alike_however_many_there_are() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let written = world.running.app().store().write(|tx: &mut WriteTx<'_>| {
            // Known by their tokens alone, with ids that languages put in another order than bytes.
            for (id, name) in [("b", "Œdipe"), ("B", "Oedipe"), ("é", "Œdipe Été"), ("a-1", "œdipe"), ("a0", "OEDIPE")] {
                let principal = format!("idp:{id}");
                let sql = "INSERT INTO chat_people (id, principal, firstname, lastname, email) \
                           VALUES ($1, $2, $3, 'Roi', '')";
                tx.execute(sql, params![id, &principal, name])?;
            }
            tx.execute(
                "INSERT INTO users (id, email, password_hash, firstname, lastname, phone, admin, staff, disabled, \
                 created_at, valid_from) \
                 WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < 11000) \
                 SELECT 'u' || number, 'u' || number || '@relais.fr', '', \
                 CASE WHEN number = 9999 THEN 'Œdipe' ELSE 'Jocaste' END, '', '', 0, 0, 0, 0, 0 FROM n",
                params![],
            )
        });
        let written: Result<u64, StoreError> = written.await;
        assert_eq!(written.unwrap(), 11_000);
        let found = world.get(&lea, "admins/search?q=oedipe&limit=50").await;
        let ids: Vec<&str> = found["admins"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
        assert_eq!((ids, &found["has_more"]), (vec!["B", "a-1", "a0", "b", "é", "u9999"], &json!(false)));
        let some = world.get(&lea, "admins/search?q=%C5%93dipe&limit=2").await;
        assert_eq!((some["admins"].as_array().unwrap().len(), &some["has_more"]), (2, &json!(true)));
    })
    .await;
}

/// So many people `{prefix}1`, … whom only their tokens make known.
async fn strangers(world: &World, prefix: &'static str, many: u64) {
    let written = world.running.app().store().write(move |tx: &mut WriteTx<'_>| {
        tx.execute(
            "INSERT INTO chat_people (id, principal, firstname, lastname, email) \
             WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < $2) \
             SELECT $1 || number, 'idp:' || $1 || number, '', '', '' FROM n",
            params![prefix, many],
        )
    });
    let written: Result<u64, StoreError> = written.await;
    assert_eq!(written.unwrap(), many);
}

/// Each of them has a conversation of two with this person.
async fn talk_with_all(world: &World, who: &Person, prefix: &'static str) {
    let id = who.id.clone();
    let written = world.running.app().store().write(move |tx: &mut WriteTx<'_>| {
        tx.execute(
            "INSERT INTO chat_conversations (id, kind, name, created_by, created_at, messages, active_at, members) \
             SELECT 'c' || id, 'direct', '', id, 0, 0, 0, 2 FROM chat_people WHERE id LIKE $1 || '%'",
            params![prefix],
        )?;
        for sql in [
            "INSERT INTO chat_members (conversation_id, user_id, role, joined_at, read_to, unread) \
             SELECT 'c' || id, id, 'member', 0, 0, 0 FROM chat_people WHERE id LIKE $1 || '%' AND $2 <> ''",
            "INSERT INTO chat_members (conversation_id, user_id, role, joined_at, read_to, unread) \
             SELECT 'c' || id, $2, 'member', 0, 0, 0 FROM chat_people WHERE id LIKE $1 || '%'",
        ] {
            tx.execute(sql, params![prefix, &id])?;
        }
        Ok::<_, StoreError>(())
    });
    written.await.unwrap();
}

/// Of whom a connection was told how they are: all at once.
async fn presence_of(socket: &mut Socket) -> Vec<(String, bool)> {
    let mut heard = vec![socket.hear("user_presence").await];
    heard.extend(socket.heard().await);
    let told = heard.iter().filter(|frame| frame["type"] == "user_presence");
    told.map(|frame| (frame["user_id"].as_str().unwrap().to_owned(), frame["is_online"].as_bool().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_talks_with_thousands_is_seen_to_come_and_go_by_all_who_are_there() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        world.befriend(&lea, &paul).await;
        // Before Paul in every order.
        strangers(&world, "!", 5_100).await;
        talk_with_all(&world, &lea, "!").await;
        let mut of_paul = world.connect(&paul).await;
        of_paul.heard().await;
        let mut of_lea = world.connect(&lea).await;
        assert_eq!(presence_of(&mut of_lea).await, [(paul.id.clone(), true)], "nobody else ever was here");
        assert_eq!(of_paul.hear("user_presence").await["user_id"], lea.id.as_str());
        drop(of_lea);
        assert_eq!(of_paul.hear("user_presence").await["is_online"], false);

        let seen = world.running.app().store().write(|tx: &mut WriteTx<'_>| {
            tx.execute("UPDATE chat_people SET last_seen_at = 1 WHERE id LIKE '!%'", params![])
        });
        let seen: Result<u64, StoreError> = seen.await;
        assert_eq!(seen.unwrap(), 5_100);
        let mut of_lea = world.connect(&lea).await;
        let told = presence_of(&mut of_lea).await;
        assert_eq!(told.len(), 5_000, "as many as a connection is told of");
        assert_eq!(told[0], (paul.id.clone(), true), "who is there comes first");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_people_are_looked_at_in_one_go() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        world.get(&lea, "conversations").await;
        for (prefix, many) in [("p", 70), ("q", 5)] {
            strangers(&world, prefix, many).await;
        }
        talk_with_all(&world, &lea, "p").await;
        let mut of_lea = world.connect(&lea).await;
        let known: Vec<String> = (1..=70).rev().map(|number| format!("p{number}")).collect();
        let others = ["q1".to_owned(), lea.id.clone(), "p7".to_owned(), "nobody".to_owned()];
        let asked: Vec<&String> = known.iter().chain(&others).collect();
        of_lea.say(&json!({ "type": "watch_presence", "user_ids": asked })).await;
        assert_eq!(of_lea.hear("watching_presence").await["user_ids"], json!(known), "each once, as asked");
        of_lea.say(&json!({ "type": "watch_presence", "user_ids": ["q1"] })).await;
        assert_eq!(of_lea.hear("watching_presence").await["user_ids"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_begins_with_as_many_people_as_invitations_may_wait() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        strangers(&world, "p", 201).await;
        let ids: Vec<String> = (1..=201).map(|number| format!("p{number}")).collect();
        let make = async |members: &[String]| {
            let body = json!({ "name": "Chantier", "member_ids": members });
            world.call(&lea, reqwest::Method::POST, "groups", body).await
        };
        let (status, refused) = make(&ids).await;
        assert_eq!(
            (status, &refused["code"], &refused["field"]),
            (400, &json!("invalid_value"), &json!("member_ids"))
        );
        assert!(refused["message"].as_str().unwrap().contains("200"), "{refused}");
        assert_eq!(make(&ids[..150]).await.0, 201);
        let (status, refused) = make(&ids[150..]).await;
        assert_eq!(
            (status, &refused["code"], &refused["waiting"]),
            (409, &json!("too_many_invitations"), &json!(150))
        );
        assert_eq!(world.get(&lea, "groups").await["total"], 1, "nothing of what is refused is there");
        assert_eq!(make(&ids[150..200]).await.0, 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invitations_of_a_group_have_pages() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let mut guests = Vec::new();
        for number in 0..5 {
            guests.push(world.person(&format!("Invite{number}")).await.id);
        }
        let made = world.post(&lea, "groups", json!({ "name": "Chantier", "member_ids": guests })).await;
        let base = format!("groups/{}/pending-invitations", made["group_id"].as_str().unwrap());
        let (mut path, mut asked) = (format!("{base}?limit=2"), Vec::new());
        loop {
            let page = world.get(&lea, &path).await;
            assert_eq!((&page["total"], &page["group_id"]), (&json!(5), &made["group_id"]));
            asked.extend(page["invitations"].as_array().unwrap().iter().map(|i| i["to_user"]["id"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("{base}?limit=2&after={next}");
        }
        asked.sort_by_key(Value::to_string);
        guests.sort();
        assert_eq!(json!(asked), json!(guests), "each once");
        assert_eq!(world.get(&lea, &base).await["invitations"].as_array().unwrap().len(), 5);
    })
    .await;
}
