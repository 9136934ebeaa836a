//! The access rule.

use relais_protocol::event::{Channel, Topic};

use super::principal::{Access, Principal};
use super::topics::{KeyAccess, Topics};

/// An action to be authorised.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Read the files of a société and subscribe to its events.
    RelayRead(&'a str),
    /// Write, delete or restore files of a société.
    RelayWrite(&'a str),
    /// See the sociétés that may be read; needs at least one, or the right to all.
    RelayList,
    /// Subscribe to a topic or to every topic of a family.
    Subscribe(&'a Channel),
    /// Publish to a topic.
    Publish(&'a Topic),
    /// Manage users, keys and settings.
    Administer,
}

/// Decides without I/O, from what the principal carries. What is not allowed here is refused.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Whether everyone may use the relay.
    pub open_mode: bool,
    /// Which topics there are.
    pub topics: &'static Topics,
}

impl Policy {
    /// Whether `principal` may do `action`.
    #[must_use]
    pub fn allows(self, principal: &Principal, action: Action<'_>) -> bool {
        match action {
            Action::RelayRead(societe) => self.may_read(principal, societe),
            Action::RelayWrite(societe) => self.may_write(principal, societe),
            Action::RelayList => !self.readable(principal).is_empty(),
            Action::Subscribe(channel) => self.may_subscribe(principal, channel),
            Action::Publish(topic) => self.may_publish(principal, topic),
            Action::Administer => principal.is_admin(),
        }
    }

    /// The sociétés whose files `principal` may read and whose events it may receive.
    #[must_use]
    pub fn readable(self, principal: &Principal) -> Access {
        if self.open_mode {
            return Access::All;
        }
        match principal {
            Principal::Anonymous => Access::none(),
            Principal::User(user) if user.admin || user.staff => Access::All,
            Principal::User(user) => user.grants.read.clone(),
            Principal::Service(service) => service.grants.read.clone(),
        }
    }

    fn may_read(self, principal: &Principal, societe: &str) -> bool {
        self.open_mode
            || match principal {
                Principal::Anonymous => false,
                Principal::User(user) => user.admin || user.staff || user.grants.read.contains(societe),
                Principal::Service(service) => service.grants.read.contains(societe),
            }
    }

    fn may_write(self, principal: &Principal, societe: &str) -> bool {
        self.open_mode
            || match principal {
                Principal::Anonymous => false,
                Principal::User(user) => user.admin || user.grants.write.contains(societe),
                Principal::Service(service) => service.grants.write.contains(societe),
            }
    }

    fn may_subscribe(self, principal: &Principal, channel: &Channel) -> bool {
        let family = self.topics.family_of(channel);
        let by_scope = || match principal {
            Principal::Service(service) if family.keys == KeyAccess::Everything => {
                service.scopes.iter().any(|scope| scope.allows_subscribe(channel))
            }
            Principal::Anonymous | Principal::User(_) | Principal::Service(_) => false,
        };
        (family.hears)(self, principal, channel) || by_scope()
    }

    fn may_publish(self, principal: &Principal, topic: &Topic) -> bool {
        match principal {
            Principal::Service(service) if self.topics.family(topic.family()).keys != KeyAccess::Nothing => {
                service.scopes.iter().any(|scope| scope.allows_publish(topic))
            }
            Principal::Anonymous | Principal::User(_) | Principal::Service(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::principal::{Grants, Service, User};
    use super::*;
    use crate::features;

    const CLOSED: bool = false;
    const OPEN: bool = true;

    fn allows(open_mode: bool, principal: &Principal, action: Action<'_>) -> bool {
        Policy { open_mode, topics: features::topics() }.allows(principal, action)
    }

    fn user(admin: bool, staff: bool, grants: &[(&str, bool)]) -> Principal {
        Principal::User(Arc::new(User {
            principal_id: "user:7".into(),
            id: "7".into(),
            email: "a@b.fr".into(),
            display_name: "A".into(),
            admin,
            staff,
            grants: Grants::from_pairs(grants.iter().copied()),
            expires_at: None,
            generation: None,
            session: None,
        }))
    }

    fn key(scopes: &[&str]) -> Principal {
        let scopes: Vec<_> = scopes.iter().map(|text| text.parse().unwrap()).collect();
        Principal::Service(Arc::new(Service {
            principal_id: "key:1".into(),
            id: "1".into(),
            name: "batch".into(),
            grants: Grants::from_scopes(&scopes),
            scopes,
            expires_at: None,
        }))
    }

    fn hears(open_mode: bool, principal: &Principal, channel: &str) -> bool {
        allows(open_mode, principal, Action::Subscribe(&channel.parse().unwrap()))
    }

    #[test]
    fn scopes_allow_exactly_what_they_name() {
        // scope, read a, write a, read b, write b, list, administer
        let matrix = [
            ("relay:read:a", [true, false, false, false, true, false]),
            ("relay:write:a", [true, true, false, false, true, false]),
            ("relay:read:*", [true, false, true, false, true, false]),
            ("relay:write:*", [true, true, true, true, true, false]),
            ("relay:*", [true, true, true, true, true, false]),
            ("relay:*:a", [true, true, false, false, true, false]),
            ("events:*", [false, false, false, false, false, false]),
            ("events:publish:*", [false, false, false, false, false, false]),
            ("admin:*", [false, false, false, false, false, true]),
        ];
        for (scope, expected) in matrix {
            let key = key(&[scope]);
            let actions = [
                Action::RelayRead("a"),
                Action::RelayWrite("a"),
                Action::RelayRead("b"),
                Action::RelayWrite("b"),
                Action::RelayList,
                Action::Administer,
            ];
            let actual = actions.map(|action| allows(CLOSED, &key, action));
            assert_eq!(actual, expected, "{scope}");
        }
    }

    #[test]
    fn several_scopes_add_up() {
        let key = key(&["relay:read:a", "relay:write:b"]);
        assert_eq!(
            Policy { open_mode: CLOSED, topics: features::topics() }.readable(&key),
            Access::only(["a", "b"])
        );
        assert!(
            allows(CLOSED, &key, Action::RelayWrite("b")) && !allows(CLOSED, &key, Action::RelayWrite("a"))
        );
    }

    #[test]
    fn roles_and_grants_decide_what_a_person_may_do() {
        let plain = user(false, false, &[("a", false), ("b", true)]);
        assert!(
            allows(CLOSED, &plain, Action::RelayRead("a"))
                && !allows(CLOSED, &plain, Action::RelayWrite("a"))
        );
        assert!(
            allows(CLOSED, &plain, Action::RelayRead("b")) && allows(CLOSED, &plain, Action::RelayWrite("b"))
        );
        assert!(
            !allows(CLOSED, &plain, Action::RelayRead("c")) && !allows(CLOSED, &plain, Action::Administer)
        );
        let staff = user(false, true, &[]);
        assert!(
            allows(CLOSED, &staff, Action::RelayRead("c"))
                && !allows(CLOSED, &staff, Action::RelayWrite("c"))
        );
        let admin = user(true, false, &[]);
        assert!(
            allows(CLOSED, &admin, Action::RelayWrite("c")) && allows(CLOSED, &admin, Action::Administer)
        );
        assert!(!allows(CLOSED, &user(false, false, &[]), Action::RelayList));
    }

    #[test]
    fn nobody_in_particular_has_the_relay_in_open_mode_and_nothing_otherwise() {
        let nobody = Principal::Anonymous;
        assert!(allows(OPEN, &nobody, Action::RelayWrite("a")) && hears(OPEN, &nobody, "societe:*"));
        assert!(!allows(OPEN, &nobody, Action::Administer) && !hears(OPEN, &nobody, "system"));
        assert!(hears(OPEN, &nobody, "module:*") && hears(OPEN, &nobody, "telemetry-1s:*"));
        assert!(!hears(OPEN, &nobody, "role:admin") && !hears(OPEN, &nobody, "conversation:*"));
        assert!(!hears(CLOSED, &nobody, "module:*"));
        assert!(!allows(CLOSED, &nobody, Action::RelayList) && !hears(CLOSED, &nobody, "societe:a"));
    }

    #[test]
    fn channels_are_heard_by_those_they_are_for() {
        let reader = user(false, false, &[("a", false)]);
        for (channel, expected) in [
            ("societe:a", true),
            ("societe:b", false),
            ("societe:*", false),
            ("user:7", true),
            ("user:8", false),
            ("user:*", false),
            ("role:admin", false),
            ("page:modules", true),
            ("page:admin", false),
            ("page:*", false),
            ("system", true),
            ("conversation:1", false),
            ("fleet:user:7", true),
            ("fleet-1s:user:7", true),
            ("fleet:user:8", false),
            ("fleet:*", false),
            ("module:m", false),
            ("telemetry-5s:*", false),
        ] {
            assert_eq!(hears(CLOSED, &reader, channel), expected, "{channel}");
        }
        assert!(hears(CLOSED, &user(false, true, &[]), "societe:*"));
        for channel in
            ["page:admin", "module:m", "module:*", "telemetry:*", "telemetry-5s:*", "telemetry-1s:m"]
        {
            assert!(hears(CLOSED, &user(true, false, &[]), channel), "{channel}");
        }
        assert!(hears(CLOSED, &key(&["events:subscribe:flow:*"]), "flow:paie"));
        assert!(!hears(CLOSED, &key(&["events:subscribe:flow:paie"]), "flow:*"));
        assert!(!hears(CLOSED, &key(&["events:publish:*"]), "flow:paie"));
    }

    #[test]
    fn no_scope_of_events_reaches_into_another_area() {
        for channel in [
            "societe:rsp",
            "conversation:1",
            "module:m",
            "telemetry:m",
            "telemetry-5s:m",
            "fleet:user:7",
            "user:7",
            "ext:7",
            "role:admin",
            "rights",
            "rights:7",
        ] {
            let family = format!("{}:*", channel.split(':').next().unwrap());
            for heard in [channel, &family] {
                let exact = format!("events:subscribe:{heard}");
                for scope in ["events:*", "events:subscribe:*", "events:*:*", &exact] {
                    assert!(!hears(CLOSED, &key(&[scope, "admin:*"]), heard), "{scope} hears {heard}");
                }
                let is_open = family == "societe:*"
                    || heard == family && (family == "module:*" || family.starts_with("telemetry"));
                assert_eq!(hears(OPEN, &Principal::Anonymous, heard), is_open, "{heard}");
                assert!(!hears(CLOSED, &user(true, false, &[]), "rights"), "not even administrators");
            }
        }
        assert!(hears(CLOSED, &key(&["events:subscribe:*", "relay:read:rsp"]), "societe:rsp"));
        assert!(hears(CLOSED, &key(&["events:subscribe:*"]), "system"));
    }

    #[test]
    fn publishing_needs_a_scope_and_the_relays_topics_are_its_own() {
        let key = key(&["events:publish:*"]);
        let (flow, societe) = (Topic::new("flow:paie").unwrap(), Topic::new("societe:a").unwrap());
        assert!(
            allows(CLOSED, &key, Action::Publish(&flow)) && !allows(CLOSED, &key, Action::Publish(&societe))
        );
        for modules in ["module:m", "telemetry:m", "telemetry-1s:m", "fleet:user:7", "fleet-5s:user:7"] {
            assert!(!allows(CLOSED, &key, Action::Publish(&Topic::new(modules).unwrap())), "{modules}");
        }
        assert!(!allows(OPEN, &Principal::Anonymous, Action::Publish(&flow)));
    }
}
