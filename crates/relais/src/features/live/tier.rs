//! How often watchers are told of telemetry.

use relais_protocol::event::Channel;

use super::topics::{FLEET, TELEMETRY};

/// How often. Watchers of one tier share what is written to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// As it comes.
    #[default]
    Live,
    /// At most once a second for each module.
    Second,
    /// At most every five seconds for each module.
    FiveSeconds,
}

impl Tier {
    /// All, the fastest first.
    pub const ALL: [Self; 3] = [Self::Live, Self::Second, Self::FiveSeconds];

    /// What the families of its topics may end with.
    pub(super) const SUFFIXES: &'static [&'static str] =
        &[Self::Live.suffix(), Self::Second.suffix(), Self::FiveSeconds.suffix()];

    /// The slowest that is not slower than somebody wants, in milliseconds between two values.
    #[must_use]
    pub fn for_interval(interval_ms: u64) -> Self {
        match interval_ms {
            0..1000 => Self::Live,
            1000..5000 => Self::Second,
            _ => Self::FiveSeconds,
        }
    }

    /// That of a channel of telemetry.
    #[must_use]
    pub fn of(channel: &Channel) -> Option<Self> {
        let family = match channel {
            Channel::Topic(topic) => topic.family(),
            Channel::Family(family) => family,
        };
        let suffix = [TELEMETRY, FLEET].into_iter().find_map(|name| family.strip_prefix(name))?;
        Self::ALL.into_iter().find(|tier| tier.suffix() == suffix)
    }

    /// Milliseconds between two values of a module; none as they come.
    #[must_use]
    pub const fn interval_ms(self) -> Option<u64> {
        match self {
            Self::Live => None,
            Self::Second => Some(1000),
            Self::FiveSeconds => Some(5000),
        }
    }

    /// What the families of its topics end with.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Second => "-1s",
            Self::FiveSeconds => "-5s",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relais_protocol::event::Topic;

    use super::*;
    use crate::auth::{Action, Grants, Policy, Principal, Service};

    #[test]
    fn nobody_else_publishes_in_any_tier() {
        let scopes: Vec<_> = vec!["events:publish:*".parse().unwrap()];
        let key = Principal::Service(Arc::new(Service {
            principal_id: "key:1".into(),
            id: "1".into(),
            name: "all".into(),
            grants: Grants::from_scopes(&scopes),
            scopes,
            expires_at: None,
        }));
        let policy = Policy { open_mode: false, topics: crate::features::topics() };
        for tier in Tier::ALL {
            for family in [TELEMETRY, FLEET] {
                let topic = Topic::new(&format!("{family}{}:x", tier.suffix())).unwrap();
                assert!(!policy.allows(&key, Action::Publish(&topic)), "{topic}");
                assert_eq!(Tier::of(&Channel::Topic(topic)), Some(tier));
            }
        }
    }
}
