//! What one HTTP connection is waiting for, and since when. The connection writes it, the sweep reads it: no connection
//! has a timer of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use futures_util::task::AtomicWaker;

use super::Shared;
use crate::AppError;
use crate::said::Language;
use crate::web::refusal;

/// Milliseconds for which input is still drained after the last response.
const DRAIN_MS: u64 = 30_000;
/// The same without receiving a byte.
const DRAIN_SILENCE_MS: u64 = 5_000;
/// Not in the table (any more).
pub(super) const NOWHERE: u32 = u32::MAX;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No request is in progress.
    Idle,
    /// A request header has started.
    Head,
    /// A request is in progress: its body arrives, or its response is built or sent.
    Busy,
    /// The last response has been sent; further input is discarded.
    Draining,
}

/// An order to the connection's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Continue.
    None,
    /// Close after the current request.
    Finish,
    /// Close now, because the client took too long.
    Leave,
    /// Close now, to make room for others.
    MakeRoom,
}

/// Why a connection has timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Idle,
    Head,
    Body,
    Answer,
    Unread,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    Stalled,
    Memory,
}

/// How long the server has waited for the client, and how many bytes moved meanwhile. Time in which the client waits
/// for the server does not count.
#[derive(Default)]
struct Window {
    /// 0: not waiting.
    waiting_since_ms: AtomicU64,
    waited_ms: AtomicU64,
    moved: AtomicU64,
}

impl Window {
    /// The clock is read only when needed.
    fn wait(&self, now_ms: impl FnOnce() -> u64) {
        if self.waiting_since_ms.load(Relaxed) == 0 {
            self.waiting_since_ms.store(now_ms(), Relaxed);
        }
    }

    fn moved(&self, bytes: usize, now_ms: impl FnOnce() -> u64) {
        let since = self.waiting_since_ms.load(Relaxed);
        if since != 0 {
            self.waiting_since_ms.store(0, Relaxed);
            self.waited_ms.fetch_add(now_ms().saturating_sub(since), Relaxed);
        }
        self.moved.fetch_add(bytes as u64, Relaxed);
    }

    fn reset(&self) {
        self.waiting_since_ms.store(0, Relaxed);
        self.waited_ms.store(0, Relaxed);
        self.moved.store(0, Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.waiting_since_ms.load(Relaxed) != 0
    }

    fn has_waited(&self) -> bool {
        self.is_waiting() || self.waited_ms.load(Relaxed) != 0
    }

    fn silent_ms(&self, now_ms: u64) -> u64 {
        match self.waiting_since_ms.load(Relaxed) {
            0 => 0,
            since => now_ms.saturating_sub(since),
        }
    }

    /// Whether nothing has moved for `patience_ms`, or fewer than `least` bytes within that much waiting.
    fn is_stalled(&self, now_ms: u64, patience_ms: u64, least: u64) -> bool {
        let (since, silent_ms) = (self.waiting_since_ms.load(Relaxed), self.silent_ms(now_ms));
        if since == 0 || self.waited_ms.load(Relaxed) + silent_ms < patience_ms {
            return false;
        }
        if silent_ms >= patience_ms || self.moved.load(Relaxed) < least {
            return true;
        }
        self.waited_ms.store(0, Relaxed);
        self.moved.store(0, Relaxed);
        // Unless it has stopped waiting in the meantime.
        let _ = self.waiting_since_ms.compare_exchange(since, now_ms, Relaxed, Relaxed);
        false
    }
}

/// The state of one HTTP connection.
pub(crate) struct Activity {
    shared: Arc<Shared>,
    phase: AtomicU8,
    /// When the phase started: at the last sweep before it, which avoids reading the clock.
    since_ms: AtomicU64,
    input: Window,
    output: Window,
    order: AtomicU8,
    fault: AtomicU8,
    /// It holds one of the limited places.
    is_served: AtomicBool,
    /// The current request is answered in French.
    is_french: AtomicBool,
    /// Part of the request was not read.
    unread: AtomicBool,
    /// The reader of this body accounts for its bytes.
    counted_elsewhere: AtomicBool,
    /// Bytes of the body held in memory.
    charged: AtomicUsize,
    /// Its index in the table.
    pub(super) index: AtomicU32,
    pub(super) task: AtomicWaker,
    body_reader: AtomicWaker,
}

impl Activity {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            since_ms: AtomicU64::new(shared.swept_ms()),
            shared: Arc::clone(shared),
            phase: AtomicU8::new(Phase::Idle as u8),
            input: Window::default(),
            output: Window::default(),
            order: AtomicU8::new(Order::None as u8),
            fault: AtomicU8::new(Fault::None as u8),
            is_served: AtomicBool::new(false),
            is_french: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            counted_elsewhere: AtomicBool::new(false),
            charged: AtomicUsize::new(0),
            index: AtomicU32::new(NOWHERE),
            task: AtomicWaker::new(),
            body_reader: AtomicWaker::new(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Draining,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase() == Phase::Idle
    }

