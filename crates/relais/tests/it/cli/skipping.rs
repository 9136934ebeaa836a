//! One bad thing never stops the good ones, and every error names its cause and the remedy.

use std::process::Command;

use serde_json::json;

use super::{Desk, Live, Run, eventually};

fn failed(run: &Run) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let failed = run.json()["failed"].as_array().unwrap().clone();
    failed.iter().map(|one| (text(&one["societe"]), text(&one["filename"]))).collect()
}

fn spoilt() -> Desk {
    let desk = Desk::new();
    desk.write("exports/s/good.json", "[1]");
    desk.write("exports/s/a:b_1.json", "[2]");
    desk.write("exports/Dupont\u{a0}SA/c.json", "[3]");
    desk.write("exports/t/good.json", "[4]");
    desk.write("exports/lost.json", "[5]");
    std::os::unix::fs::symlink("nowhere", desk.path("exports/t/link.json")).unwrap();
    desk
}

#[test]
fn a_push_names_what_it_leaves_out_and_sends_the_rest() {
    let desk = spoilt();
    let run = desk.run(&["push", "exports", "--json"]);
    assert!(!run.ok);
    let mut named = failed(&run);
    named.sort();
    assert_eq!(named.len(), 4, "{named:?}");
    assert_eq!(named[0].0, "");
    assert!(named[0].1.ends_with("lost.json"));
    let expected = [("Dupont\u{a0}SA", ""), ("s", "a:b_1.json"), ("t", "link.json")];
    let rest: Vec<_> = named[1..].iter().map(|(s, f)| (s.as_str(), f.as_str())).collect();
    assert_eq!(rest, expected);
    assert!(run.err.contains("s/a:b_1.json: ") && run.err.contains("leads nowhere"), "{}", run.err);
    assert_eq!(
        (desk.stored("s", "good.json").unwrap(), desk.stored("t", "good.json").unwrap()),
        ("[1]".to_owned(), "[4]".to_owned())
    );
}

#[test]
fn a_watch_names_once_what_it_leaves_out_and_sends_the_rest() {
    let desk = spoilt();
    let watcher = desk.spawn(&["watch", "exports"]);
    eventually("the good ones are sent", || {
        desk.stored("s", "good.json").is_some() && desk.stored("t", "good.json").is_some()
    });
    let mut said: Vec<String> = (0..4).map(|_| watcher.err()).collect();
    said.sort();
    for part in ["Dupont", "a:b_1.json", "link.json", "lost.json"] {
        assert!(said.iter().any(|line| line.contains(part)), "{part} in {said:?}");
    }
    desk.write("exports/s/later.json", "[6]");
    eventually("what comes later too", || desk.stored("s", "later.json").is_some());
    assert!(watcher.err.try_recv().is_err(), "nothing is said twice");
    assert!(watcher.finish());
}

#[test]
fn a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_sent() {
    let desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    let watcher = desk.spawn(&["watch", "exports", "--societe", "s"]);
    assert!(watcher.out().contains("a.json"));
    let time = std::fs::metadata(desk.path("exports/a.json")).unwrap().modified().unwrap();
    desk.write("other.json", "[2]");
    std::fs::File::options().write(true).open(desk.path("other.json")).unwrap().set_modified(time).unwrap();
    std::fs::rename(desk.path("other.json"), desk.path("exports/a.json")).unwrap();
    assert!(watcher.out().contains("a.json"));
    assert_eq!(desk.stored("s", "a.json").unwrap(), "[2]");
}

