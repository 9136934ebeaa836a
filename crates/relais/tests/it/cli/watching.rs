//! `relais watch`.

use super::{Desk, Live, eventually};

fn watch(desk: &Desk, arguments: &[&str]) -> Live {
    desk.spawn(&[&["watch", "exports"], arguments].concat())
}

fn stored(desk: &Desk, filename: &str, content: &str) {
    eventually(&format!("{filename} is stored"), || desk.stored("s", filename).as_deref() == Some(content));
}

#[test]
fn what_is_there_is_sent_first_and_then_what_changes() {
    let desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    desk.write("exports/same.json", "[0]");
    desk.run(&["push", "exports/same.json", "--societe", "s"]).good();
    let watcher = watch(&desk, &["--societe", "s"]);
    assert_eq!(watcher.out(), "sent     s/a.json  3 B");
    desk.write("exports/a.json", "[1,2]");
    assert_eq!(watcher.out(), "sent     s/a.json  5 B");
    desk.write("exports/b.json", "[3]");
    assert_eq!(watcher.out(), "sent     s/b.json  3 B", "and same.json never");
    assert_eq!(desk.stored("s", "b.json").unwrap(), "[3]");
    assert!(watcher.finish(), "a signal ends it well");
}

#[test]
fn subfolders_are_societes_also_those_made_later() {
    let desk = Desk::new();
    desk.write("exports/s1/a.json", "{}");
    let watcher = watch(&desk, &["--json"]);
    assert!(watcher.out().contains("a.json"));
    desk.write("exports/s2/b.json", "{}");
    let line = watcher.out();
    assert!(line.contains("\"s2\"") && line.contains("b.json"), "{line}");
    assert_eq!(desk.stored("s2", "b.json").unwrap(), "{}");
}

#[test]
fn a_file_is_sent_when_its_writer_has_finished() {
    let desk = Desk::new();
    desk.write("exports/ready.json", "{}");
    let watcher = watch(&desk, &["--societe", "s"]);
    assert!(watcher.out().contains("ready.json"));
    desk.write("exports/a.json", "{\"half\":");
    desk.write("exports/b.json", "[1]");
    assert!(watcher.out().contains("b.json"), "the unfinished one holds up nobody");
    desk.write("exports/a.json", "{\"half\":2}");
    assert!(watcher.out().contains("a.json"));
    assert_eq!(desk.stored("s", "a.json").unwrap(), "{\"half\":2}");
}

#[test]
fn what_changes_while_the_server_is_away_is_sent_when_it_is_back() {
    let mut desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    let watcher = watch(&desk, &["--societe", "s", "--retries", "0"]);
    assert!(watcher.out().contains("a.json"));
    desk.stop();
    desk.write("exports/a.json", "[2]");
    desk.write("exports/b.json", "[2]");
    assert!(watcher.err().contains("trying again"));
    desk.write("exports/b.json", "[3]");
    desk.start();
    stored(&desk, "a.json", "[2]");
    stored(&desk, "b.json", "[3]");
    assert!(watcher.finish());
}

#[test]
fn a_removed_file_is_deleted_only_when_asked() {
    let desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    desk.write("exports/b.json", "[1]");
    let state_writer = watch(&desk, &["--societe", "s"]);
    assert!(state_writer.out().contains("a.json") && state_writer.out().contains("b.json"));
    std::fs::remove_file(desk.path("exports/a.json")).unwrap();
    desk.write("exports/c.json", "[1]");
    assert!(state_writer.out().contains("sent     s/c.json"), "the removal is not passed on");
    assert!(desk.stored("s", "a.json").is_some());
    assert!(state_writer.finish());

    let mirror = watch(&desk, &["--societe", "s", "--delete"]);
    assert_eq!(mirror.out(), "deleted  s/a.json", "what was removed while nobody watched");
    std::fs::remove_file(desk.path("exports/b.json")).unwrap();
    assert_eq!(mirror.out(), "deleted  s/b.json");
    assert_eq!(desk.stored("s", "b.json"), None);
}

#[test]
fn what_the_server_refuses_is_said_once_and_does_not_stop_the_watch() {
    let desk = Desk::new();
    desk.write("exports/a.json", "{\"twice\":1,\"twice\":2}");
    desk.write("exports/b.json", "{}");
    let watcher = watch(&desk, &["--societe", "s"]);
    assert!(watcher.err().contains("s/a.json: JSON invalide"));
    assert!(watcher.out().contains("b.json"));
    desk.write("exports/a.json", "{\"once\":1}");
    assert!(watcher.out().contains("a.json"));
    assert_eq!(watcher.finish_saying(), [""; 0], "nothing more to say");
}
