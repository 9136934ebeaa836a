//! A refusal reaches clients that read nothing before they have sent everything.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Edge, parsed, until_closed};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_hears_why_it_is_refused() {
    let edge = Edge::start(|_| {}).await;
    let body = vec![b'x'; 40_000_000];
    let token = format!("Authorization: Bearer {}\r\n", edge.token);
    for (path, credential, status, code) in [
        ("/api/files/upload/rsp-bgs", "", 401, "unauthenticated"),
        ("/api/files/upload/rsp-bgs", token.as_str(), 413, "file_too_large"),
        ("/api/nowhere", "", 404, "not_found"),
        ("/healthz", "", 405, "method_not_allowed"),
    ] {
        for framing in ["Content-Length: 40000000", "Transfer-Encoding: chunked"] {
            let is_chunked = framing.starts_with('T');
            if is_chunked && status == 413 {
                continue;
            }
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n"
            );
            let mut client = edge.saying(&head).await;
            if is_chunked {
                client.write_all(b"2625a00\r\n").await.unwrap();
            }
            client.write_all(&body).await.unwrap_or_else(|error| panic!("{path}, {framing}: {error}"));
            if is_chunked {
                client.write_all(b"\r\n0\r\n\r\n").await.unwrap();
            }
            let told = until_closed(&mut client).await;
            let (got, reply) = parsed(&told);
            assert_eq!((got, &reply["code"]), (status, &json!(code)), "{path}, {framing}: {told}");
        }
    }
}

/// Everything up to the end of an answer with a `content-length`.
async fn answer(client: &mut TcpStream) -> String {
    let mut heard = String::new();
    let mut bytes = [0; 4096];
    loop {
        if let Some((head, body)) = heard.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length.is_none_or(|length: usize| body.len() >= length) {
                return heard;
            }
        }
        let read = client.read(&mut bytes).await.unwrap();
        assert!(read > 0, "closed after {heard}");
        heard.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_leaves_the_body_unread_says_that_the_connection_ends() {
    let edge = Edge::start(|_| {}).await;
    for path in ["/nothing", "/api/auth/logout", "/api/files/upload/rsp-bgs", "/healthz"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n"
        );
        let mut client = edge.saying(&head).await;
        let told = answer(&mut client).await;
        assert!(told.contains("connection: close\r\n"), "{path}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_body_was_read_is_used_again() {
    let edge = Edge::start(|_| {}).await;
    let login = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n";
    let form =
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n{}\r\n--b--\r\n";
    let upload = format!(
        "POST /api/files/upload/rsp-bgs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n",
        edge.token
    );
    let mut client = edge.saying(login).await;
    client.write_all(br#"{"email":"a@b","password":"b"}"#).await.unwrap();
    assert!(!answer(&mut client).await.contains("connection: close"));
    client.write_all(upload.as_bytes()).await.unwrap();
    client.write_all(format!("{:x}\r\n{form}\r\n0\r\n\r\n", form.len()).as_bytes()).await.unwrap();
    let told = answer(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 200") && !told.contains("connection: close"), "{told}");
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_while_it_is_sent() {
    let edge = Edge::start(|_| {}).await;
    let mut client = edge.saying("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ").await;
    client.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
    let told = until_closed(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
}
