//! What holds for every native WebSocket, whatever is spoken there.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Edge, PATIENCE, json};

/// Each path, what a client says there first, and how its dialect is called in the metrics.
const SOCKETS: [(&str, &str, &str); 4] = [
    ("/api/files/ws", "nothing", "relay-socket"),
    ("/api/v1/ws", r#"{"type":"ping"}"#, "native-socket"),
    ("/ws/chat", r#"{"type":"get_online_users"}"#, "chat-socket"),
    ("/esp32", "", "device-socket"),
];

async fn closed(edge: &Edge, path: &str, messages: Vec<Message>) -> CloseFrame {
    let mut request = format!("ws://{}{path}", edge.address()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", edge.token).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for message in messages {
        // It may be closed already.
        let _ = socket.feed(message).await;
    }
    let _ = socket.flush().await;
    let reading = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{path} did not say why it closed: {other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server closes the socket")
}

fn counted(dialect: &str, code: u16) -> String {
    format!("relais_websockets_closed_total{{dialect=\"{dialect}\",code=\"{code}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_too_much_is_told_and_counted_on_every_websocket() {
    let edge = Edge::start(|config| {
        config.hub.messages_per_s = 1;
        config.live.reports_per_s = 1;
    })
    .await;
    let call = json!({ "id": "MC-1001-STN" });
    let added = edge.client.post(edge.url("/api/v1/modules")).bearer_auth(&edge.token).json(&call).send();
    let module: serde_json::Value = added.await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let identify =
        json!({ "type": "module_identify", "moduleId": "MC-1001-STN", "password": module["credential"] });
    for (path, said, dialect) in SOCKETS {
        let said = if said.is_empty() { identify.to_string() } else { said.to_owned() };
        // More than are allowed in all the time that the test may take.
        let frame = closed(&edge, path, vec![Message::text(said); 100]).await;
        assert_eq!(
            (u16::from(frame.code), &*frame.reason),
            (1008, "more than 1 messages per second"),
            "{path}"
        );
        super::eventually("the end is counted", || async {
            edge.metric(&counted(dialect, 1008)).await >= 1.0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_told_and_counted_on_every_websocket() {
    let edge = Edge::start(|config| {
        config.hub.message_bytes = 1_024;
        config.live.report_bytes = 1_024;
    })
    .await;
    for (path, _, dialect) in SOCKETS {
        let frame = closed(&edge, path, vec![Message::text("x".repeat(2_000))]).await;
        assert_eq!(u16::from(frame.code), 1009, "{path}");
        super::eventually("the end is counted", || async {
            edge.metric(&counted(dialect, 1009)).await >= 1.0
        })
        .await;
    }
}
