//! The outbound queue of one session.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use tokio::net::TcpStream;

use crate::close::{CloseCode, CloseReason};
use crate::config::HubConfig;
use crate::dialect::Dialect;
use crate::frame_batch::{FrameBatch, LatestKey};

/// Slices passed to the kernel at once.
const SLICES_MAX: usize = 64;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It accepts frames.
    Open,
    /// Its last frame is in the queue.
    Closing(CloseCode),
    /// Nothing more is written.
    Closed(Option<CloseCode>),
}

/// The outcome of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Written,
    Queued,
    /// Too much is queued: the session is now closing.
    Slow,
    /// The connection failed.
    Broken,
    /// The session was closing or closed.
    Gone,
}

/// The outcome of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    Empty,
    Blocked,
    Broken,
}

/// The latest values of ephemeral events, in the order of their first arrival.
#[derive(Default)]
struct Latest {
    frames: IndexMap<LatestKey, Bytes>,
    bytes: usize,
}

impl Latest {
    /// Replaces the previous value; a new key is added only if there is room.
    fn put(&mut self, key: LatestKey, frame: Bytes, config: &HubConfig) {
        let former = self.frames.get(&key).map_or(0, Bytes::len);
        let bytes = self.bytes - former + frame.len();
        let is_new = former == 0;
        if is_new && (self.frames.len() >= config.latest_values_max || bytes > config.latest_bytes_max) {
            return;
        }
        self.bytes = bytes;
        self.frames.insert(key, frame);
    }
}

/// The outbound queue of one session: empty, and then without memory of its own, unless the socket is full or a
/// recovery is in progress. The order of writes is decided under the lock around it.
pub(crate) struct Outbox {
    pub state: State,
    /// Whole frames, of which the front one may be partly written.
    queue: VecDeque<Bytes>,
    front_written: usize,
    /// Unwritten bytes in `queue` and `held`.
    bytes: usize,
    /// The part of them from a recovery or a snapshot: it does not make a session slow.
    replayed: usize,
    /// Recoveries in progress.
    holds: u16,
    /// Live frames held until the recovered ones are queued ahead of them.
    held: VecDeque<Bytes>,
    latest: Option<Box<Latest>>,
}

