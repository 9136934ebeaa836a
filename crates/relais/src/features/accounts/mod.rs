//! Accounts: users, their roles and grants, API keys, signing in and out, and the audit log.
//!
//! [`Accounts`] is the API for other features and for the command line. Events in `role:admin`: `rt_user_added`,
//! `rt_user_logged_in`, `rt_user_logged_out`, `rt_user_profile_updated`; the last also in the user's own topic.

mod audit;
mod cli;
mod events;
mod grants;
pub mod http;
mod keys;
mod model;
mod refusal;
mod service;
mod sign_in;
mod store;
mod users;

pub use audit::{Actor, record_action};
pub use http::Administrator;
pub use model::{AuditEntry, Grant, KeyInfo, NewUser, UserChanges, UserInfo};
pub use service::Accounts;
pub use sign_in::SignedIn;
pub use store::MIGRATIONS;

use relais_protocol::event::Channel;

use crate::auth::{EXT, KeyAccess, Policy, Principal, RIGHTS, TopicFamily, USER};
use crate::feature::{Feature, OpenError};

/// Accounts.
pub const FEATURE: Feature = Feature {
    french: &["/api/connexion", "/api/auth/"],
    migrations: &[MIGRATIONS],
    open: |opening| {
        Box::pin(async {
            let accounts = Accounts::new(opening.auth.clone());
            let made = accounts.ensure_first_admin().await;
            made.map_err(|error| OpenError(format!("first administrator: {error}")))?;
            opening.services.add(accounts);
            Ok(())
        })
    },
    topics: &[own_topic(USER), own_topic(EXT), RIGHTS],
    routes: http::router,
    commands: cli::COMMANDS,
    ..Feature::named("accounts")
};

/// Topics named like the principal who may subscribe to them.
const fn own_topic(name: &'static str) -> TopicFamily {
    TopicFamily { hears: is_own, keys: KeyAccess::Publish, ..TopicFamily::named(name) }
}

fn is_own(_: Policy, principal: &Principal, channel: &Channel) -> bool {
    match (principal, channel) {
        (Principal::User(user), Channel::Topic(topic)) => topic.as_str() == &*user.principal_id,
        _ => false,
    }
}
