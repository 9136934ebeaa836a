//! What holds for every request and every live connection, whichever feature it is for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod documents;
mod endings;
mod latecomers;
mod origins;
mod pages;
pub(crate) mod rights;
pub(crate) mod sessions;
mod texts;
pub(crate) mod wire;

use crate::world::{Person, World, on_both, on_both_with};
