//! `/esp32`: the WebSocket of devices. The firmware's messages become calls of [`crate::features::live::Live`].
//!
//! A device has some seconds to say which module it is. Its frames repeat who it is; the connection's word counts.
//! A message may be text or binary. One that is not UTF-8, or is damaged, is refused and the connection stays.
//! Closed with 1008 if it does not say who it is in time, is not let in or sends too much, with 1003 after what is no
//! JSON object, with 1009 after a message that is too long, with 1000 when a newer connection of it takes over, and with 1011 when the server fails.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use parking_lot::Mutex;
use relais_hub::{CloseCode, CloseReason, Dialect, Ended, Flow, Hub, Identity, Session};
use relais_protocol::event::Event;
use relais_protocol::websocket::{ProtocolError, close_frame};
use serde_json::{Map, Value, json};

use crate::App;
use crate::auth::Principal;
use crate::error::beginning_of;
use crate::features::live::Live;
use crate::features::live::{
    ANSWERS, ConnectionEnd, DeviceConnection, DeviceConnectionId, Message, Report, ReportError, Unreadable,
    wrong_credential,
};
use crate::gateways::dialects::text_frame;
use crate::gateways::upgrade::Handshake;
use crate::gateways::websocket::{Connection, Opened, Protocol, Terms, serve};

/// One connection.
struct Device {
    connection: Connection,
    /// Which module it is, once it has said so.
    module: Mutex<Identified>,
}

/// Which module a connection is.
#[derive(Clone, Default)]
enum Identified {
    #[default]
    Awaited,
    As(Arc<str>, DeviceConnectionId),
    /// The connection has ended.
    Over,
}

/// The connection as the module's.
struct Wire {
    hub: Hub,
    session: Arc<Session>,
}

impl DeviceConnection for Wire {
    fn send(&self, frame: &Value, _: Duration) {
        self.hub.send(&self.session, text_frame(frame));
    }

    fn end(&self, why: ConnectionEnd) {
        let reason = match why {
            ConnectionEnd::Replaced => CloseReason::new(CloseCode::Normal, "replaced by a newer session"),
            ConnectionEnd::Refused => CloseReason::new(CloseCode::Policy, "this credential is valid no more"),
        };
        self.hub.close(&self.session, reason);
    }
}

/// Devices hear no events. They know the codes of RFC 6455 only.
struct DeviceDialect;

impl Dialect for DeviceDialect {
    fn name(&self) -> &'static str {
        "device-socket"
    }

    fn encode(&self, _: &Event, _: &mut Vec<u8>) {}

    fn ping(&self) -> bytes::Bytes {
        bytes::Bytes::from_static(&[0x89, 0])
    }

    fn close(&self, reason: &CloseReason) -> bytes::Bytes {
        let code = match reason.code {
            CloseCode::NotAuthenticated | CloseCode::Forbidden | CloseCode::SlowConsumer => CloseCode::Policy,
            code => code,
        };
        let mut out = Vec::new();
        close_frame(code.number(), &reason.text, &mut out);
        out.into()
    }
}

impl Protocol for Device {
    fn text(self: &Arc<Self>, text: &str) -> Flow {
        self.take(Message::read(text))
    }

    fn binary(self: &Arc<Self>, bytes: &[u8]) -> Flow {
        self.take(Message::read_bytes(bytes))
    }

    fn too_fast(&self) {
        if let Some(module) = self.module() {
            let most = self.connection.app.config().live.reports_per_s;
            let text = format!("more than {most} messages per second (live.reports_per_s): disconnected");
            self.live().refused(&module, "too_many_reports", &text);
        }
    }

    fn ended(&self, how: Option<Ended>) {
        let identified = std::mem::replace(&mut *self.module.lock(), Identified::Over);
        let Identified::As(module, link) = identified else { return };
        if let Some(Ended::Protocol(error)) = how {
            self.note_fault(&module, error);
        }
        self.live().unlink(&module, link);
    }
}

