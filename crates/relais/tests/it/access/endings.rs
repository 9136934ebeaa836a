//! Whatever waits or goes on ends with the rights by which it began: bodies of several packets, polls and streams.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::rights::{accounts, disable, key, tester, waiting};
use super::sessions::{sign_out, signed_in};
use super::wire::{Polling, Raw, emit};
use super::{Person, World, on_both};

/// How many messages there are.
async fn count(world: &World, who: &Person, conversation: &str) -> u64 {
    let page = world.get(who, &format!("conversations/{conversation}/messages?limit=1")).await;
    page["messages"].as_array().unwrap().last().map_or(0, |message| message["number"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_body_with_many_messages_none_is_stored_once_the_rights_ended() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let id = world.befriend(&lea, &paul).await;
        let polling = Polling::open(&world, "authorization", &format!("Bearer {}", lea.token)).await;
        polling.connect("/chat,").await;
        let say = |n: u32| {
            let said = json!({ "conversation_id": id, "message": format!("m{n}") });
            format!("42/chat,{}", json!(["send_message", said]))
        };
        let body = (0..390).map(say).collect::<Vec<_>>().join("\u{1e}");
        let posting = tokio::spawn(async move { polling.post(body).await });
        while count(&world, &paul, &id).await == 0 {}
        disable(&accounts(&world), &lea).await;
        let stored = count(&world, &paul, &id).await;
        let reply = posting.await.unwrap();
        assert_eq!(reply.status(), 400);
        let text = reply.text().await.unwrap();
        assert!(text.contains("rights"), "{text}");
        assert!(stored < 390, "it ended on the way");
        assert_eq!(count(&world, &paul, &id).await, stored, "nothing after the answer");
    })
    .await;
}

/// The answer to the poll that waits when `end` comes, which is none of packets.
async fn last_answer(
    world: &World,
    who: &Person,
    polling: &Polling,
    end: impl Future<Output = ()>,
) -> String {
    let polls = async {
        loop {
            let answer = polling.get().await;
            if answer.status() != 200 {
                assert_eq!(answer.status(), 400);
                return answer.text().await.unwrap();
            }
        }
    };
    let ended = async {
        // By the time that these are answered the poll waits.
        for _ in 0..10 {
            world.request(who, Method::GET, "/api/auth/me", Value::Null).await;
        }
        end.await;
    };
    let both = async { tokio::join!(polls, ended).0 };
    tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("it is answered at once")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_of_engine_io_that_waits_ends_and_says_why() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let cookie = signed_in(&world, "lea").await;
        let by_session = Polling::open(&world, "cookie", &cookie).await;
        by_session.connect("").await;
        let told = last_answer(&world, &lea, &by_session, sign_out(&world, &cookie)).await;
        assert!(told.contains("signed out"), "{told}");

        let by_token = Polling::open(&world, "authorization", &format!("Bearer {}", lea.token)).await;
        by_token.connect("").await;
        let accounts = accounts(&world);
        let told = last_answer(&world, &lea, &by_token, disable(&accounts, &lea)).await;
        assert!(told.contains("rights"), "{told}");
    })
    .await;
}

/// An event stream that has begun.
async fn stream(world: &World, path: &str, header: &str) -> Raw {
    let mut stream = Raw::to(world).await;
    stream
        .write(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{header}\r\n\r\n"
        ))
        .await;
    assert_eq!(stream.answer().await.0, 200);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_ends_when_its_key_is_revoked_or_its_session_signed_out() {
    on_both(|world| async move {
        world.person("Lea").await;
        let (program, id) = key(&world, &["relay:read:*"]).await;
        let bearer = format!("Authorization: Bearer {}", program.token);
        let mut by_key = stream(&world, "/api/files/events", &bearer).await;
        by_key.read_to("event: connection").await;
        accounts(&world).revoke_key(&tester(), &id).await.unwrap();
        by_key.read_to("event: close").await;

        let cookie = signed_in(&world, "lea").await;
        let mut by_session =
            stream(&world, "/api/v1/events?channel=page:a", &format!("Cookie: {cookie}")).await;
        by_session.read_to("event: subscribed").await;
        sign_out(&world, &cookie).await;
        by_session.read_to("event: close").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_ends_with_the_session_that_it_came_with() {
    on_both(|world| async move {
        world.person("Lea").await;
        let cookie = signed_in(&world, "lea").await;
        let since = world.running.app().store().head();
        let address = world.running.address();
        let url = format!("http://{address}/api/v1/poll?channel=page:a&since={since}&wait=60");
        let asked = Client::new().get(url).header("cookie", &cookie).send();
        let ended = async {
            sign_out(&world, &cookie).await;
        };
        let both = async { tokio::join!(asked, ended).0.unwrap() };
        let reply = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("at once");
        assert_eq!(reply.status(), 401);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_a_module_back_hears_no_more_of_it() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let new = json!({ "id": "MC-1001-STN", "owner": lea.id });
        let admin = world.user("Ada", true).await;
        assert_eq!(world.request(&admin, Method::POST, "/api/v1/modules", new).await.0, 201);
        let given_back = async {
            let path = "/api/v1/modules/MC-1001-STN";
            assert_eq!(world.request(&lea, Method::DELETE, path, Value::Null).await.0, 204);
        };
        let (status, reply) =
            waiting(&world, &lea, "/api/v1/poll?channel=module:MC-1001-STN&", given_back).await;
        assert_eq!(status, 403, "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_taken_out_of_a_group_hears_no_more_of_it_on_a_stream() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let group = world.post(&lea, "groups", json!({ "name": "Chantier" })).await;
        let id = group["group_id"].as_str().unwrap();
        let invited =
            world.post(&lea, &format!("groups/{id}/invite"), json!({ "to_user_id": paul.id })).await;
        let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        world.put(&paul, &path, json!({ "action": "accept" })).await;
        let header = format!("Authorization: Bearer {}", paul.token);
        let path = format!("/api/v1/events?channel=conversation:{id}&channel=page:a");
        let mut heard = stream(&world, &path, &header).await;
        heard.read_to("event: subscribed").await;
        world.delete(&lea, &format!("groups/{id}/members/{}", paul.id)).await;
        world.send(&lea, id, "entre nous").await;
        emit(&world, "page:a").await;
        let told = heard.read_to("event: changed").await;
        assert!(!told.contains("entre nous"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_events_reaches_no_files() {
    on_both(|world| async move {
        let (program, _) = key(&world, &["events:subscribe:*"]).await;
        for path in ["/api/v1/poll?channel=societe:rsp", "/api/v1/poll?channel=societe:*"] {
            let (status, reply) = world.request(&program, Method::GET, path, Value::Null).await;
            assert_eq!((status, &reply["code"]), (403, &json!("forbidden")), "{path}");
        }
    })
    .await;
}
