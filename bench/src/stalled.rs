//! A subscriber that never reads while the others do.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::message::{Kind, read_message};
use crate::websocket::Listener;

/// What lies in the kernel's buffers is read within this time.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A client that is let in, and then does not read.
pub(crate) struct Stalled {
    listener: Listener,
    dialect: Dialect,
}

/// What it finds when it reads at last.
#[derive(Serialize)]
pub(crate) struct StalledReport {
    /// Messages that it got before it was dropped.
    heard: u64,
    /// The close code.
    code: Option<u16>,
}

impl Stalled {
    pub(crate) async fn open(address: SocketAddr, dialect: Dialect) -> Result<Self, BenchError> {
        Ok(Self { listener: Listener::open(address, dialect).await?, dialect })
    }

    /// Reads what was sent before the server gave it up: messages in order and without a gap.
    ///
    /// # Errors
    /// If a gap is in them, or if it got all `said`: then it was not slow enough to be dropped.
    pub(crate) async fn read_to_the_end(mut self, said: u64) -> Result<StalledReport, BenchError> {
        let (mut heard, mut gap) = (0, false);
        let dialect = self.dialect;
        let reading = async {
            loop {
                let read = self.listener.until_close(|text| {
                    let message = dialect.message(text).and_then(read_message);
                    if let Some((Kind::Counted, number)) = message {
                        gap |= number != heard;
                        heard += 1;
                    }
                });
                match read.await {
                    Ok(None) => {}
                    Ok(code) => return code,
                    // Ended without a word.
                    Err(_) => return None,
                }
            }
        };
        let code = tokio::time::timeout(READ_LIMIT, reading).await.unwrap_or_default();
        if gap || heard == said {
            let what = if gap { "a gap in what a slow client got" } else { "a slow client was not dropped" };
            return Err(BenchError::wrong(what));
        }
        Ok(StalledReport { heard, code })
    }
}
