//! The messages of the firmware: JSON in, JSON out. No I/O; time is passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fleet::Module;
use super::names::kind_of;
use super::values::Values;

/// The field of a report for its time of sending, in microseconds, if requested.
pub const STAMP_FIELD: &str = "sentUs";

/// The firmware of one device.
pub(super) struct Firmware {
    module: Module,
    values: Values,
    /// When it was switched on, since the fleet started.
    on_since: Duration,
    has: Has,
}

/// What the server has sent on this connection.
#[derive(Clone, Copy, Default)]
struct Has {
    connected: bool,
    authenticated: bool,
}

/// What a message from the server means for the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The server has sent both messages that the firmware in the field waits for.
    Welcome,
    Refused(String),
    /// A message was rejected.
    ReportRefused(String),
    /// The response to a command, to be sent.
    Answer(String),
}

/// Any message of the server.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    id: Option<Value>,
    message: Option<String>,
    data: Option<Map<String, Value>>,
}

#[derive(Serialize)]
struct Message<'a, T: Serialize> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "moduleId")]
    module: &'a str,
    password: &'a str,
    uptime: u64,
    #[serde(flatten)]
    fields: T,
    #[serde(rename = "sentUs", skip_serializing_if = "Option::is_none")]
    stamp: Option<u64>,
}

impl Firmware {
    pub(super) fn new(module: Module, now: Duration, chance: &mut fastrand::Rng) -> Self {
        Self { module, values: Values::new(chance), on_since: now, has: Has::default() }
    }

    pub(super) fn id(&self) -> &str {
        &self.module.id
    }

    /// The first message of a connection.
    pub(super) fn identify(&mut self, now: Duration) -> String {
        self.has = Has::default();
        let fields = json!({
            "moduleType": kind_of(&self.module.id), "version": "2.1.0", "position": self.values.position,
        });
        self.say("module_identify", now, fields, None)
    }

    /// The current measurements.
    pub(super) fn telemetry(
        &mut self,
        now: Duration,
        stamp: Option<u64>,
        chance: &mut fastrand::Rng,
    ) -> String {
        self.values.move_on(chance);
        self.say("telemetry", now, self.values, stamp)
    }

    /// A heartbeat.
    pub(super) fn heartbeat(&self, now: Duration, chance: &mut fastrand::Rng) -> String {
        let fields = json!({
            "position": self.values.position, "wifiRSSI": chance.i32(-75..=-45),
            "freeHeap": 180_000 + chance.i32(0..4_000) * 8,
        });
        self.say("heartbeat", now, fields, None)
    }

    /// Handles a message of the server. Anything else is ignored, as the firmware does.
    pub(super) fn hear(&mut self, text: &[u8], now: Duration) -> Heard {
        let Ok(said) = serde_json::from_slice::<Said>(text) else { return Heard::Nothing };
        let words = said.message.unwrap_or_default();
        match said.kind.as_str() {
            "connected" => self.greeted(Has { connected: true, ..self.has }),
            "auth_success" => self.greeted(Has { authenticated: true, ..self.has }),
            "auth_error" => Heard::Refused(words),
            "error" => Heard::ReportRefused(words),
            "command" => Heard::Answer(self.handle(&said.data.unwrap_or_default(), said.id, now)),
            _ => Heard::Nothing,
        }
    }

    fn greeted(&mut self, has: Has) -> Heard {
        self.has = has;
        if has.connected && has.authenticated { Heard::Welcome } else { Heard::Nothing }
    }

    fn handle(&mut self, data: &Map<String, Value>, id: Option<Value>, now: Duration) -> String {
        let command = data.get("command").and_then(Value::as_str).unwrap_or_default().to_owned();
        let status = if self.perform(&command, data, now) { "success" } else { "unknown_command" };
        let mut fields = json!({ "command": command, "status": status, "position": self.values.position });
        // A server that gives its commands ids gets the id back.
        if let Some(id) = id {
            fields["id"] = id;
        }
        self.say("command_response", now, fields, None)
    }

