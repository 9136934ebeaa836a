//! The chat through its sockets and its calls, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;
mod publishing;
mod reading;
mod recovery;
mod snapshot;
mod story;
mod world;

use crate::world::{World, on_both};
