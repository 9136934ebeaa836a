//! `relais pull`.

use serde_json::json;

use super::{Desk, eventually, files_in};

fn desk_with_files() -> Desk {
    let desk = Desk::new();
    desk.write("exports/s1/a.json", r#"{"a":1}"#);
    desk.write("exports/s1/b.json", r#"{"b":1}"#);
    desk.write("exports/s2/c.json", r#"{"c":1}"#);
    desk.run(&["push", "exports"]).good();
    desk
}

#[test]
fn a_mirror_is_the_same_as_the_server_and_a_second_run_fetches_only_what_changed() {
    let desk = desk_with_files();
    let first = desk.run(&["pull", "--all", "mirror"]).good();
    assert!(first.out.starts_with("3 received, 0 unchanged, 0 failed, 21 B"), "{}", first.out);
    assert_eq!(files_in(&desk.path("mirror")), ["s1/a.json", "s1/b.json", "s2/c.json"]);
    desk.write("exports/s1/b.json", r#"{"b":2}"#);
    desk.run(&["push", "exports"]).good();
    let second = desk.run(&["pull", "--all", "mirror", "--json"]).good().json();
    assert_eq!(second["sent"], json!([{ "societe": "s1", "filename": "b.json" }]));
    assert_eq!(second["unchanged"], 2);
    assert_eq!(desk.read("mirror/s1/b.json").unwrap(), r#"{"b":2}"#);
}

#[test]
fn one_societe_can_be_chosen_and_has_to_exist() {
    let desk = desk_with_files();
    desk.run(&["pull", "--societe", "s2", "mirror"]).good();
    assert_eq!(files_in(&desk.path("mirror")), ["s2/c.json"]);
    let missing = desk.run(&["pull", "--societe", "s3", "mirror"]);
    assert!(!missing.ok && missing.err.contains("s1, s2"), "{}", missing.err);
}

#[test]
fn what_was_lost_or_spoilt_here_is_fetched_again() {
    let desk = desk_with_files();
    desk.run(&["pull", "--all", "mirror"]).good();
    std::fs::remove_file(desk.path("mirror/s1/a.json")).unwrap();
    desk.write("mirror/s1/b.json", r#"{"b":9}"#);
    let run = desk.run(&["pull", "--all", "mirror"]).good();
    assert!(run.out.starts_with("2 received, 1 unchanged"), "{}", run.out);
    assert_eq!(desk.read("mirror/s1/b.json").unwrap(), r#"{"b":1}"#);
}

#[test]
fn what_the_server_deleted_goes_when_asked_and_what_was_never_its_own_stays() {
    let desk = desk_with_files();
    desk.run(&["pull", "--all", "mirror"]).good();
    desk.write("mirror/s1/mine.json", "{}");
    std::fs::remove_file(desk.path("exports/s1/a.json")).unwrap();
    std::fs::remove_file(desk.path("exports/s1/b.json")).unwrap();
    desk.write("exports/s1/d.json", "{}");
    desk.run(&["push", "exports/s1", "--societe", "s1", "--delete"]).good();
    desk.run(&["pull", "--all", "mirror"]).good();
    assert!(desk.read("mirror/s1/a.json").is_some(), "not without --delete");
    desk.write("mirror/s1/b.json", "[\"changed here\"]");
    let run = desk.run(&["pull", "--all", "mirror", "--delete"]).good();
    assert!(run.out.contains("1 deleted"), "{}", run.out);
    assert_eq!(
        files_in(&desk.path("mirror")),
        ["s1/b.json", "s1/d.json", "s1/mine.json", "s2/c.json"],
        "what somebody changed here is kept"
    );
}

#[test]
fn a_cursor_that_cannot_be_continued_leads_to_the_list() {
    let desk = desk_with_files();
    desk.run(&["pull", "--all", "mirror"]).good();
    let state = desk.read("mirror/.relais-pull.json").unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["cursor"] = "00000000000000aa-1".into();
    desk.write("mirror/.relais-pull.json", &state.to_string());
    std::fs::remove_file(desk.path("exports/s2/c.json")).unwrap();
    desk.write("exports/s2/e.json", "{}");
    desk.run(&["push", "exports/s2", "--societe", "s2", "--delete"]).good();
    let run = desk.run(&["pull", "--all", "mirror", "--delete"]).good();
    assert!(run.out.starts_with("1 received, 2 unchanged, 1 deleted"), "{}", run.out);
    assert_eq!(files_in(&desk.path("mirror")), ["s1/a.json", "s1/b.json", "s2/e.json"]);
}

#[test]
fn a_follower_stays_the_same_also_across_a_restart_of_the_server() {
    let mut desk = desk_with_files();
    let follower = desk.spawn(&["pull", "--all", "mirror", "--follow", "--delete"]);
    assert!(follower.out().starts_with("3 received"));
    desk.write("exports/s1/new.json", "[1]");
    desk.run(&["push", "exports"]).good();
    assert_eq!(follower.out(), "received s1/new.json");
    desk.stop();
    desk.start();
    std::fs::remove_file(desk.path("exports/s1/new.json")).unwrap();
    desk.run(&["push", "exports/s1", "--societe", "s1", "--delete"]).good();
    eventually("the deletion arrives", || desk.read("mirror/s1/new.json").is_none());
    assert!(follower.finish(), "a signal ends it well");
    assert_eq!(files_in(&desk.path("mirror")), ["s1/a.json", "s1/b.json", "s2/c.json"]);
}
