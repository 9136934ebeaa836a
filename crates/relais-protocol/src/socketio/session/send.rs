//! What the server sends.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use super::super::data::check_placeholders;
use super::super::encode::{encode, text, write_array};
use super::super::{Kind, Packet, is_reserved, msgpack};
use super::{Input, Membership, Parser, SendError, Session};
use crate::engineio::{Frame, Text, Version};

impl Session {
    /// Accepts the client. `pid` is the private id with which it can recover after a lost connection; if it is set,
    /// events to the client can carry offsets.
    ///
    /// # Errors
    /// [`SendError::State`] if the client is not waiting to join.
    pub fn accept(&mut self, namespace: &str, sid: &str, pid: Option<&str>) -> Result<Vec<Frame>, SendError> {
        let joined = Membership::Joined { recovers: pid.is_some() };
        self.answer(namespace, joined)?;
        self.connect_by = None;
        let mut packet = Packet::new(Kind::Connect, namespace);
        // Protocol 4 has no data here: its clients use the id of the Engine.IO session.
        packet.data = (self.config.version == Version::V4).then(|| match pid {
            Some(pid) => json!({ "sid": sid, "pid": pid }).to_string().into(),
            None => json!({ "sid": sid }).to_string().into(),
        });
        self.write(&packet)
    }

    /// Refuses the client with a message; `data` is further JSON for programs.
    ///
    /// # Errors
    /// [`SendError::State`] if the client is not waiting to join.
    pub fn refuse(
        &mut self,
        namespace: &str,
        message: &str,
        data: Option<&serde_json::Value>,
    ) -> Result<Vec<Frame>, SendError> {
        self.answer(namespace, Membership::Left)?;
        let mut packet = Packet::new(Kind::ConnectError, namespace);
        let data = match (self.config.version, data) {
            // Protocol 4 has one JSON value, which its clients pass on unchanged ("Difference between v5 and v4").
            (Version::V3, None) => json!(message),
            (Version::V3, Some(data)) => data.clone(),
            (Version::V4, None) => json!({ "message": message }),
            (Version::V4, Some(data)) => json!({ "message": message, "data": data }),
        };
        packet.data = Some(data.to_string().into());
        self.write(&packet)
    }

    fn answer(&mut self, namespace: &str, answer: Membership) -> Result<(), SendError> {
        match self.namespaces.get_mut(namespace) {
            Some(membership @ Membership::Joining) => *membership = answer,
            _ => return Err(SendError::State(namespace.to_owned())),
        }
        Ok(())
    }

    /// Sends an event. `arguments` is comma-separated JSON values; `offset` is omitted for clients that do not recover.
    /// A volatile event is the same, sent with [`crate::engineio::Session::send_volatile`].
    ///
    /// # Errors
    /// [`SendError`] if the namespace is not joined, the name is reserved, or msgpack cannot carry the data.
    pub fn emit(
        &self,
        namespace: &str,
        name: &str,
        arguments: &str,
        attachments: Vec<Bytes>,
        offset: Option<&str>,
    ) -> Result<Vec<Frame>, SendError> {
        self.event(namespace, None, name, arguments, attachments, offset)
    }

    /// Sends an event that requests an acknowledgement: its id is returned with [`Input::Acknowledged`] or
    /// [`Input::NotAcknowledged`].
    ///
    /// # Errors
    /// As [`Session::emit`], and [`SendError::TooManyAcks`].
    pub fn emit_with_ack(
        &mut self,
        namespace: &str,
        name: &str,
        arguments: &str,
        attachments: Vec<Bytes>,
        now: Instant,
    ) -> Result<(u64, Vec<Frame>), SendError> {
        self.recovers(namespace)?;
        let by = now + self.config.ack_timeout;
        let asked = self.acks.ask(namespace, by, self.config.acks);
        let id = asked.map_err(|_| SendError::TooManyAcks(self.config.acks))?;
        match self.event(namespace, Some(id), name, arguments, attachments, None) {
            Ok(frames) => Ok((id, frames)),
            Err(error) => {
                self.acks.given_by_client(namespace, id);
                Err(error)
            }
        }
    }

    fn event(
        &self,
        namespace: &str,
        id: Option<u64>,
        name: &str,
        arguments: &str,
        attachments: Vec<Bytes>,
        offset: Option<&str>,
    ) -> Result<Vec<Frame>, SendError> {
        let offset = offset.filter(|_| self.recovers(namespace) == Ok(true));
        self.recovers(namespace)?;
        if is_reserved(name) {
            return Err(SendError::ReservedName(name.to_owned()));
        }
        let mut packet = Packet::new(Kind::Event, namespace);
        packet.id = id;
        packet.attachments = attachments;
        self.write_data(packet, array(Some(name), arguments, offset))
    }

    /// Acknowledges an event of the client. `arguments` is comma-separated JSON values.
    ///
    /// # Errors
    /// [`SendError::NotAsked`] if the client is not waiting for it.
    pub fn acknowledge(
        &mut self,
        namespace: &str,
        id: u64,
        arguments: &str,
        attachments: Vec<Bytes>,
    ) -> Result<Vec<Frame>, SendError> {
        if !self.acks.give(namespace, id) {
            return Err(SendError::NotAsked(id));
        }
        let mut packet = Packet::new(Kind::Ack, namespace);
        packet.id = Some(id);
        packet.attachments = attachments;
        self.write_data(packet, array(None, arguments, None))
    }

    /// Removes the client from a namespace.
    ///
    /// # Errors
    /// [`SendError::State`] if the client is not in it.
    pub fn disconnect(&mut self, namespace: &str) -> Result<Vec<Frame>, SendError> {
        match self.leave(namespace.to_owned()) {
            Some(Input::Disconnected { .. }) => self.write(&Packet::new(Kind::Disconnect, namespace)),
            _ => Err(SendError::State(namespace.to_owned())),
        }
    }

    /// Whether a joined namespace carries offsets.
    fn recovers(&self, namespace: &str) -> Result<bool, SendError> {
        match self.namespaces.get(namespace) {
            Some(Membership::Joined { recovers }) => Ok(*recovers),
            _ => Err(SendError::State(namespace.to_owned())),
        }
    }

    /// With the text parser, the data is written unchanged.
    fn write_data(&self, mut packet: Packet, data: Text) -> Result<Vec<Frame>, SendError> {
        if !packet.attachments.is_empty() {
            check_placeholders(&data, packet.attachments.len())?;
        }
        packet.data = Some(data);
        self.write(&packet)
    }

    fn write(&self, packet: &Packet) -> Result<Vec<Frame>, SendError> {
        match self.config.parser {
            Parser::Default => Ok(encode(packet)),
            Parser::Msgpack => Ok(vec![Frame::Binary(msgpack::encode(packet)?)]),
        }
    }
}

fn array(name: Option<&str>, arguments: &str, offset: Option<&str>) -> Text {
    let mut out = Vec::new();
    write_array(name, arguments, offset, &mut out);
    text(out)
}
