//! The stored and the published form of group events.
//!
//! A large group is built of thousands of events, so each stores only the change. Fields that follow from its topic or
//! from its other fields are added when the event leaves the log, before any client reads it.

use std::sync::Arc;

use relais_protocol::event::Event;
use serde_json::{Map, Value, json};

use super::presence::JOINED;
use super::service::TOPIC_FAMILY;

/// The event of a user joining a group.
pub(super) const MEMBER_JOINED: &str = "member_joined";
/// The event of an invitation to a direct conversation or a group.
pub(super) const INVITED: &str = "new_invitation";

/// The published form of an event, if it differs from the stored one.
#[must_use]
pub fn expanded(event: &Event) -> Option<Event> {
    let expand: fn(&str, &mut Map<String, Value>) = match &*event.name {
        MEMBER_JOINED if event.topic.family() == TOPIC_FAMILY => member_joined,
        INVITED => group_invitation,
        JOINED => group_joined,
        _ => return None,
    };
    let mut data = serde_json::from_str::<Map<String, Value>>(&event.data).ok()?;
    expand(event.topic.key(), &mut data);
    Some(Event { data: Arc::from(Value::from(data).to_string()), ..event.clone() })
}

fn member_joined(conversation_id: &str, data: &mut Map<String, Value>) {
    let Some(by) = data.get("by").cloned() else { return };
    put(data, "conversation_id", conversation_id.into());
    put(data, "group_id", conversation_id.into());
    put(data, "user_id", by.clone());
    if let Some(user) = data.get_mut("user").and_then(Value::as_object_mut) {
        put(user, "id", by);
    }
}

fn group_invitation(_: &str, data: &mut Map<String, Value>) {
    let Some(invitation) = data.get_mut("invitation").and_then(Value::as_object_mut) else { return };
    let (Some(group_id), Some(from)) =
        (invitation.get("group_id").cloned(), invitation.get("from_user").cloned())
    else {
        return;
    };
    let id = invitation.get("id").cloned().unwrap_or_default();
    let group_name = invitation.get("group_name").cloned().unwrap_or_default();
    put(invitation, "_id", id);
    put(invitation, "from_user_id", from["id"].clone());
    put(invitation, "status", "pending".into());
    put(invitation, "message", "".into());
    put(invitation, "fromUser", from.clone());
    put(data, "by", from["id"].clone());
    put(data, "group_id", group_id);
    put(data, "group_name", group_name);
}

fn group_joined(_: &str, data: &mut Map<String, Value>) {
    let id = data.get("conversation_id").cloned().unwrap_or_default();
    let is_direct = |conversation: &Value| conversation["kind"] == "direct";
    if data.get("conversation").is_none_or(is_direct) {
        return;
    }
    put(data, "group_id", id.clone());
    let Some(conversation) = data.get_mut("conversation").and_then(Value::as_object_mut) else { return };
    put(conversation, "id", id);
    put(conversation, "kind", "group".into());
    put(conversation, "participants", json!([]));
    put(conversation, "status", "accepted".into());
    put(conversation, "unread_count", 0.into());
    let group = Value::from(conversation.clone());
    if data.get("created") == Some(&Value::Bool(true)) {
        // As clients of an earlier chat expect it.
        put(data, "group", group);
    }
}

/// Adds a field unless it exists.
fn put(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.entry(name).or_insert(value);
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::time::Timestamp;

    use super::*;

    fn event(topic: &str, name: &str, data: &Value) -> Event {
        Event {
            topic: Topic::new(topic).unwrap(),
            epoch: Epoch(7),
            offset: 1,
            seq: 1,
            name: name.into(),
            data: data.to_string().into(),
            at: Timestamp::default(),
        }
    }

    #[test]
    fn who_came_and_where_is_said_under_every_name_that_clients_know() {
        let stored = json!({ "by": "u1", "user": { "firstname": "Léa" } });
        let told: Value =
            serde_json::from_str(&expanded(&event("conversation:g", MEMBER_JOINED, &stored)).unwrap().data)
                .unwrap();
        let expected = json!({
            "by": "u1", "user": { "firstname": "Léa", "id": "u1" },
            "conversation_id": "g", "group_id": "g", "user_id": "u1",
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_whole_already_is_told_as_it_is() {
        for (topic, name, data) in [
            (
                "conversation:g",
                MEMBER_JOINED,
                json!({ "by": "a", "user_id": "b", "conversation_id": "c",
                "group_id": "c", "user": { "id": "b" } }),
            ),
            (
                "user:u",
                JOINED,
                json!({ "conversation_id": "c", "conversation": { "id": "c", "kind": "direct",
                "participants": [1], "status": "accepted", "unread_count": 3 } }),
            ),
            ("user:u", INVITED, json!({ "by": "a", "invitation": { "id": "i", "group_id": null } })),
            ("societe:x", MEMBER_JOINED, json!({ "by": "a" })),
            ("conversation:g", "new_message", json!({ "by": "a" })),
        ] {
            let told = expanded(&event(topic, name, &data));
            assert_eq!(
                told.map_or(data.to_string(), |told| told.data.to_string()),
                data.to_string(),
                "{name}"
            );
        }
    }

    #[test]
    fn data_that_begins_with_who_did_it_still_does() {
        let stored = json!({ "by": "u1", "user": {} });
        let told = expanded(&event("conversation:g", MEMBER_JOINED, &stored)).unwrap();
        assert!(told.data.starts_with("{\"by\":\"u1\""));
    }
}
