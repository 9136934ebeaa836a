//! What was sent is not sent back.

use std::io::Write as _;

use relais::config::SchemaRule;
use reqwest::{Client, Method};
use serde_json::json;

use super::wire::socket;
use super::{World, on_both};

/// Bytes of an answer that refuses, at most.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_large_text_is_small() {
    let mut schema = tempfile::NamedTempFile::new().unwrap();
    schema.write_all(br#"{"type":"object","additionalProperties":{"type":"integer"}}"#).unwrap();
    let rule = SchemaRule { societe: "*".into(), files: "*".into(), schema: schema.path().into() };
    let world = World::alone(|config| config.relay.schemas = vec![rule.clone()]).await;
    let admin = world.user("Ada", true).await;
    let content = json!({ "a": "x".repeat(10_000_000), "b": "y".repeat(1_000_000) }).to_string();
    let part = reqwest::multipart::Part::text(content).file_name("a.json");
    let url = format!("http://{}/api/files/upload/rsp-bgs", world.running.address());
    let form = reqwest::multipart::Form::new().part("file", part);
    let reply = Client::new().post(url).bearer_auth(&admin.token).multipart(form).send().await.unwrap();
    assert_eq!(reply.status(), 422);
    let text = reply.text().await.unwrap();
    assert!(text.len() < ANSWER_BYTES_MAX && text.contains("xxx") && text.contains("/a"), "{}", text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_value_is_cut_wherever_it_stood() {
    on_both(|world| async move {
        let (admin, long) = (world.user("Ada", true).await, "x".repeat(40_000));
        for (method, path, body) in [
            (Method::POST, "/api/v1/keys".to_owned(), json!({ "name": "a", "scopes": [long] })),
            (Method::POST, "/api/v1/keys".into(), json!({ "name": 1, long.as_str(): 2 })),
            (Method::POST, "/api/v1/events".into(), json!({ "topic": long, "name": "x", "data": {} })),
            (Method::GET, format!("/api/v1/poll?channel={long}"), json!(null)),
            (Method::GET, format!("/api/files/changes?since={long}"), json!(null)),
            (Method::GET, format!("/api/files/societe/{long}/files"), json!(null)),
        ] {
            let (status, reply) = world.request(&admin, method, &path, body).await;
            assert!((400..500).contains(&status), "{status}");
            assert!(reply.to_string().len() < ANSWER_BYTES_MAX, "{}", &path[..40.min(path.len())]);
        }
        let authorization = format!("Bearer {}", admin.token);
        let mut hub = socket(&world, "/api/v1/ws", &[("authorization", &authorization)]).await.unwrap();
        hub.text().await;
        for frame in [json!({ "type": long }), json!({ "type": "subscribe", "channel": long })] {
            hub.say(&frame.to_string()).await;
            assert!(hub.text().await.len() < ANSWER_BYTES_MAX);
        }
    })
    .await;
}
