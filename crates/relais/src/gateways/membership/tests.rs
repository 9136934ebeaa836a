//! Whatever the order in which somebody is let in, put out and joins: in the end their connection hears what they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use relais_protocol::event::Epoch;

use super::*;
use crate::said::Said;
use crate::tasks::spawn;

const TOPICS: [&str; 3] = ["conversation:a", "conversation:b", "conversation:c"];
const OWN: &str = "user:lea";

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn channel(name: &str) -> Channel {
    Channel::Topic(topic(name))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: Epoch(1), seq }
}

/// What is committed, what the hub has, and in which order things happen.
#[derive(Default)]
struct World {
    members: Mutex<BTreeSet<Topic>>,
    /// By topic, from where on.
    heard: Mutex<BTreeMap<Topic, u64>>,
    /// What is committed and not yet known to whoever follows the log: in or out.
    log: Mutex<VecDeque<(Topic, bool)>>,
    seq: AtomicU64,
    chance: AtomicU64,
    is_broken: AtomicBool,
    gave_up: AtomicBool,
}

impl World {
    fn seeded(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            chance: AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            ..Self::default()
        })
    }

    /// A number below `below` (xorshift).
    fn chance(&self, below: u64) -> u64 {
        let mut x = self.chance.load(Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.chance.store(x, Relaxed);
        x % below
    }

    /// Others may come first.
    async fn pause(&self) {
        for _ in 0..self.chance(4) {
            tokio::task::yield_now().await;
        }
    }

    fn commit(&self, name: &str, is_in: bool) {
        let changed = match is_in {
            true => self.members.lock().insert(topic(name)),
            false => self.members.lock().remove(&topic(name)),
        };
        if changed {
            self.seq.fetch_add(1, Relaxed);
            self.log.lock().push_back((topic(name), is_in));
        }
    }

    /// Tells the follower and the hub of the next change that is committed.
    fn observe(&self, follower: &Arc<Follower<Line, Member>>) -> bool {
        let Some((topic, is_in)) = self.log.lock().pop_front() else { return false };
        match is_in {
            true => follower.let_in(topic, cursor(self.seq.load(Relaxed))),
            false => {
                self.heard.lock().remove(&topic);
            }
        }
        true
    }

    fn heard(&self) -> Vec<Topic> {
        self.heard.lock().keys().cloned().collect()
    }

    fn subscribe(&self, name: &str) {
        self.heard.lock().insert(topic(name), 0);
    }

    /// What the connection should hear.
    fn expected(&self) -> Vec<Topic> {
        self.members.lock().iter().cloned().chain([topic(OWN)]).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

struct Line(Arc<World>);

impl Subscriber for Line {
    async fn join(&self, subscription: Subscription, since: Cursor) -> Result<bool, SubscribeError> {
        self.0.pause().await;
        let Channel::Topic(topic) = &subscription.channel else { panic!("a family was joined") };
        let known = self.0.heard.lock().contains_key(topic);
        if known {
            return Err(SubscribeError::AlreadySubscribed(subscription.channel));
        }
        self.0.heard.lock().insert(topic.clone(), since.seq);
        self.0.pause().await;
        Ok(true)
    }

    fn leave(&self, channel: &Channel) {
        if let Channel::Topic(topic) = channel {
            self.0.heard.lock().remove(topic);
        }
    }

    fn give_up(&self) {
        self.0.gave_up.store(true, Relaxed);
    }
}

struct Member(Arc<World>);

impl Membership for Member {
    async fn topics(&self) -> Result<Vec<Topic>, AppError> {
        self.0.pause().await;
        let topics = self.0.members.lock().iter().cloned().collect();
        self.0.pause().await;
        Ok(topics)
    }

    async fn ask(&self, topic: &Topic) -> Result<Subscription, AppError> {
        self.0.pause().await;
        let is_in = self.0.members.lock().contains(topic);
        self.0.pause().await;
        match is_in {
            _ if self.0.is_broken.load(Relaxed) => Err(AppError::internal("the database is gone")),
            true => Ok(Subscription { channel: Channel::Topic(topic.clone()), filter: None }),
            false => Err(AppError::not_found("not_found", Said::in_english("nobody is in it"))),
        }
    }

    fn is_own(&self, channel: &Channel) -> bool {
        channel.to_string() == OWN
    }
}

fn follower(world: &Arc<World>) -> Arc<Follower<Line, Member>> {
    Follower::new(Line(Arc::clone(world)), Member(Arc::clone(world)))
}

/// Comes in as a connection does: looks up what its person is in, subscribes, and makes up for what changed meanwhile.
async fn come_in(world: &Arc<World>, follower: &Arc<Follower<Line, Member>>) {
    let head = cursor(world.seq.load(Relaxed));
    let found = follower.membership.topics().await.unwrap();
    let all: Vec<Topic> = found.into_iter().chain([topic(OWN)]).collect();
    all.iter().for_each(|topic| world.subscribe(topic.as_str()));
    world.pause().await;
    let heard: Vec<Channel> = all.into_iter().map(Channel::Topic).collect();
    follower.open(&heard, head).await.unwrap();
}

async fn quiet(follower: &Follower<Line, Member>) {
    while follower.pending.lock().is_attended {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whatever_the_order_a_connection_ends_up_hearing_what_its_person_is_in() {
    for seed in 1..=4_000 {
        let world = World::seeded(seed);
        for name in TOPICS.iter().take(world.chance(4) as usize) {
            world.commit(name, true);
        }
        world.log.lock().clear();
        let follower = follower(&world);
        let coming = spawn("test", {
            let (world, follower) = (Arc::clone(&world), Arc::clone(&follower));
            async move { come_in(&world, &follower).await }
        });
        for _ in 0..world.chance(12) {
            world.pause().await;
            let name = TOPICS[world.chance(3) as usize];
            match world.chance(3) {
                0 => {
                    world.observe(&follower);
                }
                side => world.commit(name, side == 1),
            }
        }
        while world.observe(&follower) {
            world.pause().await;
        }
        coming.await.unwrap();
        quiet(&follower).await;
        assert_eq!(world.heard(), world.expected(), "seed {seed}");
        assert!(!world.gave_up.load(Relaxed), "seed {seed}");
    }
}

#[tokio::test]
async fn whoever_is_let_in_while_they_connect_hears_from_there_on() {
    let world = World::seeded(1);
    let follower = follower(&world);
    world.commit("conversation:a", true);
    world.observe(&follower);
    assert_eq!(world.heard(), [], "it has not come in yet");
    follower.open(&[], cursor(0)).await.unwrap();
    assert_eq!(*world.heard.lock(), BTreeMap::from([(topic("conversation:a"), 0)]));
}

#[tokio::test]
async fn whoever_is_put_out_while_they_connect_hears_nothing() {
    let world = World::seeded(1);
    world.commit("conversation:a", true);
    let follower = follower(&world);
    world.commit("conversation:a", false);
    while world.observe(&follower) {}
    // What was looked up before.
    world.subscribe("conversation:a");
    world.subscribe(OWN);
    follower.open(&[channel("conversation:a"), channel(OWN)], cursor(0)).await.unwrap();
    assert_eq!(world.heard(), [topic(OWN)]);
}

#[tokio::test]
async fn whoever_is_put_out_while_the_join_is_under_way_hears_nothing() {
    let world = World::seeded(1);
    world.commit("conversation:a", true);
    let asked = AtomicU64::new(0);
    let ask = || {
        asked.fetch_add(1, Relaxed);
        let is_in = world.members.lock().contains(&topic("conversation:a"));
        async move {
            if is_in {
                Ok(())
            } else {
                Err(AppError::not_found("not_found", Said::in_english("nobody is in it")))
            }
        }
    };
    let join = |()| async {
        world.commit("conversation:a", false);
        world.subscribe("conversation:a");
        Ok("conversation:a")
    };
    let undo = |name| {
        world.heard.lock().remove(&topic(name));
    };
    let joined = admit(ask, join, undo).await;
    assert!(joined.unwrap_err().is_not_found());
    assert_eq!((asked.into_inner(), world.heard()), (2, Vec::new()));
}

#[tokio::test]
async fn what_cannot_be_followed_ends_the_connection() {
    let world = World::seeded(1);
    let follower = follower(&world);
    follower.open(&[], cursor(0)).await.unwrap();
    world.is_broken.store(true, Relaxed);
    world.commit("conversation:a", true);
    world.observe(&follower);
    quiet(&follower).await;
    assert!(world.gave_up.load(Relaxed));
    assert_eq!(world.heard(), []);
}

#[tokio::test]
async fn what_waits_to_be_joined_has_a_limit() {
    let world = World::seeded(1);
    let follower = follower(&world);
    for _ in 0..PENDING_MAX {
        follower.let_in(topic("conversation:a"), cursor(0));
    }
    assert!(!world.gave_up.load(Relaxed));
    follower.let_in(topic("conversation:a"), cursor(0));
    assert!(world.gave_up.load(Relaxed));
    assert_eq!(follower.pending.lock().topics.len(), 0);
}
