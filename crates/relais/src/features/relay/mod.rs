//! The relay: a company's JSON files reach every device the moment they change.
//!
//! A file belongs to a société (a company). Storing one checks it, writes the row, the version and the event in one
//! transaction, puts the plain file into the folder right after the commit, and then notifies the subscribers. The
//! plain files stay readable and writable for other programs: their changes are detected and published like an upload.
//!
//! - [`Relay`]: its operations;
//! - `change`: the transactions; `folder`: the plain files; `index`: the current state in memory;
//! - `reconcile` and `watch`: changes by other programs, and recovery after a crash;
//! - `json`, `schema`, `name`: what is accepted; `left_out`: what is not, named for the operators;
//! - `http` and `frame`: the edge.

mod change;
mod compact;
mod content;
mod doctor;
mod error;
mod folder;
mod folder_id;
mod forms;
pub mod frame;
pub mod http;
mod in_use;
mod index;
mod inspect;
pub mod json;
mod left_out;
mod listing;
mod model;
mod name;
mod plain_file;
mod reconcile;
mod schema;
mod service;
mod spare;
mod store;
mod watch;

pub use change::{Content, TOPIC_FAMILY};
pub use content::Coding;
pub use error::RelayError;
pub use inspect::broken_rows;
pub use left_out::{Cause, LeftOut, Spot};
pub use model::{Announced, FileMeta, Origin, Precondition, Request, Stored, Totals, Version, sha256_hex};
pub use name::{FileName, NameFault, SocieteName};
pub use schema::Violation;
pub use service::{Changes, Comparison, Relay};
pub use store::MIGRATIONS;

use std::sync::Arc;

use relais_hub::{Filter, Subscription};
use relais_protocol::event::{Channel, Event};
use relais_store::blobs::LocalBlobs;

use crate::AppError;
use crate::auth::{Access, Action, Auth, Principal, TopicFamily};
use crate::feature::{Feature, Observer, OpenError, Opening};

/// The relay.
pub const FEATURE: Feature = Feature {
    french: &["/api/files/"],
    migrations: &[MIGRATIONS],
    open: |opening| Box::pin(open(opening)),
    topics: &[TopicFamily {
        hears: |policy, principal, channel| match channel {
            Channel::Topic(topic) => policy.allows(principal, Action::RelayRead(topic.key())),
            Channel::Family(_) => policy.readable(principal) == Access::All,
        },
        composed: true,
        ..TopicFamily::named(TOPIC_FAMILY)
    }],
    event_names: NAMES,
    subscribe: |app, principal, channel| Box::pin(async { subscribe(app.auth(), principal, channel) }),
    routes: http::router,
    tasks: |app, stop| vec![Box::pin(watch::run(app.service::<Relay>().clone(), stop.clone()))],
    gauges: |app| set_gauges(app.service()),
    checks: |config| Box::pin(doctor::checks(config)),
    unreadable_rows: |store| Box::pin(broken_rows(store)),
    ..Feature::named("relay")
};

/// The family of sociétés is open to everyone who may read some: a filter omits the others.
fn subscribe(
    auth: &Auth,
    principal: &Principal,
    channel: &Channel,
) -> Result<Option<Subscription>, AppError> {
    if !matches!(channel, Channel::Family(family) if &**family == TOPIC_FAMILY) {
        return Ok(None);
    }
    auth.require(principal, Action::RelayList)?;
    let filter: Option<Arc<dyn Filter>> = match auth.readable_societes(principal) {
        Access::All => None,
        only @ Access::Only(_) => Some(Arc::new(move |event: &Event| only.contains(event.topic.key()))),
    };
    Ok(Some(Subscription { channel: channel.clone(), filter }))
}

async fn open(opening: &mut Opening) -> Result<(), OpenError> {
    let blobs = LocalBlobs::open(&opening.config.server.data.join("blobs"))
        .map_err(|error| OpenError(format!("blobs: {error}")))?;
    let (config, folder) = (opening.config.relay.clone(), opening.config.relay_files_dir());
    // Locked before anything is done there: opening it removes what this server has not finished writing.
    opening.folders.push(folder::Folder::lock(&folder)?);
    let relay = Relay::open(opening.store.clone(), Arc::new(blobs), config, &folder)
        .await
        .map_err(|error| OpenError(format!("relay: {error}")))?;
    opening.observers.add(relay.clone());
    opening.services.add(relay);
    Ok(())
}

impl Observer for Relay {
    fn caught_up(&self, event: &Event) {
        self.take_in(event);
    }
}

fn set_gauges(relay: &Relay) {
    let totals = relay.totals(|_| true);
    metrics::gauge!("relais_relay_files").set(totals.files as f64);
    metrics::gauge!("relais_relay_societes").set(totals.societes as f64);
    metrics::gauge!("relais_relay_left_out").set(relay.left_out_count() as f64);
    metrics::gauge!("relais_relay_watch_polling").set(f64::from(u8::from(relay.is_polling())));
}

/// The events that only the relay publishes.
pub const NAMES: &[&str] = &["file_uploaded", "file_deleted", "sync_completed"];
