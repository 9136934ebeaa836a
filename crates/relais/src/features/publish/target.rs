//! Recipients of an event.

use relais_protocol::event::{Channel, NameError, Topic};
use relais_store::{Emitted, StoreError, WriteTx};
use serde::Serialize;

use crate::auth::{KeyAccess, Policy, Principal, TopicFamily};

const EVERYBODY: &str = "system";
const ROLE: &str = "role";
const PAGE: &str = "page";
const ADMINISTRATORS: &str = "admin";
const STAFF: &str = "staff";

/// The topics of all signed-in users, of roles, and of the pages of an application.
pub(super) const FAMILIES: &[TopicFamily] = &[
    TopicFamily { hears: is_signed_in, keys: KeyAccess::Everything, ..TopicFamily::named(EVERYBODY) },
    TopicFamily { hears: has_role, keys: KeyAccess::Publish, ..TopicFamily::named(ROLE) },
    TopicFamily { hears: sees_page, keys: KeyAccess::Everything, ..TopicFamily::named(PAGE) },
];

fn is_signed_in(_: Policy, principal: &Principal, channel: &Channel) -> bool {
    matches!((principal, channel), (Principal::User(_), Channel::Topic(_)))
}

fn has_role(_: Policy, principal: &Principal, channel: &Channel) -> bool {
    let (Principal::User(user), Channel::Topic(topic)) = (principal, channel) else { return false };
    match topic.key() {
        ADMINISTRATORS => user.admin,
        STAFF => user.staff || user.admin,
        _ => false,
    }
}

/// The administrators' page is restricted to them.
fn sees_page(_: Policy, principal: &Principal, channel: &Channel) -> bool {
    let (Principal::User(user), Channel::Topic(topic)) = (principal, channel) else { return false };
    topic.key() != ADMINISTRATORS || user.admin
}

/// The recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every signed-in user.
    Everybody,
    /// Administrators.
    Administrators,
    /// Everyone with a page of this name open.
    Page(&'a str),
    /// One user: the topic named after them, `user:<id>`.
    Person(&'a str),
}

impl Target<'_> {
    /// Their topic.
    ///
    /// # Errors
    /// [`NameError`] for an invalid name of a page or user.
    pub fn topic(self) -> Result<Topic, NameError> {
        match self {
            Self::Everybody => Topic::new(EVERYBODY),
            Self::Administrators => Topic::new(&format!("{ROLE}:{ADMINISTRATORS}")),
            Self::Page(name) => Topic::new(&format!("{PAGE}:{name}")),
            Self::Person(topic) => Topic::new(topic),
        }
    }
}

/// Publishes in the transaction of the change; offline recipients receive it on return. `data` is an object.
///
/// # Errors
/// What the database reports, and a target or data that can be none.
pub fn emit(
    tx: &mut WriteTx<'_>,
    target: Target<'_>,
    name: &str,
    data: &impl Serialize,
) -> Result<Emitted, StoreError> {
    let topic = target.topic().map_err(|error| StoreError::Value(error.to_string()))?;
    let data = serde_json::to_string(data).map_err(|error| StoreError::Value(error.to_string()))?;
    tx.emit(&topic, name, data)
}