    fn enter(&self, phase: Phase) {
        self.since_ms.store(self.shared.swept_ms(), Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    /// Takes one of the limited places, if any is free.
    pub(super) fn take_place(&self) -> bool {
        let took = self.shared.take_place();
        if took {
            self.is_served.store(true, Relaxed);
        }
        took
    }

    pub(super) fn holds_place(&self) -> bool {
        self.is_served.load(Relaxed)
    }

    // --- Recorded by the connection ---

    /// Bytes arrived on the socket.
    pub(super) fn received(&self, bytes: usize) {
        match self.phase() {
            Phase::Idle => {
                self.enter(Phase::Head);
                // The request arrived before the order was carried out: that is not the client's fault.
                if self.must_leave() {
                    self.order.store(Order::None as u8, Relaxed);
                }
            }
            Phase::Draining => {
                self.input.moved(bytes, || self.shared.now_ms());
                self.input.wait(|| self.shared.now_ms());
            }
            Phase::Head | Phase::Busy => {}
        }
    }

    /// A request starts, to an address of this language.
    pub(super) fn begin(&self, language: Language) {
        self.is_french.store(language == Language::French, Relaxed);
        self.input.reset();
        self.unread.store(false, Relaxed);
        self.counted_elsewhere.store(false, Relaxed);
        self.enter(Phase::Busy);
    }

    /// The response is ready; the body is no longer held.
    pub(super) fn answered(&self) {
        self.release();
    }

    /// The response has been handed over completely.
    pub(super) fn end(&self) {
        self.enter(Phase::Idle);
    }

    /// All output has been written to the socket.
    pub(super) fn flushed(&self) {
        if self.output.has_waited() {
            self.output.reset();
            if self.phase() == Phase::Idle {
                self.enter(Phase::Idle);
            }
        }
    }

    pub(super) fn awaits_room(&self) {
        self.output.wait(|| self.shared.now_ms());
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.output.moved(bytes, || self.shared.now_ms());
    }

    /// Starts discarding further input; returns whether there may be any.
    pub(super) fn begin_draining(&self) -> bool {
        let has_unread = self.unread.load(Relaxed) || self.phase() == Phase::Head;
        if has_unread {
            self.input.reset();
            self.enter(Phase::Draining);
            self.input.wait(|| self.shared.now_ms());
        }
        has_unread
    }

    pub(super) fn awaits_body(&self, cx: &std::task::Context<'_>) {
        self.body_reader.register(cx.waker());
        self.input.wait(|| self.shared.now_ms());
    }

    /// Part of the body arrived. `total` is its size so far.
    pub(super) fn body_came(&self, bytes: usize, total: usize) -> bool {
        self.input.moved(bytes, || self.shared.now_ms());
        let free = total <= super::FREE_BODY_BYTES || self.counted_elsewhere.load(Relaxed);
        if free || self.shared.charge(bytes) {
            if !free {
                self.charged.fetch_add(bytes, Relaxed);
            }
            return true;
        }
        self.fault.store(Fault::Memory as u8, Relaxed);
        self.shared.ended("memory");
        false
    }

    pub(super) fn body_ended(&self, is_whole: bool) {
        self.input.reset();
        if !is_whole {
            self.unread.store(true, Relaxed);
        }
    }

    pub(super) fn has_fault(&self) -> bool {
        self.fault.load(Relaxed) != Fault::None as u8
    }

    fn release(&self) {
        self.shared.discharge(self.charged.swap(0, Relaxed));
    }

    // --- Read and decided by the sweep ---

    pub(super) fn overdue(&self, now_ms: u64) -> Option<Overdue> {
        let limits = &self.shared.limits;
        let in_phase_ms = now_ms.saturating_sub(self.since_ms.load(Relaxed));
        if self.output.is_stalled(now_ms, limits.stall_ms, limits.least_bytes) {
            return Some(Overdue::Answer);
        }
        match self.phase() {
            Phase::Idle => {
                (in_phase_ms >= limits.head_ms && !self.output.is_waiting()).then_some(Overdue::Idle)
            }
            Phase::Head => (in_phase_ms >= limits.head_ms).then_some(Overdue::Head),
            Phase::Busy => self
                .input
                .is_stalled(now_ms, limits.stall_ms, limits.least_bytes)
                .then_some(Overdue::Body)
                .filter(|_| !self.has_fault()),
            Phase::Draining => {
                let over = in_phase_ms >= DRAIN_MS || self.input.silent_ms(now_ms) >= DRAIN_SILENCE_MS;
                over.then_some(Overdue::Unread)
            }
        }
    }

    /// For how long the connection has been waiting for the client alone.
    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        let in_phase_ms = now_ms.saturating_sub(self.since_ms.load(Relaxed));
        match self.phase() {
            Phase::Idle if !self.output.is_waiting() => in_phase_ms,
            Phase::Head | Phase::Draining => in_phase_ms,
            Phase::Idle | Phase::Busy => self.input.silent_ms(now_ms).max(self.output.silent_ms(now_ms)),
        }
    }

    /// Gives an order; one to close now is final.
    pub(super) fn order(&self, order: Order) {
        if !self.must_leave() {
            self.order.store(order as u8, Relaxed);
            self.task.wake();
        }
    }

    pub(super) fn ordered(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::None,
            1 => Order::Finish,
            2 => Order::Leave,
            _ => Order::MakeRoom,
        }
    }

