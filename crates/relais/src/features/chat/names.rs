//! Names reserved for the chat's own events: clients can rely on their origin.

use super::arrivals::PRESENCE;
use super::expansion::{INVITED, MEMBER_JOINED};
use super::presence::{JOINED, LEFT};

/// The names of its events, including those for former clients, and of its replies on sockets, which clients cannot
/// distinguish from events.
pub const NAMES: &[&str] = &[
    // In conversations.
    "new_message",
    "message_edited",
    "message_deleted",
    "messages_read",
    "messages_delivered",
    MEMBER_JOINED,
    "member_removed",
    "owner_changed",
    "conversation_renamed",
    "conversation_begun",
    "user_typing",
    // To a user.
    INVITED,
    "invitation_sent",
    "invitation_accepted",
    "invitation_rejected",
    "invitation_answered",
    "invitation_cancelled",
    JOINED,
    LEFT,
    "user_blocked",
    "user_unblocked",
    "notification",
    PRESENCE,
    "group_presence",
    // In groups, to former clients.
    "new_group_message",
    "group_messages_read",
    "group_user_typing",
    "group_invitation",
    "group_invitation_accepted",
    "group_member_joined",
    "group_member_left",
    "group_created",
    // Replies.
    "authenticated",
    "done",
    "error",
    "joined_conversation",
    "joined_group",
    "left_conversation",
    "left_group",
    "marked_read",
    "message_sent",
    "pong",
    "unwatched_presence",
    "watching_presence",
];
