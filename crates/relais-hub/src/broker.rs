//! Events between nodes.

use std::sync::Arc;

use parking_lot::Mutex;
use relais_protocol::event::Event;

/// Carries events between nodes.
///
/// A broker is a hint, not a record: it may lose, repeat and reorder. The receiving node orders its events by `seq`
/// before they reach the hub, ignores duplicates, and reads the log when a number is missing, which recovers whatever
/// the broker lost. Ephemeral events (`seq` 0) are delivered at most once.
pub trait Broker: Send + Sync + 'static {
    /// The broker's name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Publishes `event`, which happened on `node`, to the other nodes. Called after the commit, in `seq` order for
    /// durable events. Must not block: what cannot be sent at once is queued within a limit, or dropped.
    fn announce(&self, node: usize, event: &Arc<Event>);

    /// Subscribes this node to the events of the others, and assigns its number. The sink is called for events of other
    /// nodes only, possibly from several threads.
    fn attach(&self, sink: Arc<dyn BrokerSink>) -> usize;
}

/// Receives the events of other nodes.
pub trait BrokerSink: Send + Sync + 'static {
    /// `event` happened on another node. Must not block.
    fn heard(&self, event: Arc<Event>);
}

/// The broker of nodes in one process: usually a single one, which then has no peers.
#[derive(Default)]
pub struct LocalBroker {
    sinks: Mutex<Vec<Arc<dyn BrokerSink>>>,
}

impl Broker for LocalBroker {
    fn name(&self) -> &'static str {
        "local"
    }

    fn announce(&self, node: usize, event: &Arc<Event>) {
        let others: Vec<_> = {
            let sinks = self.sinks.lock();
            sinks.iter().enumerate().filter(|(i, _)| *i != node).map(|(_, sink)| Arc::clone(sink)).collect()
        };
        for sink in others {
            sink.heard(Arc::clone(event));
        }
    }

    fn attach(&self, sink: Arc<dyn BrokerSink>) -> usize {
        let mut sinks = self.sinks.lock();
        sinks.push(sink);
        sinks.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::time::Timestamp;

    use super::*;

    #[derive(Default)]
    struct Ear(Mutex<Vec<u64>>);

    impl BrokerSink for Ear {
        fn heard(&self, event: Arc<Event>) {
            self.0.lock().push(event.seq);
        }
    }

    #[test]
    fn a_node_hears_the_others_and_not_itself() {
        let broker = LocalBroker::default();
        let (one, two) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        let first = broker.attach(Arc::clone(&one) as _);
        broker.attach(Arc::clone(&two) as _);
        let event = Event {
            topic: Topic::new("system").unwrap(),
            epoch: Epoch(1),
            offset: 1,
            seq: 7,
            name: "said".into(),
            data: "{}".into(),
            at: Timestamp::default(),
        };
        broker.announce(first, &Arc::new(event));
        assert_eq!((one.0.lock().len(), two.0.lock().clone()), (0, vec![7]));
    }
}
