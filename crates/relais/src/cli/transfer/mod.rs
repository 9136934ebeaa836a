//! Moving files between folders and a server: what differs, what is sent, what came of it.

pub(super) mod mirror;
pub(super) mod plan;
pub(super) mod send;
pub(super) mod state;
pub(super) mod summary;
