//! The subscriptions of a chat client.

use std::sync::Arc;

use relais_hub::{Filter, Subscription};
use relais_protocol::event::{Channel, Event, Topic};

use crate::AppError;
use crate::features::chat::{Chat, Me};

/// The subscription options of a client.
#[derive(Clone)]
pub(super) struct Listening {
    /// The prefix of the data of the user's own events; `None` if they are to be delivered.
    own: Option<Arc<str>>,
}

impl Listening {
    /// `include_own`: also deliver the user's own events, from any of their devices. Clients that do not set it display
    /// what they send by themselves, and take every `messages_read` for another user's.
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

    /// All subscriptions: the user's own topic, and their conversations.
    pub(super) async fn to_all(&self, chat: &Chat, me: &Me) -> Result<Vec<Subscription>, AppError> {
        // In the user's own topic their own events are delivered too: invited, answered or joined on another device.
        // Except `messages_read`, which these clients take for another user's.
        let own_reads = self.own.clone().map(|own| -> Arc<dyn Filter> {
            Arc::new(move |event: &Event| &*event.name != "messages_read" || !event.data.starts_with(&*own))
        });
        let own = Subscription { channel: Channel::Topic(me.topic.clone()), filter: own_reads };
        let conversations = chat.heard(me).await?;
        Ok([own].into_iter().chain(conversations.iter().map(|topic| self.to(topic))).collect())
    }
}
