//! What looks like a mistake is held back: a share that is not mounted, a server that lost its data.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Desk, Live, eventually, files_in, terminate};

fn desk(files: usize) -> Desk {
    let desk = Desk::new();
    for n in 0..files {
        desk.write(&format!("exports/{n}.json"), &format!("[{n}]"));
    }
    desk
}

fn watch(desk: &Desk, arguments: &[&str]) -> Live {
    let watcher = desk.spawn(&[&["watch", "exports", "--societe", "s", "--delete"], arguments].concat());
    eventually("everything is sent", || desk.stored("s", "2.json").is_some());
    watcher
}

/// Lines of standard error up to the first that has `part`.
fn said(live: &Live, part: &str) -> String {
    loop {
        let line = live.err();
        if line.contains(part) {
            return line;
        }
    }
}

#[test]
fn a_share_that_is_unmounted_while_it_is_watched_deletes_nothing() {
    let desk = desk(3);
    let watcher = watch(&desk, &[]);
    // What an unmounted share leaves: the empty folder that it was mounted on.
    std::fs::rename(desk.path("exports"), desk.path("away")).unwrap();
    std::fs::create_dir(desk.path("exports")).unwrap();
    let held = said(&watcher, "--allow-mass-delete");
    assert!(held.contains("3 file(s)") && held.contains("mounted"), "{held}");
    assert!(desk.stored("s", "0.json").is_some());
    std::fs::remove_dir(desk.path("exports")).unwrap();
    std::fs::rename(desk.path("away"), desk.path("exports")).unwrap();
    desk.write("exports/0.json", "[\"after\"]");
    eventually("the watch goes on", || desk.stored("s", "0.json").as_deref() == Some("[\"after\"]"));
    assert!(watcher.finish());
    assert_eq!(files_in(&desk.path("data/payloads_societes")), ["s/0.json", "s/1.json", "s/2.json"]);
}

#[test]
fn a_single_file_that_vanished_with_its_folder_is_not_deleted_either() {
    let desk = Desk::new();
    desk.write("exports/2.json", "[1]");
    let watcher = watch(&desk, &[]);
    std::fs::rename(desk.path("exports"), desk.path("away")).unwrap();
    std::fs::create_dir(desk.path("exports")).unwrap();
    said(&watcher, "1 file(s)");
    assert!(desk.stored("s", "2.json").is_some());
    assert!(watcher.finish());
}

#[test]
fn everything_goes_when_that_is_said() {
    let desk = desk(3);
    let watcher = watch(&desk, &["--allow-mass-delete"]);
    for n in 0..3 {
        std::fs::remove_file(desk.path(&format!("exports/{n}.json"))).unwrap();
    }
    eventually("all is deleted", || (0..3).all(|n| desk.stored("s", &format!("{n}.json")).is_none()));
    assert!(watcher.finish());
}

#[test]
fn a_push_that_would_delete_most_of_many_files_is_held_back() {
    let desk = desk(20);
    desk.run(&["push", "exports", "--societe", "s"]).good();
    for n in 5..20 {
        std::fs::remove_file(desk.path(&format!("exports/{n}.json"))).unwrap();
    }
    let push = ["push", "exports", "--societe", "s", "--delete", "--json"];
    let held = desk.run(&push);
    assert!(!held.ok);
    let failed = &held.json()["failed"][0];
    assert!(failed["error"].as_str().unwrap().contains("15 file(s)"), "{failed}");
    assert!(desk.stored("s", "19.json").is_some());
    let done = desk.run(&[&push[..], &["--allow-mass-delete"]].concat()).good();
    assert_eq!(done.json()["deleted"].as_array().unwrap().len(), 15);
    assert!(desk.stored("s", "19.json").is_none() && desk.stored("s", "4.json").is_some());
}

