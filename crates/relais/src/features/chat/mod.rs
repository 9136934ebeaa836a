//! The chat: direct conversations and groups, invitations, messages, read receipts and presence.
//!
//! [`Chat`] is the API; [`Chat::handle`] executes commands from sockets, whichever protocol carries them. Everything
//! durable is stored and published in one transaction.
//!
//! Events, named as socket clients know them. In the topic `conversation:<id>`, to which its members subscribe:
//! `new_message`, `message_edited`, `message_deleted`, `messages_read`, `messages_delivered`, `member_joined`,
//! `member_removed`, `owner_changed`, `conversation_renamed`, `conversation_begun`, and, ephemeral, `user_typing`. In
//! the topic of a user: `new_invitation`, `invitation_sent`, `invitation_accepted`, `invitation_rejected`,
//! `invitation_answered`, `invitation_cancelled`, `conversation_joined`, `conversation_left`, `user_blocked`,
//! `user_unblocked`, `notification`, and, ephemeral, `user_presence` and `group_presence`. For groups the stored form
//! is short, and [`expanded`] completes it. The data starts with `by`, the user who acted, so that a connection can skip
//! its own user's events; in a group `group_id` follows, by which the sockets know what to publish under former names
//! too.

mod arrivals;
mod blocks;
mod carriers;
mod commands;
mod conversations;
mod devices;
mod expansion;
mod groups;
pub mod http;
mod indexing;
mod invitations;
mod messages;
mod model;
mod names;
mod people;
mod posting;
mod presence;
mod receipts;
mod refusal;
mod search;
mod sending;
mod service;
mod store;
mod typing;
mod upgrade;
mod watching;
mod words;

pub use commands::Outcome;
pub use conversations::{Listing, Overview};
pub use devices::{Device, DeviceId};
pub use expansion::expanded;
use indexing::index_messages;
pub use invitations::{Answer, Waiting};
pub use messages::Part;
pub use model::{
    Blocked, Contact, Conversation, Invitation, Kind, LastMessage, Member, Message, Person, Read, Role,
};
pub use names::NAMES;
pub use people::Me;
pub use presence::{JOINED, LEFT};
pub use search::Found;
pub use sending::{NewMessage, Sent};
pub use service::{Chat, TOPIC_FAMILY};
pub use store::MIGRATIONS;
pub use typing::publish_changes;
pub use upgrade::catch_up;

use std::sync::Arc;

use relais_hub::Subscription;
use relais_protocol::event::{Channel, Event};

use crate::AppError;
use crate::auth::{Principal, TopicFamily};
use crate::feature::{Feature, Observer, OpenError, Opening};
use crate::features::accounts::Accounts;

/// The chat.
pub const FEATURE: Feature = Feature {
    french: &["/api/chat/", "/api/admin/chat/", "/chat/"],
    migrations: &[MIGRATIONS],
    open: |opening| Box::pin(open(opening)),
    topics: &[TopicFamily::named(TOPIC_FAMILY)],
    event_names: NAMES,
    subscribe: |app, principal, channel| Box::pin(subscribe(app.service(), principal, channel)),
    hidden_from: |app, user| Box::pin(app.service::<Chat>().apart_from(&user.id)),
    routes: http::router,
    tasks: |app, stop| {
        let chat = app.service::<Chat>();
        vec![
            Box::pin(publish_changes(chat.clone(), stop.clone())),
            Box::pin(catch_up(chat.clone(), stop.clone())),
            Box::pin(index_messages(chat.clone(), stop.clone())),
        ]
    },
    trimmed: |app| Box::pin(app.service::<Chat>().forget_trimmed()),
    expand: expanded,
    ..Feature::named("chat")
};

/// Members may subscribe to a conversation until they leave it.
async fn subscribe(
    chat: &Chat,
    principal: &Principal,
    channel: &Channel,
) -> Result<Option<Subscription>, AppError> {
    let Channel::Topic(topic) = channel else { return Ok(None) };
    if topic.family() != TOPIC_FAMILY {
        return Ok(None);
    }
    let me = chat.enter(principal).await?;
    chat.require_member(&me, topic.key()).await?;
    Ok(Some(Subscription { channel: channel.clone(), filter: None }))
}

async fn open(opening: &mut Opening) -> Result<(), OpenError> {
    let accounts = opening.services.require::<Accounts>().clone();
    let (store, hub, clock) = (opening.store.clone(), opening.hub.clone(), Arc::clone(&opening.clock));
    let chat = Chat::new(store, accounts, hub, clock, opening.config.chat.clone());
    chat.begin_presence().await.map_err(|error| OpenError(format!("chat: {error}")))?;
    opening.observers.add(chat.clone());
    opening.services.add(chat);
    Ok(())
}

/// Connections are subscribed to the conversations that their users join.
impl Observer for Chat {
    fn committed(&self, event: &Event) {
        self.observe(event);
    }
}
