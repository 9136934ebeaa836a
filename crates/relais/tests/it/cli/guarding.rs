//! What looks like a mistake is held back: a share that is not mounted, a server that lost its data.

use super::{Desk, Live, eventually, files_in};

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
