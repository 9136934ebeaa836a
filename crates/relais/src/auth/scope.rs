//! Scopes: what an API key may do, as text.

use std::fmt;
use std::str::FromStr;

use relais_protocol::event::{Channel, Topic};

use crate::text::composed;

/// The longest scope, in bytes.
pub const SCOPE_BYTES_MAX: usize = 240;

/// One permission of an API key: `<area>:<verb>:<resource>`.
///
/// | scope | allows |
/// |---|---|
/// | `relay:read:<société>` | reading its files, listening to its events |
/// | `relay:write:<société>` | the same, and writing, deleting and restoring its files |
/// | `events:subscribe:<channel>` | listening to a topic (`flow:paie`) or a family (`flow:*`) |
/// | `events:publish:<channel>` | publishing there |
/// | `admin:*` | administering users, keys and settings |
///
/// `*` stands for a whole verb or a whole resource, never for a part of a name. A resource may only be left out
/// after the verb `*`: `relay:*` is `relay:*:*`, while `relay:read` is refused, since a forgotten société must
/// not mean every société. `relay:*` does not reach into `events` or `admin`, and no scope of `events` into what
/// belongs to others: `societe:…`, conversations, modules, and what is told to a person or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Files of the relay.
    Relay(RelayVerb, Resource),
    /// Events of the hub.
    Events(EventsVerb, EventsResource),
    /// Administration.
    Admin,
}

/// What may be done to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVerb {
    /// Reading and listening.
    Read,
    /// Reading, listening and writing.
    Write,
    /// Everything, now and later.
    Any,
}

/// What may be done to topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsVerb {
    /// Listening.
    Subscribe,
    /// Publishing.
    Publish,
    /// Everything, now and later.
    Any,
}

/// One name or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `*`.
    All,
    /// Exactly this name.
    Named(Box<str>),
}

/// Some channel or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsResource {
    /// `*`.
    All,
    /// One topic, or one family of topics.
    Channel(Channel),
}

/// The text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a scope; expected for instance relay:read:<société>, relay:write:*, relay:*, \
     events:subscribe:<topic>, events:publish:* or admin:*"
)]
pub struct ScopeError(pub String);

impl EventsResource {
    fn covers_topic(&self, topic: &Topic) -> bool {
        match self {
            Self::All => true,
            Self::Channel(own) => own.covers(topic),
        }
    }

    fn covers(&self, channel: &Channel) -> bool {
        match (self, channel) {
            (Self::All, _) => true,
            (Self::Channel(own), Channel::Topic(topic)) => own.covers(topic),
            (Self::Channel(own), family) => own == family,
        }
    }
}

impl Scope {
    /// Whether this scope allows listening to `channel`.
    #[must_use]
    pub fn allows_subscribe(&self, channel: &Channel) -> bool {
        matches!(self, Self::Events(EventsVerb::Subscribe | EventsVerb::Any, own) if own.covers(channel))
    }

    /// Whether this scope allows publishing to `topic`.
    #[must_use]
    pub fn allows_publish(&self, topic: &Topic) -> bool {
        matches!(self, Self::Events(EventsVerb::Publish | EventsVerb::Any, own) if own.covers_topic(topic))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let wrong = || ScopeError(text.chars().take(SCOPE_BYTES_MAX).collect());
        if text.len() > SCOPE_BYTES_MAX {
            return Err(wrong());
        }
        let mut parts = text.splitn(3, ':');
        let (area, verb) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let resource = match (parts.next(), verb) {
            (Some(resource), _) => resource,
            (None, "*") => "*",
            (None, _) => return Err(wrong()),
        };
        match (area, verb) {
            ("relay", "read") => Ok(Self::Relay(RelayVerb::Read, societe(resource).ok_or_else(wrong)?)),
            ("relay", "write") => Ok(Self::Relay(RelayVerb::Write, societe(resource).ok_or_else(wrong)?)),
            ("relay", "*") => Ok(Self::Relay(RelayVerb::Any, societe(resource).ok_or_else(wrong)?)),
            ("events", "subscribe") => {
                Ok(Self::Events(EventsVerb::Subscribe, channel(resource).ok_or_else(wrong)?))
            }
            ("events", "publish") => {
                Ok(Self::Events(EventsVerb::Publish, channel(resource).ok_or_else(wrong)?))
            }
            ("events", "*") => Ok(Self::Events(EventsVerb::Any, channel(resource).ok_or_else(wrong)?)),
            ("admin", "*") if resource == "*" => Ok(Self::Admin),
            _ => Err(wrong()),
        }
    }
}

fn societe(text: &str) -> Option<Resource> {
    match text {
        "*" => Some(Resource::All),
        name if name.is_empty() || name.contains('*') || name.contains(':') => None,
        name if name.chars().any(char::is_control) => None,
        name => Some(Resource::Named(composed(name).into())),
    }
}

fn channel(text: &str) -> Option<EventsResource> {
    match text {
        "*" => Some(EventsResource::All),
        name => name.parse().ok().map(EventsResource::Channel),
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(verb, resource) => {
                let verb = match verb {
                    RelayVerb::Read => "read",
                    RelayVerb::Write => "write",
                    RelayVerb::Any => "*",
                };
                match resource {
                    Resource::All => write!(f, "relay:{verb}:*"),
                    Resource::Named(name) => write!(f, "relay:{verb}:{name}"),
                }
            }
            Self::Events(verb, resource) => {
                let verb = match verb {
                    EventsVerb::Subscribe => "subscribe",
                    EventsVerb::Publish => "publish",
                    EventsVerb::Any => "*",
                };
                match resource {
                    EventsResource::All => write!(f, "events:{verb}:*"),
                    EventsResource::Channel(channel) => write!(f, "events:{verb}:{channel}"),
                }
            }
            Self::Admin => f.write_str("admin:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_back_as_written() {
        for text in [
            "relay:read:rsp-bgs",
            "relay:write:*",
            "relay:*:*",
            "events:subscribe:flow:paie",
            "events:publish:flow:*",
            "events:*:*",
            "admin:*",
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        assert_eq!("relay:*".parse::<Scope>().unwrap().to_string(), "relay:*:*");
        let decomposed = "relay:read:Socie\u{301}te\u{301}".parse::<Scope>().unwrap();
        assert_eq!(decomposed.to_string(), "relay:read:Société", "as sociétés are called");
    }

    #[test]
    fn what_might_mean_more_than_it_says_is_refused() {
        for text in [
            "",
            "*",
            "*:*",
            "relay",
            "relay:",
            "relay:read",
            "relay:write",
            "relay:read:",
            "relay:read:rsp-*",
            "relay:read:a:b",
            "relay:delete:a",
            "events:publish",
            "events:publish:",
            "admin",
            "admin:read",
            "admin:*:users",
            "Relay:read:a",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }
}
