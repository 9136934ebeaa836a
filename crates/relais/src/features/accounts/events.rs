//! Events about users for administrators, in the form pages expect: nested and flat.

use relais_protocol::time::Timestamp;
use relais_store::{StoreError, WriteTx};
use serde_json::{Value, json};

use super::model::UserInfo;
use crate::auth::user_principal;
use crate::features::publish::{Target, emit};

/// An event about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserEvent {
    Added,
    SignedIn,
    SignedOut,
    Changed,
}

/// Publishes an event to administrators, in the transaction of the change; changes also to the user's own devices.
pub(super) fn announce(tx: &mut WriteTx<'_>, event: UserEvent, user: &UserInfo) -> Result<(), StoreError> {
    let (name, fields) = described(event, user, tx.now());
    emit(tx, Target::Administrators, name, &fields)?;
    if event == UserEvent::Changed {
        emit(tx, Target::Person(&user_principal(&user.id)), name, &fields)?;
    }
    Ok(())
}

fn described(event: UserEvent, user: &UserInfo, now: Timestamp) -> (&'static str, Value) {
    let name = format!("{} {}", user.firstname, user.lastname).trim().to_owned();
    let name = if name.is_empty() { user.email.clone() } else { name };
    let mut about = json!({ "id": user.id, "name": name, "email": user.email, "isAdmin": user.admin });
    let mut flat = about.clone();
    flat["disabled"] = user.disabled.into();
    let (told, action) = match event {
        UserEvent::Added => ("rt_user_added", "added"),
        UserEvent::SignedIn => {
            about["lastLogin"] = now.to_string().into();
            ("rt_user_logged_in", "login")
        }
        UserEvent::SignedOut => {
            flat["logoutTime"] = now.to_string().into();
            ("rt_user_logged_out", "logout")
        }
        UserEvent::Changed => ("rt_user_profile_updated", "profile_updated"),
    };
    flat["action"] = action.into();
    flat["user"] = about;
    flat["timestamp"] = now.to_string().into();
    (told, flat)
}
