//! One server: its requests and their errors.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use reqwest::header::{self, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::backoff;
use super::error::{ClientError, Refusal, RefusalBody};
use super::interrupt::Stop;
use super::model::{Changes, Listing, Manifest, Societes, SyncReply, Uploaded};
use crate::config::masked;
use crate::outbound::{self, Obstacle};

/// The time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for a small request and its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for one upload.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest JSON answer that is read: a listing of many files.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What is encoded in the segments of a path: everything but what RFC 3986 section 2.3 reserves for nothing.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A server and the right to use it.
#[derive(Clone)]
pub(crate) struct Remote {
    http: reqwest::Client,
    base: Url,
    shown: String,
    /// The proxy of the environment through which it is reached.
    proxy: Option<String>,
    authorization: Option<HeaderValue>,
    retries: u32,
}

/// What `GET /api/files/changes` is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChangesQuery<'a> {
    /// The cursor of the last answer.
    pub since: Option<&'a str>,
    /// Only these; empty means all that the key may read.
    pub societes: &'a [String],
    /// How long the server waits for something to happen, in seconds.
    pub wait_s: u64,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("server", &self.shown).finish_non_exhaustive()
    }
}

impl Remote {
    /// A server by its address. Nothing is sent yet.
    pub(crate) fn new(server: &str, key: Option<&str>, retries: u32) -> Result<Self, ClientError> {
        let wrong = |why: &str| {
            let shown = masked(server);
            ClientError::Usage(format!("--server {shown}: {why}; it looks like http://127.0.0.1:8000"))
        };
        let base = Url::parse(server).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("not an http or https address"));
        }
        let authorization = key.map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose();
        let mut authorization =
            authorization.map_err(|_| ClientError::Usage("the key has characters that no key has".into()))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let proxy = outbound::proxy_for(&base, |name| std::env::var(name).ok());
        let http = outbound::client_for(server)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would send the key, or a half-read body, to another server.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("relais/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ClientError::Usage(format!("cannot set up HTTP: {}", Obstacle::of(&e, false).1)))?;
        let shown = masked(base.as_str().trim_end_matches('/')).into_owned();
        Ok(Self { http, base, shown, proxy, authorization, retries })
    }

    /// The server's address, to be shown: without the secrets in it.
    pub(crate) fn server(&self) -> &str {
        &self.shown
    }

    /// The sociétés that the key may read.
    pub(crate) async fn societes(&self) -> Result<Vec<String>, ClientError> {
        let request = self.request(Method::GET, &["societes"]).timeout(ANSWER_TIMEOUT);
        Ok(self.json::<Societes>(request).await?.societes)
    }

    /// The files of a société; none if the server does not have it.
    pub(crate) async fn files(&self, societe: &str) -> Result<Option<Listing>, ClientError> {
        let request = self.request(Method::GET, &["societe", societe, "files"]).timeout(ANSWER_TIMEOUT);
        absent(self.json(request).await)
    }

    /// Compares the local files with the server's. None if the server does not have the société, or does not let this
    /// key read it: one that may write and not read sends everything, and the server knows what is new.
    pub(crate) async fn compare(
        &self,
        societe: &str,
        manifest: &Manifest,
    ) -> Result<Option<SyncReply>, ClientError> {
        let request = self.request(Method::POST, &["sync", societe]).json(manifest).timeout(ANSWER_TIMEOUT);
        match absent(self.json(request).await) {
            Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => Ok(None),
            other => other,
        }
    }

    /// Sends one file.
    pub(crate) async fn upload(
        &self,
        societe: &str,
        filename: &str,
        content: Bytes,
    ) -> Result<Uploaded, ClientError> {
        let length = content.len() as u64;
        let part = Part::stream_with_length(content, length).file_name(filename.to_owned());
        let part = part.mime_str("application/json").map_err(|e| self.unreachable(&e))?;
        let request = self
            .request(Method::POST, &["upload", societe])
            .multipart(Form::new().percent_encode_noop().part("file", part))
            .timeout(UPLOAD_TIMEOUT);
        self.json(request).await
    }

    /// Deletes one file; false if the server did not have it.
    pub(crate) async fn delete(&self, societe: &str, filename: &str) -> Result<bool, ClientError> {
        let request = self.request(Method::DELETE, &["delete", societe, filename]).timeout(ANSWER_TIMEOUT);
        Ok(absent(self.send(request).await)?.is_some())
    }

    /// Starts the download of one file, from byte `from` on if the content is still the one of `sha256`.
    pub(crate) async fn download(
        &self,
        societe: &str,
        filename: &str,
        from: Option<(u64, &str)>,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(Method::GET, &["download", societe, filename]);
        if let Some((offset, sha256)) = from {
            request = request
                .header(header::RANGE, format!("bytes={offset}-"))
                .header(header::IF_RANGE, format!("\"{sha256}\""))
                .header(header::ACCEPT_ENCODING, "identity");
        }
        self.send(request).await
    }

    /// What happened since a cursor.
    pub(crate) async fn changes(&self, query: ChangesQuery<'_>) -> Result<Changes, ClientError> {
        let request = self
            .request(Method::GET, &["changes"])
            .query(&since(query.since, query.societes))
            .query(&[("limit", "500".to_owned()), ("wait", query.wait_s.to_string())])
            .timeout(ANSWER_TIMEOUT + Duration::from_secs(query.wait_s));
        self.json(request).await
    }

    /// Opens the event stream after a cursor.
    pub(crate) async fn events(
        &self,
        cursor: Option<&str>,
        societes: &[String],
    ) -> Result<Response, ClientError> {
        let mut request = self
            .request(Method::GET, &["events"])
            .query(&since(None, societes))
            .header(header::ACCEPT, "text/event-stream")
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        self.send(request).await
    }

    /// Runs `attempt` until it succeeds, fails for good, has failed too often, or a stop is asked for.
    pub(crate) async fn retrying<T, F>(
        &self,
        stop: &Stop,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut backoff = backoff();
        loop {
            let error = match attempt().await {
                Err(error) if error.is_passing() && backoff.failures() < self.retries => error,
                settled => return settled,
            };
            if !stop.sleep(backoff.next(error.retry_after())).await {
                return Err(error);
            }
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut whole = self.base.path().trim_end_matches('/').to_owned();
        for segment in ["api", "files"].iter().chain(path) {
            whole.push('/');
            whole.push_str(&encoded(segment));
        }
        let mut url = self.base.clone();
        url.set_path(&whole);
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request; an answer that is an error becomes one.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if let Some(place) = answer.headers().get(header::LOCATION).filter(|_| status.is_redirection()) {
            let reason = format!("it redirects to {}", masked(&String::from_utf8_lossy(place.as_bytes())));
            return Err(ClientError::Unexpected { place: self.server().to_owned(), reason });
        }
        let retry_after = retry_after(answer.headers());
        let body = self.body(answer).await.unwrap_or_default();
        let mut body = serde_json::from_slice(&body).unwrap_or_else(|_| RefusalBody::default());
        if let (true, Some(proxy)) = (body.code.is_empty(), &self.proxy) {
            let reason = status.canonical_reason().unwrap_or("refused");
            body.detail = format!("{reason}; the answer came through the proxy {proxy}, maybe from it");
        }
        Err(ClientError::Refused(Box::new(Refusal { status, body, retry_after })))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let answer = self.send(request).await?;
        let place = answer.url().path().to_owned();
        let body = self.body(answer).await?;
        serde_json::from_slice(&body).map_err(|e| ClientError::Unexpected {
            place,
            reason: format!("its JSON is not as expected ({e})"),
        })
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                let reason = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(ClientError::Unexpected { place: answer.url().path().to_owned(), reason });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The error of a connection that could not be made or broke.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let (obstacle, reason) = Obstacle::of(error, error.is_timeout());
        self.without_answer(obstacle, reason)
    }

    /// The error of a connection on which nothing arrives any more.
    pub(crate) fn silent(&self) -> ClientError {
        self.without_answer(Obstacle::Connection, "it fell silent".to_owned())
    }

    /// The error of a stream that the server ended.
    pub(crate) fn closed(&self) -> ClientError {
        self.without_answer(Obstacle::Connection, "the connection was closed".to_owned())
    }

    fn without_answer(&self, obstacle: Obstacle, reason: String) -> ClientError {
        ClientError::Unreachable {
            server: self.server().to_owned(),
            proxy: self.proxy.clone(),
            obstacle,
            reason,
        }
    }
}

