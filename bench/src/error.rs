//! Why a measurement cannot be trusted or made.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0}; is the server running, and is the limit of open files high enough?")]
    Io(#[from] std::io::Error),
    /// The server answered something else than the scenario expects: the figures would mean nothing.
    #[error("the server did not do its job: {0}")]
    Wrong(String),
    #[error("not finished after {0:?}")]
    TooLong(Duration),
}

impl BenchError {
    pub(crate) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }
}