#[test]
fn a_server_that_comes_back_with_another_log_removes_nothing_from_a_mirror() {
    let mut desk = desk(3);
    desk.write("only/one.json", "[1]");
    desk.run(&["push", "exports", "--societe", "s"]).good();
    desk.run(&["push", "only", "--societe", "t"]).good();
    let follower = desk.spawn(&["pull", "--all", "mirror", "--follow", "--delete"]);
    assert!(follower.out().starts_with("4 received"));
    desk.stop();
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    desk.start();
    let held = said(&follower, "--allow-mass-delete");
    assert!(held.contains("gone from the server"), "{held}");
    desk.write("exports/9.json", "[9]");
    desk.run(&["push", "exports/9.json", "--societe", "u"]).good();
    eventually("the mirror goes on", || desk.read("mirror/u/9.json").is_some());
    assert!(follower.finish());
    let kept = files_in(&desk.path("mirror"));
    assert_eq!(kept, ["s/0.json", "s/1.json", "s/2.json", "t/one.json", "u/9.json"]);
    let again = desk.run(&["pull", "--all", "mirror", "--delete"]);
    assert!(!again.ok, "the next run remembers: {}", again.out);
    assert_eq!(files_in(&desk.path("mirror")), kept);
    desk.run(&["pull", "--all", "mirror", "--delete", "--allow-mass-delete"]).good();
    assert_eq!(files_in(&desk.path("mirror")), ["u/9.json"]);
}

#[test]
fn a_file_that_is_there_again_after_the_server_began_anew_says_nothing_about_the_others() {
    let mut desk = desk(5);
    desk.run(&["push", "exports", "--societe", "s"]).good();
    let follower = desk.spawn(&["pull", "--all", "mirror", "--follow", "--delete"]);
    assert!(follower.out().starts_with("5 received"));
    desk.stop();
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    // There before anybody can look.
    desk.write("data/payloads_societes/s/0.json", "[0]");
    desk.start();
    let held = said(&follower, "--allow-mass-delete");
    assert!(held.contains("4 file(s)"), "{held}");
    // However many come: what is missing was not deleted by anybody.
    for n in 5..12 {
        desk.write(&format!("exports/{n}.json"), &format!("[{n}]"));
        desk.run(&["push", &format!("exports/{n}.json"), "--societe", "s"]).good();
    }
    eventually("the mirror goes on", || desk.read("mirror/s/11.json").is_some());
    assert!(follower.finish());
    assert_eq!(files_in(&desk.path("mirror")).len(), 12);
    // Nor does it help to ask for one société, or for all again.
    for which in ["--societe=s", "--all"] {
        let again = desk.run(&["pull", which, "mirror", "--delete"]);
        assert!(!again.ok && again.err.contains("--allow-mass-delete"), "{}", again.err);
    }
    assert_eq!(files_in(&desk.path("mirror")).len(), 12);
    desk.run(&["pull", "--all", "mirror", "--delete", "--allow-mass-delete"]).good();
    assert_eq!(files_in(&desk.path("mirror")).len(), 8);
    std::fs::remove_file(desk.path("exports/11.json")).unwrap();
    for n in 1..5 {
        std::fs::remove_file(desk.path(&format!("exports/{n}.json"))).unwrap();
    }
    desk.run(&["push", "exports", "--societe", "s", "--delete"]).good();
    desk.run(&["pull", "--all", "mirror", "--delete"]).good();
    assert_eq!(files_in(&desk.path("mirror")).len(), 7, "a deletion of its own is passed on again");
}

#[test]
fn a_stray_file_where_a_share_was_mounted_does_not_stand_for_the_others() {
    let desk = Desk::new();
    for n in 0..5 {
        desk.write(&format!("exports/s/{n}.json"), &format!("[{n}]"));
    }
    let watcher = desk.spawn(&["watch", "exports", "--delete"]);
    eventually("everything is sent", || desk.stored("s", "4.json").is_some());
    std::fs::rename(desk.path("exports"), desk.path("away")).unwrap();
    desk.write("exports/s/stray.json", "[0]");
    let held = said(&watcher, "--allow-mass-delete");
    assert!(held.contains("5 file(s)"), "{held}");
    // The next looks find the same folder again, and more in it.
    for n in 10..17 {
        desk.write(&format!("exports/s/{n}.json"), "[1]");
    }
    eventually("the watch goes on", || (10..17).all(|n| desk.stored("s", &format!("{n}.json")).is_some()));
    desk.write("exports/s/last.json", "[1]");
    eventually("the watch goes on", || desk.stored("s", "last.json").is_some());
    assert!((0..5).all(|n| desk.stored("s", &format!("{n}.json")).is_some()));
    // What is back is no longer held, and a deletion is one again.
    for n in 0..5 {
        desk.write(&format!("exports/s/{n}.json"), &format!("[{n}]"));
    }
    desk.write("exports/s/back.json", "[1]");
    eventually("the watch goes on", || desk.stored("s", "back.json").is_some());
    std::fs::remove_file(desk.path("exports/s/0.json")).unwrap();
    eventually("it is deleted", || desk.stored("s", "0.json").is_none());
    assert!(watcher.finish());
}

