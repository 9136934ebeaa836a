//! Passwords on standard input.

use super::Desk;

#[test]
fn whoever_gives_no_password_is_shown_how_for_the_same_command() {
    let desk = Desk::new();
    for command in [
        &["user", "add", "--email", "a@b.fr"][..],
        &["user", "password", "a@b.fr"],
        &["module", "add", "MC-1001-STN"],
        &["module", "rotate", "MC-1001-STN"],
    ] {
        let refused = desk.run(&[command, &["--password-stdin"]].concat());
        let example = format!("| relais {} --password-stdin", command.join(" "));
        assert!(!refused.ok && refused.err.contains(&example), "{command:?}: {}", refused.err);
    }
}
