//! The connection to a broker, in either version of the protocol.

use std::time::Duration;

use bytes::Bytes;
use rumqttc_v4 as v4;
use rumqttc_v5 as v5;

use super::fault::{Fault, fault, fault_of_v4, fault_of_v5};
use super::session::Afresh;
use crate::config::MqttConfig;
use crate::config::mqtt::{Address, tls};

/// Messages that may be queued for the connection, in each direction: commands, and receipts.
const REQUESTS_MAX: usize = 2_048;
/// Messages read at once at most. Fewer than [`REQUESTS_MAX`], so that there is room for all their receipts.
const BATCH: usize = 64;
/// Messages that the broker may send before it has receipts (MQTT 5; for 3.1.1 the broker decides).
const INFLIGHT: u16 = 512;
/// The longest packet that is read, in bytes. MQTT 5 brokers omit longer ones.
const PACKET_BYTES_MAX: u32 = 1_200_000;

/// The identity of this server at the broker.
pub(super) struct Account {
    pub(super) client_id: String,
    /// Whether the broker discards the previous session, and keeps none after this connection.
    pub(super) clean: bool,
}

/// An event from the broker.
pub(super) enum Happening {
    /// The connection stands; whether the broker goes on with the session that it kept.
    Connected {
        resumed: bool,
    },
    /// What was subscribed to; these were refused, by their places.
    Subscribed(Vec<usize>),
    Message(Box<Message>),
    Other,
}

/// A message.
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// The broker had retained it and it may be old.
    pub(super) retained: bool,
    /// The broker may have sent it before, over this connection or another.
    pub(super) repeated: bool,
    pub(super) receipt: Receipt,
}

/// The broker resends a message until it has this. It keeps no payload: receipts may wait for the database.
pub(super) enum Receipt {
    V4(v4::Publish),
    V5(v5::Publish),
}

impl Receipt {
    /// The number of the message, which no other has before the broker has this; none if it awaits no receipt.
    pub(super) fn packet_id(&self) -> Option<u16> {
        let id = match self {
            Self::V4(publish) => publish.pkid,
            Self::V5(publish) => publish.pkid,
        };
        (id != 0).then_some(id)
    }
}

/// Says things to the broker. Nothing here waits.
#[derive(Clone)]
pub(super) enum Speaker {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// Receives from the broker. Must be polled for anything to be sent.
pub(super) enum Ear {
    V4(Box<v4::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// A connection that is established when it is polled.
pub(super) fn open(config: &MqttConfig, account: Account) -> Result<(Speaker, Ear), Fault> {
    let address = Address::of(&config.url).map_err(|what| fault(what, "correct live.mqtt.url"))?;
    let user = match &address.user {
        Some(user) => Some(user.clone()),
        None if config.user.is_empty() => None,
        None => {
            let password = config.password().map_err(|error| {
                fault(error, "live.mqtt.password_file has to be readable: check the path and the permissions")
            })?;
            Some((config.user.clone(), password.unwrap_or_default()))
        }
    };
    if config.version == 3 {
        open_v4(config, account, &address, user)
    } else {
        open_v5(config, account, &address, user)
    }
}

type User = Option<(String, String)>;

fn open_v4(
    config: &MqttConfig,
    account: Account,
    address: &Address,
    user: User,
) -> Result<(Speaker, Ear), Fault> {
    let mut options = v4::MqttOptions::new(account.client_id, (address.host.clone(), address.port));
    options
        .set_keep_alive(config.keep_alive_s)
        .set_clean_session(account.clean)
        .set_ack_mode(v4::AckMode::Manual)
        .set_read_batch_size(BATCH)
        .set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if let Some((user, password)) = user {
        options.set_credentials(user, password);
    }
    if address.tls {
        options.set_transport(v4::Transport::tls_with_config(tls(config.ca_file.as_deref())?.into()));
    }
    let (speaker, ear) = v4::AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
    Ok((Speaker::V4(speaker), Ear::V4(Box::new(ear))))
}

fn open_v5(
    config: &MqttConfig,
    account: Account,
    address: &Address,
    user: User,
) -> Result<(Speaker, Ear), Fault> {
    let mut options = v5::MqttOptions::new(account.client_id, (address.host.clone(), address.port));
    let expiry_s = if account.clean { 0 } else { config.session_expiry_s };
    options
        .set_keep_alive(config.keep_alive_s)
        .set_clean_start(account.clean)
        .set_session_expiry_interval(Some(expiry_s))
        .set_session_store(Afresh { expiry_s })
        .set_ack_mode(v5::AckMode::Manual)
        .set_receive_maximum(Some(INFLIGHT))
        .set_read_batch_size(BATCH)
        .set_max_packet_size(Some(PACKET_BYTES_MAX));
    if let Some((user, password)) = user {
        options.set_credentials(user, password);
    }
    if address.tls {
        options.set_transport(v5::Transport::tls_with_config(tls(config.ca_file.as_deref())?.into()));
    }
    let (speaker, ear) = v5::AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
    Ok((Speaker::V5(speaker), Ear::V5(Box::new(ear))))
}

impl Speaker {
    /// Subscribes; false if there is no room.
    pub(super) fn subscribe(&self, filters: &[String]) -> bool {
        match self {
            Self::V4(client) => {
                let filter = |filter: &String| v4::SubscribeFilter::new(filter.clone(), v4::QoS::AtLeastOnce);
                client.try_subscribe_many(filters.iter().map(filter)).is_ok()
            }
            Self::V5(client) => {
                let filter = |filter: &String| v5::SubscribeFilter {
                    // Retained messages do not show which devices are connected now.
                    retain_forward_rule: v5::RetainForwardRule::Never,
                    ..v5::SubscribeFilter::new(filter.clone(), v5::QoS::AtLeastOnce)
                };
                client.try_subscribe_many(filters.iter().map(filter)).is_ok()
            }
        }
    }

    /// Unsubscribes from these filters; false if there is no room.
    pub(super) fn unsubscribe(&self, filters: &[String]) -> bool {
        match self {
            Self::V4(client) => filters.iter().all(|filter| client.try_unsubscribe(filter.clone()).is_ok()),
            Self::V5(client) => filters.iter().all(|filter| client.try_unsubscribe(filter.clone()).is_ok()),
        }
    }

    /// Publishes a command, which the broker keeps for an offline device until it expires (MQTT 5); false if there is
    /// no room.
    pub(super) fn publish(&self, topic: &str, payload: String, qos: u8, left: Duration) -> bool {
        match self {
            Self::V4(client) => {
                let qos = [v4::QoS::AtMostOnce, v4::QoS::AtLeastOnce, v4::QoS::ExactlyOnce]
                    [usize::from(qos.min(2))];
                client.try_publish(topic, payload, v4::PublishOptions::new(qos)).is_ok()
            }
            Self::V5(client) => {
                let properties = v5::PublishProperties {
                    // Whole seconds; zero would mean no limit for some brokers.
                    message_expiry_interval: Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)),
                    content_type: Some("application/json".to_owned()),
                    ..v5::PublishProperties::default()
                };
                let qos = [v5::QoS::AtMostOnce, v5::QoS::AtLeastOnce, v5::QoS::ExactlyOnce]
                    [usize::from(qos.min(2))];
                let options = v5::PublishOptions::new(qos).properties(properties);
                client.try_publish(topic, payload, options).is_ok()
            }
        }
    }

