//! Conditional downloads and changes (RFC 9110 section 13), and what downloads say of themselves.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};

use super::{PATIENCE, TestServer, on_both};

async fn asked(server: &TestServer, headers: &[(&str, &str)]) -> Response {
    let mut request = server.client.get(server.url("/api/files/download/rsp-bgs/a_2023.json"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header(reply: &Response, name: &str) -> String {
    reply.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_another_content_than_the_one_begun_is_never_sent() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1111111111]").await;
        let stale = header(&asked(&server, &[]).await, "etag");
        server.uploaded("a_2023.json", "[2222222222]").await;
        let fresh = header(&asked(&server, &[]).await, "etag");
        let range = ("range", "bytes=0-3");
        let refused = asked(&server, &[range, ("if-match", &stale)]).await;
        assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(refused.json::<serde_json::Value>().await.unwrap()["code"], "precondition_failed");
        let part = asked(&server, &[range, ("if-match", &fresh)]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.text().await.unwrap(), "[222");
        let long_ago = "Sat, 01 Jan 2000 00:00:00 GMT";
        let refused = asked(&server, &[range, ("if-unmodified-since", long_ago)]).await;
        assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
        let whole = asked(&server, &[range, ("if-range", long_ago)]).await;
        assert_eq!((whole.status(), whole.text().await.unwrap().as_str()), (StatusCode::OK, "[2222222222]"));
    })
    .await;
}

/// The date of the file once the second that it was stored in is over.
async fn settled_date(server: &TestServer) -> String {
    let young = header(&asked(server, &[]).await, "last-modified");
    let started = Instant::now();
    loop {
        let date = header(&asked(server, &[]).await, "last-modified");
        let unmodified = asked(server, &[("if-unmodified-since", &date)]).await;
        if unmodified.status() == StatusCode::OK {
            return date;
        }
        assert_eq!(date, young, "the date is another one only when it counts");
        assert!(started.elapsed() < PATIENCE, "its second does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_known_by_its_date_where_no_tag_is_named() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let date = settled_date(&server).await;
        assert_eq!(asked(&server, &[("if-modified-since", &date)]).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(asked(&server, &[("if-unmodified-since", &date)]).await.status(), StatusCode::OK);
        let part = asked(&server, &[("range", "bytes=0-1"), ("if-range", &date)]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        let tagged = asked(&server, &[("if-none-match", "\"00\""), ("if-modified-since", &date)]).await;
        assert_eq!(tagged.status(), StatusCode::OK, "the tag comes before the date");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_contents_of_one_second_are_not_taken_for_each_other() {
    on_both(|server| async move {
        let (mut count, mut dates) = (0, Vec::new());
        // Until two were stored within one second, which the next try may not be.
        let date = loop {
            count += 1;
            server.uploaded("a_2023.json", format!("[{count}]")).await;
            let date = header(&asked(&server, &[]).await, "last-modified");
            if dates.contains(&date) {
                break date;
            }
            dates.push(date);
        };
        settled_date(&server).await;
        let latest = format!("[{count}]");
        let read = asked(&server, &[("if-modified-since", &date)]).await;
        assert_eq!((read.status(), read.text().await.unwrap()), (StatusCode::OK, latest.clone()));
        let part = asked(&server, &[("range", "bytes=0-1"), ("if-range", &date)]).await;
        assert_eq!(part.status(), StatusCode::OK, "the whole");
        let change = server.upload_if("a_2023.json", "[0]", &[("if-unmodified-since", &date)]).await;
        assert_eq!(change.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(server.downloaded("a_2023.json").await, latest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_may_name_the_date_it_started_from() {
    on_both(|server| async move {
        let long_ago = [("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT")];
        let created = server.upload_if("a_2023.json", "[1]", &long_ago).await;
        assert_eq!(created.status(), StatusCode::OK, "there is no date yet to compare with");
        let refused = server.upload_if("a_2023.json", "[2]", &long_ago).await;
        assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(server.downloaded("a_2023.json").await, "[1]");
        let date = settled_date(&server).await;
        let taken = server.upload_if("a_2023.json", "[2]", &[("if-unmodified-since", &date)]).await;
        assert_eq!(taken.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_says_that_it_is_utf_8() {
    let server = TestServer::start(None, |_| {}).await;
    server.uploaded("a_2023.json", "[\"Clôture\"]").await;
    for path in [
        "/",
        "/modules",
        "/assets/page.js",
        "/assets/page.css",
        "/assets/modules.js",
        "/js/reconnection-manager.js",
        "/openapi.json",
        "/asyncapi.json",
        "/docs/index.html",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-initializer.js",
        "/healthz",
        "/readyz",
        "/metrics",
        "/nothing",
        "/api/files/status",
        "/api/files/societes",
        "/api/files/societe/rsp-bgs/files",
        "/api/files/changes",
        "/api/files/events",
        "/api/files/versions/rsp-bgs/a_2023.json",
        "/api/files/download/rsp-bgs/a_2023.json",
        "/api/v1/events?channel=societe:rsp-bgs",
        "/socket.io/?EIO=4&transport=polling",
    ] {
        let reply = server.get(path).await;
        let kind = header(&reply, "content-type").to_lowercase();
        assert!(kind.ends_with("; charset=utf-8"), "{path}: {kind}");
    }
    let download = server.get("/api/files/download/rsp-bgs/a_2023.json").await;
    assert_eq!(header(&download, "content-type"), "application/json; charset=utf-8");
}