fn kind_of(message: &Map<String, Value>) -> String {
    message.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Device {
    fn live(&self) -> &Live {
        self.connection.app.service()
    }

    fn take(self: &Arc<Self>, message: Result<Message, Unreadable>) -> Flow {
        match (message, self.module()) {
            (Ok(message), None) => Flow::Await(Box::pin(Arc::clone(self).identify(message))),
            (Ok(message), Some(module)) => {
                self.live().note_mended(&module, message.mended);
                self.handle(&module, &kind_of(&message.fields), message.fields);
                Flow::Continue
            }
            // One bad message is no reason to lose those after it.
            (Err(error @ Unreadable::Damaged(_)), Some(module)) => {
                let text = error.to_string();
                self.refuse_message(&module, "invalid_json", &text);
                Flow::Continue
            }
            (Err(error), module) => {
                if let Some(module) = module {
                    self.live().refused(&module, "invalid_json", &error.to_string());
                }
                Flow::Close(CloseReason::new(CloseCode::Unsupported, "a JSON object is expected"))
            }
        }
    }

    fn say(&self, frame: &Value) {
        self.connection.send(text_frame(frame));
    }

    /// Which module this connection is, once it has said so.
    fn module(&self) -> Option<Arc<str>> {
        match &*self.module.lock() {
            Identified::As(module, _) => Some(Arc::clone(module)),
            Identified::Awaited | Identified::Over => None,
        }
    }

    /// Tells the device, and whoever watches the module, that a message was not taken.
    fn refuse_message(&self, module: &str, code: &'static str, text: &str) {
        self.say(&json!({ "type": "error", "code": code, "message": text }));
        self.live().refused(module, code, text);
    }

    /// Lets the device in, or tells it why not and closes.
    async fn identify(self: Arc<Self>, Message { fields: message, mended }: Message) -> Flow {
        let given = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        if kind_of(&message) != "module_identify" {
            return self.refuse("module_identify est attendu en premier");
        }
        let (id, credential) = (given("moduleId"), given("password"));
        let module = match self.live().identify(id, credential, self.connection.session.address()).await {
            Ok(module) => module,
            Err(error) if error.status().is_client_error() => {
                self.live().refused(id, "wrong_credential", error.french());
                return self.refuse(error.french());
            }
            Err(_) => return Self::fail(),
        };
        let Connection { app, session, .. } = &self.connection;
        if let Err(error) = app.hub().identify(session, Identity::of(&format!("device:{}", module.id))) {
            return Flow::Close(CloseReason::new(CloseCode::TryLater, error.to_string()));
        }
        // Asked again once the connection is the module's: from here on another credential, or the module's end, ends it.
        let still = match self.take_over(&module.id) {
            true => self.live().modules().identify(id, credential).await,
            false => Err(wrong_credential()),
        };
        match still {
            Ok(_) => {}
            Err(error) if error.status().is_client_error() => return self.refuse(error.french()),
            Err(_) => return Self::fail(),
        }
        let known = self.live().telemetry(&module.id);
        let now = app.clock().now();
        let initial = json!({ "uptime": known.get("uptime"), "position": known.get("position") });
        self.say(&json!({
            "type": "connected", "status": "authenticated", "moduleId": module.id, "initialState": initial,
            "timestamp": now,
        }));
        self.say(&json!({ "type": "auth_success", "moduleId": module.id, "timestamp": now }));
        self.live().note_mended(&module.id, mended);
        self.take_values(&module.id, message);
        self.live().ready(&module.id);
        Flow::Continue
    }

    /// The module's connection is this one from now on; false if the module is gone.
    fn take_over(&self, module: &str) -> bool {
        let mut identified = self.module.lock();
        if matches!(*identified, Identified::Over) {
            return true;
        }
        let Connection { app, session, .. } = &self.connection;
        let wire = Arc::new(Wire { hub: app.hub().clone(), session: Arc::clone(session) });
        let Some(link) = self.live().link(module, wire) else { return false };
        *identified = Identified::As(module.into(), link);
        true
    }

    /// The server cannot say who the device is: that is not the device's fault, and it comes back. What is the matter is
    /// in the log already.
    fn fail() -> Flow {
        Flow::Close(CloseCode::Internal.into())
    }

    fn refuse(&self, message: &str) -> Flow {
        self.say(&json!({ "type": "auth_error", "message": message }));
        Flow::Close(CloseReason::new(CloseCode::Policy, message.to_owned()))
    }

    fn handle(&self, module: &str, kind: &str, message: Map<String, Value>) {
        let said = message.get("moduleId").and_then(Value::as_str);
        if said.is_some_and(|said| said != module) {
            let text = format!("Cette connexion est celle du module {module}");
            return self.refuse_message(module, "foreign_module", &text);
        }
        match kind {
            "telemetry" | "heartbeat" | "status_update" => self.take_values(module, message),
            // Some firmware says it again: it is in.
            "module_identify" => {
                self.say(&json!({ "type": "auth_success", "moduleId": module, "timestamp": self.connection.app.clock().now() }));
            }
            "ping" => self.say(&json!({ "type": "pong", "timestamp": self.connection.app.clock().now() })),
            answer if ANSWERS.contains(&answer) => {
                self.live().answered(module, answer, message);
            }
            other => {
                let text = format!("Message de type {} inconnu", beginning_of(&format_args!("{other:?}")));
                self.refuse_message(module, "unknown_type", &text);
            }
        }
    }

    /// What ended the connection, if that was the device's fault, is known to whoever looks at the module.
    fn note_fault(&self, module: &str, error: ProtocolError) {
        let (code, remedy) = match error {
            ProtocolError::FrameTooLarge(_)
            | ProtocolError::MessageTooLarge(_)
            | ProtocolError::TooManyFragments(_) => ("message_too_large", " (live.report_bytes)"),
            _ => ("protocol_error", ""),
        };
        self.live().refused(module, code, &format!("{error}{remedy}: disconnected"));
    }

    fn take_values(&self, module: &str, message: Map<String, Value>) {
        let taken: Result<(), ReportError> =
            Report::of(message).and_then(|report| self.live().report(module, report));
        if let Err(error) = taken {
            self.refuse_message(module, "report_refused", &error.to_string());
        }
    }
}

/// The WebSocket of devices, which identify themselves once it stands.
pub(in crate::gateways) async fn open_socket(State(app): State<App>, handshake: Handshake) -> Response {
    let config = &app.config().live;
    let terms = Terms {
        must_identify: true,
        compression: false,
        message_bytes: config.report_bytes,
        any_text: true,
        messages_per_s: config.reports_per_s,
        ..Terms::new(&app, Arc::new(DeviceDialect), Principal::Anonymous)
    };
    serve(app, handshake, terms, |connection| Opened {
        protocol: Arc::new(Device { connection, module: Mutex::default() }),
        first: Flow::Continue,
    })
}
