//! `relais listen`.

use relais_testkit::Proxy;
use serde_json::Value;

use super::{Desk, Live};

/// Sends one file that the server does not have yet.
fn push(desk: &Desk, societe: &str, filename: &str) {
    desk.write(&format!("{societe}/{filename}"), &format!("[\"{filename}\"]"));
    let path = desk.path(&format!("{societe}/{filename}"));
    desk.run(&["push", path.to_str().unwrap(), "--societe", societe]).good();
}

fn listen(desk: &Desk, arguments: &[&str]) -> Live {
    let listener = desk.spawn(&[&["listen"], arguments].concat());
    assert_eq!(listener.err(), format!("listening to {}", desk.url()));
    listener
}

fn event(listener: &Live) -> (String, String) {
    let event: Value = serde_json::from_str(&listener.out()).unwrap();
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    (text("filename"), text("cursor"))
}

#[test]
fn events_are_printed_as_they_come_until_the_count() {
    let desk = Desk::new();
    let listener = listen(&desk, &["--count", "2"]);
    push(&desk, "s", "a.json");
    push(&desk, "s", "b.json");
    let line = listener.out();
    assert!(line.ends_with("  s  a.json  10 B"), "{line}");
    assert!(listener.out().contains("b.json"));
    assert!(listener.end());
}

#[test]
fn only_the_societes_asked_for_are_heard() {
    let desk = Desk::new();
    let listener = listen(&desk, &["--json", "--societe", "s2", "--societe", "s3", "--count", "2"]);
    for societe in ["s1", "s3", "s2"] {
        push(&desk, societe, &format!("{societe}.json"));
    }
    assert_eq!((event(&listener).0, event(&listener).0), ("s3.json".into(), "s2.json".into()));
    assert!(listener.end());
}

#[test]
fn a_restart_of_the_server_loses_and_repeats_nothing() {
    let mut desk = Desk::new();
    let listener = listen(&desk, &["--json"]);
    push(&desk, "s", "before.json");
    assert_eq!(event(&listener).0, "before.json");
    for round in ["1.json", "2.json"] {
        desk.stop();
        assert!(listener.err().contains("trying again"));
        desk.start();
        push(&desk, "s", round);
        assert_eq!(event(&listener).0, round);
    }
    assert!(listener.finish(), "a signal ends it well");
}

#[test]
fn a_connection_that_is_cut_loses_and_repeats_nothing() {
    let desk = Desk::new();
    let wire = Proxy::to(desk.address.parse().unwrap());
    let url = format!("http://{}", wire.address());
    let listener = Live::start(desk.command(&["listen", "--json"]).env("RELAIS_SERVER", &url));
    assert_eq!(listener.err(), format!("listening to {url}"));
    push(&desk, "s", "before.json");
    assert_eq!(event(&listener).0, "before.json");
    for round in ["1.json", "2.json"] {
        wire.refuse();
        assert!(listener.err().contains("trying again"));
        push(&desk, "s", round);
        wire.restore();
        assert_eq!(event(&listener).0, round);
    }
    assert!(listener.finish(), "a signal ends it well");
}

#[test]
fn what_was_missed_since_a_cursor_comes_first() {
    let desk = Desk::new();
    let first = listen(&desk, &["--json", "--count", "1"]);
    push(&desk, "s", "a.json");
    let (_, cursor) = event(&first);
    assert!(first.end());
    push(&desk, "s", "b.json");
    push(&desk, "s", "c.json");
    let second = listen(&desk, &["--json", "--count", "2", "--since", &cursor]);
    assert_eq!((event(&second).0, event(&second).0), ("b.json".into(), "c.json".into()));
    assert!(second.end());
}

#[test]
fn a_cursor_that_is_too_old_is_said() {
    let desk = Desk::new();
    push(&desk, "s", "a.json");
    let listener = desk.spawn(&["listen", "--json", "--count", "1", "--since", "00000000000000aa-1"]);
    let notes = [listener.err(), listener.err()].join("\n");
    assert!(notes.contains("list the files again"), "{notes}");
    push(&desk, "s", "b.json");
    assert_eq!(event(&listener).0, "b.json");
    assert!(listener.end());
}

#[test]
fn a_command_runs_for_each_event_with_the_event_as_its_input() {
    let desk = Desk::new();
    let script = "cat > seen.json; printf %s \"$RELAIS_EVENT $RELAIS_SOCIETE $RELAIS_FILENAME\" > seen.txt";
    let listener = listen(&desk, &["--count", "1", "--exec", script]);
    push(&desk, "s", "it's; a.json");
    assert!(listener.end());
    assert_eq!(desk.read("seen.txt").unwrap(), "file_uploaded s it's; a.json");
    let seen: Value = serde_json::from_str(&desk.read("seen.json").unwrap()).unwrap();
    assert_eq!(seen["filename"], "it's; a.json");
}
