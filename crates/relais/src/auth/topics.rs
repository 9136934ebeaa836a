//! The table of topics: which families there are, who may hear and publish there, and which names of events are
//! reserved. Features declare their part; the policy, the publish API and the native protocol ask this table.

use std::borrow::Cow;

use relais_protocol::event::{Channel, NameError};

use super::policy::Policy;
use super::principal::Principal;
use crate::text::composed;

/// Topics that have the same name before the colon. By itself a family is its feature's alone: nobody hears it by what
/// they are, and no key publishes there.
#[derive(Clone, Copy)]
pub struct TopicFamily {
    /// What stands before the colon.
    pub name: &'static str,
    /// What the name may end with; a family for each.
    pub endings: &'static [&'static str],
    /// Whether a principal may subscribe to a topic, or to the whole family, by its rights. What only the feature
    /// knows, such as members and owners, is decided by its `subscribe`.
    pub hears: fn(Policy, &Principal, &Channel) -> bool,
    /// What a key may do there with a scope of `events`.
    pub keys: KeyAccess,
    /// Whether names that look alike are one: they are composed (NFC).
    pub composed: bool,
}

/// The access of a key with a scope of `events` to a family. However the scope is written, it reaches no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// None: only its feature publishes there and decides who subscribes.
    Nothing,
    /// Publish: only the user or role in question may subscribe.
    Publish,
    /// Publish and subscribe.
    Everything,
}

impl TopicFamily {
    /// A family without subscriptions by rights alone, and in which no key publishes.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self { name, endings: &[""], hears: |_, _, _| false, keys: KeyAccess::Nothing, composed: false }
    }

    fn is(&self, family: &str) -> bool {
        family.strip_prefix(self.name).is_some_and(|ending| self.endings.contains(&ending))
    }
}

/// Topics of no feature, such as `flow:paie`: keys may publish and subscribe there freely.
static OF_APPLICATIONS: TopicFamily =
    TopicFamily { keys: KeyAccess::Everything, ..TopicFamily::named("applications") };

/// What the features declare of topics and events.
pub struct Topics {
    families: Vec<&'static TopicFamily>,
    names: Vec<&'static str>,
}

impl Topics {
    /// The table of these families, and of these names of events that the server alone publishes.
    pub fn new(
        families: impl IntoIterator<Item = &'static TopicFamily>,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self { families: families.into_iter().collect(), names: names.into_iter().collect() }
    }

    /// The family with this name.
    #[must_use]
    pub fn family(&self, name: &str) -> &'static TopicFamily {
        self.families.iter().find(|family| family.is(name)).copied().unwrap_or(&OF_APPLICATIONS)
    }

    /// The family of a channel.
    #[must_use]
    pub fn family_of(&self, channel: &Channel) -> &'static TopicFamily {
        match channel {
            Channel::Topic(topic) => self.family(topic.family()),
            Channel::Family(family) => self.family(family),
        }
    }

    /// Whether only the server publishes events of this name, on any topic.
    #[must_use]
    pub fn is_reserved(&self, event: &str) -> bool {
        self.names.contains(&event)
    }

    /// Reads the name of a channel, which has one form if its family says so.
    ///
    /// # Errors
    /// [`NameError`] if it is none.
    pub fn channel(&self, text: &str) -> Result<Channel, NameError> {
        let composes = text.split_once(':').is_some_and(|(family, _)| self.family(family).composed);
        if composes { composed(text) } else { Cow::Borrowed(text) }.parse()
    }
}