impl Outbox {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Open,
            queue: VecDeque::new(),
            front_written: 0,
            bytes: 0,
            replayed: 0,
            holds: 0,
            held: VecDeque::new(),
            latest: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queued bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the batch at once if nothing is queued ahead of it, else queues it.
    pub(crate) fn deliver(
        &mut self,
        stream: Option<&TcpStream>,
        dialect: &dyn Dialect,
        frame_batch: &FrameBatch<'_>,
        config: &HubConfig,
    ) -> Delivered {
        if self.state != State::Open {
            return Delivered::Gone;
        }
        let direct = self.queue.is_empty() && self.holds == 0;
        if direct && let Some(stream) = stream {
            return match stream.try_write(frame_batch.wire()) {
                Ok(n) if n == frame_batch.wire().len() => Delivered::Written,
                Ok(n) => self.keep_tail(frame_batch, n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.keep_tail(frame_batch, 0),
                Err(_) => self.broken(),
            };
        }
        let (frames, durable_bytes) = self.sort(frame_batch, direct, config);
        let waiting = self.bytes.saturating_sub(self.replayed);
        if waiting > 0 && waiting + durable_bytes > config.queue_bytes {
            self.finish_early(dialect, &CloseCode::SlowConsumer.into());
            return Delivered::Slow;
        }
        frames.into_iter().for_each(|frame| self.push(frame));
        Delivered::Queued
    }

    /// Separates what must be queued from what may be replaced by newer values.
    fn sort(
        &mut self,
        frame_batch: &FrameBatch<'_>,
        direct: bool,
        config: &HubConfig,
    ) -> (Vec<Bytes>, usize) {
        if direct || !frame_batch.has_ephemeral() {
            return (vec![frame_batch.slice(0, frame_batch.wire().len())], frame_batch.wire().len());
        }
        let (mut durable, mut durable_bytes) = (Vec::new(), 0);
        let mut run = 0;
        let mut start = 0;
        for (key, end) in frame_batch.frames() {
            if let Some(key) = key {
                if run < start {
                    durable.push(frame_batch.slice(run, start));
                    durable_bytes += start - run;
                }
                self.replace_latest(key, &frame_batch.slice(start, end), config);
                run = end;
            }
            start = end;
        }
        if run < start {
            durable.push(frame_batch.slice(run, start));
            durable_bytes += start - run;
        }
        (durable, durable_bytes)
    }

    fn replace_latest(&mut self, key: LatestKey, frame: &Bytes, config: &HubConfig) {
        // A copy, so that a small value does not keep its whole batch alive.
        let frame = Bytes::copy_from_slice(frame);
        self.latest.get_or_insert_default().put(key, frame, config);
    }

    fn keep_tail(&mut self, frame_batch: &FrameBatch<'_>, written: usize) -> Delivered {
        self.queue.push_back(frame_batch.slice(0, frame_batch.wire().len()));
        self.front_written = written;
        self.bytes += frame_batch.wire().len() - written;
        Delivered::Queued
    }

    fn push(&mut self, frames: Bytes) {
        self.bytes += frames.len();
        if self.holds > 0 {
            self.held.push_back(frames);
        } else {
            self.queue.push_back(frames);
        }
    }

    /// Queues a personal frame after everything else; `false` if the session had to be closed for it.
    pub(crate) fn send(&mut self, dialect: &dyn Dialect, frame: Bytes, config: &HubConfig) -> bool {
        let waiting = self.bytes.saturating_sub(self.replayed);
        if waiting > 0 && waiting + frame.len() > config.queue_bytes {
            self.finish_early(dialect, &CloseCode::SlowConsumer.into());
            return false;
        }
        self.push(frame);
        true
    }

    /// Queues a personal frame with the complete state: after everything older, including queued latest values.
    /// Whatever its size, it does not make a session slow.
    pub(crate) fn send_snapshot(&mut self, frame: Bytes) {
        self.take_latest();
        self.replayed += frame.len();
        self.push(frame);
    }

    /// Queues a control frame, which is not held during a recovery.
    pub(crate) fn send_control(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Queues a control frame ahead of everything of which nothing is written yet: on a slow line the client would time
    /// out before the rest is sent.
    pub(crate) fn send_urgent(&mut self, dialect: &dyn Dialect, frame: Bytes) {
        self.bytes += frame.len();
        let begun = self.begun(dialect);
        if begun > 0
            && let Some(front) = self.queue.pop_front()
        {
            if begun < front.len() {
                self.queue.push_front(front.slice(begun..));
            }
            self.queue.push_front(frame);
            self.queue.push_front(front.slice(..begun));
        } else {
            self.queue.push_front(frame);
        }
    }

    /// Bytes at the front of the queue up to the end of the partly written frame.
    fn begun(&self, dialect: &dyn Dialect) -> usize {
        let Some(front) = self.queue.front() else { return 0 };
        let mut end = 0;
        while end < self.front_written {
            end += dialect.frame_len(&front[end..]).max(1);
        }
        end.min(front.len())
    }

    /// Queues frames ahead of everything else, of which nothing may be written yet.
    pub(crate) fn send_first(&mut self, frames: Bytes) {
        debug_assert_eq!(self.front_written, 0, "a queue that nothing was written from");
        if !frames.is_empty() {
            self.bytes += frames.len();
            self.queue.push_front(frames);
        }
    }

    /// From here on live frames are held for a recovery.
    pub(crate) fn hold(&mut self) {
        self.holds += 1;
    }

    /// The recovery is complete: its frames are queued ahead of the live frames that were held.
    pub(crate) fn release(&mut self, recovered: Vec<Bytes>) {
        self.holds -= 1;
        if self.state != State::Open {
            return;
        }
        for frames in recovered.into_iter().filter(|frames| !frames.is_empty()) {
            self.bytes += frames.len();
            self.replayed += frames.len();
            self.queue.push_back(frames);
        }
        if self.holds == 0 {
            self.queue.append(&mut std::mem::take(&mut self.held));
        }
    }

    /// Writes what is queued until nothing is left or the socket is full.
    pub(crate) fn drain(&mut self, stream: Option<&TcpStream>) -> Drained {
        let Some(stream) = stream else { return Drained::Blocked };
        loop {
            if self.queue.is_empty() {
                self.take_latest();
                if self.queue.is_empty() {
                    self.queue = VecDeque::new();
                    return Drained::Empty;
                }
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.queue.len().min(SLICES_MAX);
            for (slice, frames) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(frames);
            }
            slices[0] = IoSlice::new(&self.queue[0][self.front_written..]);
            match stream.try_write_vectored(&slices[..count]) {
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Drained::Blocked,
                Err(_) => {
                    self.broken();
                    return Drained::Broken;
                }
            }
        }
    }

    /// Everything queued in one chunk, for a queue transport.
    pub(crate) fn take_all(&mut self) -> Option<Bytes> {
        self.take_latest();
        let queue = std::mem::take(&mut self.queue);
        let total: usize = queue.iter().map(Bytes::len).sum();
        self.advanced(total);
        match queue.len() {
            0 => None,
            1 => queue.into_iter().next(),
            _ => {
                let mut chunk = BytesMut::with_capacity(total);
                queue.iter().for_each(|frames| chunk.extend_from_slice(frames));
                Some(chunk.freeze())
            }
        }
    }

    fn take_latest(&mut self) {
        if self.holds == 0
            && let Some(latest) = self.latest.take()
        {
            for (_, frame) in latest.frames {
                self.bytes += frame.len();
                self.queue.push_back(frame);
            }
        }
    }

    fn advance(&mut self, written: usize) {
        self.advanced(written);
        let mut left = written;
        while left > 0 {
            let rest = self.queue[0].len() - self.front_written;
            if left < rest {
                self.front_written += left;
                return;
            }
            left -= rest;
            self.front_written = 0;
            self.queue.pop_front();
        }
    }

    fn advanced(&mut self, written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        self.replayed = self.replayed.saturating_sub(written).min(self.bytes);
    }

    /// Queues the close frame after everything else.
    pub(crate) fn finish(&mut self, dialect: &dyn Dialect, reason: &CloseReason) {
        self.state = State::Closing(reason.code);
        self.latest = None;
        // Live frames without the recovered ones before them would move the client's cursor past a gap.
        let held = std::mem::take(&mut self.held);
        self.bytes -= held.iter().map(Bytes::len).sum::<usize>();
        self.send_close(dialect, reason);
    }

    /// Discards the queue and queues the close frame, right after the partly written frame.
    fn finish_early(&mut self, dialect: &dyn Dialect, reason: &CloseReason) {
        self.state = State::Closing(reason.code);
        (self.latest, self.held, self.replayed) = (None, VecDeque::new(), 0);
        self.queue.truncate(1);
        let end = self.begun(dialect);
        let Some(front) = self.queue.pop_front() else { return self.send_close(dialect, reason) };
        self.bytes = end - self.front_written;
        if self.bytes > 0 {
            self.queue.push_back(front.slice(..end));
        } else {
            self.front_written = 0;
        }
        self.send_close(dialect, reason);
    }

    fn send_close(&mut self, dialect: &dyn Dialect, reason: &CloseReason) {
        let last = dialect.close(reason);
        if !last.is_empty() {
            self.send_control(last);
        }
    }

    fn broken(&mut self) -> Delivered {
        self.end();
        Delivered::Broken
    }

    /// Nothing more is written; the queue is discarded.
    pub(crate) fn end(&mut self) {
        let code = match self.state {
            State::Open => None,
            State::Closing(code) => Some(code),
            State::Closed(code) => code,
        };
        *self = Self { state: State::Closed(code), holds: self.holds, ..Self::new() };
    }
}
