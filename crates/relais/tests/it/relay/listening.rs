//! Listening: nothing missing, nothing twice, whatever carries the events.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{PATIENCE, TestServer, on_both};
use crate::api_documents::assert_documented;
use crate::world::text_until;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(server: &TestServer, path: &str) -> Socket {
    let url = server.url(path).replace("http://", "ws://");
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

async fn next_frame(socket: &mut Socket) -> Value {
    loop {
        let message =
            tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame comes").unwrap().unwrap();
        if let Message::Text(text) = message {
            let frame: Value = serde_json::from_str(&text).unwrap();
            assert_documented(frame["type"].as_str().unwrap(), &frame);
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_a_command_is_told_and_a_societe_has_one_name() {
    let server = TestServer::start(None, |_| {}).await;
    let mut socket = connect(&server, "/api/v1/ws").await;
    let say = |frame: Value| Message::text(frame.to_string());
    let slip = say(json!({ "type": "subscribe", "channel": "societe:rsp-bgs", "sinse": "x" }));
    let right = say(json!({ "type": "subscribe", "channel": "societe:e\u{301}te\u{301}" }));
    socket.send(slip).await.unwrap();
    while next_frame(&mut socket).await["code"] != "invalid_command" {}
    socket.send(right).await.unwrap();
    while next_frame(&mut socket).await["type"] != "subscribed" {}
    let part = reqwest::multipart::Part::text("[1]").file_name("a_2023.json");
    let form = reqwest::multipart::Form::new().part("file", part);
    server.client.post(server.url("/api/files/upload/été")).multipart(form).send().await.unwrap();
    while next_frame(&mut socket).await["type"] != "event" {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_returns_gets_what_it_missed_in_order_also_after_a_restart() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let mut socket = connect(&server, "/api/files/ws").await;
        let welcome = next_frame(&mut socket).await;
        assert_eq!(welcome["message"], "Connecté au WebSocket Relay");
        server.uploaded("a_2023.json", "[2]").await;
        let seen = next_frame(&mut socket).await;
        drop(socket);

        server.uploaded("a_2023.json", "[3]").await;
        let server = server.restart(|_| {}).await;
        server.uploaded("a_2023.json", "[4]").await;
        let cursor = seen["cursor"].as_str().unwrap();
        let mut socket = connect(&server, &format!("/api/files/ws?since={cursor}")).await;
        assert_eq!(next_frame(&mut socket).await["recovered"], true);
        server.uploaded("a_2023.json", "[5]").await;
        for version in 3..=5 {
            assert_eq!(next_frame(&mut socket).await["version"], version);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_life_is_refused_openly() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let foreign = "00000000000000aa-1";
        let mut socket = connect(&server, &format!("/api/files/ws?since={foreign}")).await;
        assert_eq!(next_frame(&mut socket).await["recovered"], false);
        let reply = server.get(&format!("/api/files/changes?since={foreign}")).await;
        assert_eq!(reply.status(), 410);
        let body: Value = reply.json().await.unwrap();
        assert_eq!(
            (&body["code"], &body["cursor"]),
            (&json!("cursor_expired"), &json!(server.cursor().to_string()))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_one_societe_hears_no_other() {
    on_both(|server| async move {
        let mut socket = connect(&server, "/api/files/ws?societe=autre").await;
        next_frame(&mut socket).await;
        server.uploaded("a_2023.json", "[1]").await;
        let form = || {
            let part = reqwest::multipart::Part::text("[2]").file_name("b_2023.json");
            reqwest::multipart::Form::new().part("file", part)
        };
        server.client.post(server.url("/api/files/upload/autre")).multipart(form()).send().await.unwrap();
        assert_eq!(next_frame(&mut socket).await["societe"], "autre");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_own_protocol_resumes_by_position_and_refuses_what_it_does_not_know() {
    on_both(|server| async move {
        use futures_util::SinkExt as _;
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("a_2023.json", "[2]").await;
        let mut socket = connect(&server, "/api/v1/ws").await;
        assert_eq!(next_frame(&mut socket).await["type"], "connected");
        socket.send(Message::text("{\"type\":\"dance\"}")).await.unwrap();
        assert_eq!(next_frame(&mut socket).await["code"], "invalid_command");

        let epoch = server.cursor().epoch.to_string();
        let subscribe = json!({
            "type": "subscribe", "id": 7, "channel": "societe:rsp-bgs",
            "position": { "epoch": epoch, "offset": 1 },
        });
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
        let joined = next_frame(&mut socket).await;
        assert_eq!(
            (&joined["type"], &joined["id"], &joined["recovered"]),
            (&json!("subscribed"), &json!(7), &json!(true))
        );
        let event = next_frame(&mut socket).await;
        assert_eq!((&event["offset"], &event["data"]["version"]), (&json!(2), &json!(2)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_and_a_poll_give_the_same_events() {
    on_both(|server| async move {
        let start = server.cursor().to_string();
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("a_2023.json", "[2]").await;
        let polled = server.json(&format!("/api/v1/poll?channel=societe:*&since={start}")).await;
        let offsets: Vec<_> =
            polled["events"].as_array().unwrap().iter().map(|e| e["offset"].clone()).collect();
        assert_eq!(offsets, [json!(1), json!(2)]);

        let reply = server.client.get(server.url("/api/files/events")).header("last-event-id", &start).send();
        let whole = |text: &str| text.matches("event: file_uploaded").count() >= 2 && text.ends_with("\n\n");
        let text = text_until(reply.await.unwrap(), whole).await;
        assert!(text.starts_with(&format!("id: {start}\nevent: connection\n")), "{text}");
    })
    .await;
}
