//! The SQL of the chat, one file per noun.

pub(super) mod conversations;
pub(super) mod invitations;
pub(super) mod messages;
pub(super) mod people;
pub(super) mod search;

use relais_store::Migration;

/// The tables of this feature.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 300, name: "chat", sql: include_str!("../schema.sql") }];
