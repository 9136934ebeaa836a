//! The client's state of a session that the broker kept while the process was down (MQTT 5).
//!
//! The library resumes such a session only with a checkpoint of packets in flight. None of that outlives a process
//! here, on purpose: commands are in the database, which decides what becomes of those already sent, and the broker
//! redelivers messages without a receipt. So the checkpoint says that nothing is in flight, and subscribing and
//! publishing work from the first moment.

use std::pin::Pin;

use rumqttc_v5::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// Checkpoints that the library is able to read.
const FORMAT: u16 = 1;

/// The future that the library expects.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// The checkpoint of a new process.
#[derive(Debug)]
pub(super) struct Afresh {
    pub(super) expiry_s: u32,
}

impl SessionStore for Afresh {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: FORMAT,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry_s),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
