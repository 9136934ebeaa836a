//! What administrators are told of users, as pages know it: nested and flat.

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use relais_store::{StoreError, WriteTx};
use serde_json::{Value, json};

use super::model::UserInfo;

/// What happened to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserEvent {
    SignedIn,
    SignedOut,
    Changed,
}

/// Tells administrators, in the transaction of what happened; of changes also the user's own devices.
pub(super) fn tell(tx: &mut WriteTx<'_>, event: UserEvent, user: &UserInfo) -> Result<(), StoreError> {
    let (name, fields) = described(event, user, tx.now());
    let fields = fields.to_string();
    emit(tx, "role:admin", name, fields.clone())?;
    if event == UserEvent::Changed {
        emit(tx, &format!("user:{}", user.id), name, fields)?;
    }
    Ok(())
}

fn emit(tx: &mut WriteTx<'_>, topic: &str, name: &str, fields: String) -> Result<(), StoreError> {
    let topic = Topic::new(topic).map_err(|error| StoreError::Value(error.to_string()))?;
    tx.emit(&topic, name, fields).map(drop)
}

fn described(event: UserEvent, user: &UserInfo, now: Timestamp) -> (&'static str, Value) {
    let name = format!("{} {}", user.firstname, user.lastname).trim().to_owned();
    let name = if name.is_empty() { user.email.clone() } else { name };
    let mut about = json!({ "id": user.id, "name": name, "email": user.email, "isAdmin": user.admin });
    let mut flat = about.clone();
    let (told, action) = match event {
        UserEvent::SignedIn => {
            about["lastLogin"] = now.to_string().into();
            ("rt_user_logged_in", "login")
        }
        UserEvent::SignedOut => {
            flat["logoutTime"] = now.to_string().into();
            ("rt_user_logged_out", "logout")
        }
        UserEvent::Changed => ("rt_user_profile_updated", "profile_update"),
    };
    flat["action"] = action.into();
    flat["user"] = about;
    flat["timestamp"] = now.to_string().into();
    (told, flat)
}
