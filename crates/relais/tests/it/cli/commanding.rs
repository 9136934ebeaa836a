//! `relais module command`.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{DEADLINE, Desk, Live};

const STATION: &str = "MC-1001-STN";

/// A device that is in.
struct Device(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Device {
    async fn connect(desk: &Desk, credential: &str) -> Self {
        let url = format!("ws://{}/esp32", desk.address);
        let mut device = Self(tokio_tungstenite::connect_async(url).await.unwrap().0);
        device.say(json!({ "type": "module_identify", "moduleId": STATION, "password": credential })).await;
        assert_eq!(device.next().await["type"], "connected");
        assert_eq!(device.next().await["type"], "auth_success");
        device
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("a message in time");
            if let Message::Text(text) = message.expect("a message before the end").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

fn give(desk: &Desk, arguments: &[&str]) -> Live {
    desk.spawn(&[&["module", "command", STATION], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_does_what_it_is_told_from_the_command_line_and_nothing_twice_after_kill_9() {
    let mut desk = Desk::new();
    desk.stop();
    let credential = desk.run(&["module", "add", STATION]).good().out.trim().to_owned();
    desk.start();
    let mut device = Device::connect(&desk, &credential).await;
    let first = give(&desk, &["ring", "--param", "times=2", "--param", "to=B"]);
    let told = device.next().await;
    assert_eq!(told["data"], json!({ "command": "ring", "times": 2, "to": "B" }));
    assert_eq!(told["id"], first.out());

    let mut server = desk.server.take().unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    desk.start();
    let mut device = Device::connect(&desk, &credential).await;
    let second = give(&desk, &["sing", "--at-least-once", "--wait"]);
    let told = device.next().await;
    assert_eq!(told["data"], json!({ "command": "sing" }), "the first is not told again");
    device.say(json!({ "type": "command_response", "command": "sing", "status": "success" })).await;
    assert!(second.end());
}

#[test]
fn a_command_that_nobody_carries_out_says_why() {
    let desk = Desk::new();
    desk.run(&["module", "add", STATION]).good();
    let run = desk.run(&["module", "command", STATION, "ring", "--ttl", "1", "--wait"]);
    assert!(!run.ok && run.err.contains("MC-1001-STN did not take up ring in time"), "{}", run.err);
    let run = desk.run(&["module", "command", "MC-1002-STN", "ring"]);
    assert!(!run.ok && run.err.contains("Module not found"), "{}", run.err);
}
