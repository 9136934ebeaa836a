//! Just enough HTTP/1.1 to load a server without spending the machine on the client: one keep-alive connection,
//! one request under way, replies with a `Content-Length`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::content;
use crate::error::BenchError;

const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
const BOUNDARY: &str = "relais-bench-boundary";

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One reply; the body borrows the connection's buffer.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(64 * 1024) })
    }

    /// Sends one whole request and reads the whole reply.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>, BenchError> {
        self.stream.write_all(request).await?;
        self.received.clear();
        let head = loop {
            self.read_more().await?;
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (status, length) = parse_head(&self.received[..head])?;
        while self.received.len() < head + length {
            self.read_more().await?;
        }
        if self.received.len() > head + length {
            return Err(BenchError::wrong("a reply is longer than its Content-Length"));
        }
        Ok(Reply { status, body: &self.received[head..] })
    }

    async fn read_more(&mut self) -> Result<(), BenchError> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            return Err(BenchError::wrong("it closed a connection in the middle of a reply"));
        }
        if self.received.len() > REPLY_BYTES_MAX {
            return Err(BenchError::wrong(format!("a reply of more than {REPLY_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

fn parse_head(head: &[u8]) -> Result<(u16, usize), BenchError> {
    let text = std::str::from_utf8(head).map_err(|_| BenchError::wrong("a reply's head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    status
        .zip(length)
        .ok_or_else(|| BenchError::wrong(format!("not a reply with a Content-Length: {text:?}")))
}

/// Where `needle` begins in `text`.
pub(crate) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

/// A whole GET request.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: relais-bench\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// A whole POST request with a JSON body.
pub(crate) fn post(path: &str, json: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: relais-bench\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
    .into_bytes()
}

/// A whole upload, whose content can be changed in place.
pub(crate) struct Upload {
    pub(crate) filename: String,
    request: Vec<u8>,
    content_at: usize,
    content_bytes: usize,
}

impl Upload {
    pub(crate) fn new(filename: String, size: usize) -> Self {
        let content = content::document(size, 0);
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
             Content-Type: application/json\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let mut request = format!(
            "POST /api/files/upload/{} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: relais-bench\r\nAccept: */*\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n{head}",
            content::SOCIETE,
            head.len() + content.len() + tail.len()
        )
        .into_bytes();
        let content_at = request.len();
        request.extend_from_slice(&content);
        request.extend_from_slice(tail.as_bytes());
        Self { filename, request, content_at, content_bytes: content.len() }
    }

    /// Makes the content another one; call before every sending.
    pub(crate) fn renew(&mut self, serial: u64) -> &[u8] {
        content::set_serial(&mut self.request, self.content_at, serial);
        &self.request
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.request[self.content_at..self.content_at + self.content_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_status_and_length() {
        let head = b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 12\r\n\r\n";
        assert_eq!(parse_head(head).unwrap(), (200, 12));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_renewed_upload_differs_in_its_content_only() {
        let mut upload = Upload::new("a.json".into(), 1_000);
        let first = upload.renew(1).to_vec();
        let second = upload.renew(2).to_vec();
        assert_eq!(first.len(), second.len());
        assert_eq!(first.iter().zip(&second).filter(|(a, b)| a != b).count(), 1);
        assert_eq!(upload.content(), content::document(1_000, 2));
    }
}
