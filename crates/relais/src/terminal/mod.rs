//! The terminal, for commands: what they read and print, why they fail, and how a feature declares one.

pub mod out;
mod password;

pub use password::read_password;

use clap::ArgMatches;
use futures_util::future::BoxFuture;
use relais_store::{Store, StoreError};

use crate::AppError;
use crate::auth::Auth;
use crate::config::{Config, ConfigError};

/// Entries asked for at a time.
pub const PAGE: usize = 200;

/// A command of a feature. It works on the database directly, also while the server runs.
pub struct Command {
    /// How it is called.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// What arguments it takes.
    pub arguments: fn(clap::Command) -> clap::Command,
    /// Does what its arguments say.
    pub run: fn(ArgMatches, &Opened) -> BoxFuture<'_, Result<(), CliError>>,
}

/// The database that the configuration names, opened beside a server that may be running.
pub struct Opened {
    /// The settings.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// Who may do what.
    pub auth: Auth,
    /// Whether what is printed is JSON, for programs.
    pub json: bool,
}

impl Opened {
    /// Leaves the database tidy and passes the outcome on.
    pub(crate) async fn close(self, outcome: Result<(), CliError>) -> Result<(), CliError> {
        self.store.shutdown().await;
        outcome
    }
}

/// Why a command failed, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    message: String,
    is_in_result: bool,
}

impl CliError {
    /// An error whose message says what happened and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_in_result: false }
    }

    /// An error that the result on standard output already tells of.
    pub(crate) fn after_result(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_in_result: true }
    }

    /// Whether the result on standard output tells of it.
    pub(crate) const fn is_in_result(&self) -> bool {
        self.is_in_result
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        Self::new(error.english())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::new(error.to_string())
    }
}
