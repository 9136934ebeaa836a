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

/// A board, and what the database has.
struct World {
    board: Board,
    stored: Vec<Command>,
    now: Timestamp,
    /// The ids of the frames that went out.
    told: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self { board: Board::new(&[], WAIT_MS), stored: Vec::new(), now: at(0), told: Vec::new() }
    }

    fn give(&mut self, id: &str, delivery: Delivery) {
        let command = Command { expires_at: self.now.plus_millis(TTL_MS), ..command(id, delivery) };
        self.stored.push(command.clone());
        self.board.observe(&command);
    }

    /// Writes one step, as the database would, and tells the device.
    fn write(&mut self) -> bool {
        let Some(work) = self.board.take_work(1).pop() else { return false };
        self.write_step(&work);
        true
    }

    fn write_step(&mut self, work: &Work) {
        let stored = self.stored.iter_mut().find(|command| command.id == *work.id).unwrap();
        let taken = stored.take(work.step.clone(), self.now);
        let stored = stored.clone();
        if taken {
            self.board.observe(&stored);
        }
        if self.board.written(work, Some(&stored), taken, self.now) {
            self.told.push(stored.id);
        }
    }

    fn write_all(&mut self) {
        while self.write() {}
    }

    fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_millis(ms);
        self.board.look(self.now);
        self.write_all();
    }

    fn answer(&mut self, id: Option<&str>, name: Option<&str>) {
        self.board.answered("m", id, name, Answer { done: true, result: Value::Null });
        self.write_all();
    }

    fn cancel(&mut self, index: usize) {
        let stored = &mut self.stored[index];
        if stored.take(Step::Cancel, self.now) {
            let stored = stored.clone();
            self.board.observe(&stored);
        }
    }

    fn states(&self) -> Vec<CommandState> {
        self.stored.iter().map(|command| command.state).collect()
    }
}

use CommandState::{Acknowledged, Expired, Failed, Queued, Sent};

#[test]
fn a_command_waits_for_its_device_and_for_the_one_before_it() {
    let mut world = World::new();
    world.give("a", Delivery::AtMostOnce);
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    assert_eq!(world.states(), [Queued, Queued], "away");
    world.board.ready("m");
    world.write_all();
    assert_eq!((world.states(), &*world.told), (vec![Sent, Queued], &["a".to_owned()][..]));
    world.answer(None, Some("ring"));
    assert_eq!((world.states(), world.told.len()), (vec![Acknowledged, Sent], 2));
}

#[test]
fn what_may_be_told_once_fails_when_the_connection_ends_and_the_next_waits() {
    let mut world = World::new();
    world.board.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.give("b", Delivery::AtMostOnce);
    world.write_all();
    world.board.lost("m");
    world.write_all();
    assert_eq!((world.states(), world.told.len()), (vec![Failed, Queued], 1));
    world.board.ready("m");
    world.write_all();
    assert_eq!((world.states(), &*world.told[1]), (vec![Failed, Sent], "b"));
}

#[test]
fn a_connection_that_ends_while_it_is_written_that_a_command_is_sent_is_told_nothing() {
    for (delivery, expected) in [(Delivery::AtMostOnce, Failed), (Delivery::AtLeastOnce, Sent)] {
        let mut world = World::new();
        world.board.ready("m");
        world.give("a", delivery);
        world.board.lost("m");
        world.write_all();
        assert_eq!((world.states(), world.told.len()), (vec![expected], 0));
        world.board.ready("m");
        world.write_all();
        let again = usize::from(delivery == Delivery::AtLeastOnce);
        assert_eq!((world.states(), world.told.len()), (vec![expected], again));
    }
}

#[test]
fn what_has_to_happen_is_told_again_after_ever_longer_waits_and_at_once_when_its_device_comes_back() {
    let mut world = World::new();
    world.board.ready("m");
    world.give("a", Delivery::AtLeastOnce);
    world.write_all();
    for (wait_s, told) in [(14, 1), (1, 2), (29, 2), (1, 3), (59, 3), (1, 4)] {
        world.pass(wait_s * 1000);
        assert_eq!(world.told.len(), told);
    }
    world.board.lost("m");
    world.board.ready("m");
    world.write_all();
    assert_eq!((world.states(), world.told.len()), (vec![Sent], 5));
    world.pass(TTL_MS);
    assert_eq!((world.states(), world.board.count()), (vec![Expired], 0));
}

