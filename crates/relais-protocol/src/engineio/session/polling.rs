//! The HTTP side of a session.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::super::{Frame, PayloadError, Refusal, Version, decode_payload, encode_payload};
use super::websocket::Probe;
use super::{Action, CloseReason, RequestId, Response, Session, State};

#[derive(Debug, Default)]
pub(super) struct Polling {
    /// The held GET, waiting for something to send.
    pub(super) get: Option<RequestId>,
    /// The POST whose body is being received.
    pub(super) post: Option<RequestId>,
    /// Whether the messages of the last POST are still being handled.
    pub(super) dealing: bool,
    /// The WebSocket that is probing the upgrade.
    pub(super) probe: Option<Probe>,
}

impl Session {
    /// A GET of this session has arrived: it is answered now, or held until there is something to send.
    pub fn poll_get(&mut self, get: RequestId, now: Instant, out: &mut Vec<Action>) {
        self.fit_answer(now);
        match &mut self.state {
            State::WebSocket(_) | State::Closed => refuse(get, out),
            State::Closing { refuses: true, .. } if self.queue.is_empty() => {
                refuse(get, out);
                self.end(CloseReason::Server, out);
            }
            State::Closing { refuses, .. } => {
                let refuses = *refuses;
                self.answer_packets(get, out);
                if self.queue.is_empty() && !refuses {
                    self.end(CloseReason::Server, out);
                }
            }
            State::Polling(polling) if polling.get.is_some() => {
                self.fail(CloseReason::ConcurrentRequests, out);
                refuse(get, out);
            }
            State::Polling(polling) => {
                polling.get = Some(get);
                self.release_get_for_probe(out);
                self.serve_held_get(out);
            }
        }
    }

    /// The header of a POST has arrived. `true`: read its body; `false`: it is already answered.
    pub fn poll_post(&mut self, post: RequestId, out: &mut Vec<Action>) -> bool {
        match &mut self.state {
            State::Polling(polling) if polling.post.is_none() && !polling.dealing => {
                polling.post = Some(post);
                return true;
            }
            State::Polling(_) => {
                self.fail(CloseReason::ConcurrentRequests, out);
                refuse(post, out);
            }
            State::WebSocket(_) | State::Closing { .. } | State::Closed => refuse(post, out),
        }
        false
    }

    /// The body of that POST; `binary` is set if it was sent as `application/octet-stream`.
    pub fn post_body(
        &mut self,
        post: RequestId,
        body: Bytes,
        binary: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match &mut self.state {
            State::Polling(polling) if polling.post == Some(post) => polling.post = None,
            // It was answered when the session ended or was upgraded to WebSocket.
            _ => return,
        }
        match self.read_body(body, binary, now, out) {
            Ok(()) => out.push(Action::Answer(post, Response::Ok)),
            Err(CloseReason::Client) => {
                out.push(Action::Answer(post, Response::Ok));
                self.fail(CloseReason::Client, out);
            }
            Err(reason) => {
                refuse(post, out);
                self.fail(reason, out);
            }
        }
    }

    /// Sets whether the messages of a POST are still being handled. While they are, it counts as in progress although
    /// [`post_body`](Self::post_body) has answered it, and a second one closes the session.
    pub fn set_dealing(&mut self, dealing: bool) {
        if let State::Polling(polling) = &mut self.state {
            polling.dealing = dealing;
        }
    }

    /// The body of that POST will not be read, for instance because its header shows that it is too large.
    pub fn post_refused(&mut self, post: RequestId, reason: CloseReason, out: &mut Vec<Action>) {
        if let State::Polling(polling) = &mut self.state
            && polling.post == Some(post)
        {
            polling.post = None;
            refuse(post, out);
            self.fail(reason, out);
        }
    }

    /// A request was dropped before its response. What was not yet sent on it waits for the next one.
    pub fn request_gone(&mut self, request: RequestId) {
        if let State::Polling(polling) = &mut self.state {
            polling.get = polling.get.filter(|get| *get != request);
            polling.post = polling.post.filter(|post| *post != request);
        }
    }

    fn read_body(
        &mut self,
        body: Bytes,
        binary: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<(), CloseReason> {
        let packets = decode_payload(self.config.version, body, binary, self.config.payload);
        let packets = packets.map_err(|error| match error {
            PayloadError::TooLarge { .. } => CloseReason::TooLarge,
            _ => CloseReason::Protocol,
        })?;
        packets.into_iter().try_for_each(|packet| self.packet(packet, now, out))
    }

    /// Answers the held GET, if there is one and the queue is not empty.
    pub(super) fn serve_held_get(&mut self, out: &mut Vec<Action>) {
        if self.queue.is_empty() {
            return;
        }
        if let State::Polling(polling) = &mut self.state
            && let Some(get) = polling.get.take()
        {
            self.answer_packets(get, out);
        }
    }

    /// Adjusts the response size by the time at which a GET arrives. If the GET fetches the rest of the queue and a
    /// ping is due, the ping is put in front.
    fn fit_answer(&mut self, now: Instant) {
        let rest = !self.queue.is_empty();
        self.answer_size.asked(rest, self.config.payload.bytes, now);
        let pings = self.config.version == Version::V4 && matches!(self.state, State::Polling(_));
        if rest && pings && self.answer_size.wants_ping(self.config.ping_interval, now) {
            let ping = Frame::Text("2".into());
            self.queued_bytes += ping.len();
            self.queue.push_front(ping);
        }
    }

    pub(super) fn answer_packets(&mut self, get: RequestId, out: &mut Vec<Action>) {
        let bytes_max = self.answer_size.bytes(self.config.payload.bytes);
        let payload = encode_payload(self.config.version, self.config.base64, &mut self.queue, bytes_max);
        self.queued_bytes = self.queue.iter().map(Frame::len).sum();
        out.push(Action::Answer(get, Response::Packets(payload)));
    }

    pub(super) fn answer_only(&self, get: RequestId, frame: Frame, out: &mut Vec<Action>) {
        let mut one = VecDeque::from([frame]);
        let payload =
            encode_payload(self.config.version, self.config.base64, &mut one, self.config.payload.bytes);
        out.push(Action::Answer(get, Response::Packets(payload)));
    }

    /// Refuses the POST in progress and closes the probe.
    pub(super) fn drop_requests(&mut self, out: &mut Vec<Action>) {
        if let State::Polling(polling) = &mut self.state {
            if let Some(post) = polling.post.take() {
                refuse(post, out);
            }
            self.drop_probe(CloseReason::Server.close_code(), out);
        }
    }
}

pub(super) fn refuse(request: RequestId, out: &mut Vec<Action>) {
    out.push(Action::Answer(request, Response::Refused(Refusal::BadRequest)));
}
