//! `/esp32`: the WebSocket of devices. The firmware's messages become calls of [`crate::features::live::Live`].
//!
//! A device has some seconds to say which module it is. Its frames repeat who it is; the connection's word counts.
//! A message may be text or binary. One that is not UTF-8, or is damaged, is refused and the connection stays.
//! Closed with 1008 if it does not say who it is in time, is not let in or sends too much, with 1003 after what is no
//! JSON object, with 1009 after a message that is too long, with 1000 when a newer connection of it takes over, and with 1011 when the server fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::Response;
use parking_lot::Mutex;
use relais_hub::{
    CloseCode, CloseReason, Dialect, Ended, Flow, Identity, Receiver, Session, SessionSpec, Transport,
    run_socket,
};
use relais_protocol::event::Event;
use relais_protocol::websocket::{Limits, ProtocolError, close_frame};
use serde_json::{Map, Value, json};

use crate::error::beginning_of;
use crate::features::live::Live;
use crate::features::live::{ANSWERS, Link, LinkEnd, LinkId, Message, Report, ReportError, Unreadable};
use crate::gateways::dialects::text_frame;
use crate::gateways::opening::open_guest;
use crate::gateways::pace::{Pace, too_fast};
use crate::gateways::spawn;
use crate::gateways::upgrade::{Handshake, Upgraded};
use crate::web::Guest;
use crate::{App, AppError};

/// One connection.
#[derive(Clone)]
struct Device {
    app: App,
    session: Arc<Session>,
    /// Which module it is, once it has said so.
    module: Arc<Mutex<Identified>>,
    pace: Pace,
}

/// Which module a connection is.
#[derive(Clone, Default)]
enum Identified {
    #[default]
    Awaited,
    As(Arc<str>, LinkId),
    /// The connection has ended.
    Over,
}

/// The connection as the module's.
struct Wire {
    app: App,
    session: Arc<Session>,
}

impl Link for Wire {
    fn send(&self, frame: &Value, _: Duration) {
        self.app.hub().send(&self.session, text_frame(frame));
    }

