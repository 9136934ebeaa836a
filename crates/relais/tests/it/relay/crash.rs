//! What a crash between the commit and the plain file leaves, made by hand.

use super::{TestServer, on_both};

async fn nothing_new(server: &TestServer, events: usize) {
    assert_eq!(server.whole_feed().await.len(), events, "a repair is not a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_committed_but_not_placed_is_placed_at_the_start() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        server.uploaded("a_2023.json", "[2]").await;
        server.uploaded("b_2023.json", "[3]").await;
        let server = restart_unsettled(server, |folder| {
            std::fs::write(folder.join("a_2023.json"), "[1]").unwrap();
            std::fs::remove_file(folder.join("b_2023.json")).unwrap();
        })
        .await;
        assert_eq!(std::fs::read(server.file("a_2023.json")).unwrap(), b"[2]");
        assert_eq!(std::fs::read(server.file("b_2023.json")).unwrap(), b"[3]");
        nothing_new(&server, 3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_file_is_written_again_at_the_start() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1, 2, 3]").await;
        let server = restart_unsettled(server, |folder| {
            std::fs::write(folder.join("a_2023.json"), "[1, 2\0\0\0\0").unwrap();
        })
        .await;
        assert_eq!(std::fs::read(server.file("a_2023.json")).unwrap(), b"[1, 2, 3]");
        nothing_new(&server, 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_committed_but_not_done_is_done_at_the_start() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let kept = server.folder.path().join("kept");
        std::fs::copy(server.file("a_2023.json"), &kept).unwrap();
        let modified = std::fs::metadata(server.file("a_2023.json")).unwrap().modified().unwrap();
        let url = server.url("/api/files/delete/rsp-bgs/a_2023.json");
        server.client.delete(url).send().await.unwrap().error_for_status().unwrap();
        let server = restart_unsettled(server, move |folder| {
            std::fs::copy(&kept, folder.join("a_2023.json")).unwrap();
            let left = std::fs::File::options().write(true).open(folder.join("a_2023.json")).unwrap();
            left.set_modified(modified).unwrap();
        })
        .await;
        assert!(!server.file("a_2023.json").exists());
        nothing_new(&server, 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_wrote_after_the_crash_is_not_overwritten() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let server = restart_unsettled(server, |folder| {
            std::fs::write(folder.join("a_2023.json"), "[99]").unwrap();
        })
        .await;
        assert_eq!(server.downloaded("a_2023.json").await, "[99]");
        assert_eq!(server.whole_feed().await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_place_where_the_folder_should_be_is_filled_not_taken_for_a_deletion() {
    on_both(|server| async move {
        server.uploaded("a_2023.json", "[1]").await;
        let mut server = server;
        server =
            server.restart(|data| std::fs::remove_dir_all(data.join("payloads_societes")).unwrap()).await;
        assert_eq!(std::fs::read(server.file("a_2023.json")).unwrap(), b"[1]");
        nothing_new(&server, 1).await;
    })
    .await;
}

async fn restart_unsettled(server: TestServer, meddle: impl FnOnce(&std::path::Path)) -> TestServer {
    let url = server.config.database_url();
    server.restart(|data| meddle_unsettled(data, &url, meddle)).await
}

/// Between stop and start: the mark goes back, as after a power cut, and the files change.
fn meddle_unsettled(data: &std::path::Path, url: &str, meddle: impl FnOnce(&std::path::Path)) {
    let reset = "UPDATE relay_folders SET settled_seq = 0";
    if let Some(file) = url.strip_prefix("sqlite:") {
        rusqlite::Connection::open(file).unwrap().execute(reset, []).unwrap();
    } else {
        let url = url.to_owned();
        let reset =
            move || postgres::Client::connect(&url, postgres::NoTls).unwrap().execute(reset, &[]).unwrap();
        std::thread::spawn(reset).join().unwrap();
    }
    meddle(&data.join("payloads_societes/rsp-bgs"));
}
