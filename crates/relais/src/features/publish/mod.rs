//! Publishing: [`tell`] from within, in the transaction of the change, and from outside by HTTP. Any existing backend
//! publishes to a topic, a user, a role or a page, with a key whose scope allows it.
//!
//! Published events are stored and recovered like every other event, unless declared ephemeral. The table of topics
//! defines where a key may publish, and which names are reserved ([`crate::auth::Topics`]).

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
    open: |opening| {
        Box::pin(async {
            opening.services.add(opening.observers.clone());
            Ok(())
        })
    },
    topics: target::FAMILIES,
    routes: |_| http::router(),
    openapi: || vec![http::PublishApi::openapi()],
    ..Feature::named("publish")
};