    fn end(&self, why: LinkEnd) {
        let reason = match why {
            LinkEnd::Replaced => CloseReason::new(CloseCode::Normal, "replaced by a newer session"),
            LinkEnd::Refused => CloseReason::new(CloseCode::Policy, "this credential is valid no more"),
        };
        self.app.hub().close(&self.session, reason);
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

impl Receiver for Device {
    fn text(&mut self, _: &Arc<Session>, text: &str) -> Flow {
        self.take(Message::read(text))
    }

    fn binary(&mut self, _: &Arc<Session>, bytes: &[u8]) -> Flow {
        self.take(Message::read_bytes(bytes))
    }
}

fn kind_of(message: &Map<String, Value>) -> String {
    message.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Device {
    fn take(&mut self, message: Result<Message, Unreadable>) -> Flow {
        if !self.pace.take(Instant::now()) {
            if let Some(module) = self.module() {
                let most = self.app.config().live.reports_per_s;
                let text = format!("more than {most} messages per second (live.reports_per_s): disconnected");
                self.app.service::<Live>().refused(&module, "too_many_reports", &text);
            }
            return Flow::Close(too_fast(self.app.config().live.reports_per_s));
        }
        match (message, self.module()) {
            (Ok(message), None) => Flow::Await(Box::pin(self.clone().identify(message))),
            (Ok(message), Some(module)) => {
                self.app.service::<Live>().note_mended(&module, message.mended);
                self.obey(&module, &kind_of(&message.fields), message.fields);
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
                    self.app.service::<Live>().refused(&module, "invalid_json", &error.to_string());
                }
                Flow::Close(CloseReason::new(CloseCode::Unsupported, "a JSON object is expected"))
            }
        }
    }

    fn say(&self, frame: &Value) {
        self.app.hub().send(&self.session, text_frame(frame));
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
        self.app.service::<Live>().refused(module, code, text);
    }

    /// Lets the device in, or tells it why not and closes.
    async fn identify(self, Message { fields: message, mended }: Message) -> Flow {
        let given = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        if kind_of(&message) != "module_identify" {
            return self.refuse("module_identify est attendu en premier");
        }
        let (id, credential) = (given("moduleId"), given("password"));
        let module = match self.app.service::<Live>().identify(id, credential, self.session.address()).await {
            Ok(module) => module,
            Err(error) if error.status().is_client_error() => {
                self.app.service::<Live>().refused(id, "wrong_credential", error.message());
                return self.refuse(error.message());
            }
            // What is the matter is in the log already.
            Err(_) => return Flow::Close(CloseCode::Internal.into()),
        };
        if let Err(error) =
            self.app.hub().identify(&self.session, Identity::of(&format!("device:{}", module.id)))
        {
            return Flow::Close(CloseReason::new(CloseCode::TryLater, error.to_string()));
        }
        // Asked again once the connection is the module's: from here on another credential, or the module's end, ends it.
        if !self.take_over(&module.id)
            || self.app.service::<Live>().modules().identify(id, credential).await.is_err()
        {
            return self.refuse("Identifiant ou mot de passe de module incorrect");
        }
        let known = self.app.service::<Live>().telemetry(&module.id);
        let now = self.app.clock().now();
        let initial = json!({ "uptime": known.get("uptime"), "position": known.get("position") });
        self.say(&json!({
            "type": "connected", "status": "authenticated", "moduleId": module.id, "initialState": initial,
            "timestamp": now,
        }));
        self.say(&json!({ "type": "auth_success", "moduleId": module.id, "timestamp": now }));
        self.app.service::<Live>().note_mended(&module.id, mended);
        self.take_values(&module.id, message);
        self.app.service::<Live>().ready(&module.id);
        Flow::Continue
    }

    /// The module's connection is this one from now on; false if the module is gone.
    fn take_over(&self, module: &str) -> bool {
        let mut identified = self.module.lock();
        if matches!(*identified, Identified::Over) {
            return true;
        }
        let wire = Arc::new(Wire { app: self.app.clone(), session: Arc::clone(&self.session) });
        let Some(link) = self.app.service::<Live>().link(module, wire) else { return false };
        *identified = Identified::As(module.into(), link);
        true
    }

    fn refuse(&self, message: &str) -> Flow {
        self.say(&json!({ "type": "auth_error", "message": message }));
        Flow::Close(CloseReason::new(CloseCode::Policy, message.to_owned()))
    }

    fn obey(&self, module: &str, kind: &str, message: Map<String, Value>) {
        let said = message.get("moduleId").and_then(Value::as_str);
        if said.is_some_and(|said| said != module) {
            let text = format!("Cette connexion est celle du module {module}");
            return self.refuse_message(module, "foreign_module", &text);
        }
        match kind {
            "telemetry" | "heartbeat" | "status_update" => self.take_values(module, message),
            // Some firmware says it again: it is in.
            "module_identify" => {
                self.say(&json!({ "type": "auth_success", "moduleId": module, "timestamp": self.app.clock().now() }));
            }
            "ping" => self.say(&json!({ "type": "pong", "timestamp": self.app.clock().now() })),
            answer if ANSWERS.contains(&answer) => {
                self.app.service::<Live>().answered(module, answer, message);
            }
            other => {
                let text = format!("Message de type {} inconnu", beginning_of(&format_args!("{other:?}")));
                self.refuse_message(module, "unknown_type", &text);
            }
        }
    }

    /// What ended the connection, if that was the device's fault, is known to whoever looks at the module.
    fn note_end(&self, ended: Ended) {
        let (Ended::Protocol(error), Some(module)) = (ended, self.module()) else { return };
        let (code, remedy) = match error {
            ProtocolError::FrameTooLarge(_)
            | ProtocolError::MessageTooLarge(_)
            | ProtocolError::TooManyFragments(_) => ("message_too_large", " (live.report_bytes)"),
            _ => ("protocol_error", ""),
        };
        self.app.service::<Live>().refused(&module, code, &format!("{error}{remedy}: disconnected"));
    }

    fn take_values(&self, module: &str, message: Map<String, Value>) {
        let taken: Result<(), ReportError> =
            Report::of(message).and_then(|report| self.app.service::<Live>().report(module, report));
        if let Err(error) = taken {
            self.refuse_message(module, "report_refused", &error.to_string());
        }
    }
}

/// The WebSocket of devices, which identify themselves once it stands.
pub(in crate::gateways) async fn open_socket(
    State(app): State<App>,
    mut request: Request,
) -> Result<Response, AppError> {
    let handshake = Handshake::new(&mut request)?;
    let address = handshake.address;
    let (response, stream) = handshake.accept();
    let entered = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let device = admit(app, address, stream, guest)?;
        Some((leftover, device))
    });
    spawn(async move {
        let Some((leftover, device)) = entered.await else { return };
        let bytes = device.app.config().live.report_bytes;
        let limits = Limits { frame_bytes: bytes, message_bytes: bytes, any_text: true, ..Limits::default() };
        let ended = run_socket(Arc::clone(&device.session), leftover, device.clone(), limits).await;
        device.note_end(ended);
        let identified = std::mem::replace(&mut *device.module.lock(), Identified::Over);
        if let Identified::As(module, link) = identified {
            device.app.service::<Live>().unlink(&module, link);
        }
    });
    Ok(response)
}

fn admit(app: App, address: SocketAddr, stream: tokio::net::TcpStream, guest: Guest) -> Option<Device> {
    let spec = SessionSpec {
        identity: Identity::anonymous(),
        address: address.ip(),
        dialect: Arc::new(DeviceDialect),
        transport: Transport::socket(stream),
        identify_within_s: Some(app.config().hub.authenticate_timeout_s),
    };
    let session = open_guest(app.hub(), spec, guest).ok()?;
    let pace = Pace::new(app.config().live.reports_per_s, Instant::now());
    Some(Device { app, session, module: Arc::default(), pace })
}
