//! Receipts: the broker gets one for a message once what it says is in the database, so that nothing is lost however the
//! process ends. Messages that wait for their receipts share one write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::broker::Receipt;
use super::outlet::Outlet;
use super::unacknowledged::Unacknowledged;
use crate::App;
use crate::features::live::Live;

/// Receipts that may wait: more than a broker sends without them.
const OWED_MAX: usize = 4_096;
/// Receipts that are sent together at most.
const TOGETHER: usize = 512;
/// After the database refused.
const PAUSE: Duration = Duration::from_secs(1);

/// A receipt that is owed, over the connection that the message came over: for the next one it would be of another
/// message.
pub(super) struct Owed {
    pub(super) receipt: Receipt,
    pub(super) connection: u64,
}

/// Where receipts are put that are owed.
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

/// Sends what is owed until nobody owes any more, or a while after `stop` if the database does not answer.
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
            // They have no receipts, and come again.
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
