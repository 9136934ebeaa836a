//! A refusal reaches clients that read nothing before they have sent everything.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_while_it_is_sent() {
    let edge = Edge::start(|_| {}).await;
    let mut client = edge.saying("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ").await;
    client.write_all(&vec![b'x'; 4_000_000]).await.unwrap();
    let told = until_closed(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
}
