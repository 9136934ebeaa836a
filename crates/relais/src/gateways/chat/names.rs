//! Event names of an earlier chat, whose clients use separate names for what happens in groups.

use relais_protocol::event::Event;

/// The other name under which an event is delivered once more, after it; `None` for most.
pub(super) fn former_name(event: &Event) -> Option<&'static str> {
    let name = match &*event.name {
        "new_message" => "new_group_message",
        "messages_read" => "group_messages_read",
        "user_typing" => "group_user_typing",
        "new_invitation" => "group_invitation",
        "invitation_accepted" => "group_invitation_accepted",
        "member_joined" => "group_member_joined",
        "member_removed" | "conversation_left" => "group_member_left",
        "conversation_joined" if has(event, r#""created":true"#) => "group_created",
        _ => return None,
    };
    has(event, r#""group_id":""#).then_some(name)
}

/// Whether the data has a field with that value. In user-supplied text, quotes are escaped.
fn has(event: &Event, field: &str) -> bool {
    event.data.contains(field)
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::time::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn named(name: &str, data: &Value) -> Option<&'static str> {
        former_name(&Event {
            topic: Topic::new("conversation:1").unwrap(),
            epoch: Epoch(7),
            offset: 1,
            seq: 1,
            name: name.into(),
            data: data.to_string().into(),
            at: Timestamp::default(),
        })
    }

    #[test]
    fn what_happens_in_groups_has_a_name_of_its_own_and_what_happens_between_two_has_not() {
        let (group, two) =
            (json!({ "by": "1", "group_id": "g" }), json!({ "by": "1", "conversation_id": "c" }));
        for (name, former) in [
            ("new_message", "new_group_message"),
            ("messages_read", "group_messages_read"),
            ("user_typing", "group_user_typing"),
            ("new_invitation", "group_invitation"),
            ("invitation_accepted", "group_invitation_accepted"),
            ("member_joined", "group_member_joined"),
            ("member_removed", "group_member_left"),
            ("conversation_left", "group_member_left"),
        ] {
            assert_eq!((named(name, &group), named(name, &two)), (Some(former), None), "{name}");
        }
        assert_eq!(named("message_edited", &group), None);
        assert_eq!(named("conversation_joined", &group), None, "somebody else made it");
        assert_eq!(
            named("conversation_joined", &json!({ "group_id": "g", "created": true })),
            Some("group_created")
        );
    }

    #[test]
    fn nobody_makes_a_group_of_a_conversation_by_what_they_write() {
        let content = r#"","group_id":"g","#;
        assert_eq!(named("new_message", &json!({ "by": "1", "message": { "content": content } })), None);
    }
}
