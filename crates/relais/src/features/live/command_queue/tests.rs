use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const WAIT_MS: i64 = 15_000;
const TTL_MS: i64 = 600_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn command(id: &str, delivery: Delivery) -> Command {
    Command {
        id: id.into(),
        module: "m".into(),
        command: "ring".into(),
        params: Map::new(),
        state: Queued,
        delivery,
        created_at: at(0),
        expires_at: at(TTL_MS),
        sent_at: None,
        attempts: 0,
        finished_at: None,
        result: None,
    }
}

fn answer(said: Said) -> Answer {
    Answer { said, result: Value::Null }
}

/// A command queue, and what the database has.
struct World {
    command_queue: CommandQueue,
    stored: Vec<Command>,
    now: Timestamp,
    /// The ids of the frames that went out.
    told: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self {
            command_queue: CommandQueue::new(&[], WAIT_MS, None),
            stored: Vec::new(),
            now: at(0),
            told: Vec::new(),
        }
    }

    fn give(&mut self, id: &str, delivery: Delivery) {
        let command = Command { expires_at: self.now.plus_millis(TTL_MS), ..command(id, delivery) };
        self.stored.push(command.clone());
        self.command_queue.observe(&command);
    }

    /// Writes one step, as the database would, and tells the device.
    fn write(&mut self) -> bool {
        let Some(work) = self.command_queue.take_work(1).pop() else { return false };
        self.write_step(&work);
        true
    }

    fn write_step(&mut self, work: &Work) {
        let Some(stored) = self.stored.iter_mut().find(|command| command.id == *work.id) else {
            assert!(!self.command_queue.written(work, None, false, self.now));
            return;
        };
        let taken = stored.take(work.step.clone(), self.now);
        let stored = stored.clone();
        if taken {
            self.command_queue.observe(&stored);
        }
        if self.command_queue.written(work, Some(&stored), taken, self.now) {
            self.told.push(stored.id);
        }
    }

    fn write_all(&mut self) {
        while self.write() {}
    }

    fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_millis(ms);
        self.command_queue.look(self.now);
        self.write_all();
    }

    fn answer(&mut self, id: Option<&str>, name: Option<&str>) {
        self.command_queue.answered("m", id, name, answer(Said::Done));
        self.write_all();
    }

    fn progress(&mut self, id: &str) {
        self.command_queue.answered("m", Some(id), None, answer(Said::InProgress));
    }

    fn cancel(&mut self, index: usize) {
        let stored = &mut self.stored[index];
        if stored.take(Step::Cancel, self.now) {
            let stored = stored.clone();
            self.command_queue.observe(&stored);
        }
    }

    fn states(&self) -> Vec<CommandState> {
        self.stored.iter().map(|command| command.state).collect()
    }
}

use CommandState::{Acknowledged, Expired, Failed, InProgress, Queued, Sent};

#[test]
fn a_command_waits_for_its_device_and_for_no_answer_to_the_one_before_it() {
    let mut world = World::new();
    world.give("a", Delivery::AtMostOnce);
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    assert_eq!(world.states(), [Queued, Queued], "away");
    world.command_queue.ready("m");
    world.write_all();
    assert_eq!((world.states(), world.told.join(" ")), (vec![Sent, Sent], "a b".to_owned()));
    world.give("c", Delivery::AtMostOnce);
    world.write_all();
    assert_eq!((world.states(), world.told.join(" ")), (vec![Sent, Sent, Sent], "a b c".to_owned()));
    world.answer(None, Some("ring"));
    assert_eq!(world.states(), [Acknowledged, Sent, Sent], "the oldest of that name");
}

#[test]
fn a_device_that_is_at_it_is_not_told_again_and_has_until_the_end_of_the_commands_time() {
    for (delivery, when_lost) in [(Delivery::AtMostOnce, Failed), (Delivery::AtLeastOnce, Sent)] {
        let mut world = World::new();
        world.command_queue.ready("m");
        world.give("a", delivery);
        world.write_all();
        // Said twice before either is written.
        world.progress("a");
        world.progress("a");
        world.write_all();
        world.pass(10 * WAIT_MS);
        assert_eq!((world.states(), world.told.len()), (vec![InProgress], 1));
        world.command_queue.lost("m");
        world.command_queue.ready("m");
        world.write_all();
        assert_eq!(world.states(), [when_lost]);
    }
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    world.progress("a");
    world.answer(Some("a"), None);
    world.progress("b");
    world.pass(TTL_MS);
    assert_eq!(world.states(), [Acknowledged, Expired]);
}

