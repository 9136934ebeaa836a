//! How the code hangs together: nothing imports upwards, nothing imports in circles, and a feature is named in one list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod graph;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use graph::Graph;
use source::Source;

/// The modules of the application, from the ground. Each imports from the floors below its own, and nothing from its own.
const FLOORS: &[&[&str]] = &[
    &["said"],
    &[
        "aliases",
        "asyncapi",
        "backoff",
        "disk",
        "error",
        "finding",
        "id",
        "memory",
        "outbound",
        "tasks",
        "text",
        "token_bucket",
    ],
    &["config", "folder_lock"],
    &["telemetry", "web"],
    &["auth"],
    &["app"],
    &["feature"],
    &["features"],
    &["event_log", "gateways"],
    &["declared"],
    &["jobs"],
    &["http"],
    &["boot"],
    &["cli"],
    &["main"],
];

/// The features likewise: those that others build on, all others beside each other, and their list.
const FEATURES: &[&[&str]] = &[&["publish"], &["accounts"], &["*"], &["mod"]];

/// Where a feature's name may be said: the list, and places that are the feature's own although they are elsewhere.
const NAMED: &[(&str, &[&str], &str)] = &[
    ("features/mod.rs", &["chat", "live", "relay"], "the list of features"),
    ("gateways/mod.rs", &["chat", "live", "relay"], "the list of dialects"),
    ("config/", &["chat", "live", "relay"], "settings"),
    ("cli/module.rs", &["live"], "its command"),
    ("cli/module_command.rs", &["live"], "its command"),
    ("cli/transfer/outbox.rs", &["relay"], "its command tells where a file is wrong as the server does"),
    ("gateways/mqtt/", &["live"], "its other dialect"),
    ("gateways/dialects.rs", &["relay"], "its dialect, beside the native one that shares the encoders"),
    ("gateways/native/mod.rs", &["relay"], "event streams share the response"),
    ("http/mod.rs", &["live"], "the settings of the script that pages reconnect with"),
];

fn root(krate: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src")
}

fn circles(krate: &str, below: Option<&str>) -> Vec<Vec<String>> {
    Graph::of(&source::read(&root(krate)), below).circles()
}

#[test]
fn nothing_imports_upwards() {
    let sources = source::read(&root("relais"));
    assert_eq!(Graph::of(&sources, None).upwards(FLOORS), Vec::<String>::new());
    assert_eq!(Graph::of(&sources, Some("features")).upwards(FEATURES), Vec::<String>::new());
}

#[test]
fn nothing_imports_in_circles_but_sessions_and_their_inbox() {
    let none = Vec::<Vec<String>>::new();
    assert_eq!(circles("relais", None), none);
    assert_eq!(circles("relais", Some("features")), none);
    assert_eq!(circles("relais", Some("gateways")), none);
    assert_eq!(circles("relais-hub", None), [["inbox", "session", "shared"]], "session.rs says why");
}

#[test]
fn the_name_of_a_feature_is_in_one_list() {
    let mut used = BTreeSet::new();
    let mut elsewhere = Vec::new();
    for source in source::read(&root("relais")) {
        for feature in ["chat", "live", "relay"] {
            let own = [format!("features/{feature}/"), format!("gateways/{feature}/")];
            if own.iter().any(|folder| source.file.starts_with(folder)) || !source.says(feature) {
                continue;
            }
            let place = NAMED
                .iter()
                .position(|(file, features, _)| source.file.starts_with(file) && features.contains(&feature));
            match place {
                Some(place) => drop(used.insert((place, feature))),
                None => elsewhere.push(format!("{} says {feature}", source.file)),
            }
        }
    }
    assert_eq!(elsewhere, Vec::<String>::new());
    let excused = NAMED
        .iter()
        .enumerate()
        .flat_map(|(place, (_, features, _))| features.iter().map(move |feature| (place, *feature)));
    let needless: Vec<_> = excused.filter(|pair| !used.contains(pair)).collect();
    assert_eq!(needless, [], "an exception that nothing needs any more");
}

/// The checks above can fail.
#[test]
fn an_arrow_upwards_and_a_circle_are_found() {
    let made = |file: &str, text: &str| Source::new(file, text);
    let sources = [
        made("lib.rs", "mod a;\nmod b;\npub use b::Thing;"),
        made("a/mod.rs", "mod part;\nuse crate::{\n    // Above it.\n    b::{self, Other as Another},\n};"),
        made("a/part.rs", "use super::super::c;\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}"),
        made("b.rs", "//! See `crate::a`.\nfn thing() -> &'static str { \"crate::a\" }"),
        made("c.rs", "fn made() -> crate::Thing { crate::a::part::make() }"),
        made("d.rs", ""),
    ];
    let graph = Graph::of(&sources, None);
    let floors: &[&[&str]] = &[&["a"], &["b", "c"]];
    let expected = [
        "a/mod.rs: a imports b, which is not below it",
        "a/part.rs: a imports c, which is not below it",
        "c.rs: c imports b, which is not below it",
        "d has no floor",
    ];
    assert_eq!(graph.upwards(floors), expected);
    assert_eq!(graph.circles(), [["a", "c"]]);
    assert!(made("c.rs", "let live = 1;").says("live") && !made("c.rs", "// live\n\"live\"").says("live"));
}
