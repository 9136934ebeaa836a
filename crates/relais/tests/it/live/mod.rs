//! Modules, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

<<<<<<< HEAD
mod devices;
=======
mod history;
>>>>>>> 0c8c1c8 (History of modules: journal, blocks, aggregates, charts)
mod modules;
mod snapshots;
mod wire;

use crate::world::{Person, World, on_both, on_both_with};
