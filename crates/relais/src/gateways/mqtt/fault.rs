//! Why the connection to the broker failed, and the remedy.

use rumqttc_v4 as v4;
use rumqttc_v5 as v5;

use crate::config::mqtt::TlsError;

const REFUSED: &str = "check live.mqtt.user and its password, and that the broker's rules let this user in";
const VERSION: &str = "the broker speaks another version: set live.mqtt.version to 3 or 5";
const NAME: &str = "the broker refuses the name, or another client has it: set live.mqtt.client_id";
const AUTHORITY: &str = "check that the certificate is for the host in live.mqtt.url; live.mqtt.ca_file names an authority of one's own";
const REACH: &str = "check live.mqtt.url, and that the broker runs and can be reached";
const STUCK: &str = "the broker sent what cannot be read, or more than 1200000 bytes at once: what waits there is dropped; set message_size_limit in the broker";

/// A connection that could not be made, or was lost.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {remedy}")]
pub(super) struct Fault {
    what: String,
    remedy: &'static str,
    /// The messages queued at the broker cannot be read: a retry would fail in the same way.
    pub(super) is_stuck: bool,
}

pub(super) fn fault(what: impl std::fmt::Display, remedy: &'static str) -> Fault {
    Fault { what: what.to_string(), remedy, is_stuck: false }
}

impl From<TlsError> for Fault {
    fn from(error: TlsError) -> Self {
        fault(error, "the way to the broker has to be safe with mqtts://")
    }
}

pub(super) fn fault_of_v4(error: &v4::ConnectionError) -> Fault {
    use v4::{ConnectReturnCode as Code, ConnectionError as E, Error as Unread, StateError};
    let (remedy, is_stuck) = match error {
        E::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => (REFUSED, false),
        E::ConnectionRefused(Code::RefusedProtocolVersion)
        | E::MqttState(StateError::Deserialization(Unread::InvalidConnectReturnCode(_))) => (VERSION, false),
        E::ConnectionRefused(Code::BadClientId) => (NAME, false),
        E::Tls(_) => (AUTHORITY, false),
        E::MqttState(StateError::Deserialization(Unread::Io(_) | Unread::OutgoingPacketTooLarge { .. })) => {
            (REACH, false)
        }
        E::MqttState(StateError::Deserialization(_)) => (STUCK, true),
        _ => (REACH, false),
    };
    Fault { is_stuck, ..fault(error, remedy) }
}

pub(super) fn fault_of_v5(error: &v5::ConnectionError) -> Fault {
    use v5::{ConnectReturnCode as Code, ConnectionError as E, Error as Unread, StateError};
    let (remedy, is_stuck) = match error {
        E::ConnectionRefused(code) | E::MqttState(StateError::ConnFail { reason: code }) => match code {
            Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned => (REFUSED, false),
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => (VERSION, false),
            Code::BadClientId | Code::ClientIdentifierNotValid => (NAME, false),
            _ => (REACH, false),
        },
        E::MqttState(StateError::Deserialization(Unread::InvalidConnectReturnCode(_))) => (VERSION, false),
        E::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == v5::DisconnectReasonCode::SessionTakenOver =>
        {
            (NAME, false)
        }
        E::Tls(_) => (AUTHORITY, false),
        E::MqttState(StateError::Deserialization(Unread::Io(_) | Unread::OutgoingPacketTooLarge { .. })) => {
            (REACH, false)
        }
        E::MqttState(StateError::Deserialization(_) | StateError::IncomingPacketTooLarge { .. }) => {
            (STUCK, true)
        }
        _ => (REACH, false),
    };
    Fault { is_stuck, ..fault(error, remedy) }
}
