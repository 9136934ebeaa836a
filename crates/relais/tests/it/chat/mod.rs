//! The chat through its sockets and its calls, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd;
mod deleting;
mod former;
mod groups;
mod hanging_up;
mod identity;
mod limits;
mod many;
mod presence;
mod protection;
mod publishing;
mod reading;
mod recovery;
mod repeated;
mod search;
mod snapshot;
mod story;
mod words;
mod world;

use crate::world::{World, on_both};
