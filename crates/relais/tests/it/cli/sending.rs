//! `relais push` and `relais sample`.

use serde_json::json;

use super::{Desk, files_in};

#[test]
fn only_what_changed_is_sent() {
    let desk = Desk::new();
    desk.write("exports/a.json", r#"{"a":1}"#);
    desk.write("exports/b.json", r#"{"b":1}"#);
    desk.write("exports/notes.txt", "not an export");
    let first = desk.run(&["push", "exports", "--societe", "rsp-bgs"]).good();
    assert!(first.out.starts_with("2 sent, 0 unchanged, 0 failed, 14 B in "), "{}", first.out);
    assert_eq!(desk.stored("rsp-bgs", "a.json").unwrap(), r#"{"a":1}"#);

    desk.write("exports/b.json", r#"{"b":2}"#);
    let second = desk.run(&["--json", "push", "exports", "--societe", "rsp-bgs"]).good().json();
    assert_eq!(second["sent"], json!([{ "societe": "rsp-bgs", "filename": "b.json" }]));
    assert_eq!((&second["unchanged"], &second["bytes"]), (&json!(1), &json!(7)));
    assert_eq!(desk.stored("rsp-bgs", "b.json").unwrap(), r#"{"b":2}"#);
}

#[test]
fn a_trial_says_what_would_be_sent_and_sends_nothing() {
    let desk = Desk::new();
    desk.write("exports/s1/a.json", "{}");
    let run = desk.run(&["push", "exports", "--dry-run"]).good();
    assert!(run.out.contains("s1/a.json") && run.out.contains("1 to be sent"), "{}", run.out);
    assert_eq!(desk.stored("s1", "a.json"), None);
}

#[test]
fn a_file_that_is_refused_is_named_with_its_place_and_does_not_stop_the_others() {
    let desk = Desk::new();
    desk.write("exports/s1/bad.json", "{\n  \"a\": ,\n}");
    desk.write("exports/s1/good.json", "{}");
    let run = desk.run(&["push", "exports"]);
    assert!(!run.ok);
    assert!(run.out.contains("1 sent, 0 unchanged, 1 failed"), "{}", run.out);
    assert!(run.err.contains("s1/bad.json: JSON invalide") && run.err.contains("ligne 2"), "{}", run.err);
    assert_eq!(desk.stored("s1", "good.json").unwrap(), "{}");
    let failed = &desk.run(&["push", "exports", "--json"]).json()["failed"];
    assert_eq!((&failed[0]["filename"], &failed[0]["line"]), (&json!("bad.json"), &json!(2)));
    assert_eq!(failed[0]["status"], 400);
}

#[test]
fn what_is_not_in_the_folder_is_deleted_when_asked() {
    let desk = Desk::new();
    desk.write("exports/a.json", "{}");
    desk.write("exports/b.json", "{}");
    desk.run(&["push", "exports", "--societe", "s"]).good();
    std::fs::remove_file(desk.path("exports/b.json")).unwrap();
    desk.run(&["push", "exports", "--societe", "s"]).good();
    assert!(desk.stored("s", "b.json").is_some(), "not without --delete");
    let run = desk.run(&["push", "exports", "--societe", "s", "--delete"]).good();
    assert!(run.out.contains("1 deleted"), "{}", run.out);
    assert_eq!(desk.stored("s", "b.json"), None);
}

#[test]
fn names_beyond_ascii_arrive_as_they_are() {
    let desk = Desk::new();
    desk.write("exports/société É/année_2023.json", "{}");
    desk.run(&["push", "exports"]).good();
    assert_eq!(desk.stored("société É", "année_2023.json").unwrap(), "{}");
    let again = desk.run(&["push", "exports"]).good();
    assert!(again.out.starts_with("0 sent, 1 unchanged"), "{}", again.out);
}

#[test]
fn a_server_that_is_not_there_is_reported_with_a_remedy() {
    let mut desk = Desk::new();
    desk.stop();
    desk.write("exports/a.json", "{}");
    let run = desk.run(&["push", "exports", "--societe", "s", "--retries", "1", "--key", "rk_1_hunter2"]);
    assert!(!run.ok);
    assert!(run.err.contains(&desk.url()) && run.err.contains("relais serve"), "{}", run.err);
    assert!(!run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn a_key_comes_from_flag_environment_or_file_and_is_asked_for_if_missing() {
    let desk = Desk::with_mode("required");
    let key = desk.run(&["--json", "key", "add", "--name", "erp", "--scope", "relay:write:s"]).good().json();
    let key = key["key"].as_str().unwrap();
    desk.write("exports/a.json", "{}");
    let push = ["push", "exports", "--societe", "s"];
    let refused = desk.run(&push);
    assert!(!refused.ok && refused.err.contains("RELAIS_KEY"), "{}", refused.err);

    let by_environment = super::Run::of(desk.command(&push).env("RELAIS_KEY", key));
    assert!(by_environment.good().out.starts_with("1 sent"));
    desk.write("exports/a.json", "[1]");
    assert!(desk.run(&[&push[..], &["--key", key]].concat()).good().out.starts_with("1 sent"));
    desk.write("exports/a.json", "[2]");
    desk.write("relais.toml", &format!("[client]\nserver = \"{}\"\nkey = \"{key}\"\n", desk.url()));
    let by_file = super::Run::of(&mut desk.bare(&push));
    assert!(by_file.good().out.starts_with("1 sent"));
    assert_eq!(desk.stored("s", "a.json").unwrap(), "[2]");
}

#[test]
fn the_sample_is_three_societes_the_same_for_the_same_seed() {
    let desk = Desk::new();
    let run = desk.run(&["sample", "--out", "one", "--years", "2023-2024", "--push"]).good();
    assert!(run.out.contains("114 sent, 0 unchanged, 0 failed"), "{}", run.out);
    desk.run(&["sample", "--out", "two", "--years", "2023-2024"]).good();
    let names = files_in(&desk.path("one"));
    assert!(names.contains(&"rsp-neg/comptes_mensuel_2023_01.json".to_owned()), "{names:?}");
    for name in &names {
        let content = desk.read(&format!("one/{name}"));
        assert_eq!(content, desk.read(&format!("two/{name}")), "{name}");
        assert_eq!(content, desk.read(&format!("data/payloads_societes/{name}")), "{name}");
    }
    assert_eq!(files_in(&desk.path("two")), names);
}
