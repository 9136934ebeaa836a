//! What devices say through the broker, on its way to [`crate::features::live::Live`].
//!
//! After a new connection the broker sends again what has no receipt yet. What was taken in already
//! ([`Unacknowledged`]) is not taken in twice: a value without a time of its own would be two in a history. A receipt that
//! was lost on its way, or a process that ended before it was sent, still makes a message come twice: at least once is what
//! MQTT promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relais_store::StoreError;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::broker::Message as Publication;
use super::outlet::{Outlet, Way};
use super::receipts::Owed;
use super::unacknowledged::Unacknowledged;
use crate::App;
use crate::config::mqtt::{Layout, Purpose};
use crate::features::live::Live;
use crate::features::live::{ANSWERS, Arrival, Message, Refused, Showing};

/// Minimum interval between warnings about messages of unknown modules.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How long the backlog at the broker may take to arrive, and the silence after which it is complete.
const BACKLOG: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(1);
/// The pause after a database error.
const PAUSE: Duration = Duration::from_secs(1);

/// The outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    Retained,
    OtherTopic,
    TooLarge,
    NotJson,
    UnknownModule,
    WrongPassword,
    TooFast,
    ForeignModule,
    Refused,
}

/// Processes messages.
pub(super) struct Inbox {
    app: App,
    layout: Layout,
    outlet: Arc<Outlet>,
    unacknowledged: Arc<Unacknowledged>,
    /// When messages of what is no module were last complained about.
    complained: Option<Instant>,
    backlog: Option<Backlog>,
}

/// Received from the broker.
pub(super) enum Heard {
    /// The connection stands; whether the broker goes on with the session that it kept.
    Connected { resumed: bool },
    /// A message, over this connection.
    Message { message: Box<Publication>, connection: u64 },
}

/// The broker's backlog is arriving.
struct Backlog {
    since: Instant,
    /// When the last of it was processed.
    last: Instant,
}

/// The content of a message.
enum Said {
    Came,
    Went,
    /// Something, of this type.
    Values(String, Message),
}

impl Inbox {
    pub(super) fn new(
        app: App,
        layout: Layout,
        outlet: Arc<Outlet>,
        unacknowledged: Arc<Unacknowledged>,
    ) -> Self {
        Self { app, layout, outlet, unacknowledged, complained: None, backlog: None }
    }

    /// Processes what is received, in order, and queues the receipts that are due; until the senders are gone, or
    /// `stop` while the database does not answer.
    pub(super) async fn take_all(
        mut self,
        mut heard: mpsc::Receiver<Heard>,
        owe: mpsc::Sender<Owed>,
        stop: &CancellationToken,
    ) {
        while let Some(heard) = heard.recv().await {
            let (message, connection) = match heard {
                Heard::Message { message, connection } => (message, connection),
                Heard::Connected { resumed } => {
                    if !resumed {
                        self.unacknowledged.forget_all();
                    }
                    self.expect_backlog();
                    continue;
                }
            };
            let arrival = self.arrival();
            let taken = self.unacknowledged.knows(&message) || self.take(&message, arrival, stop).await;
            self.follow_backlog(arrival);
            if taken {
                self.unacknowledged.note(&message);
            }
            if !taken || owe.send(Owed { receipt: message.receipt, connection }).await.is_err() {
                return;
            }
        }
    }

    /// There is a new connection: the backlog arrives first.
    fn expect_backlog(&mut self) {
        let now = self.app.clock().instant();
        self.backlog = Some(Backlog { since: now, last: now });
    }

    fn arrival(&mut self) -> Arrival {
        let now = self.app.clock().instant();
        let comes = |backlog: &Backlog| {
            now.duration_since(backlog.last) < SILENCE && now.duration_since(backlog.since) < BACKLOG
        };
        if self.backlog.as_ref().is_some_and(comes) { Arrival::Late } else { Arrival::Now }
    }

