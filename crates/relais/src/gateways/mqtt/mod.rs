//! Modules that are connected to an MQTT broker. This server is a client of the broker: it subscribes to what modules
//! publish, and publishes commands for them.
//!
//! A module's connection is to the broker, so its presence is known from its messages, until its last will reports that
//! it disconnected. While the broker is unreachable its silence does not count, for `live.mqtt.outage_grace_s`.
//! Messages published while this server is down are queued at the broker, whose receipts are sent once the content of a
//! message is in the database.

mod broker;
mod fault;
mod inbox;
mod outlet;
mod receipts;
mod session;
mod unacknowledged;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DialectFeature;
use crate::App;
use crate::backoff::Backoff;
use crate::config::MqttConfig;
use crate::config::mqtt::{Address, Layout};
use crate::feature::Feature;
use crate::features::live::Live;
use crate::finding::Finding;
use broker::{Account, Ear, Happening, Message};
use fault::Fault;
use inbox::{Heard, Inbox};
use outlet::Outlet;
use unacknowledged::Unacknowledged;

/// Devices behind a broker.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    tasks: |app, stop| {
        if app.config().live.mqtt.is_on() {
            vec![Box::pin(run(app.clone(), stop.clone()))]
        } else {
            Vec::new()
        }
    },
    checks: |config| {
        Box::pin(async {
            match config.live.mqtt.is_on() {
                true => vec![Finding::new("MQTT broker", probe(&config.live.mqtt).await)],
                false => Vec::new(),
            }
        })
    },
    ..Feature::named("mqtt")
});

/// The first pause after a lost connection, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long counts as successful.
const GOOD: Duration = Duration::from_secs(10);
/// Messages that may be queued for processing, each of [`report_bytes`](crate::config::LiveConfig::report_bytes) at
/// most: as many as an MQTT 5 broker sends without receipts. While the queue is full, the broker is not read.
const HEARD_MAX: usize = 512;
/// How often the missing broker is logged again.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How long the disconnect may take, and the timeout of the doctor.
const GOODBYE: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);

/// The current connection.
struct Line {
    app: App,
    outlet: Arc<Outlet>,
    ear: Ear,
    client_id: String,
    filters: Vec<String>,
    /// Former subscriptions that the broker is to stop sending.
    outdated: Arc<Mutex<Vec<String>>>,
    /// Database writes that run while the broker is still being read.
    writes: JoinSet<()>,
    /// When it was established; none while it is down.
    since: Option<Instant>,
    backoff: Backoff,
    complained: Option<Instant>,
    /// Whether this connection serves only to drop what cannot be read.
    dropping: bool,
}

/// Reads from the broker until `stop`, and reconnects whenever needed.
pub async fn run(app: App, stop: CancellationToken) {
    metrics::gauge!("relais_mqtt_connected").set(0.0);
    let config = app.config().live.mqtt.clone();
    let opened = Layout::of(&config.topics).map_err(|error| error.to_string()).and_then(|layout| {
        let (speaker, ear) =
            broker::open(&config, account(&app, false)).map_err(|error| error.to_string())?;
        Ok((layout, speaker, ear))
    });
    let (layout, speaker, ear) = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::error!(error, "no MQTT: correct the settings and start again"),
    };
    let (outlet, filters) = (Arc::new(Outlet::new(speaker)), layout.filters());
    let unacknowledged = Arc::new(Unacknowledged::default());
    let inbox = Inbox::new(app.clone(), layout, Arc::clone(&outlet), Arc::clone(&unacknowledged));
    let client_id = account(&app, false).client_id;
    let outdated = outdated(&app, &client_id, &filters).await;
    let mut line = Line {
        app: app.clone(),
        outlet: Arc::clone(&outlet),
        ear,
        client_id,
        filters,
        outdated: Arc::new(Mutex::new(outdated)),
        writes: JoinSet::new(),
        since: None,
        backoff: Backoff::from_entropy(PAUSE_MIN, PAUSE_MAX),
        complained: None,
        dropping: false,
    };
    let (owe, owed) = receipts::channel();
    let (taker, heard) = mpsc::channel(HEARD_MAX);
    tokio::join!(
        line.hear(taker, &stop),
        inbox.take_all(heard, owe, &stop),
        receipts::send(app, outlet, owed, &unacknowledged, stop.clone()),
    );
    line.close().await;
}

