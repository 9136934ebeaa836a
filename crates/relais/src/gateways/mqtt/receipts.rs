//! Receipts: the broker gets one for a message once its content is in the database, so that nothing is lost however the
//! process ends. Messages awaiting their receipts share one write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::broker::Receipt;
use super::outlet::Outlet;
use super::unacknowledged::Unacknowledged;
use crate::App;
use crate::features::live::Live;

/// Receipts that may be queued: more than a broker sends without them.
const OWED_MAX: usize = 4_096;
/// Receipts that are sent together at most.
const TOGETHER: usize = 512;
/// The pause after a database error.
const PAUSE: Duration = Duration::from_secs(1);

/// A receipt that is due, on the connection that delivered the message: on another one it would refer to another
/// message.
pub(super) struct Owed {
    pub(super) receipt: Receipt,
    pub(super) connection: u64,
}

/// The queue of receipts that are due.
pub(super) fn channel() -> (mpsc::Sender<Owed>, mpsc::Receiver<Owed>) {
    mpsc::channel(OWED_MAX)
}

async fn store(app: &App, messages: usize) {
    while let Err(error) = app.service::<Live>().stored().await {
        tracing::warn!(%error, messages, "messages over MQTT could not be stored; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn too_late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(super::GOODBYE).await;
}

/// Sends the receipts that are due until all senders are gone, or a while after `stop` if the database does not answer.
pub(super) async fn send(
    app: App,
    outlet: Arc<Outlet>,
    mut owed: mpsc::Receiver<Owed>,
    unacknowledged: &Unacknowledged,
    stop: CancellationToken,
) {
    let mut together = Vec::with_capacity(TOGETHER);
    while owed.recv_many(&mut together, TOGETHER).await > 0 {
        tokio::select! {
            () = store(&app, together.len()) => {}
            // Their messages get no receipts, and are redelivered.
            () = too_late(&stop) => return,
        }
        for Owed { receipt, connection } in together.drain(..) {
            if outlet.connection() != connection {
                continue;
            }
            // Before it goes: from then on the broker may give its number to another message.
            unacknowledged.forget(&receipt);
            if !outlet.speaker().acknowledge(&receipt) {
                tracing::debug!("a receipt found no room; the message comes again");
            }
        }
    }
}
