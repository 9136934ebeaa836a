//! Stopping cleanly when the person at the terminal or the system asks.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::signals::Signals;
use crate::tasks::spawn;

/// Says whether to stop. The first Ctrl-C (or SIGTERM) asks to finish cleanly, the second one ends at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(CancellationToken);

impl Stop {
    /// Listens for the signals from now on.
    pub(crate) fn on_signals() -> Self {
        let stop = Self::default();
        let (asked, mut signals) = (stop.clone(), Signals::heard());
        spawn("signals", async move {
            signals.asked().await;
            asked.0.cancel();
            signals.asked().await;
            std::process::exit(130);
        });
        stop
    }

    /// Whether a stop has been asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for `pause`; false if a stop was asked for meanwhile.
    pub(crate) async fn sleep(&self, pause: Duration) -> bool {
        self.until(tokio::time::sleep(pause)).await.is_some()
    }

    /// Runs `work` to its end; none if a stop was asked for meanwhile and it was dropped.
    pub(crate) async fn until<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }
}
