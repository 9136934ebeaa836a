//! Forms as clients send them, and as they should not.

use serde_json::{Value, json};

use super::Edge;

async fn send(edge: &Edge, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let call = edge.client.post(edge.url("/api/files/upload/rsp-bgs")).bearer_auth(&edge.token);
    let call = call.header("content-type", "multipart/form-data; boundary=b").body(body);
    let reply = call.send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

fn file(disposition: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_in_one_form_are_refused_and_none_is_stored() {
    let edge = Edge::start(|_| {}).await;
    let two = [
        file("name=\"file\"; filename=\"a.json\"", "[1]"),
        file("name=\"file\"; filename=\"b.json\"", "[2]"),
        "--b--\r\n".to_owned(),
    ];
    let (status, reply) = send(&edge, two.concat()).await;
    assert_eq!((status, &reply["code"]), (400, &json!("several_files")), "{reply}");
    for name in ["a.json", "b.json"] {
        assert!(edge.download(name).await.contains("file_not_found"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_fields_may_stand_around_the_file() {
    let edge = Edge::start(|_| {}).await;
    let form = [
        file("name=\"comment\"", "before"),
        file("name=\"file\"; filename=\"a.json\"", "[1]"),
        file("name=\"comment\"", "after"),
        "--b--\r\n".to_owned(),
    ];
    assert_eq!(send(&edge, form.concat()).await.0, 200);
    assert_eq!(edge.download("a.json").await, "[1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_another_field_is_not_dropped_in_silence() {
    let edge = Edge::start(|_| {}).await;
    let taken = file("name=\"file\"; filename=\"a.json\"", "[1]");
    let other = file("name=\"files\"; filename=\"b.json\"", "[2]");
    for form in [[taken.clone(), other.clone()], [other.clone(), taken.clone()]] {
        let (status, reply) = send(&edge, form.concat() + "--b--\r\n").await;
        assert_eq!((status, &reply["code"]), (400, &json!("several_files")), "{reply}");
        assert!(reply["detail"].as_str().unwrap().contains("« files »"), "{reply}");
        for name in ["a.json", "b.json"] {
            assert!(edge.download(name).await.contains("file_not_found"), "{name}");
        }
    }
    let (status, reply) = send(&edge, other + "--b--\r\n").await;
    assert_eq!((status, &reply["code"]), (422, &json!("missing_field")), "{reply}");
    let empty = file("name=\"logo\"; filename=\"\"", "");
    let (status, reply) = send(&edge, empty + &taken + "--b--\r\n").await;
    assert_eq!(status, 200, "a field for files that was left empty has none: {reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extended_file_name_counts() {
    let edge = Edge::start(|_| {}).await;
    for disposition in [
        "name=\"file\"; filename*=utf-8''%C3%A9t%C3%A9.json",
        "name=\"file\"; filename=\"=?utf-8?B?w6l0w6kuanNvbg==?=\"; filename*=UTF-8''%C3%A9t%C3%A9.json",
    ] {
        let (status, reply) = send(&edge, file(disposition, "[1]") + "--b--\r\n").await;
        assert_eq!((status, &reply["filename"]), (200, &json!("été.json")), "{disposition}: {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_end_is_refused_at_its_first_kib() {
    let edge = Edge::start(|_| {}).await;
    let endless = [
        "x".repeat(20_000_000),
        format!("--b\r\nContent-Disposition: form-data; name=\"{}", "x".repeat(20_000_000)),
        file("name=\"comment\"", &"x".repeat(20_000_000)),
    ];
    for body in endless {
        let (status, reply) = send(&edge, body).await;
        assert_eq!((status, &reply["code"]), (400, &json!("invalid_form")), "{reply}");
    }
}
