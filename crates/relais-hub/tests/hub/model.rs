//! Many sessions that join, leave, resume, filter and stall at random, against what each must have received.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;
use relais_hub::{Filter, HubConfig, QueueBody, Session, StartPosition, Transport};
use relais_protocol::event::{Channel, Cursor, Event, Topic};

use crate::support::{EPOCH, World, channel, no_preface, spec, still};

const TOPICS: [&str; 4] = ["t:1", "t:2", "u:1", "u:2"];
const CHANNELS: [&str; 6] = ["t:1", "t:2", "u:1", "u:2", "t:*", "u:*"];
const SESSIONS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Publish { topic: usize, burst: usize },
    Join { session: usize, channel: usize, odd_only: bool, back: Option<u64> },
    Leave { session: usize, channel: usize },
    Read { session: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..TOPICS.len(), 1..6_usize).prop_map(|(topic, burst)| Step::Publish { topic, burst }),
        3 => (0..SESSIONS, 0..CHANNELS.len(), any::<bool>(), prop::option::of(0..40_u64)).prop_map(
            |(session, channel, odd_only, back)| Step::Join { session, channel, odd_only, back }
        ),
        1 => (0..SESSIONS, 0..CHANNELS.len())
            .prop_map(|(session, channel)| Step::Leave { session, channel }),
        1 => (0..SESSIONS).prop_map(|session| Step::Read { session }),
    ]
}

/// What one session must receive, and what it has received.
struct Reader {
    session: Arc<Session>,
    body: QueueBody,
    joined: BTreeMap<usize, bool>,
    expected: Vec<u64>,
    got: Vec<u64>,
}

impl Reader {
    fn read(&mut self) {
        while let Some(Some(chunk)) = self.body.next().now_or_never() {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let len = relais_protocol::websocket::frame_len(rest).unwrap();
                let text = std::str::from_utf8(&rest[2..len]).unwrap();
                self.got.push(text.split(' ').next().unwrap().parse().unwrap());
                rest = &rest[len..];
            }
        }
    }

    fn expects(&mut self, topic: &Topic, seq: u64) {
        let wants = |(number, odd_only): (&usize, &bool)| {
            channel(CHANNELS[*number]).covers(topic) && (!odd_only || seq % 2 == 1)
        };
        if self.joined.iter().any(wants) {
            self.expected.push(seq);
        }
    }
}

async fn play(steps: Vec<Step>) {
    let world = World::with(HubConfig { history_events_max: 10, batch_bytes: 60, ..still() });
    world.log.forget_before(1);
    let mut readers: Vec<Reader> = (0..SESSIONS)
        .map(|n| {
            let session = world.hub.open(spec("a", ["plain", "other"][n % 2], Transport::Queue)).unwrap();
            let body = QueueBody::new(Arc::clone(&session));
            Reader { session, body, joined: BTreeMap::new(), expected: vec![], got: vec![] }
        })
        .collect();
    for step in steps {
        match step {
            Step::Publish { topic, burst } => {
                for _ in 0..burst {
                    let seq = world.publish(TOPICS[topic], "x");
                    let topic = Topic::new(TOPICS[topic]).unwrap();
                    readers.iter_mut().for_each(|reader| reader.expects(&topic, seq));
                }
            }
            Step::Join { session, channel: number, odd_only, back } => {
                join(&world, &mut readers[session], number, odd_only, back).await;
            }
            Step::Leave { session, channel: number } => {
                readers[session].joined.remove(&number);
                world.hub.unsubscribe(&readers[session].session, channel(CHANNELS[number]));
            }
            Step::Read { session } => readers[session].read(),
        }
    }
    world.hub.settled().await;
    for reader in &mut readers {
        reader.read();
        assert_eq!(reader.got, reader.expected);
    }
}

async fn join(world: &World, reader: &mut Reader, number: usize, odd_only: bool, back: Option<u64>) {
    let wanted: Channel = channel(CHANNELS[number]);
    let filter: Option<Arc<dyn Filter>> =
        odd_only.then(|| Arc::new(|event: &Event| event.seq % 2 == 1) as Arc<dyn Filter>);
    let head = world.log.events.lock().len() as u64;
    let start = head - back.unwrap_or(0).min(head);
    let from =
        back.map_or(StartPosition::Now, |_| StartPosition::Cursor(Cursor { epoch: EPOCH, seq: start }));
    let joined = world.hub.subscribe(&reader.session, wanted.clone(), filter, from, no_preface).await;
    if reader.joined.contains_key(&number) {
        assert!(joined.is_err(), "twice in one channel");
        return;
    }
    assert!(joined.unwrap().recovered);
    let events = world.log.events.lock();
    let missed = events[usize::try_from(start).unwrap()..].iter();
    let missed = missed.filter(|e| wanted.covers(&e.topic) && (!odd_only || e.seq % 2 == 1));
    reader.expected.extend(missed.map(|event| event.seq));
    reader.joined.insert(number, odd_only);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn each_session_receives_what_follows_its_place_in_order_and_once(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