#[test]
fn what_may_be_told_once_fails_when_the_connection_ends_and_what_was_not_told_waits() {
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.write_all();
    world.command_queue.lost("m");
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    assert_eq!((world.states(), world.told.len()), (vec![Failed, Queued], 1));
    world.command_queue.ready("m");
    world.write_all();
    assert_eq!((world.states(), &*world.told[1]), (vec![Failed, Sent], "b"));
    world.answer(Some("a"), None);
    assert_eq!(world.states(), [Acknowledged, Sent], "an answer over the next connection settles it");
}

#[test]
fn while_nothing_can_be_said_what_was_told_may_still_be_answered() {
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.write_all();
    world.command_queue.pause("m");
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    assert_eq!(world.states(), [Sent, Queued]);
    world.answer(None, None);
    assert_eq!((world.states(), world.command_queue.is_ready("m")), (vec![Acknowledged, Queued], false));
}

#[test]
fn a_connection_that_ends_while_it_is_written_that_a_command_is_sent_is_told_nothing() {
    for (delivery, expected) in [(Delivery::AtMostOnce, Failed), (Delivery::AtLeastOnce, Sent)] {
        let mut world = World::new();
        world.command_queue.ready("m");
        world.give("a", delivery);
        world.command_queue.lost("m");
        world.write_all();
        assert_eq!((world.states(), world.told.len()), (vec![expected], 0));
        world.command_queue.ready("m");
        world.write_all();
        let again = usize::from(delivery == Delivery::AtLeastOnce);
        assert_eq!((world.states(), world.told.len()), (vec![expected], again));
    }
}

#[test]
fn what_has_to_happen_is_told_again_after_ever_longer_waits_and_at_once_when_its_device_comes_back() {
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtLeastOnce);
    world.write_all();
    for (wait_s, told) in [(14, 1), (1, 2), (29, 2), (1, 3), (59, 3), (1, 4)] {
        world.pass(wait_s * 1000);
        assert_eq!(world.told.len(), told);
    }
    world.command_queue.lost("m");
    world.command_queue.ready("m");
    world.write_all();
    assert_eq!((world.states(), world.told.len()), (vec![Sent], 5));
    world.pass(TTL_MS);
    assert_eq!((world.states(), world.command_queue.count()), (vec![Expired], 0));
}

#[test]
fn without_an_answer_what_may_be_told_once_fails() {
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.write_all();
    world.pass(WAIT_MS - 1);
    assert_eq!(world.states(), [Sent]);
    world.pass(1);
    assert_eq!((world.states(), world.told.len()), (vec![Failed], 1));
    world.answer(Some("a"), Some("sing"));
    assert_eq!(world.states(), [Acknowledged], "an answer within its time says what became of it");

    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    world.pass(WAIT_MS);
    world.pass(TTL_MS);
    world.answer(Some("b"), None);
    assert_eq!(world.states(), [Acknowledged, Failed], "too late");
}

#[test]
fn an_answer_that_comes_again_or_to_nothing_changes_nothing() {
    let mut world = World::new();
    world.command_queue.ready("m");
    for id in ["a", "b"] {
        world.give(id, Delivery::AtMostOnce);
    }
    world.write_all();
    world.answer(Some("z"), Some("ring"));
    world.answer(Some("d"), None);
    world.answer(None, Some("sing"));
    world.answer(None, None);
    assert_eq!(world.states(), [Sent, Sent], "it could be to either");
    world.answer(Some("b"), None);
    world.answer(Some("b"), Some("ring"));
    assert_eq!(world.states(), [Sent, Acknowledged], "not the one of the same name before it");
    world.answer(None, None);
    assert_eq!(world.states(), [Acknowledged, Acknowledged], "only one is awaited");
    world.answer(None, Some("ring"));
    assert_eq!(world.states(), [Acknowledged, Acknowledged]);
}

#[test]
fn an_answer_is_named_after_what_was_asked_for() {
    let mut world = World::new();
    world.command_queue.ready("m");
    world.give("a", Delivery::AtMostOnce);
    let asked = Command {
        command: "get_status".into(),
        expires_at: at(TTL_MS),
        ..command("b", Delivery::AtMostOnce)
    };
    world.stored.push(asked.clone());
    world.command_queue.observe(&asked);
    world.write_all();
    world.answer(None, Some("status"));
    assert_eq!(world.states(), [Sent, Acknowledged]);
}

