//! Publishing: [`tell`] from within, in the transaction of what is told, and from outside by HTTP. Any existing backend emits to a topic, a person, a role or a page, with a key whose scope
//! allows it.
//!
//! What it publishes is stored and recovered like every other event, unless it is said to be ephemeral. The topics of
//! features that have rules of their own (`societe:`, `conversation:`, `module:`) are published by these features alone.

pub mod http;
mod service;
mod store;
mod target;

pub use service::{NewEvent, Published, publish};
pub use store::MIGRATIONS;
pub use target::{Target, tell};

use utoipa::OpenApi as _;

use crate::feature::Feature;

/// Publishing.
pub const FEATURE: Feature = Feature {
    migrations: &[MIGRATIONS],
    routes: |_| http::router(),
    openapi: || vec![http::PublishApi::openapi()],
    ..Feature::named("publish")
};
