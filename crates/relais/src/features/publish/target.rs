//! To whom something is told.

use relais_protocol::event::{NameError, Topic};
use relais_store::{Emitted, StoreError, WriteTx};
use serde::Serialize;

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Everybody who is signed in.
    Everybody,
    /// Administrators.
    Administrators,
    /// Whoever looks at a page of this name.
    Page(&'a str),
    /// One person: the topic that is named after them, `user:<id>`.
    Person(&'a str),
}

impl Target<'_> {
    /// Where they listen.
    ///
    /// # Errors
    /// [`NameError`] for the name of a page or person that can be none.
    pub fn topic(self) -> Result<Topic, NameError> {
        match self {
            Self::Everybody => Topic::new("system"),
            Self::Administrators => Topic::new("role:admin"),
            Self::Page(name) => Topic::new(&format!("page:{name}")),
            Self::Person(topic) => Topic::new(topic),
        }
    }
}

/// Tells them in the transaction of what is told; who is away learns it on return. `data` is an object.
///
/// # Errors
/// What the database reports, and a target or data that can be none.
pub fn tell(
    tx: &mut WriteTx<'_>,
    target: Target<'_>,
    name: &str,
    data: &impl Serialize,
) -> Result<Emitted, StoreError> {
    let topic = target.topic().map_err(|error| StoreError::Value(error.to_string()))?;
    let data = serde_json::to_string(data).map_err(|error| StoreError::Value(error.to_string()))?;
    tx.emit(&topic, name, data)
}