#[test]
fn without_an_answer_what_may_be_told_once_fails() {
    let mut world = World::new();
    world.board.ready("m");
    world.give("a", Delivery::AtMostOnce);
    world.write_all();
    world.pass(WAIT_MS - 1);
    assert_eq!(world.states(), [Sent]);
    world.pass(1);
    assert_eq!((world.states(), world.told.len()), (vec![Failed], 1));
    world.answer(Some("a"), None);
    assert_eq!(world.states(), [Failed], "too late");
}

#[test]
fn an_answer_that_comes_again_or_to_nothing_changes_nothing() {
    let mut world = World::new();
    world.board.ready("m");
    for id in ["a", "b"] {
        world.give(id, Delivery::AtMostOnce);
    }
    world.write_all();
    world.answer(Some("b"), None);
    world.answer(Some("z"), Some("ring"));
    world.answer(None, Some("sing"));
    assert_eq!(world.states(), [Sent, Queued]);
    world.answer(Some("a"), None);
    world.answer(Some("a"), Some("ring"));
    assert_eq!(world.states(), [Acknowledged, Sent], "not the one of the same name after it");
}

#[test]
fn a_restart_leaves_nothing_told_twice_that_may_be_told_once() {
    let sent = |id: &str, delivery| Command { state: Sent, attempts: 1, ..command(id, delivery) };
    let stored = vec![
        sent("a", Delivery::AtMostOnce),
        sent("b", Delivery::AtLeastOnce),
        command("c", Delivery::AtMostOnce),
    ];
    let mut world = World { board: Board::new(&stored, WAIT_MS), stored, ..World::new() };
    world.answer(Some("a"), None);
    world.board.ready("m");
    world.write_all();
    assert_eq!((world.states(), &*world.told), (vec![Failed, Sent, Queued], &["b".to_owned()][..]));
    assert_eq!(world.stored[0].result, Some(json!({ "error": "unknown outcome" })));
    world.answer(Some("b"), None);
    assert_eq!(world.states(), [Failed, Acknowledged, Sent]);
}

#[test]
fn a_device_that_asks_gets_all_that_waits_and_nothing_more_before_it_answers() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.give(id, Delivery::AtMostOnce);
    }
    let work = world.board.take("m", 10, world.now);
    assert_eq!(work.len(), 2);
    work.iter().for_each(|work| world.write_step(work));
    world.give("c", Delivery::AtMostOnce);
    assert!(world.board.take("m", 10, world.now).is_empty(), "something is under way");
    world.answer(Some("b"), None);
    world.answer(Some("a"), None);
    assert_eq!(world.board.take("m", 10, world.now).len(), 1);
    assert_eq!((world.states(), world.told.len()), (vec![Acknowledged, Acknowledged, Queued], 0));
}

#[test]
fn what_was_taken_but_never_written_is_queued_again() {
    let mut world = World::new();
    world.give("a", Delivery::AtMostOnce);
    world.board.take("m", 10, world.now);
    world.pass(WAIT_MS);
    assert_eq!((world.states(), world.board.take("m", 10, world.now).len()), (vec![Queued], 1));
}

#[derive(Clone, Debug)]
enum Event {
    Give(bool),
    Ready,
    Lost,
    Write,
    Pass(i64),
    Answer(usize),
    AnswerNameless,
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
        1 => Just(Event::AnswerNameless),
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
            Event::Ready => self.board.ready("m"),
            Event::Lost => self.board.lost("m"),
            Event::Write => {
                self.write();
            }
            Event::Pass(ms) => {
                self.now = self.now.plus_millis(ms);
                self.board.look(self.now);
            }
            Event::Answer(index) => {
                let answer = Answer { done: true, result: Value::Null };
                self.board.answered("m", Some(&format!("c{index}")), None, answer);
            }
            Event::AnswerNameless => {
                self.board.answered("m", None, None, Answer { done: false, result: Value::Null });
            }
            Event::Cancel(index) if index < self.stored.len() => self.cancel(index),
            Event::Cancel(_) => {}
            Event::Take => {
                let work = self.board.take("m", 3, self.now);
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
        prop_assert_eq!(world.board.count(), 0);
        prop_assert!(world.board.wakes.is_empty() && world.board.lines.is_empty());
    }
}
