//! Modules as others see them.

use relais_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A machine in the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Module {
    /// What is printed on it, such as `MC-1001-STN`.
    #[serde(rename = "module_id")]
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Its type, a name of the catalogue.
    #[serde(rename = "type")]
    pub kind: String,
    /// The user whose it is, by id; nobody's until it is claimed.
    #[serde(rename = "userId", serialize_with = "write_id")]
    pub owner: Option<String>,
    /// When it was added.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// Since when it is its owner's; what happened before is not theirs to read.
    #[schema(value_type = String)]
    pub owned_at: Timestamp,
    /// Where in the log that begins, whatever the clock said: events of the module before it are not theirs to read.
    #[serde(skip)]
    pub owned_seq: u64,
    /// When one of these last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
}

/// Users are known to others by their id, without what kind of principal they are.
pub(super) fn write_id<S: serde::Serializer>(
    owner: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let id = owner.as_deref().map(|owner| owner.split_once(':').map_or(owner, |(_, id)| id));
    id.serialize(serializer)
}

/// A module to be added.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewModule {
    /// What is printed on it.
    pub id: String,
    /// What its owner calls it; the id if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Its type; what the end of the id says if absent.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The user whose it is, by id or e-mail address. Without one it can be claimed.
    #[serde(default)]
    pub owner: Option<String>,
    /// What its device says that it knows, if that is in its firmware already: from 4 characters to 256 bytes. Without it, one is made.
    #[serde(default)]
    #[schema(format = Password)]
    pub password: Option<String>,
}

/// What may change of a module. What is absent stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleChanges {
    /// Another name.
    #[serde(default)]
    pub name: Option<String>,
    /// Another type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// What a claim says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `XXXX-XXXX`, in any spelling.
    pub code: String,
    /// The module that it is expected to be for.
    #[serde(default, rename = "moduleId")]
    pub module_id: Option<String>,
    /// What its new owner calls it.
    #[serde(default)]
    pub name: Option<String>,
}

/// A module that was just added, with what is told this once.
#[derive(Clone, Serialize, ToSchema)]
pub struct AddedModule {
    /// It.
    pub module: Module,
    /// What the device says that it knows: its `password`. Absent if it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Entering this code makes the user the owner of the module; absent if it has an owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_code: Option<String>,
}
