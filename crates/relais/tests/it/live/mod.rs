//! Modules, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod modules;

use crate::world::{Person, World, on_both};
