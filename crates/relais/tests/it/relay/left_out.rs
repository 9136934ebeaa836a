//! One bad thing never stops the good ones: it is left out, named and counted.

use std::fs::File;
use std::path::Path;

use relais::config::SchemaRule;
use relais_store::{StoreError, params};
use reqwest::StatusCode;
use serde_json::Value;

use super::{PATIENCE, TestServer, on_both, on_both_with};

/// What the status names, as `name: code`, in order.
async fn left_out(server: &TestServer) -> Vec<String> {
    let status = server.json("/api/files/status").await;
    let named = status["left_out"].as_array().cloned().unwrap_or_default();
    assert_eq!(status["left_out_count"].as_u64().unwrap_or(0), named.len() as u64);
    assert!(named.iter().all(|left| !left["reason"].as_str().unwrap().is_empty()));
    let text = |left: &Value| {
        format!("{}: {}", left["name"].as_str().unwrap_or("-"), left["code"].as_str().unwrap())
    };
    named.iter().map(text).collect()
}

/// Waits until the log says that a file came after a cursor.
async fn until_created(server: &TestServer, since: &str, filename: &str) {
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            let page = server.json(&format!("/api/files/changes?since={since}&limit=1000&wait=1")).await;
            let changes = page["changes"].as_array().unwrap();
            if changes.iter().any(|change| change["filename"] == filename) {
                break;
            }
        }
    });
    told.await.unwrap_or_else(|_| panic!("{filename} is told"));
}

/// Waits until the server names exactly this. No event tells of it.
async fn until_left_out(server: &TestServer, expected: &[&str]) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while left_out(server).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        assert_eq!(left_out(server).await, expected);
    }
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn spoil(base: &Path) {
    write(&base.join("Dupont\u{a0}SA/a_2023.json"), "[1]");
    write(&base.join("rsp-bgs/a:b_1.json"), "[1]");
    write(&base.join("rsp-bgs/half_2023.json"), "[1");
    write(&base.join("rsp-bgs/large_2023.json"), &format!("[\"{}\"]", "x".repeat(2000)));
    write(&base.join("rsp-bgs/folder_2023.json/inside.txt"), "");
    write(&base.join("rsp-bgs/deep/er/c_2023.json"), "[5]");
    write(&base.join("rsp-bgs/good_2023.json"), "[2]");
    write(&base.join("lost_2023.json"), "[3]");
    std::os::unix::fs::symlink("nowhere", base.join("rsp-bgs/link_2023.json")).unwrap();
    std::os::unix::fs::symlink("rsp-bgs", base.join("rsp-link")).unwrap();
    write(&base.join("rsp-neg/b_2023.json"), "[4]");
}