    /// A message that arrived so was taken in: what waited goes on coming, or all of it has come.
    fn follow_backlog(&mut self, arrival: Arrival) {
        self.backlog = match (arrival, self.backlog.take()) {
            (Arrival::Late, Some(backlog)) => Some(Backlog { last: self.app.clock().instant(), ..backlog }),
            _ => None,
        };
    }

    /// Takes a message in; false if it is time to stop, and it was not taken. Waits while the database does not answer:
    /// what comes meanwhile is safe at the broker.
    async fn take(&mut self, message: &Publication, arrival: Arrival, stop: &CancellationToken) -> bool {
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let found = self.layout.find(&topic).map(|(purpose, module)| (purpose, module.to_owned()));
        let outcome = match &found {
            _ if message.retained => Outcome::Retained,
            None => Outcome::OtherTopic,
            Some((purpose, module)) => {
                let judged = self.judge_in_time(*purpose, module, &message.payload, arrival, stop).await;
                let Some(outcome) = judged else { return false };
                outcome
            }
        };
        metrics::counter!("relais_mqtt_messages_total", "outcome" => outcome.name()).increment(1);
        match (outcome.remedy(), found) {
            (Some(remedy), Some((_, module))) if self.app.service::<Live>().knows(&module) => {
                self.app.service::<Live>().refused(&module, outcome.name(), remedy);
            }
            (Some(remedy), Some((_, module))) => self.complain(&module, &topic, outcome, remedy),
            _ => {}
        }
        true
    }

    /// As [`judge`](Self::judge), retried until the database answers; `None` if the server is stopping. The failure is
    /// logged once per message.
    async fn judge_in_time(
        &self,
        purpose: Purpose,
        module: &str,
        payload: &[u8],
        arrival: Arrival,
        stop: &CancellationToken,
    ) -> Option<Outcome> {
        let mut told = false;
        loop {
            let error = match self.judge(purpose, module, payload, arrival).await {
                Ok(outcome) => return Some(outcome),
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, module, "who sent a message over MQTT cannot be checked; trying again every second");
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Executes a message, if it is from its module.
    async fn judge(
        &self,
        purpose: Purpose,
        module: &str,
        payload: &[u8],
        arrival: Arrival,
    ) -> Result<Outcome, StoreError> {
        let config = &self.app.config().live;
        if payload.len() > config.report_bytes as usize {
            return Ok(Outcome::TooLarge);
        }
        let Some((said, password, named)) = read(purpose, payload) else { return Ok(Outcome::NotJson) };
        let mended = if let Said::Values(_, values) = &said { values.mended } else { 0 };
        let showing = match &password {
            _ if !config.mqtt.require_password => Showing::Vouched,
            Some(password) => Showing::Password(password, None),
            None if !self.app.service::<Live>().knows(module) => return Ok(Outcome::UnknownModule),
            None => return Ok(Outcome::WrongPassword),
        };
        match self.app.service::<Live>().admit(module, showing, arrival).await {
            Ok(()) if named.is_some_and(|named| named != module) => Ok(Outcome::ForeignModule),
            Ok(()) => {
                self.app.service::<Live>().note_mended(module, mended);
                Ok(self.handle(module, said))
            }
            Err(Refused::Unknown) => Ok(Outcome::UnknownModule),
            Err(Refused::Credential) => Ok(Outcome::WrongPassword),
            Err(Refused::TooFast) => Ok(Outcome::TooFast),
            Err(Refused::Unavailable(error)) => Err(error),
        }
    }

    fn handle(&self, module: &str, said: Said) -> Outcome {
        let live = self.app.service::<Live>();
        if matches!(said, Said::Went) {
            live.went(module);
            return Outcome::Taken;
        }
        live.heard(module);
        let taken = match said {
            Said::Values(kind, values) => live.take_message(module, &kind, values.fields),
            Said::Came | Said::Went => Ok(()),
        };
        if let Some(topic) = self.layout.command(module) {
            let qos = live.config().mqtt.command_qos;
            live.reach(module, || Arc::new(Way::new(&self.outlet, topic, qos)));
        }
        if taken.is_ok() { Outcome::Taken } else { Outcome::Refused }
    }

    /// Logs faults of messages of unknown modules, at most once a minute.
    fn complain(&mut self, module: &str, topic: &str, outcome: Outcome, remedy: &str) {
        let now = self.app.clock().instant();
        if self.complained.is_some_and(|at| now.duration_since(at) < COMPLAINT) {
            return;
        }
        self.complained = Some(now);
        let module: String = module.chars().take(64).collect();
        tracing::warn!(
            module,
            topic,
            outcome = outcome.name(),
            "a message over MQTT was not taken: {remedy}"
        );
    }
}

/// The content of a message, its password, and the module that it names.
fn read(purpose: Purpose, payload: &[u8]) -> Option<(Said, Option<String>, Option<String>)> {
    if purpose == Purpose::Status
        && let Some(said) = std::str::from_utf8(payload).ok().and_then(presence)
    {
        return Some((said, None, None));
    }
    let mut message = Message::read_bytes(payload).ok()?;
    let text = |name: &str| message.fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let (password, named, kind) = (text("password"), text("moduleId"), text("type").unwrap_or_default());
    let said = match purpose {
        Purpose::Report => Said::Values(kind, message),
        Purpose::Response => {
            let known = ANSWERS.contains(&kind.as_str());
            Said::Values(if known { kind } else { "command_response".to_owned() }, message)
        }
        Purpose::Status => {
            match message.fields.remove("status").or_else(|| message.fields.remove("online"))? {
                Value::Bool(true) => Said::Came,
                Value::Bool(false) => Said::Went,
                Value::String(text) => presence(&text)?,
                _ => return None,
            }
        }
    };
    Some((said, password, named))
}

fn presence(text: &str) -> Option<Said> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("online") => Some(Said::Came),
        text if text.eq_ignore_ascii_case("offline") => Some(Said::Went),
        _ => None,
    }
}