/// Former subscriptions that the broker is to stop sending. Without the database it keeps sending them, and they are
/// counted as of another topic.
async fn outdated(app: &App, client_id: &str, filters: &[String]) -> Vec<String> {
    let mut former = app.service::<Live>().broker_filters(client_id).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what the MQTT broker was asked for before could not be read");
        Vec::new()
    });
    former.retain(|filter| !filters.contains(filter));
    former
}

/// The identity of this server at the broker. One database has one name, whichever process uses it.
fn account(app: &App, clean: bool) -> Account {
    let named = app.config().live.mqtt.client_id.clone();
    let client_id = if named.is_empty() { format!("relais-{}", app.store().epoch()) } else { named };
    Account { client_id, clean }
}

impl Line {
    fn config(&self) -> &MqttConfig {
        &self.app.config().live.mqtt
    }

    /// Reads from the broker until `stop`. Other tasks process the messages and send the receipts, so that a slow
    /// database does not block the keep-alive.
    async fn hear(&mut self, taker: mpsc::Sender<Heard>, stop: &CancellationToken) {
        loop {
            let happened = tokio::select! {
                () = stop.cancelled() => return,
                happened = self.ear.next() => happened,
            };
            let goes_on = match happened {
                Ok(Happening::Message(mut message)) => {
                    self.shorten(&mut message);
                    let heard = Heard::Message { message, connection: self.outlet.connection() };
                    hand_over(&taker, heard, stop).await
                }
                Ok(happening) => {
                    self.note(&happening);
                    match happening {
                        Happening::Connected { resumed } => {
                            hand_over(&taker, Heard::Connected { resumed }, stop).await
                        }
                        _ => true,
                    }
                }
                Err(fault) => self.mend(&fault, stop).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Of a message that is too long, only enough is queued to show that it is.
    fn shorten(&self, message: &mut Message) {
        let most = self.app.config().live.report_bytes as usize;
        if message.payload.len() > most {
            message.payload = Bytes::copy_from_slice(&message.payload[..=most]);
        }
    }

    fn note(&mut self, happening: &Happening) {
        match happening {
            Happening::Connected { .. } if self.dropping => self.reopen(false),
            Happening::Connected { .. } => {
                self.since = Some(self.app.clock().instant());
                metrics::counter!("relais_mqtt_connects_total").increment(1);
                let speaker = self.outlet.speaker();
                if !(speaker.unsubscribe(&self.outdated.lock()) && speaker.subscribe(&self.filters)) {
                    tracing::error!("too much waits for the broker: nothing could be subscribed to");
                }
            }
            Happening::Subscribed(refused) => {
                metrics::gauge!("relais_mqtt_connected").set(1.0);
                self.complained = None;
                // From now on they can be received again.
                self.app.service::<Live>().excuse_silence(self.app.config().live.offline_after_s);
                self.app.service::<Live>().resume_ways();
                let url = Address::of(&self.config().url).map(|address| address.shown()).unwrap_or_default();
                tracing::info!(url, "connected to the MQTT broker");
                self.keep_filters();
                for filter in refused.iter().filter_map(|place| self.filters.get(*place)) {
                    tracing::error!(
                        filter,
                        "the broker does not let this be read: allow it to live.mqtt.user"
                    );
                }
            }
            Happening::Message(_) | Happening::Other => {}
        }
    }

    /// Records the filters that the broker now has, across restarts of both. That is written in the background: a slow
    /// database must not block the keep-alive.
    fn keep_filters(&mut self) {
        while self.writes.try_join_next().is_some() {}
        if !self.writes.is_empty() {
            // The same is already being written.
            return;
        }
        let (app, outdated) = (self.app.clone(), Arc::clone(&self.outdated));
        let (client_id, filters) = (self.client_id.clone(), self.filters.clone());
        self.writes.spawn(async move {
            match app.service::<Live>().keep_broker_filters(&client_id, &filters).await {
                Ok(()) => outdated.lock().clear(),
                Err(error) => tracing::warn!(%error, "what the MQTT broker was asked for could not be noted"),
            }
        });
    }

    /// Waits before the next attempt; false if the server is stopping.
    async fn mend(&mut self, fault: &Fault, stop: &CancellationToken) -> bool {
        self.outlet.lose();
        metrics::gauge!("relais_mqtt_connected").set(0.0);
        metrics::counter!("relais_mqtt_faults_total").increment(1);
        let (stood, now) = (self.since.take(), self.app.clock().instant());
        if let Some(since) = stood {
            self.app.service::<Live>().excuse_silence(self.config().outage_grace_s);
            self.app.service::<Live>().pause_routes();
            if now - since > GOOD {
                self.backoff.reset();
            }
        }
        if self.complained.is_none_or(|at| now - at > COMPLAINT) {
            self.complained = Some(now);
            tracing::warn!(%fault, "no connection to the MQTT broker; trying again");
        }
        // What cannot be understood before that is no message.
        if fault.is_stuck && stood.is_some() {
            self.reopen(true);
        }
        let pause = self.backoff.next(None);
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Opens another connection. A clean one makes the broker discard its session.
    fn reopen(&mut self, clean: bool) {
        match broker::open(self.config(), account(&self.app, clean)) {
            Ok((speaker, ear)) => {
                self.outlet.lose();
                self.outlet.set(speaker);
                (self.ear, self.dropping) = (ear, clean);
            }
            Err(fault) => tracing::error!(%fault, "the MQTT connection could not be made anew"),
        }
    }

    /// Disconnects. Messages that arrive meanwhile get no receipt and are redelivered at the next start.
    async fn close(mut self) {
        metrics::gauge!("relais_mqtt_connected").set(0.0);
        let written = async { while self.writes.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, written).await.is_err() {
            tracing::warn!("what the MQTT broker was asked for could not be noted in time");
        }
        if self.since.is_none() {
            return;
        }
        let last_words = async {
            self.outlet.speaker().disconnect().await;
            while self.ear.next().await.is_ok() {}
        };
        if tokio::time::timeout(GOODBYE, last_words).await.is_err() {
            tracing::debug!("the MQTT broker did not hear the goodbye");
        }
    }
}

/// Waits for room; false if the server is stopping.
async fn hand_over(to: &mpsc::Sender<Heard>, heard: Heard, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        taken = to.send(heard) => taken.is_ok(),
    }
}

/// Connects once, for the doctor.
///
/// # Errors
/// What is wrong, and what to do.
async fn probe(config: &MqttConfig) -> Result<String, String> {
    let layout = Layout::of(&config.topics).map_err(|error| error.to_string())?;
    let client_id = format!("relais-doctor-{}", std::process::id());
    let (speaker, mut ear) =
        broker::open(config, Account { client_id, clean: true }).map_err(|error| error.to_string())?;
    let (filters, shown) = (layout.filters(), Address::of(&config.url)?.shown());
    let asked = async {
        loop {
            match ear.next().await.map_err(|fault| format!("{shown}: {fault}"))? {
                Happening::Connected { .. } => {
                    speaker.subscribe(&filters);
                }
                Happening::Subscribed(refused) if refused.is_empty() => return Ok(()),
                Happening::Subscribed(_) => {
                    return Err(format!(
                        "{shown} does not let {} be read: allow it to live.mqtt.user",
                        filters.join(", ")
                    ));
                }
                Happening::Message(_) | Happening::Other => {}
            }
        }
    };
    let answered = tokio::time::timeout(ANSWER, asked).await;
    answered.map_err(|_| format!("{shown} does not answer; check live.mqtt.url and the network"))??;
    speaker.disconnect().await;
    let _ = tokio::time::timeout(GOODBYE, async { while ear.next().await.is_ok() {} }).await;
    Ok(format!("{shown} takes this server in"))
}
