//! Just enough of a WebSocket client to listen and to speak: the handshake, frames of the server, pongs.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dialect::{Dialect, Heard};
use crate::error::BenchError;
use crate::http::find;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const OPCODE_TEXT: u8 = 1;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;

/// One connection.
pub(crate) struct Listener {
    stream: TcpStream,
    dialect: Dialect,
    received: Vec<u8>,
    /// The code of the server's close frame.
    closed: Option<u16>,
}

impl Listener {
    /// Connects and waits until the server has let the client in.
    pub(crate) async fn open(address: SocketAddr, dialect: Dialect) -> Result<Self, BenchError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let path = dialect.path();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cmVsYWlzLWJlbmNoLWtleQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut listener = Self { stream, dialect, received: Vec::new(), closed: None };
        let end = loop {
            listener.read_more().await?;
            if let Some(at) = find(&listener.received, b"\r\n\r\n") {
                break at + 4;
            }
            if listener.received.len() > HEAD_BYTES_MAX {
                return Err(BenchError::wrong("the reply to a handshake has no end"));
            }
        };
        if !listener.received.starts_with(b"HTTP/1.1 101") {
            let text = String::from_utf8_lossy(&listener.received).into_owned();
            return Err(BenchError::wrong(format!("no WebSocket: {text}")));
        }
        listener.received.drain(..end);
        listener.come_in().await?;
        Ok(listener)
    }

    async fn come_in(&mut self) -> Result<(), BenchError> {
        if let Some(first) = self.dialect.first_words() {
            self.say(first)?;
        }
        let Some(welcome) = self.dialect.welcome() else { return Ok(()) };
        let mut welcomed = false;
        self.take_frames(|text| welcomed |= find(text, welcome).is_some())?;
        while !welcomed {
            self.next_frames(|text| welcomed |= find(text, welcome).is_some()).await?;
        }
        Ok(())
    }

    /// Waits for data and hands over every text that is whole. May be dropped while it waits.
    pub(crate) async fn next_frames(&mut self, on_text: impl FnMut(&[u8])) -> Result<(), BenchError> {
        self.read_more().await?;
        self.take_frames(on_text)
    }

    /// As [`next_frames`](Self::next_frames), up to the server's close frame; its code, once it has come.
    pub(crate) async fn until_close(
        &mut self,
        on_text: impl FnMut(&[u8]),
    ) -> Result<Option<u16>, BenchError> {
        self.next_frames(on_text).await?;
        Ok(self.closed)
    }

    fn take_frames(&mut self, mut on_text: impl FnMut(&[u8])) -> Result<(), BenchError> {
        let mut used = 0;
        let mut answers = Vec::new();
        while let Some(frame) = parse(&self.received[used..])? {
            let payload = &self.received[used + frame.head..used + frame.head + frame.length];
            match frame.opcode {
                OPCODE_TEXT => self.dialect.hear(payload, |heard| match heard {
                    Heard::Text(text) => on_text(text),
                    Heard::Heartbeat(answer) => encode(OPCODE_TEXT, answer, &mut answers),
                }),
                OPCODE_PING => encode(OPCODE_PONG, b"", &mut answers),
                OPCODE_CLOSE if frame.length >= 2 => {
                    self.closed = Some(u16::from_be_bytes([payload[0], payload[1]]));
                }
                other => return Err(BenchError::wrong(format!("it sent a frame of kind {other}"))),
            }
            used += frame.head + frame.length;
        }
        self.received.drain(..used);
        if answers.is_empty() { Ok(()) } else { self.write(&answers) }
    }

    /// Sends one text.
    pub(crate) fn say(&self, text: &[u8]) -> Result<(), BenchError> {
        let mut frames = Vec::with_capacity(text.len() + 8);
        encode(OPCODE_TEXT, text, &mut frames);
        self.write(&frames)
    }

    /// They are few: the system takes them at once.
    fn write(&self, frames: &[u8]) -> Result<(), BenchError> {
        match self.stream.try_write(frames) {
            Ok(written) if written == frames.len() => Ok(()),
            Ok(_) => Err(BenchError::wrong("it does not read what is said")),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(BenchError::wrong("it does not read what is said"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_more(&mut self) -> Result<(), BenchError> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            return Err(BenchError::wrong("it closed a listener's connection"));
        }
        Ok(())
    }
}

/// Masked with zeros, which leaves the payload as it is.
fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => out.push(0x80 | short as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => unreachable!("the benchmark sends small texts only"),
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

struct Frame {
    opcode: u8,
    head: usize,
    length: usize,
}

/// The first frame, if it is whole.
fn parse(data: &[u8]) -> Result<Option<Frame>, BenchError> {
    let [first, second, ..] = data else { return Ok(None) };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err(BenchError::wrong(format!(
            "it sent a fragment or a masked frame ({first:#x} {second:#x})"
        )));
    }
    let (head, length) = match second {
        126 if data.len() >= 4 => (4, usize::from(u16::from_be_bytes([data[2], data[3]]))),
        126 => return Ok(None),
        127 => return Err(BenchError::wrong("it sent a frame of more than 65,535 bytes")),
        short => (2, usize::from(*short)),
    };
    Ok((data.len() >= head + length).then_some(Frame { opcode: first & 0x0F, head, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let whole = b"\x81\x03abc\x81";
        assert!(parse(&whole[..4]).unwrap().is_none());
        let frame = parse(whole).unwrap().unwrap();
        assert_eq!((frame.opcode, frame.head, frame.length), (OPCODE_TEXT, 2, 3));
        assert!(parse(b"\x81\x83abcdxyz").is_err());
    }

    #[test]
    fn a_frame_of_middle_length_has_a_longer_head() {
        let mut data = vec![0x81, 126, 0, 200];
        data.extend([b'x'; 200]);
        let frame = parse(&data).unwrap().unwrap();
        assert_eq!((frame.head, frame.length), (4, 200));
    }

    #[test]
    fn what_a_client_says_is_masked() {
        let mut out = Vec::new();
        encode(OPCODE_TEXT, b"hello", &mut out);
        assert_eq!(out, b"\x81\x85\0\0\0\0hello");
        out.clear();
        encode(OPCODE_TEXT, &[b'x'; 130], &mut out);
        assert_eq!(out[..4], [0x81, 0xFE, 0, 130]);
    }
}
