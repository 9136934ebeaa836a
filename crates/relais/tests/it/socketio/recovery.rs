//! Going on after a lost connection, as `socket.io-client` asks for it.

use relais::config::Recovery;
use serde_json::{Value, json};

use super::world::World;

fn asking(user: &str) -> Value {
    json!({ "user": user, "recovery": true })
}

fn returning(user: &str, pid: &Value, offset: Option<&Value>) -> Value {
    let mut auth = json!({ "user": user, "pid": pid });
    if let Some(offset) = offset {
        auth["offset"] = offset.clone();
    }
    auth
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_what_it_missed_also_after_a_restart() {
    let world = World::new();
    let mut client = world.connect().await;
    let pid = client.join(&asking("ann")).await["pid"].clone();
    world.publish("room:1", &json!({ "n": 1 }));
    let seen = client.event().await;
    assert_eq!(seen[..2], [json!("news"), json!({ "n": 1 })]);
    drop(client);

    world.publish("room:1", &json!({ "n": 2 }));
    world.publish("room:2", &json!({ "n": "of another room" }));
    let world = world.restarted();
    world.publish("room:1", &json!({ "n": 3 }));
    let mut client = world.connect().await;
    let welcome = client.join(&returning("ann", &pid, Some(&seen[2]))).await;
    assert_eq!(welcome["pid"], pid, "the client takes its own private id for: recovered");
    world.publish("room:1", &json!({ "n": 4 }));
    for n in 2..=4 {
        assert_eq!(client.event().await[1], json!({ "n": n }));
    }
    world.told("connected user:ann true").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_had_heard_nothing_yet_misses_nothing_either() {
    let world = World::new();
    world.publish("room:1", &json!({ "n": "before it came" }));
    let mut client = world.connect().await;
    let pid = client.join(&asking("ann")).await["pid"].clone();
    drop(client);
    world.publish("room:1", &json!({ "n": 1 }));
    let mut client = world.connect().await;
    assert_eq!(client.join(&returning("ann", &pid, None)).await["pid"], pid);
    assert_eq!(client.event().await[1], json!({ "n": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn recovered_is_not_said_when_it_is_not_true() {
    let world = World::new();
    let mut client = world.connect().await;
    let pid = client.join(&asking("ann")).await["pid"].clone();
    world.publish("room:1", &json!({ "n": 1 }));
    let offset = client.event().await[2].clone();
    for n in 2..=9 {
        world.publish("room:1", &json!({ "n": n }));
    }
    // Another server, whose memory has none of this, and whose log does not reach back any more.
    let world = world.restarted();
    world.forget_before(5);
    for (auth, who) in [
        (returning("ann", &pid, Some(&offset)), "the log does not reach back"),
        (returning("bob", &pid, Some(&offset)), "somebody else"),
        (returning("ann", &json!("made up"), Some(&offset)), "an id of nobody"),
        (returning("ann", &pid, Some(&json!("hello"))), "an offset of nobody"),
        (returning("ann", &pid, Some(&json!("00000000000000aa-3"))), "another life of the log"),
    ] {
        let mut client = world.connect().await;
        let welcome = client.join(&auth).await;
        assert_ne!(welcome["pid"], auth["pid"], "{who}");
        assert!(welcome["pid"].is_string(), "{who}: it can recover from here on");
        client.say(r#"42/room,1["whoami"]"#).await;
        assert!(client.next().await.starts_with("43/room,1["), "{who}: nothing was replayed");
    }
    assert!(!world.calls.all().iter().any(|call| call.ends_with("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_that_ask_have_one_more_argument() {
    for (setting, auth, offsets) in [
        (Recovery::Asked, json!({ "user": "ann" }), false),
        (Recovery::Asked, asking("ann"), true),
        (Recovery::Always, json!({ "user": "ann" }), true),
        (Recovery::Never, asking("ann"), false),
    ] {
        let world = World::with(|settings| settings.recovery = setting);
        let mut client = world.connect().await;
        assert_eq!(client.join(&auth).await["pid"].is_string(), offsets, "{setting:?} {auth}");
        world.publish("room:1", &json!({ "n": 1 }));
        assert_eq!(client.event().await.len(), if offsets { 3 } else { 2 });
        world.publish_ephemeral("room:1", &json!({ "typing": true }));
        assert_eq!(client.event().await.len(), 2, "what is not in the log has no place in it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_at_the_end_of_an_event_is_not_taken_for_an_offset() {
    let world = World::new();
    let mut client = world.connect().await;
    client.join(&asking("ann")).await;
    client.say(r#"42/room,["tell me","text"]"#).await;
    assert_eq!(client.event().await, [json!("told"), json!("text"), Value::Null]);
    client.say(r#"42/room,["tell me",{"a":"b"}]"#).await;
    assert_eq!(client.event().await, [json!("told"), json!({ "a": "b" })]);
}
