//! No command shows the password of an address, wherever the address comes from.

use std::process::Command;

use super::{Desk, Live, Run};

const SECRET: &str = "hunter2";

fn outcome(command: &mut Command) -> String {
    let run = Run::of(command.output().unwrap());
    assert!(!run.ok, "{}", run.out);
    run.out + &run.err
}

#[test]
fn the_password_in_the_address_of_a_server_is_not_shown() {
    let desk = Desk::new();
    desk.write("exports/s/a.json", "[1]");
    for server in [
        &*format!("http://u:{SECRET}J@127.0.0.1:4"),
        &format!("nonsense://u:{SECRET}@x"),
        &format!("http://u:hun@{SECRET}T@x:99999"),
        &format!("u:{SECRET}@x"),
    ] {
        for arguments in [
            &["push", "exports", "--retries", "0"][..],
            &["pull", "--all", "mirror", "--retries", "0"],
            &["watch", "exports", "--retries", "0"],
            &["listen", "--retries", "0"],
        ] {
            if server.contains(":4") && matches!(arguments[0], "watch" | "listen") {
                continue;
            }
            let text = outcome(desk.command(arguments).env("RELAIS_SERVER", server));
            assert!(!text.contains(SECRET), "{server} {arguments:?}: {text}");
            let text = outcome(&mut desk.command(&[arguments, &["--server", server]].concat()));
            assert!(!text.contains(SECRET), "{server} {arguments:?}: {text}");
        }
    }
    desk.write("relais.toml", &format!("[client]\nserver = \"http://u:{SECRET}J@127.0.0.1:4\"\n"));
    for arguments in [&["watch", "exports"][..], &["listen"]] {
        let waiting = Live::start(&mut desk.bare(arguments));
        let line = waiting.err();
        assert!(line.contains("127.0.0.1:4") && !line.contains(SECRET), "{line}");
    }
}

#[test]
fn the_password_in_the_settings_is_not_shown() {
    let desk = Desk::new();
    let keywords = format!("host=x password={SECRET}W");
    let endpoint = format!("u:{SECRET}Q@x");
    for arguments in [&["config"][..], &["--json", "config"], &["doctor"], &["user", "list"]] {
        let run = Run::of(desk.bare(arguments).env("RELAIS_DATABASE_URL", &keywords).output().unwrap());
        assert!(!run.out.contains(SECRET) && !run.err.contains(SECRET), "{}{}", run.out, run.err);
        let endpoint = desk.bare(arguments).env("RELAIS_TELEMETRY_OTLP_ENDPOINT", &endpoint).output();
        let run = Run::of(endpoint.unwrap());
        assert!(!run.out.contains(SECRET) && !run.err.contains(SECRET), "{}{}", run.out, run.err);
    }
}
