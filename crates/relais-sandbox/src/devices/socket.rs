//! The client side of a WebSocket, without a buffer while no frame is incomplete.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use relais_protocol::websocket::{Opcode, encode_masked, frame_len, head_len};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::failure::Failure;

/// The maximum size of the response to a handshake.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The largest frame that a device accepts.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Room for the largest frame and the header of another, so that a read always makes progress.
const SCRATCH_BYTES: usize = FRAME_BYTES_MAX + 16;
/// How long a write may block.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Marks the final frame of a message.
const FIN: u8 = 0x80;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// A WebSocket connection.
pub(super) struct Socket {
    stream: TcpStream,
    /// The start of an incomplete frame.
    rest: Vec<u8>,
}

/// A frame from the server.
pub(super) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close {
        code: u16,
        reason: String,
    },
    /// Requires no action.
    Other,
}

impl Socket {
    /// Connects and performs the handshake.
    pub(super) async fn open(
        address: SocketAddr,
        endpoint: &Endpoint,
        chance: &mut fastrand::Rng,
    ) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(address).await.map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
            endpoint.path,
            endpoint.authority(),
            key(chance),
        );
        stream.write_all(request.as_bytes()).await.map_err(Failure::Connect)?;
        let mut received = Vec::with_capacity(512);
        let end = loop {
            if stream.read_buf(&mut received).await.map_err(Failure::Connect)? == 0 {
                return Err(Failure::Connect(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if received.len() > HEAD_BYTES_MAX {
                return Err(Failure::Protocol("a reply without an end"));
            }
        };
        if !received.starts_with(b"HTTP/1.1 101 ") {
            let line = received.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(Failure::Handshake(String::from_utf8_lossy(line).into_owned()));
        }
        Ok(Self { stream, rest: received.split_off(end) })
    }

    /// Waits until there is something to read. Safe to cancel.
    pub(super) async fn readable(&self) -> Result<(), Failure> {
        self.stream.readable().await.map_err(Failure::Lost)
    }

    /// Reads everything that has arrived and passes on every whole frame.
    pub(super) fn read(&mut self, mut on: impl FnMut(Frame<'_>)) -> Result<(), Failure> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut filled = self.rest.len();
            scratch[..filled].copy_from_slice(&self.rest);
            loop {
                let used = take_frames(&scratch[..filled], &mut on)?;
                scratch.copy_within(used..filled, 0);
                filled -= used;
                match self.stream.try_read(&mut scratch[filled..]) {
                    Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Failure::Lost(error)),
                }
            }
            self.rest = scratch[..filled].to_vec();
            Ok(())
        })
    }

    /// Sends one frame. It is small: the system accepts it at once, unless the server has not read for a long time.
    pub(super) async fn send(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        mask: [u8; 4],
    ) -> Result<(), Failure> {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        encode_masked(opcode, true, payload, mask, &mut frame);
        let written = match self.stream.try_write(&frame) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Failure::Lost(error)),
        };
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&frame[written..])).await {
            Ok(done) => done.map_err(Failure::Lost),
            Err(_) => Err(Failure::Stalled),
        }
    }

    /// Sends a close frame, if the system accepts it at once.
    pub(super) fn close(self, mask: [u8; 4]) {
        let mut frame = Vec::with_capacity(8);
        encode_masked(Opcode::Close, true, &1000_u16.to_be_bytes(), mask, &mut frame);
        // A peer that is gone needs no close frame.
        let _ = self.stream.try_write(&frame);
    }
}

/// 16 bytes in base64 (RFC 6455 section 4.1); the last of 22 characters encodes two bits.
fn key(chance: &mut fastrand::Rng) -> String {
    let letters = (0..21).map(|_| chance.alphanumeric());
    letters.chain(['A', '=', '=']).collect()
}

/// Passes on the whole frames; returns how many bytes they are.
fn take_frames(bytes: &[u8], on: &mut impl FnMut(Frame<'_>)) -> Result<usize, Failure> {
    let mut used = 0;
    while let Some(length) = frame_len(&bytes[used..]) {
        if length > FRAME_BYTES_MAX {
            return Err(Failure::Protocol("a frame that is too long"));
        }
        let Some(frame) = bytes.get(used..used + length) else { break };
        on(meaning(frame)?);
        used += length;
    }
    Ok(used)
}

fn meaning(frame: &[u8]) -> Result<Frame<'_>, Failure> {
    if frame[1] & 0x80 != 0 {
        return Err(Failure::Protocol("a masked frame"));
    }
    let payload = &frame[head_len(frame)..];
    Ok(match frame[0] {
        first if first == FIN | Opcode::Text as u8 => Frame::Text(payload),
        first if first == FIN | Opcode::Ping as u8 => Frame::Ping(payload),
        first if first == FIN | Opcode::Pong as u8 => Frame::Other,
        first if first == FIN | Opcode::Close as u8 => {
            let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
            Frame::Close { code, reason }
        }
        _ => return Err(Failure::Protocol("a fragment, a binary or a compressed message")),
    })
}

#[cfg(test)]
mod tests {
    use relais_protocol::websocket::{close_frame, encode_frame};

    use super::*;

    fn heard(bytes: &[u8]) -> Result<(usize, Vec<String>), Failure> {
        let mut all = Vec::new();
        let used = take_frames(bytes, &mut |frame| {
            all.push(match frame {
                Frame::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Frame::Ping(_) => "ping".into(),
                Frame::Close { code, reason } => format!("{code} {reason}"),
                Frame::Other => "other".into(),
            });
        })?;
        Ok((used, all))
    }

    #[test]
    fn frames_are_taken_once_they_are_whole() {
        let mut wire = Vec::new();
        encode_frame(Opcode::Text, &[b'x'; 200], &mut wire);
        encode_frame(Opcode::Ping, b"", &mut wire);
        let two = wire.len();
        close_frame(1012, "again", &mut wire);
        for cut in two..wire.len() {
            assert_eq!(heard(&wire[..cut]).unwrap(), (two, vec!["x".repeat(200), "ping".into()]));
        }
        assert_eq!(heard(&wire).unwrap().1[2], "1012 again");
    }

    #[test]
    fn what_a_server_must_not_send_ends_the_connection() {
        assert!(heard(&[0x01, 1, b'x']).is_err(), "a fragment");
        assert!(heard(&[0x81, 0x81, 0, 0, 0, 0, b'x']).is_err(), "masked");
        assert!(heard(&[0x81, 127, 0, 0, 0, 0, 1, 0, 0, 0]).is_err(), "too long");
    }
}
