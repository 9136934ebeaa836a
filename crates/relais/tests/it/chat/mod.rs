//! The chat through its sockets and its calls, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod former;
mod identity;
mod limits;
mod publishing;
mod reading;
mod recovery;
mod repeated;
mod snapshot;
mod story;
mod world;

use crate::world::{World, on_both};
