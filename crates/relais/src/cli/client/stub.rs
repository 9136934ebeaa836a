//! A server of one's own making, for tests of what a real one does only in trouble.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::tasks::spawn;

use super::remote::Remote;

/// Answers each connection with the next of some prepared answers, byte for byte, and then closes it.
pub(crate) struct Stub {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Serves `answers` in order; connections after the last one are closed without an answer.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        spawn("stub", async move {
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 1 << 16];
                let n = stream.read(&mut request).await.unwrap_or(0);
                seen.lock().unwrap().push(String::from_utf8_lossy(&request[..n]).into_owned());
                let _ = stream.write_all(answers.next().unwrap_or_default().as_bytes()).await;
            }
        });
        Self { address, requests }
    }

    /// A client of it that tries `retries` times more.
    pub(crate) fn remote(&self, retries: u32) -> Remote {
        Remote::new(&self.address, None, retries).unwrap()
    }

    /// The requests that came, heads in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|request| request.to_lowercase()).collect()
    }
}

/// An answer with a body and the headers given, each with its line end.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
}
