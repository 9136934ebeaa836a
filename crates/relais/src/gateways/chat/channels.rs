//! What a client of the chat hears.

use std::sync::Arc;

use relais_hub::{Filter, Subscription};
use relais_protocol::event::{Channel, Event, Topic};

use crate::AppError;
use crate::features::chat::{Chat, Me};

/// How a client listens.
#[derive(Clone)]
pub(super) struct Listening {
    /// How the data of one's own events begins; none if one wants to hear of them.
    own: Option<Arc<str>>,
}

impl Listening {
    /// `include_own`: also what one did oneself, on another device or on this one. Clients that do not ask for it
    /// show what they send by themselves, and take every `messages_read` for somebody else's.
    pub(super) fn new(me: &Me, include_own: bool) -> Self {
        let own = || format!("{{\"by\":{}", serde_json::Value::from(me.id()));
        Self { own: (!include_own).then(|| own().into()) }
    }

    pub(super) fn to(&self, topic: &Topic) -> Subscription {
        let filter = self
            .own
            .clone()
            .map(|own| -> Arc<dyn Filter> { Arc::new(move |event: &Event| !event.data.starts_with(&*own)) });
        Subscription { channel: Channel::Topic(topic.clone()), filter }
    }

    /// Everything that one hears: what is for oneself, and one's conversations.
    pub(super) async fn to_all(&self, chat: &Chat, me: &Me) -> Result<Vec<Subscription>, AppError> {
        // What is for oneself one hears also from oneself: other devices invited, answered, joined.
        // That one has read is not news to clients that take each `messages_read` for somebody else's.
        let own_reads = self.own.clone().map(|own| -> Arc<dyn Filter> {
            Arc::new(move |event: &Event| &*event.name != "messages_read" || !event.data.starts_with(&*own))
        });
        let own = Subscription { channel: Channel::Topic(me.topic.clone()), filter: own_reads };
        let conversations = chat.heard(me).await?;
        Ok([own].into_iter().chain(conversations.iter().map(|topic| self.to(topic))).collect())
    }
}
