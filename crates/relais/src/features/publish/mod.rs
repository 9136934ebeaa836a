//! Publishing: [`emit`] from within, in the transaction that stores the change, and [`Publishing`] from outside by
//! HTTP. Any existing backend emits to a topic, a person, a role or a page, with a key whose scope allows it.
//!
//! Published events are stored and recovered like every other event, unless declared ephemeral. The table of topics
//! defines where a key may publish, and which names are reserved ([`crate::auth::Topics`]).

pub mod http;
mod service;
mod store;
mod target;

pub use service::{NewEvent, Published, Publishing};
pub use store::MIGRATIONS;
pub use target::{Target, emit};

use crate::feature::Feature;

/// Publishing.
pub const FEATURE: Feature = Feature {
    migrations: &[MIGRATIONS],
    open: |opening| {
        Box::pin(async {
            opening.services.add(Publishing::new(opening));
            Ok(())
        })
    },
    topics: target::FAMILIES,
    routes: http::router,
    ..Feature::named("publish")
};
