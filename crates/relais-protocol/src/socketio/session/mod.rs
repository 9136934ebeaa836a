//! The server side of one Socket.IO connection, as a state machine over the messages of an Engine.IO session: messages
//! go in and [`Input`]s come out; what the server sends comes out as [`Frame`]s for [`crate::engineio::Session::send`],
//! to be sent in order and together.
//!
//! | namespace | CONNECT | EVENT, ACK | DISCONNECT | [`Session::accept`] | [`Session::refuse`] | [`Session::disconnect`] |
//! |---|---|---|---|---|---|---|
//! | unknown | → joining | ends the connection | ignored | error | error | error |
//! | joining | ends the connection | ends the connection | → left | → joined | → left | → left |
//! | joined | ends the connection | passed on | → left | error | error | → left |
//! | left | → joining | ignored: it was in flight | ignored | error | error | error |
//!
//! A connection that sends anything else before its first CONNECT, or joins nothing within `connect_timeout`, is closed
//! ("Connection to a namespace"). Events need no reply from the server; acknowledgements are bounded in both directions
//! and time out after `ack_timeout`.

mod acks;
mod error;
mod input;
mod places;
mod send;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DecodeError, Decoder, Kind, Limits, Packet, msgpack};
use crate::engineio::{Frame, Version};
use acks::Acks;
pub use error::{SendError, SessionError};
pub use input::{Input, Recovery};
use places::Places;

/// How packets are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parser {
    /// Text, followed by the attachments.
    Default,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

/// The settings of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The client's Engine.IO version; version 3 implies Socket.IO protocol 4.
    pub version: Version,
    /// How packets are encoded.
    pub parser: Parser,
    /// The limits of a packet.
    pub limits: Limits,
    /// How long a client may take to join its first namespace.
    pub connect_timeout: Duration,
    /// Maximum number of namespaces of one connection, including those it left.
    pub namespaces: usize,
    /// How long an acknowledgement may take, in either direction.
    pub ack_timeout: Duration,
    /// Maximum number of pending acknowledgements, in each direction.
    pub acks: usize,
}

impl Config {
    /// The default settings for a client of `version`.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            parser: Parser::Default,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(45),
            namespaces: 16,
            ack_timeout: Duration::from_secs(30),
            acks: 1_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Joining,
    Joined {
        /// Whether events carry offsets.
        recovers: bool,
    },
    Left,
}

/// One connection. See the module documentation for the contract.
#[derive(Debug)]
pub struct Session {
    /// Shared: a server has many connections with the same settings.
    config: Arc<Config>,
    decoder: Decoder,
    namespaces: Places,
    /// Set until the first namespace is joined.
    connect_by: Option<Instant>,
    acks: Acks,
}

impl Session {
    /// A connection opened at `now`. A client of version 3 is in `/` without a CONNECT, so for it the
    /// [`Input::Connect`] of `/` is returned at once.
    #[must_use]
    pub fn open(config: impl Into<Arc<Config>>, now: Instant) -> (Self, Option<Input>) {
        let config = config.into();
        let mut session = Self {
            decoder: Decoder::new(config.limits),
            namespaces: Places::default(),
            connect_by: Some(now + config.connect_timeout),
            acks: Acks::default(),
            config,
        };
        let implicit = (session.config.version == Version::V3).then(|| {
            session.namespaces.insert("/", Membership::Joining);
            Input::Connect { namespace: "/".to_owned(), auth: None, recovery: None }
        });
        (session, implicit)
    }

    /// Handles the data of the next Engine.IO message.
    ///
    /// # Errors
    /// [`SessionError`]: close the connection.
    pub fn message(&mut self, message: Frame, now: Instant) -> Result<Option<Input>, SessionError> {
        let packet = match (self.config.parser, message) {
            (Parser::Default, message) => self.decoder.message(message)?,
            (Parser::Msgpack, Frame::Binary(bytes)) => Some(msgpack::decode(&bytes, &self.config.limits)?),
            (Parser::Msgpack, Frame::Text(_)) => return Err(DecodeError::ExpectedMsgpack.into()),
        };
        packet.map_or(Ok(None), |packet| self.packet(packet, now))
    }

    fn packet(&mut self, packet: Packet, now: Instant) -> Result<Option<Input>, SessionError> {
        match packet.kind {
            Kind::Connect => self.connect(packet).map(Some),
            Kind::Disconnect if self.namespaces.is_empty() => {
                Err(SessionError::NotConnected(packet.namespace))
            }
            Kind::Disconnect => Ok(self.leave(packet.namespace)),
            Kind::ConnectError => Err(SessionError::ServerOnly),
            Kind::Event | Kind::Ack => match self.namespaces.get(&packet.namespace) {
                Some(Membership::Joined { .. }) => self.data(packet, now),
                // It was in flight when the client left, or is late.
                Some(Membership::Left) => Ok(None),
                Some(Membership::Joining) | None => Err(SessionError::NotConnected(packet.namespace)),
            },
        }
    }

    fn connect(&mut self, packet: Packet) -> Result<Input, SessionError> {
        let namespace = packet.namespace;
        match self.namespaces.get(&namespace) {
            Some(Membership::Joining | Membership::Joined { .. }) => {
                return Err(SessionError::ConnectedTwice(namespace));
            }
            None if self.namespaces.len() >= self.config.namespaces => {
                return Err(SessionError::TooManyNamespaces(self.config.namespaces));
            }
            Some(Membership::Left) | None => {}
        }
        self.namespaces.insert(&namespace, Membership::Joining);
        // Everything else in the object belongs to the application.
        let recovery = packet.data.as_ref().and_then(|auth| serde_json::from_str(auth.as_str()).ok());
        Ok(Input::Connect { namespace, auth: packet.data, recovery })
    }

    fn leave(&mut self, namespace: String) -> Option<Input> {
        let membership = self.namespaces.get_mut(&namespace)?;
        if std::mem::replace(membership, Membership::Left) == Membership::Left {
            return None;
        }
        self.acks.forget(&namespace);
        Some(Input::Disconnected { namespace })
    }

    fn data(&mut self, packet: Packet, now: Instant) -> Result<Option<Input>, SessionError> {
        let Packet { kind, namespace, id, data, attachments } = packet;
        let data = data.unwrap_or_default();
        match (kind, id) {
            (Kind::Ack, Some(id)) => Ok(self
                .acks
                .given_by_client(&namespace, id)
                .then_some(Input::Acknowledged { namespace, id, data, attachments })),
            (_, id) => {
                if let Some(id) = id {
                    let by = now + self.config.ack_timeout;
                    self.acks
                        .asked_by_client(&namespace, id, by, self.config.acks)
                        .map_err(|_| SessionError::TooManyAcks(self.config.acks))?;
                }
                Ok(Some(Input::Event { namespace, id, data, attachments }))
            }
        }
    }

    /// When [`Session::tick`] is due, if anything is pending.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.connect_by.into_iter().chain(self.acks.next_deadline()).min()
    }

    /// Does what is due at `now`; may be called at any time. Returns the events that were not acknowledged.
    ///
    /// # Errors
    /// [`SessionError::ConnectTimeout`]: close the connection.
    pub fn tick(&mut self, now: Instant) -> Result<Vec<Input>, SessionError> {
        if self.connect_by.is_some_and(|by| now >= by) {
            return Err(SessionError::ConnectTimeout(self.config.connect_timeout));
        }
        Ok(self.acks.expire(now))
    }

    /// Whether every namespace has been left, after at least one was joined.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.connect_by.is_none() && self.namespaces.values().all(|one| *one == Membership::Left)
    }
}
