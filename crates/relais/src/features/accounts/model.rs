//! Requests and responses.

use relais_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::aliases::null_is_absent;
use crate::auth::store::{Account, KeyRow};

/// A user, with the names that existing clients know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserInfo {
    /// Opaque.
    #[schema(example = "0198c0de-7f3a-7c1e-9d0a-3b1f6a2c4e55")]
    pub id: String,
    /// First name; may be empty.
    pub firstname: String,
    /// Last name; may be empty.
    pub lastname: String,
    /// The address that the user signs in with.
    pub email: String,
    /// Telephone number; may be empty.
    pub phone: String,
    /// Administers the server; reads and writes every société.
    pub admin: bool,
    /// Belongs to the office; reads every société.
    pub staff: bool,
    /// Cannot sign in; sessions and tokens have ended.
    pub disabled: bool,
    /// When the user was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<&Account> for UserInfo {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            firstname: account.firstname.clone(),
            lastname: account.lastname.clone(),
            email: account.email.clone(),
            phone: account.phone.clone(),
            admin: account.admin,
            staff: account.staff,
            disabled: account.disabled,
            created_at: account.created_at,
        }
    }
}

/// A user to be made.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The address to sign in with; unique, upper and lower case are the same.
    pub email: String,
    /// At least 8 characters.
    pub password: String,
    /// First name.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub firstname: String,
    /// Last name.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub lastname: String,
    /// Telephone number.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub phone: String,
    /// Administers the server.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub admin: bool,
    /// Belongs to the office.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub staff: bool,
}

/// What to change of a user; what is left out stays.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChanges {
    /// Another address.
    pub email: Option<String>,
    /// Another password; ends the user's sessions and tokens.
    pub password: Option<String>,
    /// First name.
    pub firstname: Option<String>,
    /// Last name.
    pub lastname: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
    /// Administers the server.
    pub admin: Option<bool>,
    /// Belongs to the office.
    pub staff: Option<bool>,
    /// Disabling ends the user's sessions and tokens.
    pub disabled: Option<bool>,
}

/// What a user may do with a société.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The société, or `*` for every société.
    pub societe: String,
    /// `read`, or `write`, which includes reading.
    #[schema(pattern = "^(read|write)$", example = "read")]
    pub access: String,
}

/// An API key, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyInfo {
    /// The part of the key that is no secret.
    pub id: String,
    /// What the key is called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

impl From<&KeyRow> for KeyInfo {
    fn from(row: &KeyRow) -> Self {
        Self {
            id: row.service.id.clone(),
            name: row.service.name.clone(),
            scopes: row.service.scopes.iter().map(ToString::to_string).collect(),
            created_at: row.created_at,
            created_by: row.created_by.clone(),
            expires_at: row.service.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Sorts by time.
    pub id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who: `user:<id>`, `key:<id>`, `cli:<login>` or `anonymous`.
    pub actor: String,
    /// What: `sign_in`, `sign_in_failed`, `user_created`, ….
    pub action: String,
    /// The target: `user:<id>`, `key:<id>`, or the address used for a failed sign-in.
    pub target: String,
    /// From which network address.
    pub address: Option<String>,
    /// What exactly; never a secret.
    pub details: String,
}