#[test]
fn the_doctor_names_what_is_left_out_also_while_the_server_runs() {
    let desk = Desk::new();
    let well = desk.run(&["doctor", "--json"]);
    desk.write("data/payloads_societes/Dupont\u{a0}SA/a.json", "[1]");
    desk.write("data/payloads_societes/s/half.json", "[1");
    desk.write("schema.json", "{\"type\": 5}");
    desk.write("relais.toml", "[relay]\nschemas = [{ schema = \"schema.json\" }]\n");
    let ill = desk.run(&["doctor", "--json"]);
    let finding = |run: &Run, what: &str| {
        let all = run.json();
        let one = all.as_array().unwrap().iter().find(|one| one["what"] == what).unwrap();
        (one["ok"].as_bool().unwrap(), one["detail"].as_str().unwrap().to_owned())
    };
    assert!(finding(&well, "files").0);
    let (ok, detail) = finding(&ill, "files");
    assert!(!ok && detail.contains("Dupont\\u{a0}SA") && detail.contains("s/half.json"), "{detail}");
    let (ok, detail) = finding(&ill, "schemas");
    assert!(!ok && detail.contains("schema.json"), "{detail}");
    assert!(!ill.ok);
}

/// The binary where the system has no `limit` of inotify left.
fn without(desk: &Desk, limit: &str, arguments: &[&str]) -> Command {
    let plain = desk.command(arguments);
    let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(plain.get_program());
    command.args(plain.get_args()).current_dir(desk.folder.path()).stdin(std::process::Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_watch_without_notifications_looks_often_and_says_so() {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let desk = Desk::new();
        desk.write("exports/a.json", "[1]");
        let watcher = Live::start(&mut without(&desk, limit, &["watch", "exports", "--societe", "s"]));
        let said = watcher.err();
        assert!(said.contains("every 2 s") && said.contains("fs.inotify.max_user_"), "{said}");
        assert!(watcher.out().contains("a.json"));
        desk.write("exports/b.json", "[2]");
        assert!(watcher.out().contains("b.json"), "{limit}");
        assert!(watcher.finish());
    }
}

#[test]
fn a_server_without_notifications_looks_often_and_says_so() {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let mut desk = Desk::new();
        desk.stop();
        let mut command = without(&desk, limit, &["serve", "--listen", &desk.address]);
        let server = Live::start(command.env("RELAIS_AUTH_MODE", "open"));
        eventually("it polls", || desk.status().is_some_and(|status| status["folder_watch"] == "polling"));
        desk.write("data/payloads_societes/s/a.json", "[1]");
        eventually("the file is found", || desk.status().is_some_and(|status| status["total_files"] == 1));
        let mut log = String::new();
        while !log.contains("fs.inotify") {
            log = server.err();
        }
        assert!(server.finish());
    }
}

#[test]
fn a_program_that_asked_for_json_gets_json_whatever_happens() {
    let mut desk = Desk::new();
    desk.write("exports/s/a.json", "[1]");
    desk.run(&["push", "exports"]).good();
    // The mirror's own state cannot be written: what was done is told all the same.
    std::fs::create_dir_all(desk.path("mirror/.relais-pull.json.part")).unwrap();
    let run = desk.run(&["pull", "--all", "mirror", "--json"]);
    assert!(!run.ok);
    assert_eq!(run.json()["sent"], json!([{ "societe": "s", "filename": "a.json" }]));
    assert!(run.json()["failed"][0]["error"].as_str().unwrap().contains(".relais-pull.json"));
    desk.stop();
    let run = desk.run(&["push", "exports", "--json", "--retries", "0"]);
    assert!(!run.ok);
    assert!(run.json()["error"].as_str().unwrap().contains("relais serve"), "{}", run.out);
}

#[test]
fn a_server_without_tls_is_not_one_that_does_not_run() {
    let desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    let https = desk.url().replace("http:", "https:");
    let run = desk.run(&["push", "exports", "--societe", "s", "--server", &https]);
    assert!(!run.ok);
    assert!(run.err.contains("does not speak TLS") && !run.err.contains("relais serve"), "{}", run.err);
}

