//! Modules, on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod devices;
mod guests;
mod history;
mod leaps;
mod modules;
mod names;
mod pages;
mod people;
mod snapshots;
mod storing;
mod wire;

use crate::world::{Person, World, on_both, on_both_in_time, on_both_with};