impl Outcome {
    /// The name in metrics and the log.
    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Retained => "retained",
            Self::OtherTopic => "other_topic",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::UnknownModule => "unknown_module",
            Self::WrongPassword => "wrong_password",
            Self::TooFast => "too_fast",
            Self::ForeignModule => "foreign_module",
            Self::Refused => "refused",
        }
    }

    /// The remedy for the operator.
    fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Taken | Self::Retained | Self::OtherTopic => None,
            Self::TooLarge => Some("it is longer than live.report_bytes"),
            Self::NotJson => Some("a JSON object is expected, or online or offline as the status"),
            Self::UnknownModule => Some("there is no such module: relais module add"),
            Self::WrongPassword => Some(
                "its password is missing or not the module's: give the device what relais module rotate prints",
            ),
            Self::TooFast => Some("the module sends more than live.reports_per_s"),
            Self::ForeignModule => Some("its moduleId is not the one in the topic"),
            Self::Refused => Some("it has too many values, or too large ones"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(payload: &str) -> Option<bool> {
        match read(Purpose::Status, payload.as_bytes())?.0 {
            Said::Came => Some(true),
            Said::Went => Some(false),
            Said::Values(..) => None,
        }
    }

    #[test]
    fn a_status_is_a_word_or_an_object() {
        for (payload, expected) in [
            ("online", Some(true)),
            (" Offline\n", Some(false)),
            (r#"{"status":"offline","password":"x"}"#, Some(false)),
            (r#"{"online":true}"#, Some(true)),
            (r#"{"status":"idle"}"#, None),
            (r#"{"uptime":5}"#, None),
            ("perhaps", None),
            ("", None),
        ] {
            assert_eq!(status(payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn an_answer_says_what_it_answers_or_is_one_to_a_command() {
        let kind = |payload: &str| match read(Purpose::Response, payload.as_bytes()).unwrap().0 {
            Said::Values(kind, _) => kind,
            Said::Came | Said::Went => String::new(),
        };
        assert_eq!(kind(r#"{"type":"reset_response"}"#), "reset_response");
        assert_eq!(kind(r#"{"command":"ring","success":true}"#), "command_response");
    }
}