#[test]
fn a_proxy_of_the_environment_is_not_for_this_computer_and_is_named_for_others() {
    let desk = Desk::new();
    desk.write("exports/a.json", "[1]");
    let push = |server: &str| {
        let mut command =
            desk.bare(&["push", "exports", "--societe", "s", "--retries", "0", "--server", server]);
        command
            .env("HTTP_PROXY", "http://me:hunter2@127.0.0.1:1")
            .env("http_proxy", "http://me:hunter2@127.0.0.1:1");
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        Run::of(command.output().unwrap())
    };
    push(&desk.url()).good();
    let run = push("http://relais.example:8000");
    assert!(!run.ok);
    assert!(
        run.err.contains("http://127.0.0.1:1 (HTTP_PROXY)")
            || run.err.contains("http://127.0.0.1:1 (http_proxy)"),
        "{}",
        run.err
    );
    assert!(run.err.contains("NO_PROXY") && !run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn a_variable_of_somebody_else_is_a_warning_on_every_command() {
    let desk = Desk::new();
    let run = Run::of(desk.bare(&["config"]).env("RELAIS_BIN", "/somewhere").output().unwrap()).good();
    assert!(run.err.contains("RELAIS_BIN") && run.err.contains("ignored"), "{}", run.err);
    let run = Run::of(desk.bare(&["config"]).env("RELAIS_LISTN", "x").output().unwrap());
    assert!(!run.ok && run.err.contains("RELAIS_LISTEN was probably meant"), "{}", run.err);
}

#[test]
fn a_server_listens_on_a_name() {
    let mut desk = Desk::new();
    desk.stop();
    desk.address = desk.address.replace("127.0.0.1", "localhost");
    desk.start();
    desk.write("exports/a.json", "[1]");
    desk.run(&["push", "exports", "--societe", "s"]).good();
}

#[test]
fn what_lies_in_a_folder_too_deep_is_named() {
    let desk = Desk::new();
    desk.write("exports/s/a.json", "[1]");
    desk.write("exports/s/deep/b.json", "[2]");
    let run = desk.run(&["push", "exports", "--json"]);
    assert!(!run.ok);
    assert_eq!(failed(&run), [("s".to_owned(), "deep/b.json".to_owned())]);
    assert_eq!(run.json()["sent"], json!([{ "societe": "s", "filename": "a.json" }]));
    assert_eq!(run.err.lines().filter(|line| line.contains("deep/b.json")).count(), 1, "{}", run.err);
    desk.write("data/payloads_societes/s/deep/b.json", "[2]");
    eventually("the server names it", || {
        desk.status().is_some_and(|status| status["left_out"][0]["code"] == "too_deep")
    });
    assert!(desk.status().unwrap()["left_out"][0]["reason"].as_str().unwrap().contains("deep/b.json"));
}

#[test]
fn a_name_with_a_line_break_does_not_become_another_one() {
    let desk = Desk::new();
    for societe in ["p\nq", "t\tu", "s\n", "so:c", "good"] {
        desk.write(&format!("exports/{societe}/a.json"), "[1]");
    }
    desk.write("exports/good/b\n.json", "[1]");
    let run = desk.run(&["push", "exports", "--json"]);
    let mut named = failed(&run);
    named.sort();
    let expected = [("good", "b\n.json"), ("p\nq", ""), ("s\n", ""), ("so:c", ""), ("t\tu", "")];
    assert_eq!(named.iter().map(|(s, f)| (s.as_str(), f.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(super::files_in(&desk.path("data/payloads_societes")), ["good/a.json"]);
    let named = desk.run(&["push", "exports/good/a.json", "--societe", "go\nod2"]);
    assert!(!named.ok && named.err.contains("400"), "{}", named.err);
    assert_eq!(super::files_in(&desk.path("data/payloads_societes")), ["good/a.json"]);
}

#[test]
fn the_column_of_a_fault_is_the_one_that_an_editor_shows() {
    let desk = Desk::new();
    desk.write("exports/s/a.json", "{\"libellé\": \"été\", x}");
    let run = desk.run(&["push", "exports", "--json"]);
    assert_eq!(run.json()["failed"][0]["column"], 20);
}
