//! Whoever hangs up before the answer: what was stored is told all the same.

use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use relais::auth::Credential;
use relais::features::accounts::Actor;
use relais::features::chat::{Answer, Me, NewMessage};
use relais_store::StoreError;
use serde_json::json;

use super::{World, on_both};
use crate::world::{Person, on_both_in_time};
use relais::features::chat::Chat;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

async fn me(world: &World, who: &Person) -> Me {
    let app = world.running.app();
    let principal = app.auth().authenticate(Some(Credential::Bearer(who.token.clone()))).await.unwrap();
    app.service::<Chat>().enter(&principal).await.unwrap()
}

/// Makes a call that stores events, and gives it up once they are stored and before it is answered.
async fn give_up(world: &World, call: impl Future) {
    let store = world.running.app().store();
    let before = store.log_bounds().await.unwrap().head.seq;
    let (release, held) = mpsc::sync_channel::<()>(1);
    let (started, holds) = tokio::sync::oneshot::channel();
    // Nobody is answered, and nothing is told, while this hook waits.
    let hold = store.write(move |tx| {
        tx.after_commit(move || {
            let _ = started.send(());
            let _ = held.recv();
        });
        Ok::<_, StoreError>(())
    });
    let given_up = async {
        holds.await.unwrap();
        let mut call = pin!(call);
        while store.log_bounds().await.unwrap().head.seq == before {
            assert!(poll_immediate(call.as_mut()).await.is_none(), "nobody is answered yet");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let release = async {
        tokio::time::timeout(PATIENCE, given_up).await.expect("it is stored in time");
        release.send(()).unwrap();
    };
    tokio::join!(async { hold.await.unwrap() }, release);
    // What was told is told once what comes after it is answered.
    let after: Result<(), StoreError> = store.write(|_| Ok(())).await;
    after.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_hears_that_an_invitation_to_a_group_is_accepted() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await["group_id"].clone();
        let path = format!("groups/{}/invite", group.as_str().unwrap());
        let invited = world.post(&lea, &path, json!({ "to_user_id": paul.id })).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        let id = invited["invitation_id"].as_str().unwrap();
        let chat = world.running.app().service::<Chat>();
        give_up(&world, chat.respond(&me(&world, &paul).await, id, Answer::Accept)).await;
        let names = |heard: Vec<serde_json::Value>| -> Vec<String> {
            heard.iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect()
        };
        let (lea_heard, paul_heard) = (names(of_lea.heard().await), names(of_paul.heard().await));
        let place = |heard: &[String], name: &str| heard.iter().position(|known| known == name);
        let (joined, accepted) =
            (place(&lea_heard, "member_joined"), place(&lea_heard, "invitation_accepted"));
        assert!(joined.is_some() && joined < accepted, "after what was stored: {lea_heard:?}");
        let (joined, answered) =
            (place(&paul_heard, "conversation_joined"), place(&paul_heard, "invitation_answered"));
        assert!(joined.is_some() && joined < answered, "{paul_heard:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_told_how_the_other_is_after_a_block() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        world.befriend(&lea, &paul).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        of_lea.heard().await;
        of_paul.heard().await;
        let (chat, actor) = (world.running.app().service::<Chat>(), Actor::named("test", None));
        for (blocked, is_online) in [(true, false), (false, true)] {
            give_up(&world, chat.set_blocked(&me(&world, &lea).await, &actor, &paul.id, blocked)).await;
            for (socket, other) in [(&mut of_lea, &paul), (&mut of_paul, &lea)] {
                let heard = socket.heard().await;
                let told: Vec<_> = heard.iter().filter(|frame| frame["type"] == "user_presence").collect();
                assert_eq!(told.len(), 1, "{heard:?}");
                assert_eq!(
                    (&told[0]["user_id"], &told[0]["is_online"]),
                    (&json!(other.id), &json!(is_online))
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_sent_types_no_more() {
    // However long this takes, typing does not end by itself.
    on_both_in_time(|world, _clock| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let (mut of_lea, mut of_paul) = (world.connect(&lea).await, world.connect(&paul).await);
        // Who is there comes after the welcome.
        of_lea.heard().await;
        of_paul.say(&json!({ "type": "typing", "conversation_id": id })).await;
        assert_eq!(of_lea.hear("user_typing").await["is_typing"], true);
        let new = NewMessage { content: "voilà".into(), ..NewMessage::default() };
        give_up(&world, world.running.app().service::<Chat>().send(&me(&world, &paul).await, &id, new)).await;
        let heard = of_lea.heard().await;
        let names: Vec<&str> = heard.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
        assert_eq!(names, ["new_message", "user_typing"]);
        assert_eq!(heard[1]["is_typing"], false);
    })
    .await;
}
