//! Uploads, deletions, versions, conditions.

use relais_store::packs::PACK_BYTES;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{TestServer, on_both, on_both_with};
use relais::features::relay::Relay;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_again_makes_no_version_and_no_event() {
    on_both(|server| async move {
        let first = server.uploaded("comptes_2023.json", "{\"a\":1}").await;
        let again = server.uploaded("comptes_2023.json", "{\"a\":1}").await;
        assert_eq!((first["changed"].clone(), again["changed"].clone()), (json!(true), json!(false)));
        assert_eq!(again["version"], 1);
        assert_eq!(server.whole_feed().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_kept_listed_fetched_and_restored_up_to_the_setting() {
    on_both_with(
        |config| config.relay.versions_kept = 2,
        |server| async move {
            for n in 1..=5 {
                server.uploaded("a_2023.json", format!("[{n}]")).await;
            }
            let listed = server.json("/api/files/versions/rsp-bgs/a_2023.json").await;
            let numbers: Vec<_> =
                listed["versions"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
            assert_eq!(numbers, [json!(5), json!(4), json!(3)]);
            assert_eq!(server.downloaded("a_2023.json?version=4").await, "[4]");
            let gone = server.get("/api/files/download/rsp-bgs/a_2023.json?version=2").await;
            assert_eq!(gone.status(), StatusCode::NOT_FOUND);

            let restore = server.url("/api/files/restore/rsp-bgs/a_2023.json");
            let slip = json!({ "version": 4, "dry_run": true });
            let reply = server.client.post(&restore).json(&slip).send().await.unwrap();
            assert_eq!(reply.status(), StatusCode::UNPROCESSABLE_ENTITY, "a field that is none");
            let reply = server.client.post(restore).json(&json!({ "version": 4 })).send().await.unwrap();
            assert_eq!(reply.json::<Value>().await.unwrap()["version"], 6);
            assert_eq!(server.downloaded("a_2023.json").await, "[4]");
            assert_eq!(server.whole_feed().await.last().unwrap()["origin"], "restore");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_is_kept_beside_the_database_and_restored_from_there() {
    on_both(|server| async move {
        let large = format!("[\"{}\"]", "x".repeat(400 * 1024));
        server.uploaded("a_2023.json", large.clone()).await;
        server.uploaded("a_2023.json", "[]").await;
        assert_eq!(server.downloaded("a_2023.json?version=1").await, large);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_versions_need_outlives_the_room_of_those_that_are_gone() {
    let server = TestServer::start(None, |config| config.relay.versions_kept = 1).await;
    server.uploaded("b_2023.json", "[\"kept\"]").await;
    server.uploaded("b_2023.json", "[\"present\"]").await;
    let filling = "x".repeat(120 * 1024);
    let full_pack = PACK_BYTES / filling.len() as u64;
    for n in 0..full_pack + 2 {
        server.uploaded("a_2023.json", format!("[{n},\"{filling}\"]")).await;
    }
    let done = server.running.app().service::<Relay>().compact().await.unwrap();
    assert_eq!((done.moved, done.removed, done.kept), (2, 1, 0));
    assert_eq!(server.downloaded("b_2023.json?version=1").await, "[\"kept\"]");
    let server = server.restart(|_| {}).await;
    assert_eq!(server.downloaded("b_2023.json?version=1").await, "[\"kept\"]");
    assert_eq!(server.downloaded("b_2023.json").await, "[\"present\"]");
    assert!(server.downloaded(&format!("a_2023.json?version={}", full_pack + 1)).await.ends_with("x\"]"));
    assert_eq!(server.running.app().service::<Relay>().compact().await.unwrap().removed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_version_keeps_the_others_from_nothing() {
    let server = TestServer::start(None, |config| config.relay.versions_kept = 1).await;
    server.uploaded("b_2023.json", "[\"damaged\"]").await;
    server.uploaded("b_2023.json", "[\"present\"]").await;
    server.uploaded("c_2023.json", "[\"whole\"]").await;
    let filling = "x".repeat(120 * 1024);
    for n in 0..PACK_BYTES / filling.len() as u64 + 2 {
        server.uploaded("a_2023.json", format!("[{n},\"{filling}\"]")).await;
    }
    let pack = server.config.server.data.join("relais.packs/00000000.pack");
    let pack = std::fs::File::options().write(true).open(pack).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&pack, b"[0", 0).unwrap();
    let relay = server.running.app().service::<Relay>();
    let done = relay.compact().await.unwrap();
    assert_eq!((done.moved, done.damaged, done.removed, done.kept), (2, 1, 0, 1), "its pack stays");
    assert_eq!(relay.compact().await.unwrap().damaged, 1, "and the next pass does not stop there");
    let status = server.json("/api/files/status").await;
    assert_eq!(
        (&status["left_out"][0]["name"], &status["left_out"][0]["code"]),
        (&"b_2023.json".into(), &"content_damaged".into())
    );
    assert_eq!(server.downloaded("c_2023.json").await, "[\"whole\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_disk_damaged_is_not_given_out() {
    let server = TestServer::start(None, |_| {}).await;
    server.uploaded("a_2023.json", "[1]").await;
    let server = server
        .restart(|data| {
            let packs = std::fs::File::options().write(true).open(data.join("relais.packs/00000000.pack"));
            std::os::unix::fs::FileExt::write_all_at(&packs.unwrap(), b"[2]", 0).unwrap();
        })
        .await;
    let answer = server.get("/api/files/download/rsp-bgs/a_2023.json?version=1").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "content_damaged");
    assert_eq!(server.downloaded("a_2023.json").await, "[1]", "the plain file is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_is_lost_altogether_keeps_nothing_else_from_being_served() {
    let server = TestServer::start(None, |_| {}).await;
    server.uploaded("a_2023.json", "[1]").await;
    let server = server
        .restart(|data| {
            let pack = std::fs::File::options().write(true).open(data.join("relais.packs/00000000.pack"));
            pack.unwrap().set_len(1).unwrap();
            std::fs::remove_dir_all(data.join("payloads_societes")).unwrap();
        })
        .await;
    let answer = server.get("/api/files/download/rsp-bgs/a_2023.json").await;
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "content_damaged");
    server.uploaded("b_2023.json", "[2]").await;
    server.uploaded("a_2023.json", "[3]").await;
    assert_eq!(server.downloaded("a_2023.json").await, "[3]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_the_last_update_also_after_a_restart() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("b_2023.json", "[1]").await;
        let updated = server.json("/api/files/status").await["last_update"].clone();
        let url = server.url("/api/files/delete/rsp-bgs/b_2023.json");
        server.client.delete(url).send().await.unwrap().error_for_status().unwrap();
        let deleted = server.json("/api/files/status").await["last_update"].clone();
        assert!(deleted.as_str() >= updated.as_str(), "{deleted} after {updated}");
        let change = server.whole_feed().await.pop().unwrap();
        assert_eq!(deleted, change["timestamp"], "the deletion itself");
        let server = server.restart(|_| {}).await;
        assert_eq!(server.json("/api/files/status").await["last_update"], deleted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_gone_and_can_be_restored() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let url = server.url("/api/files/delete/rsp-bgs/a_2023.json");
        let deleted = server.client.delete(&url).send().await.unwrap();
        assert_eq!(deleted.status(), StatusCode::OK);
        assert!(!server.file("a_2023.json").exists());
        assert_eq!(server.client.delete(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
        assert_eq!(
            server.get("/api/files/download/rsp-bgs/a_2023.json").await.status(),
            StatusCode::NOT_FOUND
        );
        let restore = server.url("/api/files/restore/rsp-bgs/a_2023.json");
        server.client.post(restore).json(&json!({ "version": 1 })).send().await.unwrap();
        assert_eq!(server.downloaded("a_2023.json").await, "[1]");
        assert_eq!(std::fs::read(server.file("a_2023.json")).unwrap(), b"[1]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_the_same_condition_one_wins() {
    on_both(|server| async move {
        let first = server.uploaded("a_2023.json", "[0]").await;
        let etag = first["etag"].as_str().unwrap().to_owned();
        let condition = [("if-match", etag.as_str())];
        let writers = (1..=8).map(|n| server.upload_if("a_2023.json", format!("[{n}]"), &condition));
        let statuses: Vec<_> =
            futures_util::future::join_all(writers).await.iter().map(reqwest::Response::status).collect();
        let won = statuses.iter().filter(|status| **status == StatusCode::OK).count();
        let lost = statuses.iter().filter(|status| **status == StatusCode::PRECONDITION_FAILED).count();
        assert_eq!((won, lost), (1, 7), "{statuses:?}");
        let absent = [("if-none-match", "*")];
        assert_eq!(server.upload_if("b_2023.json", "[]", &absent).await.status(), StatusCode::OK);
        let taken = server.upload_if("b_2023.json", "[1]", &absent).await.status();
        assert_eq!(taken, StatusCode::PRECONDITION_FAILED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_kept_to_and_the_old_file_stays() {
    on_both_with(
        |config| config.relay.quota_bytes = 100,
        |server| async move {
            server.uploaded("a_2023.json", format!("[\"{}\"]", "x".repeat(60))).await;
            let second = server.upload("b_2023.json", format!("[\"{}\"]", "y".repeat(60))).await;
            assert_eq!(second.status(), StatusCode::INSUFFICIENT_STORAGE);
            assert_eq!(second.json::<Value>().await.unwrap()["code"], "quota_exceeded");
            let larger = server.upload("a_2023.json", format!("[\"{}\"]", "z".repeat(120))).await;
            assert_eq!(larger.status(), StatusCode::INSUFFICIENT_STORAGE);
            assert!(server.downloaded("a_2023.json").await.contains("xxx"));
            server.uploaded("a_2023.json", format!("[\"{}\"]", "w".repeat(80))).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_says_what_to_fetch_send_and_delete() {
    on_both(|server| async move {
        let stale = server.uploaded("stale_1.json", "[1]").await["sha256"].clone();
        server.uploaded("stale_1.json", "[2]").await;
        let same = server.uploaded("same_1.json", "[3]").await["sha256"].clone();
        let dropped = server.uploaded("dropped_1.json", "[4]").await["sha256"].clone();
        let url = server.url("/api/files/delete/rsp-bgs/dropped_1.json");
        server.client.delete(url).send().await.unwrap();
        server.uploaded("unknown_1.json", "[5]").await;
        server.uploaded("edited_1.json", "[6]").await;
        let manifest = json!({
            "stale_1.json": stale, "same_1.json": same, "dropped_1.json": dropped,
            "edited_1.json": "0".repeat(64), "new_1.json": "1".repeat(64),
        });
        let url = server.url("/api/files/sync/rsp-bgs");
        let reply: Value =
            server.client.post(url).json(&manifest).send().await.unwrap().json().await.unwrap();
        let mut fetch: Vec<_> =
            reply["fetch"].as_array().unwrap().iter().map(|f| f["filename"].as_str().unwrap()).collect();
        fetch.sort_unstable();
        assert_eq!(fetch, ["stale_1.json", "unknown_1.json"]);
        assert_eq!(reply["send"], json!(["edited_1.json", "new_1.json"]));
        assert_eq!(reply["delete"], json!(["dropped_1.json"]));
        assert_eq!(reply["unchanged"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_file_can_have_is_not_found() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "{}").await;
        let number = u64::MAX;
        let reply = server.get(&format!("/api/files/download/rsp-bgs/a_2023.json?version={number}")).await;
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        let restore = server.client.post(server.url("/api/files/restore/rsp-bgs/a_2023.json"));
        let reply = restore.json(&json!({ "version": number })).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
    })
    .await;
}