    pub(super) fn must_leave(&self) -> bool {
        self.order.load(Relaxed) >= Order::Leave as u8
    }

    /// Stops reading the body: its reader is woken, and responds.
    pub(super) fn stop_body(&self) {
        self.fault.store(Fault::Stalled as u8, Relaxed);
        self.body_reader.wake();
    }

    /// The response to a client whose request is still unanswered when its connection is closed.
    pub(super) fn farewell(&self) -> Option<(AppError, Language)> {
        // The address is unknown until the header is complete.
        let language = match self.phase() {
            Phase::Busy if self.is_french.load(Relaxed) => Language::French,
            _ => Language::English,
        };
        let error = match (self.ordered(), self.phase()) {
            (Order::Leave, Phase::Head) => refusal::head_stalled(self.shared.limits.head_ms / 1000),
            (Order::MakeRoom, Phase::Head) => refusal::server_full(),
            (Order::MakeRoom, Phase::Busy) if self.input.is_waiting() => refusal::server_full(),
            _ => return None,
        };
        Some((error, language))
    }

    /// Whether the client has not read its response.
    pub(super) fn is_unheard(&self) -> bool {
        self.output.is_waiting()
    }

    // --- Used by the layers around the routes ---

    /// Whether part of the request was left unread: the connection is closed after the response.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Why the body of this request was not read to its end, unless the handler chose not to.
    pub(crate) fn body_fault(&self) -> Option<AppError> {
        match self.fault.load(Relaxed) {
            0 => None,
            1 => Some(refusal::body_stalled(self.shared.limits.stall_ms / 1000)),
            _ => Some(refusal::no_body_memory()),
        }
    }

    /// The reader of this body accounts for its bytes itself.
    pub(crate) fn count_elsewhere(&self) {
        self.counted_elsewhere.store(true, Relaxed);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE_MS: u64 = 30_000;
    const LEAST: u64 = 7_680;

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let window = Window::default();
        let mut now_ms = 1_000;
        for _ in 0..2 {
            window.wait(|| now_ms);
            assert!(!window.is_stalled(now_ms + 14_000, PATIENCE_MS, LEAST));
            now_ms += 14_000;
            window.moved(1, || now_ms);
        }
        window.wait(|| now_ms);
        assert!(window.is_stalled(now_ms + 2_000, PATIENCE_MS, LEAST));
    }

    #[test]
    fn a_slow_line_is_waited_for_as_long_as_it_moves() {
        let window = Window::default();
        let mut now_ms = 1_000;
        for _ in 0..1_000 {
            window.wait(|| now_ms);
            now_ms += 1_000;
            assert!(!window.is_stalled(now_ms, PATIENCE_MS, LEAST));
            window.moved(300, || now_ms);
        }
    }

    #[test]
    fn the_time_that_the_server_takes_is_not_the_clients() {
        let window = Window::default();
        window.wait(|| 1_000);
        window.moved(1, || 2_000);
        // Progress is required again an hour later.
        assert!(!window.is_stalled(3_602_000, PATIENCE_MS, LEAST));
        window.wait(|| 3_602_000);
        assert!(!window.is_stalled(3_602_500, PATIENCE_MS, LEAST));
        assert!(window.is_stalled(3_631_000, PATIENCE_MS, LEAST));
    }
}