const SPOILT: [&str; 9] = [
    "Dupont\u{a0}SA: invalid_name",
    "lost_2023.json: outside_societe",
    "rsp-link: link",
    "a:b_1.json: invalid_name",
    "deep: too_deep",
    "folder_2023.json: not_a_file",
    "half_2023.json: content_refused",
    "large_2023.json: file_too_large",
    "link_2023.json: link",
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_names_files_and_folders_are_named_and_the_server_starts_with_the_rest() {
    on_both_with(
        |config| config.relay.file_bytes_max = 1000,
        |server| async move {
            let server = server.restart(|data| spoil(&data.join("payloads_societes"))).await;
            assert_eq!(left_out(&server).await, SPOILT);
            let good = server.get("/api/files/download/rsp-neg/b_2023.json").await;
            assert_eq!(good.text().await.unwrap(), "[4]");
            assert_eq!(server.downloaded("good_2023.json").await, "[2]");
            let metrics = server.get("/metrics").await.text().await.unwrap();
            assert!(metrics.contains("relais_relay_left_out"), "counted");
            let sync = server.client.post(server.url("/api/files/sync/rsp-bgs")).send().await.unwrap();
            let sync: Value = sync.json().await.unwrap();
            assert_eq!((sync["files_count"].as_u64(), sync["left_out_count"].as_u64()), (Some(1), Some(6)));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_bad_while_the_server_runs_is_named_until_it_is_mended() {
    on_both_with(
        |config| config.relay.file_bytes_max = 1000,
        |server| async move {
            server.uploaded("good_2023.json", "[0]").await;
            let base = server.config.relay_files_dir();
            let before = server.cursor().to_string();
            spoil(&base);
            until_left_out(&server, &SPOILT).await;
            until_created(&server, &before, "b_2023.json").await;
            assert_eq!(
                server.get("/api/files/download/rsp-neg/b_2023.json").await.text().await.unwrap(),
                "[4]"
            );
            std::fs::rename(base.join("rsp-bgs/a:b_1.json"), base.join("rsp-bgs/ab_1.json")).unwrap();
            std::fs::rename(base.join("Dupont\u{a0}SA"), base.join("Dupont SA")).unwrap();
            write(&base.join("rsp-bgs/half_2023.json"), "[1]");
            std::fs::remove_file(base.join("rsp-bgs/large_2023.json")).unwrap();
            std::fs::rename(base.join("rsp-bgs/deep"), base.join("rsp-deep")).unwrap();
            until_left_out(
                &server,
                &[
                    "lost_2023.json: outside_societe",
                    "rsp-link: link",
                    "folder_2023.json: not_a_file",
                    "link_2023.json: link",
                    "er: too_deep",
                ],
            )
            .await;
            until_created(&server, &before, "ab_1.json").await;
            assert_eq!(server.downloaded("ab_1.json").await, "[1]");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_comes_alone_is_named_until_it_is_gone() {
    on_both(|server| async move {
        server.uploaded("good_2023.json", "[0]").await;
        let folder = server.config.relay_files_dir().join("rsp-bgs");
        for target in ["nowhere", "good_2023.json"] {
            std::os::unix::fs::symlink(target, folder.join("link_2023.json")).unwrap();
            until_left_out(&server, &["link_2023.json: link"]).await;
            std::fs::remove_file(folder.join("link_2023.json")).unwrap();
            until_left_out(&server, &[]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_societe_that_no_topic_can_be_named_after_is_refused_with_the_character() {
    on_both(|server| async move {
        let part = reqwest::multipart::Part::text("[1]").file_name("a_2023.json");
        let form = reqwest::multipart::Form::new().part("file", part);
        let url = server.url("/api/files/upload/Dupont%C2%A0SA");
        let reply = server.client.post(url).multipart(form).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
        let reply: Value = reply.json().await.unwrap();
        assert_eq!(reply["code"], "invalid_societe_name");
        assert!(reply["detail"].as_str().unwrap().contains("U+00A0"), "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_served() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("b_2023.json", "[2]").await;
        let broken = server.running.app().store().write(|tx| {
            tx.execute("UPDATE relay_files SET version = -1 WHERE filename = 'a_2023.json'", params![])?;
            Ok::<_, StoreError>(())
        });
        broken.await.unwrap();
        let server = server.restart(|_| {}).await;
        assert_eq!(server.downloaded("b_2023.json").await, "[2]");
        assert!(left_out(&server).await[0].starts_with("a_2023.json: "));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_compile_is_named_and_the_others_hold() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, good) = (folder.path().join("bad.json"), folder.path().join("good.json"));
    std::fs::write(&bad, r#"{"type": 5}"#).unwrap();
    std::fs::write(&good, r#"{"type": "array"}"#).unwrap();
    let rule = |file: &Path, files: &str| SchemaRule {
        societe: "*".into(),
        files: files.into(),
        schema: file.to_owned(),
    };
    let rules = vec![rule(&bad, "a_*"), rule(&folder.path().join("missing.json"), "b_*"), rule(&good, "c_*")];
    on_both_with(
        move |config| config.relay.schemas = rules.clone(),
        |server| async move {
            server.uploaded("a_2023.json", "{}").await;
            server.uploaded("b_2023.json", "{}").await;
            assert_eq!(server.upload("c_2023.json", "{}").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
            let named = left_out(&server).await;
            assert_eq!(named.len(), 2);
            assert!(
                named
                    .iter()
                    .all(|name| name.starts_with("relay.schemas: ") && name.ends_with("schema_unusable"))
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_impossible_names_is_compared_all_the_same() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let manifest = serde_json::json!({ "a:b_1.json": "00", "notes.txt": "00", "new_2023.json": "00" });
        let url = server.url("/api/files/sync/rsp-bgs");
        let reply = server.client.post(url).json(&manifest).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        let reply: Value = reply.json().await.unwrap();
        assert_eq!(reply["send"], serde_json::json!(["new_2023.json"]));
        let refused = reply["refused"].as_array().unwrap();
        let codes: Vec<_> =
            refused.iter().map(|one| (one["filename"].as_str(), one["code"].as_str())).collect();
        let expected =
            [(Some("a:b_1.json"), Some("invalid_file_name")), (Some("notes.txt"), Some("not_a_json_file"))];
        assert_eq!(codes, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decomposed_name_is_noticed_and_served_composed() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[0]").await;
        let base = server.config.relay_files_dir();
        let (decomposed, composed) =
            (base.join("rsp-bgs/anne\u{301}e_2023.json"), base.join("rsp-bgs/année_2023.json"));
        let before = server.cursor().to_string();
        std::fs::write(&decomposed, "[1]").unwrap();
        let change = server.changes_after(&before).await;
        assert_eq!(change[0]["filename"], "année_2023.json");
        assert_eq!(server.downloaded("ann%C3%A9e_2023.json").await, "[1]");
        // Who sends it replaces it where it is, so that the program that wrote it finds the new content.
        server.uploaded("année_2023.json", "[2]").await;
        assert_eq!(std::fs::read_to_string(&decomposed).unwrap(), "[2]");
        assert!(!composed.exists());
        let server = server.restart(|_| {}).await;
        assert_eq!(server.downloaded("ann%C3%A9e_2023.json").await, "[2]");
        assert_eq!(server.whole_feed().await.len(), 3, "no form of the name is a change");
        std::fs::write(&composed, "[3]").unwrap();
        until_left_out(&server, &["anne\u{301}e_2023.json: two_forms_of_a_name"]).await;
        let before = server.cursor().to_string();
        std::fs::remove_file(&decomposed).unwrap();
        std::fs::remove_file(&composed).unwrap();
        let gone = tokio::time::timeout(PATIENCE, async {
            loop {
                let feed = server.whole_feed().await;
                if feed.iter().any(|change| change["type"] == "file_deleted") {
                    break;
                }
                server.json(&format!("/api/files/changes?since={before}&wait=1")).await;
            }
        });
        gone.await.expect("the deletion is told");

        // And a société whose folder has a decomposed name.
        let before = server.cursor().to_string();
        std::fs::create_dir(base.join("Socie\u{301}te\u{301}")).unwrap();
        std::fs::write(base.join("Socie\u{301}te\u{301}/b_2023.json"), "[5]").unwrap();
        until_created(&server, &before, "b_2023.json").await;
        let served = server.get("/api/files/download/Soci%C3%A9t%C3%A9/b_2023.json").await;
        assert_eq!(served.status(), StatusCode::OK);
    })
    .await;
}

/// Replaces a file by one of the same size and the same modification time, as `cp -p` and `unzip` do.
fn replace_unseen(path: &Path, content: &str, in_place: bool) {
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    let other = path.with_extension("other");
    let target = if in_place { path } else { &other };
    std::fs::write(target, content).unwrap();
    File::options().write(true).open(target).unwrap().set_modified(time).unwrap();
    if !in_place {
        std::fs::rename(&other, path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_replaced_unseen_are_never_served_under_the_old_hash() {
    on_both_with(
        |config| config.relay.cache_bytes = 0,
        |server| async move {
            for in_place in [true, false] {
                server.uploaded("a_2023.json", "[\"old\"]").await;
                let part = reqwest::multipart::Part::text("[\"old\"]").file_name("b_2023.json");
                let form = reqwest::multipart::Form::new().part("file", part);
                let url = server.url("/api/files/upload/rsp-neg");
                server.client.post(url).multipart(form).send().await.unwrap().error_for_status().unwrap();
                replace_unseen(&server.file("a_2023.json"), "[\"new\"]", in_place);
                let reply = server.get("/api/files/download/rsp-bgs/a_2023.json").await;
                let tag = reply.headers()["etag"].to_str().unwrap().to_owned();
                assert_eq!(reply.text().await.unwrap(), "[\"new\"]");
                assert!(tag.contains(&relais::features::relay::sha256_hex(b"[\"new\"]")), "{tag}");
                let other = server.get("/api/files/download/rsp-neg/b_2023.json").await;
                assert_eq!(other.text().await.unwrap(), "[\"old\"]", "another société with that content");
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_replaced_while_the_server_was_away_are_noticed_at_its_start() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[\"old\"]").await;
        server.uploaded("b_2023.json", "[\"same\"]").await;
        let before = server.cursor().to_string();
        let server = server
            .restart(|data| {
                let folder = data.join("payloads_societes/rsp-bgs");
                replace_unseen(&folder.join("a_2023.json"), "[\"new\"]", true);
                replace_unseen(&folder.join("b_2023.json"), "[\"same\"]", false);
            })
            .await;
        let changes = server.changes_after(&before).await;
        let told: Vec<_> = changes.iter().map(|change| change["filename"].as_str().unwrap()).collect();
        assert_eq!(told, ["a_2023.json"], "the same content is no change");
        assert_eq!(server.downloaded("a_2023.json").await, "[\"new\"]");
    })
    .await;
}
