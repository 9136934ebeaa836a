//! The database, on SQLite or on PostgreSQL: transactions with grouped commits, migrations, the event log,
//! durable jobs and blobs. No HTTP.
//!
//! A [`Store`] has one writer thread. It gathers the closures given to [`Store::write`] meanwhile, runs each in
//! a savepoint of one transaction, writes what all of them emitted by one statement and commits once; a second thread
//! then runs hooks, hands events to the [`EventSink`] and answers the callers, all in the order of the commit. Reads run
//! on snapshots beside it. Commands that come in crowds go by a [`Lane`], rows that are no part of the log by
//! [`Store::write_rows`].
//!
//! The same SQL text serves both databases: parameters `$1`, `$2` …, times as `BIGINT` milliseconds, booleans
//! as `BIGINT` 0 and 1, ids and JSON as `TEXT`.

mod buffer;
mod calendar;
mod checkpoint;
mod completion;
mod config;
mod connection;
mod delivery;
mod error;
mod head;
mod lane;
mod migration;
mod param;
mod postgres;
mod query;
mod reader;
mod row;
mod rows;
mod sqlite;
mod store;
mod tx;
mod writer;

pub mod blobs;
pub mod jobs;
pub mod log;
pub mod packs;
pub mod private;

pub use completion::EventSink;
pub use config::{DatabaseUrl, StoreConfig};
pub use error::StoreError;
pub use lane::Lane;
pub use log::LogBounds;
pub use migration::Migration;
pub use param::Param;
pub use row::Row;
pub use rows::RowTx;
pub use store::Store;
pub use tx::{Backend, Emitted, Query, ReadTx, WriteTx};

use relais_protocol::event::Epoch;

/// A name for a new life of the log.
fn random_epoch() -> Result<Epoch, StoreError> {
    let number = getrandom::u64()
        .map_err(|e| StoreError::Unavailable(format!("the system gives no randomness: {e}")))?;
    Ok(Epoch(number))
}
