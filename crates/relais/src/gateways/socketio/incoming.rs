//! What a client sends, and the reply.

use bytes::Bytes;
use relais_protocol::engineio::Text;
use relais_protocol::socketio::EventArguments;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::AppError;
use crate::gateways::unreadable;

/// An event from a client, or its acknowledgement of one of ours.
#[derive(Clone, Debug)]
pub struct Incoming {
    data: Text,
    attachments: Vec<Bytes>,
    wants_reply: bool,
}

impl Incoming {
    pub(super) fn new(data: Text, attachments: Vec<Bytes>, wants_reply: bool) -> Self {
        Self { data, attachments, wants_reply }
    }

    /// Its name and arguments.
    ///
    /// # Panics
    /// Never for an event: the decoder accepts no other data.
    #[must_use]
    pub fn event(&self) -> EventArguments<'_> {
        EventArguments::of(&self.data).expect("the decoder checked the shape of the event")
    }

    /// The first argument.
    ///
    /// # Errors
    /// The argument cannot be deserialised; an absent one counts as `null`.
    pub fn first<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        let event = self.event();
        serde_json::from_str(event.arguments.first().map_or("null", |first| first.get()))
    }

    /// The first argument unchanged, `null` if there is none.
    ///
    /// # Errors
    /// 400 that names the part that this server cannot store, such as an unpaired surrogate.
    pub fn value(&self) -> Result<serde_json::Value, AppError> {
        self.first().map_err(|error| unreadable(&error))
    }

    /// The arguments of an event as comma-separated JSON values, as [`Reply`] and [`Socket::emit`](super::Socket::emit)
    /// take them.
    #[must_use]
    pub fn arguments(&self) -> String {
        self.event().arguments.iter().map(|value| value.get()).collect::<Vec<_>>().join(",")
    }

    /// The elements of an acknowledgement.
    #[must_use]
    pub fn elements(&self) -> Vec<&RawValue> {
        serde_json::from_str(self.data.as_str()).unwrap_or_default()
    }

    /// The attachments that `{"_placeholder":true,"num":n}` in the arguments refers to.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Whether the client requested an acknowledgement.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.wants_reply
    }
}

/// An acknowledgement.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Comma-separated JSON values.
    pub arguments: String,
    /// The attachments that its placeholders refer to.
    pub attachments: Vec<Bytes>,
}

impl Reply {
    /// A single value.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        Self { arguments: value.to_string(), attachments: Vec::new() }
    }
}
