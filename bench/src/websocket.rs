//! Just enough of a WebSocket client to listen: the handshake, frames of the server, pongs.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::BenchError;
use crate::http::find;

const PATH: &str = "/api/files/ws";
const HEAD_BYTES_MAX: usize = 16 * 1024;
const OPCODE_TEXT: u8 = 1;
const OPCODE_PING: u8 = 9;

/// One listener.
pub(crate) struct Listener {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Listener {
    /// Connects and waits for the greeting, after which every change is told.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: relais\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cmVsYWlzLWJlbmNoLWtleQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut listener = Self { stream, received: Vec::new() };
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
        listener.wait_for_greeting().await?;
        Ok(listener)
    }

    async fn wait_for_greeting(&mut self) -> Result<(), BenchError> {
        let mut greeted = false;
        self.take_frames(|text| greeted |= find(text, b"\"connection\"").is_some()).await?;
        while !greeted {
            self.next_frames(|text| greeted |= find(text, b"\"connection\"").is_some()).await?;
        }
        Ok(())
    }

    /// Waits for data and hands over every text that is whole.
    pub(crate) async fn next_frames(&mut self, on_text: impl FnMut(&[u8])) -> Result<(), BenchError> {
        self.read_more().await?;
        self.take_frames(on_text).await
    }

    async fn take_frames(&mut self, mut on_text: impl FnMut(&[u8])) -> Result<(), BenchError> {
        let mut used = 0;
        let mut pings = 0;
        while let Some(frame) = parse(&self.received[used..])? {
            let payload = &self.received[used + frame.head..used + frame.head + frame.length];
            match frame.opcode {
                OPCODE_TEXT => on_text(payload),
                OPCODE_PING => pings += 1,
                other => return Err(BenchError::wrong(format!("it sent a frame of kind {other}"))),
            }
            used += frame.head + frame.length;
        }
        self.received.drain(..used);
        for _ in 0..pings {
            // An empty pong, masked with zeros: enough for a server that only wants a sign of life.
            self.stream.write_all(&[0x8A, 0x80, 0, 0, 0, 0]).await?;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), BenchError> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            return Err(BenchError::wrong("it closed a listener's connection"));
        }
        Ok(())
    }
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
}