/// A name as one segment of a path. Every byte that is not plain is encoded: a URL drops line breaks and tabs, and takes
/// some characters for its own.
fn encoded(segment: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(segment, NAME).into()
}

fn since<'a>(cursor: Option<&'a str>, societes: &'a [String]) -> Vec<(&'static str, &'a str)> {
    let cursor = cursor.map(|cursor| ("since", cursor));
    cursor.into_iter().chain(societes.iter().map(|societe| ("societe", societe.as_str()))).collect()
}

fn absent<T>(outcome: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match outcome {
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        other => other.map(Some),
    }
}

/// Reads a `Retry-After` header in seconds; the form with a date is not used by any server of ours.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, answer};
    use super::*;

    const STORED: &str = r#"{"message":"ok","sha256":null,"changed":true}"#;

    async fn upload(remote: &Remote) -> Result<Uploaded, ClientError> {
        let stop = Stop::default();
        remote.retrying(&stop, || remote.upload("s", "a.json", Bytes::from_static(b"{}"))).await
    }

    #[tokio::test]
    async fn what_passes_by_itself_is_tried_again() {
        let busy = answer("503 Service Unavailable", "Retry-After: 0\r\n", "{}");
        let stub = Stub::start(vec![busy, String::new(), answer("200 OK", "", STORED)]).await;
        let stored = upload(&stub.remote(4)).await.unwrap();
        assert_eq!(stored.changed, Some(true));
        assert_eq!(stub.requests().len(), 3, "one refused, one cut, one answered");
    }

    #[tokio::test]
    async fn a_refusal_is_not_tried_again() {
        let body = r#"{"detail":"JSON invalide","line":2,"column":5}"#;
        let stub = Stub::start(vec![answer("400 Bad Request", "", body)]).await;
        let error = upload(&stub.remote(4)).await.unwrap_err();
        assert_eq!(error.to_string(), "JSON invalide (400, line 2, column 5)");
        assert_eq!(stub.requests().len(), 1);
    }

    #[tokio::test]
    async fn it_is_not_tried_for_ever() {
        let busy = || answer("429 Too Many Requests", "Retry-After: 0\r\n", "{}");
        let stub = Stub::start(vec![busy(), busy(), busy()]).await;
        let error = upload(&stub.remote(1)).await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(stub.requests().len(), 2);
    }

    #[tokio::test]
    async fn the_key_does_not_follow_a_redirect() {
        let moved = answer("307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n", "");
        let stub = Stub::start(vec![moved]).await;
        let remote = Remote::new(&stub.address, Some("rk_1_hunter2"), 0).unwrap();
        let error = remote.societes().await.unwrap_err().to_string();
        assert!(error.contains("redirects to http://127.0.0.1:1/") && !error.contains("hunter2"), "{error}");
        assert!(stub.requests()[0].contains("authorization: bearer rk_1_hunter2"));
    }

    #[tokio::test]
    async fn names_cannot_leave_their_place_in_the_address() {
        let stub = Stub::start(vec![answer("404 Not Found", "", "{}")]).await;
        assert!(!stub.remote(0).delete("a/b?c", "../é.json").await.unwrap());
        assert!(stub.requests()[0].starts_with("delete /api/files/delete/a%2fb%3fc/..%2f%c3%a9.json "));
    }

    #[tokio::test]
    async fn no_character_of_a_name_gets_lost_on_the_way() {
        let stub = Stub::start(vec![answer("404 Not Found", "", "{}")]).await;
        assert!(!stub.remote(0).delete("p\nq", "t\tu\r.json").await.unwrap());
        assert!(stub.requests()[0].starts_with("delete /api/files/delete/p%0aq/t%09u%0d.json "));
    }

    #[test]
    fn a_password_in_an_address_is_for_nobody_to_see() {
        let remote = Remote::new("http://u:hunter2@127.0.0.1:1/base", None, 0).unwrap();
        assert_eq!(remote.server(), "http://u:••••••@127.0.0.1:1/base", "also in what a mirror remembers");
        assert!(!format!("{remote:?} {}", remote.silent()).contains("hunter2"));
        for wrong in ["nonsense://u:hunter2@x", "http://u:hun@hunter2@x:99999", "u:hunter2@x"] {
            let error = Remote::new(wrong, None, 0).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_an_example() {
        for wrong in ["", "localhost:8000", "ftp://x", "http://"] {
            let error = Remote::new(wrong, None, 0).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:8000"), "{wrong}: {error}");
        }
    }
}