    /// Acknowledges a message that was stored, or is refused permanently. A receipt for which there is no room is not
    /// sent, and the message is redelivered.
    pub(super) fn acknowledge(&self, receipt: &Receipt) -> bool {
        match (self, receipt) {
            (Self::V4(client), Receipt::V4(publish)) => client.try_ack(publish).is_ok(),
            (Self::V5(client), Receipt::V5(publish)) => client.try_ack(publish).is_ok(),
            _ => false,
        }
    }

    /// Disconnects after everything queued is sent.
    pub(super) async fn disconnect(&self) {
        // It fails if the connection is already lost.
        match self {
            Self::V4(client) => drop(client.disconnect().await),
            Self::V5(client) => drop(client.disconnect().await),
        }
    }
}

impl Ear {
    /// The next event. Reconnects after a fault.
    pub(super) async fn next(&mut self) -> Result<Happening, Fault> {
        match self {
            Self::V4(ear) => ear.poll().await.map(of_v4).map_err(|error| fault_of_v4(&error)),
            Self::V5(ear) => {
                let happened = ear.poll().await.map(of_v5).map_err(|error| fault_of_v5(&error))?;
                if matches!(happened, Happening::Connected { .. }) {
                    // From here on the session is this process's own: no checkpoint is made at every packet.
                    ear.options.clear_session_store();
                }
                Ok(happened)
            }
        }
    }
}

fn of_v4(event: v4::Event) -> Happening {
    match event {
        v4::Event::Incoming(v4::Packet::ConnAck(answer)) => {
            Happening::Connected { resumed: answer.session_present }
        }
        v4::Event::Incoming(v4::Packet::SubAck(answer)) => {
            let codes = answer.return_codes.iter();
            Happening::Subscribed(places(
                codes.map(|code| matches!(code, v4::SubscribeReasonCode::Success(_))),
            ))
        }
        v4::Event::Incoming(v4::Packet::Publish(mut publish)) => Happening::Message(Box::new(Message {
            topic: publish.topic.clone(),
            payload: std::mem::take(&mut publish.payload),
            retained: publish.retain,
            repeated: publish.dup,
            receipt: Receipt::V4(publish),
        })),
        _ => Happening::Other,
    }
}

fn of_v5(event: v5::Event) -> Happening {
    match event {
        v5::Event::Incoming(v5::Packet::ConnAck(answer)) => {
            Happening::Connected { resumed: answer.session_present }
        }
        v5::Event::Incoming(v5::Packet::SubAck(answer)) => {
            let codes = answer.return_codes.iter();
            Happening::Subscribed(places(
                codes.map(|code| matches!(code, v5::SubscribeReasonCode::Success(_))),
            ))
        }
        v5::Event::Incoming(v5::Packet::Publish(mut publish)) => Happening::Message(Box::new(Message {
            topic: publish.topic.clone(),
            payload: std::mem::take(&mut publish.payload),
            retained: publish.retain,
            repeated: publish.dup,
            receipt: Receipt::V5(publish),
        })),
        _ => Happening::Other,
    }
}

/// The indexes of refused subscriptions.
fn places(granted: impl Iterator<Item = bool>) -> Vec<usize> {
    granted.enumerate().filter(|(_, granted)| !granted).map(|(place, _)| place).collect()
}
