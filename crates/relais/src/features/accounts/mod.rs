//! Accounts: users, their roles and grants, API keys, signing in and out, and the record of who did what.
//!
//! [`Accounts`] is the API for other features and for the command line. It emits no events.

pub mod http;
mod model;
mod outside;
mod service;
mod sign_in;
mod store;

pub use model::{AuditEntry, Grant, KeyInfo, NewUser, UserChanges, UserInfo};
pub use outside::OutsideChanges;
pub use service::{Accounts, Actor};
pub use sign_in::SignedIn;
pub use store::MIGRATIONS;
