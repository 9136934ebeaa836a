//! What commands print, where it cannot be printed, and what they say of faults that are not theirs.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use super::{Desk, Run, eventually, terminate};

/// Everything that prints without a server.
const PRINTING: &[&[&str]] = &[
    &["completions", "bash"],
    &["--help"],
    &["--version"],
    &["push", "--help"],
    &["config"],
    &["doctor"],
    &["openapi"],
    &["--json", "config"],
];

#[test]
fn a_reader_that_leaves_ends_the_output_quietly() {
    let desk = Desk::new();
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = desk.command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn a_full_disk_is_an_error_of_what_is_printed() {
    let desk = Desk::new();
    for arguments in PRINTING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = desk.command(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written"), "{arguments:?}: {said}");
    }
}

#[test]
fn wrong_usage_is_json_for_who_asked_for_json() {
    let desk = Desk::new();
    for arguments in [&["--json", "push"][..], &["push", "--json"], &["--json", "pull", "--nothing"]] {
        let output = desk.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let run = Run::of(&mut desk.command(arguments));
        assert!(run.json()["error"].as_str().unwrap().starts_with("error: "), "{}", run.out);
        assert!(run.err.contains("Usage: "), "{}", run.err);
    }
    let plain = desk.run(&["push"]);
    assert!(plain.out.is_empty() && plain.err.contains("Usage: "), "{}", plain.out);
}

#[test]
fn an_address_that_this_computer_does_not_have_is_not_one_that_is_taken() {
    let desk = Desk::new();
    // Addresses for documentation (RFC 5737): no computer has them.
    let elsewhere = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        command.env("RELAIS_LISTEN", "192.0.2.1:8000").env("RELAIS_AUTH_MODE", "required");
        Run::of(command.env("NO_PROXY", "*"))
    };
    let run = elsewhere(&["serve", "--data", "other"]);
    assert!(!run.ok && run.err.contains("does not have that address"), "{}", run.err);
    assert!(!run.err.contains("other program"), "{}", run.err);
    let doctor = elsewhere(&["doctor"]);
    assert!(doctor.out.contains("does not have that address"), "{}", doctor.out);
    let taken = desk.run(&["serve", "--data", "other", "--listen", &desk.address]);
    assert!(!taken.ok && taken.err.contains("stop the other program"), "{}", taken.err);
}

#[test]
fn a_port_that_speaks_tls_is_not_a_server_that_does_not_run() {
    let desk = Desk::new();
    desk.write("exports/s/a.json", "[1]");
    // An alert, as TLS servers answer what is no handshake; and a connection that is ended without a word.
    for answer in [&b"\x15\x03\x03\x00\x02\x02\x16"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
            }
        });
        let run = desk.run(&["push", "exports", "--retries", "0", "--server", &server]);
        assert!(!run.ok && run.err.contains("https://"), "{}", run.err);
        assert!(!run.err.contains("relais serve"), "{}", run.err);
    }
}

#[test]
fn a_server_whose_log_cannot_be_written_goes_on() {
    let mut desk = Desk::new();
    desk.stop();
    let mut command = desk.bare(&["serve", "--listen", &desk.address]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    command.env("RELAIS_AUTH_MODE", "open").env("RELAIS_LOG_FILTER", "debug").stderr(full);
    let mut server = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("the server listens", || desk.status().is_some());
    desk.write("exports/s/a.json", "[1]");
    desk.run(&["push", "exports"]).good();
    terminate(&server);
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_database_that_did_not_exist_is_told_of() {
    let desk = Desk::new();
    let list = || Run::of(&mut desk.bare(&["user", "list", "--data", "elsewhere"])).good();
    let said = list().err;
    assert!(said.contains("elsewhere/relais.db is a new database") && said.contains("--data"), "{said}");
    assert_eq!(list().err, "", "it exists now");
    assert_eq!(Run::of(&mut desk.bare(&["user", "list"])).good().err, "", "the server's");
}
