//! Who is there and who types: it is true for who comes back, and it ends by itself.

use serde_json::{Value, json};

use super::on_both;
use super::world::Socket;
use crate::world::on_both_in_time;

/// What a socket was told of who types, in order.
async fn typing(socket: &mut Socket) -> Vec<bool> {
    let heard = socket.heard().await;
    let typing = heard.iter().filter(|frame| frame["type"] == "user_typing");
    typing.map(|frame| frame["is_typing"].as_bool().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_learns_who_came_and_went_meanwhile() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        world.befriend(&lea, &paul).await;
        world.befriend(&lea, &zoe).await;
        let (mut of_lea, of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        assert_eq!(of_lea.hear("user_presence").await["is_online"], true);
        drop((of_lea, of_paul));
        let of_zoe = world.connect(&zoe).await;
        let mut check = world.connect(&lea).await;
        let mut seen = std::collections::BTreeMap::new();
        while seen.len() < 2 || seen[&paul.id] == (true, false) {
            let told = check.hear("user_presence").await;
            let person = told["user_id"].as_str().unwrap().to_owned();
            seen.insert(person, (told["is_online"].as_bool().unwrap(), told["last_seen"].is_string()));
        }
        assert_eq!(seen[&paul.id], (false, true), "gone, and since when");
        assert_eq!(seen[&zoe.id], (true, false));
        drop(of_zoe);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_present_state_follows_also_what_was_missed() {
    on_both_in_time(|world, _clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let (_, welcome) = world.connect_with(&lea, json!({})).await;
        world.send(&paul, &id, "manqué").await;
        let mut of_paul = world.connect(&paul).await;
        of_paul.say(&json!({ "type": "typing", "conversation_id": id, "is_typing": true })).await;
        of_paul.heard().await;
        let since = json!({ "since": welcome["cursor"] });
        let (mut of_lea, welcome) = world.connect_with(&lea, since).await;
        assert_eq!(welcome["recovered"], true);
        let heard = of_lea.hear_all_until("user_typing").await;
        let names: Vec<&str> = heard.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
        let place = |name| names.iter().position(|known| *known == name).unwrap();
        assert!(place("new_message") < place("user_presence"), "{names:?}");
        assert_eq!(heard[place("user_presence")]["is_online"], true);
        assert_eq!(heard[place("user_typing")]["user_id"], paul.id.as_str());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_server_ended_without_a_word_people_were_last_seen_when_it_last_ran() {
    on_both(|world| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        world.befriend(&lea, &paul).await;
        world.befriend(&lea, &zoe).await;
        // What a server leaves behind that is killed: it ran at 5,000; Paul had come before, Zoe after that.
        let ids = (paul.id.clone(), zoe.id.clone());
        let left = world.running.app().store().write(move |tx| {
            tx.execute("UPDATE chat_alive SET at = 5000", relais_store::params![])?;
            for (id, since) in [(&ids.0, 1_000), (&ids.1, 9_000)] {
                let sql = "UPDATE chat_people SET online_since = $1, last_seen_at = 10 WHERE id = $2";
                tx.execute(sql, relais_store::params![since, id])?;
            }
            Ok::<_, relais_store::StoreError>(())
        });
        left.await.unwrap();
        let world = world.restart().await;
        let listed = world.get(&lea, "conversations").await["conversations"].clone();
        let seen = |who: &str| {
            let of = |c: &&Value| c["participant"]["id"] == who;
            let participant = &listed.as_array().unwrap().iter().find(of).unwrap()["participant"];
            assert_eq!(participant["is_online"], false);
            participant["last_seen"].as_str().unwrap().to_owned()
        };
        assert_eq!(seen(&paul.id), "1970-01-01T00:00:05.000Z");
        assert_eq!(seen(&zoe.id), "1970-01-01T00:00:09.000Z");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_ends_with_a_message_with_the_connection_and_when_one_is_out() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let id = group.as_str().unwrap();
        let invited =
            world.post(&lea, &format!("groups/{id}/invite"), json!({ "to_user_id": paul.id })).await;
        let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        world.put(&paul, &path, json!({ "action": "accept" })).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        let types = json!({ "type": "group_typing", "group_id": id });
        of_paul.say(&types).await;
        of_paul.heard().await;
        world.send(&paul, id, "voilà").await;
        assert_eq!(typing(&mut of_lea).await, [true, false], "a message");

        of_paul.say(&types).await;
        of_paul.heard().await;
        drop(of_paul);
        assert_eq!(of_lea.hear("user_typing").await["is_typing"], true);
        let ended = of_lea.hear("user_typing").await;
        assert_eq!((&ended["is_typing"], &ended["user_id"]), (&json!(false), &json!(paul.id)), "a cut");
        assert_eq!((&ended["group_id"], &ended["username"]), (&json!(id), &json!("Paul Martin")));

        let mut of_paul = world.connect(&paul).await;
        of_paul.say(&types).await;
        of_paul.heard().await;
        world.delete(&lea, &format!("groups/{id}/members/{}", paul.id)).await;
        assert_eq!(typing(&mut of_lea).await, [true, false], "out of the group");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_ends_when_nothing_more_is_said_of_it() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        of_lea.heard().await;
        for _ in 0..2 {
            // Said again, it goes on.
            of_paul.say(&json!({ "type": "typing", "conversation_id": id })).await;
            assert_eq!(of_lea.hear("user_typing").await["is_typing"], true);
            clock.advance_ms(9_000);
        }
        clock.advance_ms(1_000);
        assert_eq!(of_lea.hear("user_typing").await["is_typing"], false);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps_neither_ends_typing_nor_prolongs_it() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let (with_paul, with_zoe) = (world.befriend(&lea, &paul).await, world.befriend(&lea, &zoe).await);
        let (mut of_lea, mut of_paul, mut of_zoe) =
            (world.connect(&lea).await, world.connect(&paul).await, world.connect(&zoe).await);
        for (socket, id) in [(&mut of_zoe, &with_zoe), (&mut of_paul, &with_paul)] {
            socket.say(&json!({ "type": "typing", "conversation_id": id })).await;
            assert_eq!(of_lea.hear("user_typing").await["is_typing"], true);
            clock.advance_ms(5_000);
        }
        // Zoe's time is over at the step at which Paul has typed for half of his, whatever the clock says.
        clock.leap_ms(-7_200_000);
        let ended = of_lea.hear("user_typing").await;
        assert_eq!((&ended["user_id"], &ended["is_typing"]), (&json!(zoe.id), &json!(false)));
        assert_eq!(typing(&mut of_lea).await, [false; 0], "Paul types on");
        clock.leap_ms(14_400_000);
        clock.advance_ms(5_000);
        let ended = of_lea.hear("user_typing").await;
        assert_eq!((&ended["user_id"], &ended["is_typing"]), (&json!(paul.id), &json!(false)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_learns_that_nobody_types_any_more() {
    on_both_in_time(|world, _clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let ((mut of_lea, welcome), mut of_paul) =
            (world.connect_with(&lea, json!({})).await, world.connect(&paul).await);
        let types = |is_typing| json!({ "type": "typing", "conversation_id": id, "is_typing": is_typing });
        of_paul.say(&types(true)).await;
        assert_eq!(of_lea.hear("user_typing").await["is_typing"], true);
        drop(of_lea);
        of_paul.say(&types(false)).await;
        of_paul.heard().await;
        let since = json!({ "since": welcome["cursor"] });
        let (mut of_lea, welcome) = world.connect_with(&lea, since.clone()).await;
        assert_eq!(welcome["recovered"], true);
        let ended = of_lea.hear("user_typing").await;
        assert_eq!((&ended["user_id"], &ended["is_typing"]), (&json!(paul.id), &json!(false)));
        of_paul.say(&types(true)).await;
        of_paul.heard().await;
        let mut again = world.connect_with(&lea, since).await.0;
        assert_eq!(typing(&mut again).await.last(), Some(&true), "what is now comes last");
        assert_eq!(typing(&mut world.connect(&lea).await).await, [true], "whoever knew nothing");
    })
    .await;
}
