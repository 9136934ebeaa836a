//! Moving files between folders and a server: what differs, what is sent, what came of it.

mod fetch;
pub(super) mod guard;
pub(super) mod mirror;
pub(super) mod outbox;
pub(super) mod plan;
pub(super) mod send;
mod state;
pub(super) mod summary;
