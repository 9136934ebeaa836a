//! Commands of pages, on Socket.IO.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::wire::Wire;
use super::{Person, World, on_both};

const STATION: &str = "MC-1001-STN";

/// A page that is in.
struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Page {
    async fn open(world: &World, who: &Person) -> Self {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", world.running.address());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", who.token).parse().unwrap());
        let mut page = Self(tokio_tungstenite::connect_async(request).await.unwrap().0);
        assert!(page.packet().await.starts_with('0'));
        page.send("40").await;
        assert!(page.packet().await.starts_with("40"));
        page
    }

    async fn send(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.unwrap();
    }

    async fn packet(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.0.next());
            match next.await.expect("a packet in time").expect("a packet before the end").unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// Gives a command; what it is told of it.
    async fn command(&mut self, command: &Value) -> (String, Value) {
        self.send(&format!("42{}", json!(["send_module_command", command]))).await;
        loop {
            let packet = self.packet().await;
            let Some(event) = packet.strip_prefix("42") else { continue };
            let (name, data): (String, Value) = serde_json::from_str(event).unwrap();
            if name.starts_with("command_") {
                return (name, data);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_names_the_module_of_a_command_either_way_and_null_is_absent() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let _device = Wire::device(&world, STATION, &credential).await;
        let mut page = Page::open(&world, &lea).await;
        for named in [
            json!({ "moduleId": STATION }),
            json!({ "module_id": STATION }),
            json!({ "moduleId": STATION, "module_id": STATION, "params": null, "ttl_s": null, "delivery": null }),
        ] {
            let mut command = named.clone();
            command["command"] = "ring".into();
            let (name, told) = page.command(&command).await;
            assert_eq!((&*name, &told["moduleId"]), ("command_sent", &json!(STATION)), "{named}: {told}");
        }
        for (named, why) in [
            (json!({ "moduleId": STATION, "module_id": "MC-1002-STN" }), "valeurs différentes"),
            (json!({}), "manque"),
            (json!({ "moduleId": 5 }), "un texte"),
        ] {
            let mut command = named.clone();
            command["command"] = "ring".into();
            let (name, told) = page.command(&command).await;
            assert_eq!(name, "command_error", "{named}: {told}");
            assert!(told["error"].as_str().unwrap().contains(why), "{told}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_sent_is_not_sent_back_as_a_whole() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        world.module(STATION, Some(&lea)).await;
        let mut page = Page::open(&world, &lea).await;
        let long = "x".repeat(200_000);
        for command in [
            json!({ "moduleId": STATION, "command": long }),
            json!({ "moduleId": long, "command": "ring" }),
            json!({ "moduleId": STATION, "command": { "a": [long] } }),
        ] {
            let (name, told) = page.command(&command).await;
            assert_eq!(name, "command_error");
            assert!(told.to_string().len() < 5_000, "{} bytes", told.to_string().len());
        }
    })
    .await;
}