#[test]
fn a_restart_leaves_nothing_told_twice_that_may_be_told_once() {
    let sent = |id: &str, delivery| Command { state: Sent, attempts: 1, ..command(id, delivery) };
    let stored = vec![
        sent("a", Delivery::AtMostOnce),
        sent("b", Delivery::AtLeastOnce),
        command("c", Delivery::AtMostOnce),
    ];
    let mut world =
        World { command_queue: CommandQueue::new(&stored, WAIT_MS, None), stored, ..World::new() };
    world.command_queue.ready("m");
    world.write_all();
    assert_eq!((world.states(), world.told.join(" ")), (vec![Failed, Sent, Sent], "b c".to_owned()));
    assert_eq!(world.stored[0].result, Some(json!({ "error": "unknown outcome" })));
    world.answer(Some("b"), None);
    world.answer(Some("a"), None);
    assert_eq!(world.states(), [Acknowledged, Acknowledged, Sent], "the device knows what became of it");
}

#[test]
fn a_device_that_asks_gets_all_that_waits_and_each_once() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.give(id, Delivery::AtMostOnce);
    }
    let work = world.command_queue.take("m", 10, world.now);
    assert_eq!(work.len(), 2);
    work.iter().for_each(|work| world.write_step(work));
    world.give("c", Delivery::AtMostOnce);
    let work = world.command_queue.take("m", 10, world.now);
    assert_eq!(work.iter().map(|work| &*work.id).collect::<Vec<_>>(), ["c"]);
    work.iter().for_each(|work| world.write_step(work));
    assert!(world.command_queue.take("m", 10, world.now).is_empty());
    world.answer(Some("b"), None);
    world.answer(Some("a"), None);
    assert_eq!((world.states(), world.told.len()), (vec![Acknowledged, Acknowledged, Sent], 0));
}

#[test]
fn what_was_taken_but_never_written_is_queued_again() {
    let mut world = World::new();
    world.give("a", Delivery::AtMostOnce);
    world.command_queue.take("m", 10, world.now);
    world.pass(WAIT_MS);
    assert_eq!((world.states(), world.command_queue.take("m", 10, world.now).len()), (vec![Queued], 1));
}

#[derive(Clone, Debug)]
enum Event {
    Give(bool),
    Ready,
    Lost,
    Write,
    Pass(i64),
    Answer(usize),
    Progress(usize),
    AnswerNameless,
    Pause,
    Cancel(usize),
    Take,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => any::<bool>().prop_map(Event::Give),
        2 => Just(Event::Ready),
        1 => Just(Event::Lost),
        4 => Just(Event::Write),
        2 => (0..40_000i64).prop_map(Event::Pass),
        1 => (0..8usize).prop_map(Event::Answer),
        1 => (0..8usize).prop_map(Event::Progress),
        1 => Just(Event::AnswerNameless),
        1 => Just(Event::Pause),
        1 => (0..8usize).prop_map(Event::Cancel),
        1 => Just(Event::Take),
    ]
}

impl World {
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Give(repeats) => {
                let delivery = if repeats { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
                self.give(&format!("c{}", self.stored.len()), delivery);
            }
            Event::Ready => self.command_queue.ready("m"),
            Event::Lost => self.command_queue.lost("m"),
            Event::Write => {
                self.write();
            }
            Event::Pass(ms) => {
                self.now = self.now.plus_millis(ms);
                self.command_queue.look(self.now);
            }
            Event::Answer(index) => {
                self.command_queue.answered("m", Some(&format!("c{index}")), None, answer(Said::Done));
            }
            Event::Progress(index) => self.progress(&format!("c{index}")),
            Event::AnswerNameless => self.command_queue.answered("m", None, None, answer(Said::Failed)),
            Event::Pause => self.command_queue.pause("m"),
            Event::Cancel(index) if index < self.stored.len() => self.cancel(index),
            Event::Cancel(_) => {}
            Event::Take => {
                let work = self.command_queue.take("m", 3, self.now);
                work.iter().for_each(|work| self.write_step(work));
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_told_too_often_and_nothing_stays(
        events in prop::collection::vec(any_event(), 0..80),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            for command in &world.stored {
                let told = world.told.iter().filter(|id| **id == command.id).count();
                prop_assert!(told <= command.attempts as usize, "never told before it is written");
                prop_assert!(command.delivery == Delivery::AtLeastOnce || command.attempts <= 1);
            }
        }
        world.write_all();
        world.pass(2 * TTL_MS);
        prop_assert!(world.stored.iter().all(Command::is_finished), "time ends everything: {:?}", world.states());
        prop_assert_eq!(world.command_queue.count(), 0);
        prop_assert!(world.command_queue.wakes.is_empty() && world.command_queue.lines.is_empty());
    }
}
