//! Who has heard what.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::error::BenchError;
use crate::message::{Kind, read_message};

/// What the subscribers have heard so far; clones share it.
#[derive(Clone)]
pub(crate) struct Audience(Rc<State>);

struct State {
    began: Instant,
    subscribers: RefCell<Vec<Subscriber>>,
    /// Subscribers that have heard anything.
    there: Cell<usize>,
    /// For each message said, when and how many have not heard it.
    said: RefCell<Vec<Said>>,
    under_way: Cell<u64>,
    out_of_order: Cell<u64>,
    times: Option<RefCell<Vec<u32>>>,
    progress: Notify,
}

#[derive(Default, Clone)]
struct Subscriber {
    is_there: bool,
    /// One more than the highest number heard.
    next: u64,
    /// A bit for each message heard.
    heard: Vec<u64>,
}

struct Said {
    at_micros: u64,
    missing: usize,
}

impl Audience {
    /// Of so many; with `timed`, how long each message takes to each of them is kept.
    pub(crate) fn new(subscribers: usize, timed: bool) -> Self {
        Self(Rc::new(State {
            began: Instant::now(),
            subscribers: RefCell::new(vec![Subscriber::default(); subscribers]),
            there: Cell::new(0),
            said: RefCell::default(),
            under_way: Cell::new(0),
            out_of_order: Cell::new(0),
            times: timed.then(RefCell::default),
            progress: Notify::new(),
        }))
    }

    /// The next `count` messages are about to be said: their numbers.
    pub(crate) fn say(&self, count: u64) -> std::ops::Range<u64> {
        let first = self.said();
        let (at_micros, missing) = (self.now(), self.0.subscribers.borrow().len());
        self.0.said.borrow_mut().extend((0..count).map(|_| Said { at_micros, missing }));
        self.0.under_way.set(self.0.under_way.get() + count);
        first..first + count
    }

    /// A subscriber hears a message.
    ///
    /// # Errors
    /// If it is not one that was said, or was heard before.
    pub(crate) fn hears(&self, place: usize, message: &[u8]) -> Result<(), BenchError> {
        let mut subscribers = self.0.subscribers.borrow_mut();
        let subscriber = &mut subscribers[place];
        let heard = read_message(message).ok_or_else(|| {
            BenchError::wrong(format!("it changed a message: {}", String::from_utf8_lossy(message)))
        })?;
        if !std::mem::replace(&mut subscriber.is_there, true) {
            self.0.there.set(self.0.there.get() + 1);
            self.0.progress.notify_one();
        }
        let (Kind::Counted, number) = heard else { return Ok(()) };
        let mut said = self.0.said.borrow_mut();
        let Some(said) = said.get_mut(number as usize) else {
            return Err(BenchError::wrong(format!("message {number} was never said")));
        };
        if !subscriber.notes(number) {
            return Err(BenchError::wrong(format!("message {number} came twice")));
        }
        if number < subscriber.next {
            self.0.out_of_order.set(self.0.out_of_order.get() + 1);
        }
        subscriber.next = subscriber.next.max(number + 1);
        if let Some(times) = &self.0.times {
            times.borrow_mut().push((self.now() - said.at_micros) as u32);
        }
        said.missing -= 1;
        if said.missing == 0 {
            self.0.under_way.set(self.0.under_way.get() - 1);
            self.0.progress.notify_one();
        }
        Ok(())
    }

    /// Waits until somebody has heard something new.
    pub(crate) async fn progress(&self) {
        self.0.progress.notified().await;
    }

    pub(crate) fn all_are_there(&self) -> bool {
        self.0.there.get() == self.0.subscribers.borrow().len()
    }

    /// Messages said.
    pub(crate) fn said(&self) -> u64 {
        self.0.said.borrow().len() as u64
    }

    /// Messages that somebody has not heard yet.
    pub(crate) fn under_way(&self) -> u64 {
        self.0.under_way.get()
    }

    /// Deliveries that have not come yet.
    pub(crate) fn missing(&self) -> usize {
        self.0.said.borrow().iter().map(|said| said.missing).sum()
    }

    /// Deliveries that came after a later message.
    pub(crate) fn out_of_order(&self) -> u64 {
        self.0.out_of_order.get()
    }

    /// How long each delivery took, in microseconds.
    pub(crate) fn take_times(&self) -> Vec<u32> {
        self.0.times.as_ref().map(RefCell::take).unwrap_or_default()
    }

    fn now(&self) -> u64 {
        self.0.began.elapsed().as_micros() as u64
    }
}

impl Subscriber {
    /// False if it was noted before.
    fn notes(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.heard.len() <= word {
            self.heard.resize(word + 1, 0);
        }
        let new = self.heard[word] & bit == 0;
        self.heard[word] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::write_message;

    fn message(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_message(Kind::Counted, number, &mut out);
        out
    }

    #[test]
    fn a_message_is_under_way_until_everybody_has_heard_it() {
        let audience = Audience::new(2, false);
        assert_eq!(audience.say(2), 0..2);
        audience.hears(0, &message(0)).unwrap();
        assert_eq!((audience.under_way(), audience.missing()), (2, 3));
        audience.hears(1, &message(0)).unwrap();
        assert_eq!((audience.under_way(), audience.missing()), (1, 2));
    }

    #[test]
    fn what_comes_after_a_later_message_is_out_of_order() {
        let audience = Audience::new(1, true);
        audience.say(3);
        for number in [0, 2, 1] {
            audience.hears(0, &message(number)).unwrap();
        }
        assert_eq!((audience.out_of_order(), audience.take_times().len()), (1, 3));
    }

    #[test]
    fn a_message_that_comes_twice_or_was_never_said_is_an_error() {
        let audience = Audience::new(1, false);
        audience.say(1);
        audience.hears(0, &message(0)).unwrap();
        assert!(audience.hears(0, &message(0)).is_err());
        assert!(audience.hears(0, &message(1)).is_err());
        assert!(audience.hears(0, b"{}").is_err());
    }
}
