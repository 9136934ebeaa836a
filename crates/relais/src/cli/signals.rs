//! The signals with which a process is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, heard from when this is made: one that comes before somebody waits for it is not lost, and does
/// not end the process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(super) fn heard() -> Self {
        Self { terminate: hear(SignalKind::terminate()), interrupt: hear(SignalKind::interrupt()) }
    }

    /// Returns when the process is asked to end, each time.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            () = next(&mut self.terminate) => {}
            () = next(&mut self.interrupt) => {}
        }
    }
}

fn hear(kind: SignalKind) -> Option<Signal> {
    let heard = signal(kind);
    heard.inspect_err(|error| tracing::warn!(%error, ?kind, "a signal cannot be heard")).ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