    /// False for an unknown command.
    fn perform(&mut self, command: &str, data: &Map<String, Value>, now: Duration) -> bool {
        match command {
            "start" | "stop" => self.values.set_running(command == "start"),
            "move" | "set_position" => {
                let Some(position) = data.get("position").and_then(Value::as_i64) else { return false };
                self.values.move_to(position);
            }
            "reset" => {
                self.on_since = now;
                self.values.set_running(false);
            }
            "status" | "identify" => {}
            _ => return false,
        }
        true
    }

    fn say(&self, kind: &str, now: Duration, fields: impl Serialize, stamp: Option<u64>) -> String {
        let Module { id, credential } = &self.module;
        let uptime = now.saturating_sub(self.on_since).as_secs();
        let message = Message { kind, module: id, password: credential, uptime, fields, stamp };
        // Numbers, texts and objects can always be serialised.
        serde_json::to_string(&message).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firmware() -> (Firmware, fastrand::Rng) {
        let mut chance = fastrand::Rng::with_seed(5);
        let module = Module { id: "MC-0001-LFX".into(), credential: "secret".into() };
        (Firmware::new(module, Duration::ZERO, &mut chance), chance)
    }

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_repeats_who_it_is_and_reports_what_it_measures() {
        let (mut firmware, mut chance) = firmware();
        let now = Duration::from_secs(12);
        let said = read(&firmware.identify(now));
        assert_eq!((&said["type"], &said["moduleType"]), (&json!("module_identify"), &json!("Light FX")));
        for text in [firmware.telemetry(now, Some(7), &mut chance), firmware.heartbeat(now, &mut chance)] {
            let said = read(&text);
            assert_eq!((&said["moduleId"], &said["password"]), (&json!("MC-0001-LFX"), &json!("secret")));
            assert_eq!(said["uptime"], 12);
            assert!(said["position"].is_i64());
        }
        let said = read(&firmware.telemetry(now, Some(7), &mut chance));
        assert_eq!(said[STAMP_FIELD], 7);
        assert!(said["temperature"].is_f64() && said["voltage"].is_f64());
        assert!(read(&firmware.telemetry(now, None, &mut chance)).get(STAMP_FIELD).is_none());
    }

    #[test]
    fn it_is_let_in_after_both_words_whichever_comes_first() {
        let (mut firmware, _) = firmware();
        for words in [["connected", "auth_success"], ["auth_success", "connected"]] {
            firmware.identify(Duration::ZERO);
            let heard = words
                .map(|kind| firmware.hear(json!({ "type": kind }).to_string().as_bytes(), Duration::ZERO));
            assert_eq!(heard, [Heard::Nothing, Heard::Welcome]);
        }
        let refused = firmware.hear(br#"{"type":"auth_error","message":"Non"}"#, Duration::ZERO);
        assert_eq!(refused, Heard::Refused("Non".into()));
        assert_eq!(firmware.hear(b"no JSON", Duration::ZERO), Heard::Nothing);
    }

    #[test]
    fn it_obeys_commands_that_it_knows_and_answers_all() {
        let (mut firmware, _) = firmware();
        let mut order = |data: Value| {
            let command =
                json!({ "type": "command", "id": "c1", "data": data, "timestamp": "now" }).to_string();
            let Heard::Answer(answer) = firmware.hear(command.as_bytes(), Duration::from_secs(9)) else {
                panic!("no answer to {command}");
            };
            read(&answer)
        };
        let moved = order(json!({ "command": "move", "position": 42 }));
        assert_eq!((&moved["type"], &moved["status"]), (&json!("command_response"), &json!("success")));
        assert_eq!(
            (&moved["position"], &moved["id"], &moved["uptime"]),
            (&json!(42), &json!("c1"), &json!(9))
        );
        assert_eq!(order(json!({ "command": "reset" }))["uptime"], 0);
        assert_eq!(order(json!({ "command": "dance" }))["status"], "unknown_command");
    }
}
