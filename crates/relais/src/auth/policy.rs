//! The one rule: may this principal do this?

use relais_protocol::event::{Channel, Topic};

use super::principal::{Access, Principal};

/// The family of the relay's topics: `societe:<name>`.
const SOCIETE: &str = "societe";
/// The family of the topics of conversations, which their members alone hear: `conversation:<id>`.
const CONVERSATION: &str = "conversation";

/// The topic in which servers tell each other whose rights changed.
pub(super) const RIGHTS: &str = "rights";

/// The families of the topics of modules, without how often they are told: of one module, and of one owner's.
const MODULES: [&str; 2] = ["module", "telemetry"];
const FLEET: &str = "fleet";

/// A family of topics of modules, however often they are told.
fn bare_family(family: &str) -> &str {
    family.strip_suffix("-1s").or_else(|| family.strip_suffix("-5s")).unwrap_or(family)
}

fn is_of_modules(family: &str) -> bool {
    let family = bare_family(family);
    family == FLEET || MODULES.contains(&family)
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Read the files of a société and listen to its events.
    RelayRead(&'a str),
    /// Write, delete or restore files of a société.
    RelayWrite(&'a str),
    /// See the sociétés that may be read; needs at least one, or the right to all.
    RelayList,
    /// Listen to a topic or to every topic of a family.
    Subscribe(&'a Channel),
    /// Publish to a topic.
    Publish(&'a Topic),
    /// Manage users, keys and settings.
    Administer,
}

/// Decides without I/O, from what the principal carries. What is not allowed here is refused.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether everybody may use the relay.
    pub open_mode: bool,
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
            Action::Publish(topic) => may_publish(principal, topic),
            Action::Administer => principal.is_admin(),
        }
    }

    /// The sociétés whose files `principal` may read and whose events it may hear.
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
        let relay = match channel {
            Channel::Topic(topic) => topic.family() == SOCIETE && self.may_read(principal, topic.key()),
            Channel::Family(family) => &**family == SOCIETE && self.readable(principal) == Access::All,
        };
        relay
            || match principal {
                // As the files of the relay, what machines do may be seen by everybody there.
                Principal::Anonymous => {
                    let (Channel::Family(family), true) = (channel, self.open_mode) else { return false };
                    MODULES.contains(&bare_family(family))
                }
                Principal::Service(service) => {
                    let family = match channel {
                        Channel::Topic(topic) => topic.family(),
                        Channel::Family(family) => family,
                    };
                    !is_of_another_area(family)
                        // What is told to a person or a role is heard by these alone.
                        && !matches!(family, "user" | "ext" | "role")
                        && service.scopes.iter().any(|scope| scope.allows_subscribe(channel))
                }
                Principal::User(user) => match channel {
                    // Of single modules their owners hear too: what is whose changes, so it is asked elsewhere.
                    Channel::Family(family) => user.admin && MODULES.contains(&bare_family(family)),
                    // A person's own topic is the one named like the principal.
                    Channel::Topic(topic) => match topic.family() {
                        "user" | "ext" => topic.as_str() == &*user.principal_id,
                        family if bare_family(family) == FLEET => topic.key() == &*user.principal_id,
                        family if MODULES.contains(&bare_family(family)) => user.admin,
                        "role" => match topic.key() {
                            "admin" => user.admin,
                            "staff" => user.staff || user.admin,
                            _ => false,
                        },
                        // What a page of the application shows; the page of the administrators is theirs.
                        "page" => topic.key() != "admin" || user.admin,
                        "system" => true,
                        _ => false,
                    },
                },
            }
    }
}

/// Whether topics of this family are another area's than `events`, so that no scope of `events` reaches them, however
/// it is written: those of the relay need a scope of `relay`, conversations are their members', and who listens to
/// modules is asked elsewhere.
fn is_of_another_area(family: &str) -> bool {
    matches!(family, SOCIETE | CONVERSATION | RIGHTS) || is_of_modules(family)
}

/// The topics of other areas are published by their features alone, whatever a scope says.
fn may_publish(principal: &Principal, topic: &Topic) -> bool {
    match principal {
        Principal::Service(service) if !is_of_another_area(topic.family()) => {
            service.scopes.iter().any(|scope| scope.allows_publish(topic))
        }
        Principal::Anonymous | Principal::User(_) | Principal::Service(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::principal::{Grants, Service, User};
    use super::*;

    const CLOSED: Policy = Policy { open_mode: false };
    const OPEN: Policy = Policy { open_mode: true };

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

    fn hears(policy: Policy, principal: &Principal, channel: &str) -> bool {
        policy.allows(principal, Action::Subscribe(&channel.parse().unwrap()))
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
            let actual = actions.map(|action| CLOSED.allows(&key, action));
            assert_eq!(actual, expected, "{scope}");
        }
    }

    #[test]
    fn several_scopes_add_up() {
        let key = key(&["relay:read:a", "relay:write:b"]);
        assert_eq!(CLOSED.readable(&key), Access::only(["a", "b"]));
        assert!(
            CLOSED.allows(&key, Action::RelayWrite("b")) && !CLOSED.allows(&key, Action::RelayWrite("a"))
        );
    }

    #[test]
    fn roles_and_grants_decide_what_a_person_may_do() {
        let plain = user(false, false, &[("a", false), ("b", true)]);
        assert!(
            CLOSED.allows(&plain, Action::RelayRead("a")) && !CLOSED.allows(&plain, Action::RelayWrite("a"))
        );
        assert!(
            CLOSED.allows(&plain, Action::RelayRead("b")) && CLOSED.allows(&plain, Action::RelayWrite("b"))
        );
        assert!(!CLOSED.allows(&plain, Action::RelayRead("c")) && !CLOSED.allows(&plain, Action::Administer));
        let staff = user(false, true, &[]);
        assert!(
            CLOSED.allows(&staff, Action::RelayRead("c")) && !CLOSED.allows(&staff, Action::RelayWrite("c"))
        );
        let admin = user(true, false, &[]);
        assert!(CLOSED.allows(&admin, Action::RelayWrite("c")) && CLOSED.allows(&admin, Action::Administer));
        assert!(!CLOSED.allows(&user(false, false, &[]), Action::RelayList));
    }

    #[test]
    fn nobody_in_particular_has_the_relay_in_open_mode_and_nothing_otherwise() {
        let nobody = Principal::Anonymous;
        assert!(OPEN.allows(&nobody, Action::RelayWrite("a")) && hears(OPEN, &nobody, "societe:*"));
        assert!(!OPEN.allows(&nobody, Action::Administer) && !hears(OPEN, &nobody, "system"));
        assert!(hears(OPEN, &nobody, "module:*") && hears(OPEN, &nobody, "telemetry-1s:*"));
        assert!(!hears(OPEN, &nobody, "role:admin") && !hears(OPEN, &nobody, "conversation:*"));
        assert!(!hears(CLOSED, &nobody, "module:*"));
        assert!(!CLOSED.allows(&nobody, Action::RelayList) && !hears(CLOSED, &nobody, "societe:a"));
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
            CLOSED.allows(&key, Action::Publish(&flow)) && !CLOSED.allows(&key, Action::Publish(&societe))
        );
        for modules in ["module:m", "telemetry:m", "telemetry-1s:m", "fleet:user:7", "fleet-5s:user:7"] {
            assert!(!CLOSED.allows(&key, Action::Publish(&Topic::new(modules).unwrap())), "{modules}");
        }
        assert!(!OPEN.allows(&Principal::Anonymous, Action::Publish(&flow)));
    }
}
