//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge, and `mod.rs` declares it.

pub mod accounts;
pub mod chat;
pub mod live;
pub mod publish;
pub mod relay;

use std::sync::LazyLock;

use relais_protocol::event::Event;
use relais_store::Migration;

use crate::auth::Topics;
use crate::feature::Feature;

/// Every feature, a line each, in the order in which they open.
pub const ALL: [&Feature; 5] =
    [&accounts::FEATURE, &relay::FEATURE, &live::FEATURE, &chat::FEATURE, &publish::FEATURE];

/// The schema of every feature.
#[must_use]
pub fn migrations() -> Vec<Migration> {
    ALL.iter().flat_map(|feature| feature.migrations.concat()).collect()
}

/// The table of topics, as the features declare them.
pub fn topics() -> &'static Topics {
    static TOPICS: LazyLock<Topics> = LazyLock::new(|| {
        let families = ALL.into_iter().flat_map(|feature| feature.topics);
        let names = ALL.into_iter().flat_map(|feature| feature.event_names);
        Topics::new(families, names.copied())
    });
    &TOPICS
}

/// What is told of an event, if that is not what the log has.
pub(crate) fn expanded(event: &Event) -> Option<Event> {
    ALL.iter().find_map(|feature| (feature.expand)(event))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_features_declare_the_same_family_of_topics_or_name_of_events() {
        let families = ALL.into_iter().flat_map(|feature| feature.topics);
        let mut names = HashSet::new();
        for (family, ending) in
            families.flat_map(|family| family.endings.iter().map(move |end| (family, end)))
        {
            assert!(names.insert(format!("{}{ending}", family.name)), "{}{ending}", family.name);
        }
        let mut events = HashSet::new();
        let told = ALL.into_iter().flat_map(|feature| feature.event_names);
        assert!(told.into_iter().all(|name| events.insert(*name)));
    }
}
