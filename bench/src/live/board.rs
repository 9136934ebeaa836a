//! What the pages show, and how long it took.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::page::Shown;
use crate::error::BenchError;

/// All pages; clones share them.
#[derive(Clone)]
pub(super) struct Board(Rc<RefCell<State>>);

struct State {
    began: Instant,
    devices: usize,
    /// The newest stamp of each module on each page.
    newest: Vec<u64>,
    /// Stamps that count.
    counted: std::ops::Range<u64>,
    deliveries: u64,
    heard: u64,
    online: Vec<bool>,
    times: Vec<u32>,
}

impl Board {
    pub(super) fn new(began: Instant, pages: usize, devices: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            began,
            devices,
            newest: vec![0; pages * devices],
            counted: u64::MAX..u64::MAX,
            deliveries: 0,
            heard: 0,
            online: vec![false; devices],
            times: Vec::new(),
        })))
    }

    /// A page hears something.
    ///
    /// # Errors
    /// If it is of a module that is none of these, or older than what the page shows, or what it shows.
    pub(super) fn hears(&self, page: usize, what: Shown) -> Result<(), BenchError> {
        let state = &mut *self.0.borrow_mut();
        state.heard += 1;
        match what {
            Shown::Updated { place, stamp } => state.update(page, place, stamp),
            Shown::Online(place) | Shown::Offline(place) => {
                let online = state.online.get_mut(place).ok_or_else(|| unknown(place))?;
                *online = matches!(what, Shown::Online(_));
                Ok(())
            }
            Shown::Short | Shown::Other => Ok(()),
        }
    }

    /// From now on reports count; their stamps are at least this.
    pub(super) fn begin(&self) -> u64 {
        let state = &mut *self.0.borrow_mut();
        let now = state.now();
        state.counted = now..u64::MAX;
        now
    }

    /// Reports that are sent from now on do not count.
    pub(super) fn end(&self) {
        let state = &mut *self.0.borrow_mut();
        state.counted.end = state.now();
    }

    /// Reports shown that count, one for each page.
    pub(super) fn deliveries(&self) -> u64 {
        self.0.borrow().deliveries
    }

    /// Everything that pages have heard since the beginning.
    pub(super) fn heard(&self) -> u64 {
        self.0.borrow().heard
    }

    /// Modules on pages that do not show the newest report, `newest` by place.
    pub(super) fn behind(&self, newest: impl Fn(usize) -> u64) -> usize {
        let state = self.0.borrow();
        let is_behind = |(at, shown): &(usize, &u64)| **shown < newest(at % state.devices);
        state.newest.iter().enumerate().filter(is_behind).count()
    }

    /// How long each report that counts took to each page, in microseconds.
    pub(super) fn take_times(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.borrow_mut().times)
    }
}

impl State {
    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    fn update(&mut self, page: usize, place: usize, stamp: u64) -> Result<(), BenchError> {
        if place >= self.devices {
            return Err(unknown(place));
        }
        let now = self.now();
        let newest = &mut self.newest[page * self.devices + place];
        // A heartbeat changes other values and leaves the stamp.
        if stamp < *newest {
            return Err(BenchError::wrong(format!("module {place} went back in time on a page")));
        }
        if stamp > *newest && self.counted.contains(&stamp) {
            self.deliveries += 1;
            self.times.push(u32::try_from(now.saturating_sub(stamp)).unwrap_or(u32::MAX));
        }
        *newest = stamp;
        Ok(())
    }
}

fn unknown(place: usize) -> BenchError {
    BenchError::wrong(format!("a page heard of module {place}, which is none of these"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_behind_until_it_shows_the_newest_and_never_goes_back() {
        let board = Board::new(Instant::now(), 2, 2);
        board.begin();
        let stamp = 1 << 40;
        board.hears(0, Shown::Updated { place: 1, stamp }).unwrap();
        assert_eq!(board.behind(|place| if place == 1 { stamp } else { 0 }), 1, "the other page");
        board.hears(1, Shown::Updated { place: 1, stamp }).unwrap();
        board.hears(1, Shown::Updated { place: 1, stamp }).unwrap();
        assert_eq!((board.behind(|_| 0), board.deliveries(), board.take_times().len()), (0, 2, 2));
        assert!(board.hears(1, Shown::Updated { place: 1, stamp: 5 }).is_err());
        assert!(board.hears(1, Shown::Updated { place: 2, stamp }).is_err());
    }
}