#[test]
fn a_folder_whose_name_is_decomposed_is_the_same_at_every_look() {
    let desk = Desk::new();
    desk.write("exports/e\u{301}te\u{301}/1.json", "[1]");
    desk.write("exports/e\u{301}te\u{301}/2.json", "[2]");
    let watcher = desk.spawn(&["watch", "exports", "--delete"]);
    eventually("both are sent", || {
        desk.stored("été", "1.json").is_some() && desk.stored("été", "2.json").is_some()
    });
    std::fs::remove_file(desk.path("exports/e\u{301}te\u{301}/1.json")).unwrap();
    eventually("the deletion is passed on", || desk.stored("été", "1.json").is_none());
    assert!(watcher.finish());
}

/// Starts a command that has a terminal, and what it writes there.
fn on_terminal(command: &mut Command) -> (Child, Arc<Mutex<String>>) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let end = || {
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        File::options().read(true).write(true).custom_flags(flags).open(&name).unwrap()
    };
    let child = command.stdin(end()).stderr(end()).stdout(Stdio::null()).spawn().unwrap();
    let (written, seen) = (Arc::new(Mutex::new(String::new())), File::from(master));
    let kept = Arc::clone(&written);
    std::thread::spawn(move || {
        let (mut seen, mut piece) = (seen, [0; 1024]);
        while let Ok(length @ 1..) = seen.read(&mut piece) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
    (child, written)
}

#[test]
fn a_question_is_no_reason_to_stay_when_asked_to_stop() {
    for arguments in
        [&["watch", "exports", "--societe", "s", "--delete"][..], &["pull", "--all", "mirror", "--delete"]]
    {
        let mut desk = desk(3);
        desk.run(&["push", "exports", "--societe", "s"]).good();
        desk.run(&["pull", "--all", "mirror"]).good();
        if arguments[0] == "pull" {
            desk.stop();
            std::fs::remove_dir_all(desk.path("data")).unwrap();
            desk.start();
        }
        let (mut child, written) = on_terminal(&mut desk.command(arguments));
        if arguments[0] == "watch" {
            desk.write("exports/first.json", "[1]");
            eventually("it watches", || desk.stored("s", "first.json").is_some());
            std::fs::rename(desk.path("exports"), desk.path("away")).unwrap();
            std::fs::create_dir(desk.path("exports")).unwrap();
        }
        eventually("it asks", || written.lock().unwrap().contains("Delete them? [y/N]"));
        terminate(&child);
        eventually("it ends", || child.try_wait().unwrap().is_some());
        let left = files_in(&desk.path("mirror")).len();
        assert!(left == 3 && (arguments[0] == "pull" || desk.stored("s", "2.json").is_some()));
    }
}

#[test]
fn a_folder_that_cannot_be_read_just_now_is_not_an_empty_one() {
    let desk = Desk::new();
    desk.write("exports/s1/a.json", "[1]");
    desk.write("exports/s2/b.json", "[1]");
    let watcher = desk.spawn(&["watch", "exports", "--delete"]);
    eventually("both are sent", || {
        desk.stored("s1", "a.json").is_some() && desk.stored("s2", "b.json").is_some()
    });
    // A link that leads nowhere, as a share that is away may leave it.
    std::fs::rename(desk.path("exports/s1"), desk.path("away")).unwrap();
    std::os::unix::fs::symlink("nowhere", desk.path("exports/s1")).unwrap();
    said(&watcher, "leads nowhere");
    std::fs::remove_file(desk.path("exports/s2/b.json")).unwrap();
    eventually("the other deletion is passed on", || desk.stored("s2", "b.json").is_none());
    assert!(desk.stored("s1", "a.json").is_some());
    assert!(watcher.finish());
}
