//! Recovery after a lost connection: the private id that a client keeps, and what it requests with it.

use std::borrow::Cow;

use relais_protocol::event::Cursor;
use relais_protocol::socketio::Recovery as Asked;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::auth::Principal;

/// Length in bytes of the hash that ties a private id to its owner.
const MARK_BYTES: usize = 12;

/// The private id of a client that joined at `cursor`. It is no secret: the client's permissions are checked again when
/// it returns, so that this works after a restart and on any node. The hash keeps one user from resuming the position
/// of another.
pub(super) fn private_id(principal: &Principal, namespace: &str, cursor: Cursor) -> String {
    format!("{cursor}.{}", mark(principal, namespace))
}

fn mark(principal: &Principal, namespace: &str) -> String {
    let digest =
        Sha256::new().chain_update(&*principal.id()).chain_update([0]).chain_update(namespace).finalize();
    hex::encode(&digest[..MARK_BYTES])
}

/// Where a client resumes: after the last event that it received, else after it joined. `None` if the id was not issued
/// to this principal here.
pub(super) fn place(asked: &Asked, principal: &Principal, namespace: &str) -> Option<Cursor> {
    let (cursor, found) = asked.pid.rsplit_once('.')?;
    if found != mark(principal, namespace) {
        return None;
    }
    asked.offset.as_deref().unwrap_or(cursor).parse().ok()
}

/// The JavaScript library takes a string at the end of any event, its name included, for an offset. An event without
/// offset gets another value there.
pub(super) fn without_offset(arguments: &str) -> Cow<'_, str> {
    match arguments.trim_end() {
        "" => Cow::Borrowed("null"),
        text if text.ends_with('"') => Cow::Owned(format!("{text},null")),
        _ => Cow::Borrowed(arguments),
    }
}

/// Whether an `auth` object asks for recovery.
pub(super) fn is_asked_in(auth: Option<&str>) -> bool {
    #[derive(Deserialize)]
    struct Auth {
        #[serde(default)]
        recovery: bool,
    }
    auth.and_then(|auth| serde_json::from_str(auth).ok()).is_some_and(|auth: Auth| auth.recovery)
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::Epoch;

    use super::*;

    fn asked(pid: &str, offset: Option<&str>) -> Asked {
        Asked { pid: pid.into(), offset: offset.map(str::to_owned) }
    }

    #[test]
    fn a_client_goes_on_after_its_last_event_or_after_it_came() {
        let cursor = Cursor { epoch: Epoch(7), seq: 40 };
        let later = Cursor { seq: 52, ..cursor };
        let pid = private_id(&Principal::Anonymous, "/chat", cursor);
        let place = |offset: Option<&str>| place(&asked(&pid, offset), &Principal::Anonymous, "/chat");
        assert_eq!(place(None), Some(cursor));
        assert_eq!(place(Some(&later.to_string())), Some(later));
        assert_eq!(place(Some("hello")), None);
    }

    #[test]
    fn an_id_of_another_namespace_or_of_nobody_is_worth_nothing() {
        let cursor = Cursor { epoch: Epoch(7), seq: 40 };
        let pid = private_id(&Principal::Anonymous, "/chat", cursor);
        assert_eq!(place(&asked(&pid, None), &Principal::Anonymous, "/"), None);
        assert_eq!(place(&asked("made up", None), &Principal::Anonymous, "/chat"), None);
    }

    #[test]
    fn nothing_but_an_offset_looks_like_one() {
        assert_eq!(without_offset(r#"{"a":"b"}"#), r#"{"a":"b"}"#);
        assert_eq!(without_offset(r#"1,"text""#), r#"1,"text",null"#);
        assert_eq!(without_offset(""), "null");
    }

    #[test]
    fn recovery_is_asked_for_in_the_auth_object() {
        assert!(is_asked_in(Some(r#"{"token":"t","recovery":true}"#)));
        assert!(!is_asked_in(Some(r#"{"token":"t"}"#)));
        assert!(!is_asked_in(Some(r#"{"recovery":"yes"}"#)));
        assert!(!is_asked_in(None));
    }
}
