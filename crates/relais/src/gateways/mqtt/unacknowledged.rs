//! Messages that were taken in and have no receipt yet.
//!
//! They are told by the number that the broker gave them, which no other message has until it has the receipt (MQTT 5,
//! section 2.2.1), and by what they say, should a broker keep to that less strictly. A message whose receipt is on its way
//! is not among them: whether the broker has it, and its number is another's, nobody knows, and to take a message in twice
//! is better than not at all.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use super::broker::{Message, Receipt};

/// Of one session with the broker. No larger than the numbers that a broker has: 65,535.
#[derive(Default)]
pub(super) struct Unacknowledged {
    /// What the messages say, by their numbers.
    taken: Mutex<HashMap<u16, u64>>,
    state: RandomState,
}

impl Unacknowledged {
    /// Whether a message was taken in before, and the broker sends it again since it has no receipt.
    pub(super) fn knows(&self, message: &Message) -> bool {
        let Some(id) = message.receipt.packet_id().filter(|_| message.repeated) else { return false };
        let knows = self.taken.lock().get(&id) == Some(&self.digest(message));
        if knows {
            metrics::counter!("relais_mqtt_messages_total", "outcome" => "repeated").increment(1);
        }
        knows
    }

    /// A message was taken in; its receipt is owed.
    pub(super) fn note(&self, message: &Message) {
        if let Some(id) = message.receipt.packet_id() {
            let digest = self.digest(message);
            self.taken.lock().insert(id, digest);
        }
    }

    /// A receipt is about to be sent.
    pub(super) fn forget(&self, receipt: &Receipt) {
        if let Some(id) = receipt.packet_id() {
            self.taken.lock().remove(&id);
        }
    }

    /// The broker knows nothing of the session any more: its numbers begin anew.
    pub(super) fn forget_all(&self) {
        self.taken.lock().clear();
    }

    fn digest(&self, message: &Message) -> u64 {
        self.state.hash_one((&*message.topic, &*message.payload))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumqttc_v4 as v4;

    use super::*;

    fn message(id: u16, payload: &'static str, repeated: bool) -> Message {
        let mut publish = v4::Publish::new("t", v4::QoS::AtLeastOnce, "");
        publish.pkid = id;
        Message {
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from_static(payload.as_bytes()),
            retained: false,
            repeated,
            receipt: Receipt::V4(publish),
        }
    }

    #[test]
    fn only_what_has_no_receipt_and_comes_again_is_known() {
        let unacknowledged = Unacknowledged::default();
        for id in [1, 2] {
            unacknowledged.note(&message(id, "a", false));
        }
        unacknowledged.forget(&message(2, "a", false).receipt);
        unacknowledged.note(&message(0, "a", false));
        for (id, payload, repeated, known) in [
            (1, "a", true, true),
            (1, "a", false, false),
            (1, "b", true, false),
            (2, "a", true, false),
            (3, "a", true, false),
            (0, "a", true, false),
        ] {
            let message = message(id, payload, repeated);
            assert_eq!(unacknowledged.knows(&message), known, "{id} {payload} {repeated}");
        }
        unacknowledged.forget_all();
        assert!(!unacknowledged.knows(&message(1, "a", true)));
    }
}
