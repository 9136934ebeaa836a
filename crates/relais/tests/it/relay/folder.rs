//! What other programs do in the folder.

use relais_testkit::TestDb;

use super::{PATIENCE, TestServer, on_both};
use relais::features::relay::Relay;

async fn next_change(server: &TestServer, cursor: &str) -> serde_json::Value {
    let changes =
        tokio::time::timeout(PATIENCE, server.changes_after(cursor)).await.expect("a change is announced");
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_other_programs_write_and_remove_are_announced() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let before = server.cursor().to_string();
        std::fs::write(server.file("b_2023.json"), "[2]").unwrap();
        let written = next_change(&server, &before).await;
        assert_eq!(
            (written["filename"].as_str(), written["origin"].as_str()),
            (Some("b_2023.json"), Some("folder"))
        );
        assert_eq!(server.downloaded("b_2023.json").await, "[2]");

        std::fs::remove_file(server.file("a_2023.json")).unwrap();
        let removed = next_change(&server, written["cursor"].as_str().unwrap()).await;
        assert_eq!(
            (removed["type"].as_str(), removed["filename"].as_str()),
            (Some("file_deleted"), Some("a_2023.json"))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_with_files_becomes_a_societe() {
    on_both(|server| async move {
        let before = server.cursor().to_string();
        let base = server.config.relay_files_dir();
        std::fs::create_dir_all(server.folder.path().join("rsp-neu")).unwrap();
        std::fs::write(server.folder.path().join("rsp-neu/c_2024.json"), "[3]").unwrap();
        std::fs::rename(server.folder.path().join("rsp-neu"), base.join("rsp-neu")).unwrap();
        assert_eq!(next_change(&server, &before).await["societe"], "rsp-neu");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_committed_is_told_served_and_placed() {
    let database = TestDb::postgres();
    let url = || Some(database.address().to_owned());
    let here = TestServer::start(url(), |_| {}).await;
    let there = TestServer::start(url(), |_| {}).await;
    let mut cursor = here.cursor().to_string();
    // Several times: the folder follows in its own time, and must not be overtaken by what it does for an older event.
    for round in 0..8 {
        for content in [format!("[{round}]"), format!("[{round}, 2]")] {
            there.uploaded("a_2023.json", content.clone()).await;
            let uploaded = next_change(&here, &cursor).await;
            cursor = uploaded["cursor"].as_str().unwrap().to_owned();
            assert_eq!(uploaded["type"], "file_uploaded");
            assert_eq!(here.downloaded("a_2023.json").await, content);
            assert_eq!(std::fs::read_to_string(here.file("a_2023.json")).unwrap(), content);
        }
        let url = there.url("/api/files/delete/rsp-bgs/a_2023.json");
        there.client.delete(url).send().await.unwrap().error_for_status().unwrap();
        let deleted = next_change(&here, &cursor).await;
        cursor = deleted["cursor"].as_str().unwrap().to_owned();
        assert_eq!(deleted["type"], "file_deleted");
        let gone = here.get("/api/files/download/rsp-bgs/a_2023.json").await;
        assert_eq!(gone.status(), reqwest::StatusCode::NOT_FOUND);
        assert!(!here.file("a_2023.json").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_became_a_link_to_itself_is_no_folder() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let folder = server.config.relay_files_dir().join("rsp-bgs");
        std::fs::rename(&folder, server.folder.path().join("away")).unwrap();
        std::os::unix::fs::symlink("rsp-bgs", &folder).unwrap();
        let answer = server.get("/api/files/download/rsp-bgs/a_2023.json").await;
        assert_eq!(answer.status(), reqwest::StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_is_neither_announced_nor_served() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let before = server.cursor().to_string();
        std::fs::write(server.file("a_2023.json"), "[1, 2").unwrap();
        assert_eq!(server.downloaded("a_2023.json").await, "[1]");
        std::fs::write(server.file("a_2023.json"), "[1, 2]").unwrap();
        assert_eq!(next_change(&server, &before).await["version"], 2);
        assert_eq!(server.downloaded("a_2023.json").await, "[1, 2]");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_server_was_away_is_announced_at_its_start() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("b_2023.json", "[1]").await;
        let before = server.cursor().to_string();
        let server = server
            .restart(|data| {
                let folder = data.join("payloads_societes/rsp-bgs");
                std::fs::remove_file(folder.join("a_2023.json")).unwrap();
                std::fs::write(folder.join("b_2023.json"), "[22]").unwrap();
            })
            .await;
        let changes = server.changes_after(&before).await;
        let mut told: Vec<_> =
            changes.iter().map(|c| (c["filename"].as_str().unwrap(), c["type"].as_str().unwrap())).collect();
        told.sort_unstable();
        assert_eq!(told, [("a_2023.json", "file_deleted"), ("b_2023.json", "file_uploaded")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_not_taken_for_the_work_of_other_programs() {
    on_both(|server| async move {
        let uploads = (0..200).map(|n| server.upload("a_2023.json", format!("[{n}]")));
        futures_util::future::join_all(uploads).await;
        server.running.app().service::<Relay>().rescan().await.unwrap();
        let feed = server.whole_feed().await;
        assert_eq!(feed.len(), 200);
        assert!(feed.iter().all(|change| change["origin"] == "upload"));
        let offsets: Vec<u64> = feed.iter().map(|change| change["offset"].as_u64().unwrap()).collect();
        assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
    })
    .await;
}
