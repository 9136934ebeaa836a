//! Texts that no database stores are a fault of the request, wherever they come in, alike on both databases.

use reqwest::Method;
use serde_json::{Value, json};

use super::wire::socket;
use super::{Person, World, on_both};

const NUL: &str = "a\u{0}b";

/// Every place where a text may reach the database: calls with it in the path, the query or the body.
fn calls() -> Vec<(Method, String, Value)> {
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), body);
    let get = |path: &str| (Method::GET, path.to_owned(), Value::Null);
    vec![
        post("/api/auth/login", json!({ "email": "u\u{0}@x", "password": NUL })),
        post("/api/connexion", json!({ "email": "u\u{0}@x", "password": "x" })),
        get("/api/v1/users?cursor=a%00b"),
        get("/api/v1/users/a%00b"),
        (Method::PATCH, "/api/v1/users/a%00b".into(), json!({ "firstname": NUL })),
        post("/api/v1/users", json!({ "email": "u\u{0}@x.fr", "password": "correct horse" })),
        post("/api/v1/users", json!({ "email": "u@x.fr", "password": "correct horse", "firstname": NUL })),
        (Method::PUT, "/api/v1/users/a%00b/grants".into(), json!({ "societe": NUL, "access": "read" })),
        (Method::DELETE, "/api/v1/users/a%00b/grants/a%00b".into(), Value::Null),
        post("/api/v1/keys", json!({ "name": NUL, "scopes": ["relay:*"] })),
        post("/api/v1/keys", json!({ "name": "a", "scopes": ["relay:read:a\u{0}b"] })),
        (Method::DELETE, "/api/v1/keys/a%00b".into(), Value::Null),
        get("/api/v1/audit?cursor=a%00b"),
        post("/api/v1/events", json!({ "topic": "flow:a\u{0}b", "name": "x", "data": {} })),
        post("/api/v1/events", json!({ "topic": "flow:a", "name": NUL, "data": {} })),
        get("/api/v1/poll?channel=page:a%00b"),
        get("/api/v1/poll?channel=conversation:a%00b"),
        get("/api/files/societe/a%00b/files"),
        get("/api/files/download/a%00b/a%00b.json"),
        post("/api/files/restore/rsp/a%00b.json", json!({ "version": 1 })),
        get("/api/files/versions/rsp/a%00b.json"),
        post("/api/v1/modules", json!({ "id": NUL, "name": NUL })),
        post("/api/v1/modules", json!({ "id": "m-1", "name": NUL })),
        post("/api/v1/modules/claim", json!({ "code": NUL })),
        get("/api/v1/modules?cursor=a%00b"),
        get("/api/v1/modules/a%00b"),
        post("/api/v1/modules/a%00b/commands", json!({ "command": NUL })),
        post("/api/v1/modules/a%00b/report", json!({ "password": NUL })),
        get("/api/chat/conversations/a%00b/messages"),
    ]
}

/// Refused, by us and not by accident; what only exists elsewhere is not there.
async fn refused(world: &World, who: &Person, method: Method, path: &str, body: Value) -> u16 {
    let (status, reply) = world.request(who, method.clone(), path, body.clone()).await;
    assert!((400..500).contains(&status), "{method} {path} {body}: {status} {reply}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_alike_on_both_databases() {
    let answers = std::sync::Mutex::new(Vec::new());
    on_both(|world| {
        let answers = &answers;
        async move {
            let admin = world.user("Ada", true).await;
            let mut all = Vec::new();
            for (method, path, body) in calls() {
                all.push((path.clone(), refused(&world, &admin, method, &path, body).await));
            }
            answers.lock().unwrap().push(all);
        }
    })
    .await;
    let answers = answers.into_inner().unwrap();
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_refused_and_the_connection_stays() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let authorization = format!("Bearer {}", lea.token);
        let headers = [("authorization", &*authorization)];
        let mut hub = socket(&world, "/api/v1/ws", &headers).await.unwrap();
        hub.text().await;
        for channel in ["page:a\u{0}b", "conversation:a\u{0}b", "module:a\u{0}b"] {
            hub.say(&json!({ "type": "subscribe", "channel": channel }).to_string()).await;
            let answer = hub.text().await;
            assert!(answer.contains("\"error\"") && !answer.contains("internal"), "{answer}");
        }
        let mut chat = socket(&world, "/ws/chat", &headers).await.unwrap();
        chat.text().await;
        for frame in [
            json!({ "type": "join_conversation", "conversation_id": NUL }),
            json!({ "type": "send_message", "conversation_id": NUL, "message": NUL, "client_id": NUL }),
            json!({ "type": "mark_read", "conversation_id": NUL, "up_to": u64::MAX }),
            json!({ "type": "edit_message", "message_id": NUL, "content": "x" }),
        ] {
            chat.say(&frame.to_string()).await;
            let answer = chat.text().await;
            assert!(answer.contains("\"error\"") && !answer.contains("internal"), "{frame}: {answer}");
        }
        let mut device = socket(&world, "/esp32", &[]).await.unwrap();
        device.say(&json!({ "type": "module_identify", "moduleId": NUL, "password": NUL }).to_string()).await;
        assert!(device.text().await.contains("auth_error"));
        assert_eq!(device.closed().await.0, 1008);
    })
    .await;
}
