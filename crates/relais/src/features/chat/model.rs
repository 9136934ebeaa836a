//! The data model of the chat, as clients see it.

use relais_protocol::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Person {
    /// Opaque; what tokens carry as `user_id`.
    pub id: String,
    /// First name; may be empty.
    pub firstname: String,
    /// Last name; may be empty.
    pub lastname: String,
    /// E-mail address; may be empty.
    pub email: String,
}

impl Person {
    /// The display name: both names, else the e-mail address, else the id.
    #[must_use]
    pub fn display_name(&self) -> String {
        let name = format!("{} {}", self.firstname, self.lastname);
        let shown = [name.trim(), &self.email, &self.id].into_iter().find(|text| !text.is_empty());
        shown.unwrap_or_default().to_owned()
    }
}

/// A contact, and whether they are online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Contact {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Whether a device of theirs is connected.
    pub is_online: bool,
    /// When their last device left; absent if they never connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
}

/// Whether two people or a group talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Two people; there is one such conversation for each two.
    Direct,
    /// A named group.
    Group,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        if text == "group" { Self::Group } else { Self::Direct }
    }
}

/// What somebody may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads, writes, invites, leaves.
    Member,
    /// Also renames, removes members and their messages.
    Owner,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        if text == "owner" { Self::Owner } else { Self::Member }
    }
}

/// A person whom the caller has blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Blocked {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub blocked_at: Timestamp,
}

/// A member of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Member {
    /// Who, and whether they are there.
    #[serde(flatten)]
    pub contact: Contact,
    /// What they may do.
    pub role: Role,
}

/// The last message of a conversation, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastMessage {
    /// The message.
    pub id: String,
    /// Who wrote it.
    pub sender_id: String,
    /// Its text; empty if it was deleted.
    pub content: String,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// As of a [`Message`].
    pub is_read: bool,
}

/// A conversation, as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Conversation {
    /// Opaque. Of a pending invitation: the invitation's id.
    pub id: String,
    /// `direct` or `group`.
    pub kind: Kind,
    /// The name of a group; empty otherwise.
    pub name: String,
    /// The other one, of a direct conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Contact>,
    /// Everybody, oneself included; empty while pending, and of a group of more than 20 people.
    pub participants: Vec<Member>,
    /// How many people are in a group of more than 20: its members have pages of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_count: Option<u64>,
    /// The last message, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<LastMessage>,
    /// `accepted`, or `pending` for an invitation that one has sent.
    pub status: &'static str,
    /// Messages of others that one has not read.
    pub unread_count: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Who has read a message, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Read {
    /// Who.
    pub user_id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Message {
    /// Opaque.
    pub id: String,
    /// Where it was written.
    pub conversation_id: String,
    /// Counts in the conversation, from 1 and without gaps: the order that everybody sees.
    pub number: u64,
    /// Who wrote it.
    pub sender_id: String,
    /// The same, with the name.
    pub sender: Person,
    /// The text; empty if it was deleted.
    pub content: String,
    /// Always `text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether anybody but the sender has read it.
    pub is_read: bool,
    /// The first ten who have, the sender aside.
    pub read_by: Vec<Read>,
    /// When a device of another member first had it; null until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// When it was first read by another member; null until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The same, under the name that socket clients know.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// When it was last edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted; its content is then gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deleted_at: Option<Timestamp>,
    /// What the sender's program called it, so that sending again makes no second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The members that it mentions.
    pub mentions: Vec<String>,
    /// What is attached: references to uploads.
    pub attachments: Vec<String>,
}

/// What somebody is asked to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Invitation {
    /// Opaque.
    pub id: String,
    /// The same, under the name that older clients know.
    #[serde(rename = "_id")]
    pub old_id: String,
    /// Who asks.
    pub from_user_id: String,
    /// Who is asked.
    pub to_user_id: String,
    /// `pending`, `accepted`, `rejected` or `cancelled`.
    pub status: String,
    /// The message sent with it; may be empty.
    pub message: String,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who asks, with the name.
    pub from_user: Person,
    /// The same, under the name that socket clients know.
    #[serde(rename = "fromUser")]
    pub from_user_too: Person,
    /// The group, of an invitation to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Who is asked, with the name; among the invitations to a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_user: Option<Person>,
}
