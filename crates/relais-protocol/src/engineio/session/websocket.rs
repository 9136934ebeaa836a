//! The WebSocket side of a session, and the upgrade from polling (section "Upgrade").

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::super::{Frame, Kind, Packet, Version};
use super::polling::{Polling, refuse};
use super::{Action, CloseReason, Session, SocketId, State};

/// A WebSocket that is probing the upgrade.
#[derive(Debug)]
pub(super) struct Probe {
    ws: SocketId,
    pub(super) deadline: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing received yet.
    Opened,
    /// It was answered `3probe`.
    Probed {
        /// Whether a GET was answered to release it for the upgrade.
        released_get: bool,
    },
}

impl Session {
    /// A WebSocket with this session's id was opened.
    pub fn ws_open(&mut self, ws: SocketId, now: Instant, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Polling(polling) if self.config.upgrade && polling.probe.is_none() => {
                let deadline = now + self.config.upgrade_timeout;
                polling.probe = Some(Probe { ws, deadline, stage: Stage::Opened });
            }
            _ => out.push(Action::CloseSocket(ws, CloseReason::Protocol.close_code())),
        }
    }

    /// A message arrived on a WebSocket of this session.
    pub fn ws_frame(&mut self, ws: SocketId, frame: Frame, now: Instant, out: &mut Vec<Action>) {
        match &self.state {
            State::WebSocket(current) if *current == ws => {
                if let Err(reason) = self.read_frame(frame, now, out) {
                    self.fail(reason, out);
                }
            }
            State::Polling(Polling { probe: Some(probe), .. }) if probe.ws == ws => {
                self.read_probe(frame, out);
            }
            // A socket being closed may have sent this before it read the close.
            _ => {}
        }
    }

    /// A WebSocket of this session was closed or lost.
    pub fn ws_closed(&mut self, ws: SocketId, out: &mut Vec<Action>) {
        match &mut self.state {
            State::WebSocket(current) if *current == ws => self.end(CloseReason::Client, out),
            State::Polling(polling) if polling.probe.as_ref().is_some_and(|probe| probe.ws == ws) => {
                polling.probe = None;
            }
            _ => {}
        }
    }

    fn read_frame(&mut self, frame: Frame, now: Instant, out: &mut Vec<Action>) -> Result<(), CloseReason> {
        if frame.len() > self.config.payload.bytes as usize {
            return Err(CloseReason::TooLarge);
        }
        let packet = Packet::from_frame(self.config.version, frame).map_err(|_| CloseReason::Protocol)?;
        self.packet(packet, now, out)
    }

    /// `2probe`, then `5`; anything else aborts the upgrade.
    fn read_probe(&mut self, frame: Frame, out: &mut Vec<Action>) {
        let State::Polling(Polling { probe: Some(probe), .. }) = &mut self.state else { return };
        let said = Packet::from_frame(self.config.version, frame).ok();
        match (said.as_ref().map(|packet| (packet.kind, &packet.data)), probe.stage) {
            (Some((Kind::Ping, Frame::Text(data))), Stage::Opened) if data.as_str() == "probe" => {
                probe.stage = Stage::Probed { released_get: false };
                out.push(Action::Write(probe.ws, Frame::Text("3probe".into())));
                self.release_get_for_probe(out);
            }
            (Some((Kind::Upgrade, _)), Stage::Probed { released_get }) => {
                let ws = probe.ws;
                self.take_over(ws, released_get, out);
            }
            _ => self.drop_probe(CloseReason::Protocol.close_code(), out),
        }
    }

    /// The client pauses its polling before it sends `5`, so a GET must not be held from now on.
    pub(super) fn release_get_for_probe(&mut self, out: &mut Vec<Action>) {
        let State::Polling(Polling { get: held, probe: Some(probe), .. }) = &mut self.state else { return };
        let Stage::Probed { released_get } = &mut probe.stage else { return };
        if let Some(get) = held.take() {
            *released_get = true;
            if self.queue.is_empty() {
                self.answer_only(get, Frame::Text("6".into()), out);
            } else {
                self.answer_packets(get, out);
            }
        }
    }

    fn take_over(&mut self, ws: SocketId, released_get: bool, out: &mut Vec<Action>) {
        if let State::Polling(polling) = std::mem::replace(&mut self.state, State::WebSocket(ws)) {
            self.release_requests(&polling, out);
        }
        out.push(Action::Upgraded(ws));
        // Clients of version 3 expect the NOOP on either transport.
        if self.config.version == Version::V3 && !released_get {
            out.push(Action::Write(ws, Frame::Text("6".into())));
        }
        self.queued_bytes = 0;
        for frame in std::mem::take(&mut self.queue) {
            out.push(Action::Write(ws, self.on_socket(frame)));
        }
    }

    /// Requests still open at the upgrade to WebSocket: a GET ends, a POST is too late.
    fn release_requests(&self, polling: &Polling, out: &mut Vec<Action>) {
        if let Some(get) = polling.get {
            self.answer_only(get, Frame::Text("6".into()), out);
        }
        if let Some(post) = polling.post {
            refuse(post, out);
        }
    }

    /// Closes the probe, if any; polling continues.
    pub(super) fn drop_probe(&mut self, code: u16, out: &mut Vec<Action>) {
        if let State::Polling(polling) = &mut self.state
            && let Some(probe) = polling.probe.take()
        {
            out.push(Action::CloseSocket(probe.ws, code));
        }
    }

    /// A frame as it is written: version 3 prefixes binary with the type too.
    pub(super) fn on_socket(&self, frame: Frame) -> Frame {
        match frame {
            Frame::Binary(bytes) if self.config.version == Version::V3 => {
                let mut typed = BytesMut::with_capacity(bytes.len() + 1);
                typed.put_u8(Kind::Message as u8);
                typed.extend_from_slice(&bytes);
                Frame::Binary(typed.freeze())
            }
            frame => frame,
        }
    }
}
