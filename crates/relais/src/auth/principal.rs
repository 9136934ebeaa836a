//! Principals and their rights.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use relais_protocol::time::Timestamp;

use super::scope::{RelayVerb, Resource, Scope};
use crate::text::composed;

static ANONYMOUS: LazyLock<Arc<str>> = LazyLock::new(|| "anonymous".into());

/// A set of sociétés.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every société, now and later.
    All,
    /// These and no others.
    Only(Arc<BTreeSet<Box<str>>>),
}

impl Access {
    /// No société.
    #[must_use]
    pub fn none() -> Self {
        static NONE: LazyLock<Arc<BTreeSet<Box<str>>>> = LazyLock::new(Arc::default);
        Self::Only(NONE.clone())
    }

    /// These sociétés.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Only(Arc::new(names.into_iter().map(Into::into).collect()))
    }

    /// Whether `societe` is one of them.
    #[must_use]
    pub fn contains(&self, societe: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(societe),
        }
    }

    /// Whether there is no société in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Only(names) if names.is_empty())
    }
}

/// Which sociétés a principal may read and which it may write. What it may write it may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Reading and subscribing.
    pub read: Access,
    /// Writing, deleting, restoring.
    pub write: Access,
}

impl Grants {
    /// Neither reading nor writing.
    #[must_use]
    pub fn none() -> Self {
        Self { read: Access::none(), write: Access::none() }
    }

    /// From pairs of a société and whether it may be written.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let (mut read, mut write) = (BTreeSet::new(), BTreeSet::new());
        let (mut read_all, mut write_all) = (false, false);
        for (name, writes) in pairs {
            read_all |= name == "*";
            write_all |= name == "*" && writes;
            // The société has the composed form of its name, however it was written.
            let name: Box<str> = composed(name).into();
            if writes {
                write.insert(name.clone());
            }
            read.insert(name);
        }
        let access = |all, names| if all { Access::All } else { Access::Only(Arc::new(names)) };
        Self { read: access(read_all, read), write: access(write_all, write) }
    }

    /// What the scopes of a key say about sociétés.
    #[must_use]
    pub fn from_scopes(scopes: &[Scope]) -> Self {
        Self::from_pairs(scopes.iter().filter_map(|scope| match scope {
            Scope::Relay(verb, resource) => {
                let name = match resource {
                    Resource::All => "*",
                    Resource::Named(name) => name,
                };
                Some((name, *verb != RelayVerb::Read))
            }
            Scope::Events(..) | Scope::Admin => None,
        }))
    }
}

/// Users whom the server knows or whom a token with its secret names: `user:<id>`, as a principal and as the topic of what
/// is told to them.
pub const USER: &str = "user";
/// Users whom only an identity provider knows: `ext:<id>`, likewise.
pub const EXT: &str = "ext";

/// The principal that an account with this id is.
#[must_use]
pub fn user_principal(id: &str) -> String {
    format!("{USER}:{id}")
}

/// A person: one of our users, or one whom a token from elsewhere describes.
#[derive(Clone, Debug)]
pub struct User {
    /// `user:<id>`, or `ext:<id>` for somebody whom only an identity provider knows.
    pub principal_id: Arc<str>,
    /// The id as tokens and JSON have it; opaque.
    pub id: String,
    /// The e-mail address; empty if a token has none.
    pub email: String,
    /// The name that others see.
    pub display_name: String,
    /// Whether the person administers the server.
    pub admin: bool,
    /// Whether the person belongs to the office and so reads every société.
    pub staff: bool,
    /// Which sociétés, beside those that the roles give.
    pub grants: Grants,
    /// When the credential ends, if it says so.
    pub expires_at: Option<Timestamp>,
    /// The generation of the account that the credential belongs to; none for somebody without an account here.
    pub generation: Option<u64>,
    /// The digest of the session that the person came with; none for a token.
    pub session: Option<Arc<str>>,
}

impl User {
    /// The same, known by another id in this family.
    pub(crate) fn with_id(self, family: &str, id: String) -> Self {
        Self { principal_id: Arc::from(format!("{family}:{id}")), id, ..self }
    }
}

/// The e-mail address in an id of an existing backend, in the spelling of the accounts: addresses are compared without
/// case. None if the id is no address.
#[must_use]
pub fn address(id: &str) -> Option<String> {
    id.contains('@').then(|| id.trim().to_lowercase())
}

/// A program with an API key.
#[derive(Clone, Debug)]
pub struct Service {
    /// `key:<id>`.
    pub principal_id: Arc<str>,
    /// The id of the key.
    pub id: String,
    /// What the key is called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The sociétés among the scopes.
    pub grants: Grants,
    /// When the key ends.
    pub expires_at: Option<Timestamp>,
}

/// The caller. Carries every right it has, so that the policy needs no I/O.
#[derive(Clone, Debug, Default)]
pub enum Principal {
    /// Anonymous. May use the relay in open mode, and nothing otherwise.
    #[default]
    Anonymous,
    /// A person.
    User(Arc<User>),
    /// A program.
    Service(Arc<Service>),
}

impl Principal {
    /// A stable name: `user:<id>`, `ext:<id>`, `key:<id>` or `anonymous`.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        match self {
            Self::Anonymous => ANONYMOUS.clone(),
            Self::User(user) => user.principal_id.clone(),
            Self::Service(service) => service.principal_id.clone(),
        }
    }

    /// The name that others see.
    #[must_use]
    pub fn display_name(&self) -> &str {
        match self {
            Self::Anonymous => "anonyme",
            Self::User(user) => &user.display_name,
            Self::Service(service) => &service.name,
        }
    }

    /// Whether the caller is anonymous.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// Whether this principal administers the server.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::User(user) => user.admin,
            Self::Service(service) => service.scopes.contains(&Scope::Admin),
        }
    }

    /// Whether this is a person of the office.
    #[must_use]
    pub fn is_staff(&self) -> bool {
        matches!(self, Self::User(user) if user.staff || user.admin)
    }

    /// The person, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Service(_) => None,
        }
    }

    /// Whether another principal is the same one with the same rights.
    #[must_use]
    pub fn has_rights_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::User(one), Self::User(other)) => {
                one.principal_id == other.principal_id
                    && one.generation == other.generation
                    && (one.admin, one.staff) == (other.admin, other.staff)
                    && one.grants == other.grants
            }
            (Self::Service(one), Self::Service(other)) => {
                one.principal_id == other.principal_id && one.scopes == other.scopes
            }
            _ => false,
        }
    }

    /// When the credential ends; a live session of this principal ends then too.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Anonymous => None,
            Self::User(user) => user.expires_at,
            Self::Service(service) => service.expires_at,
        }
    }
}
