//! Every page has the headers of pages; every file of the server is its owner's alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use reqwest::Client;

use super::{World, on_both};

#[tokio::test(flavor = "multi_thread")]
async fn every_page_runs_only_its_own_and_stands_in_no_frame() {
    let world = World::alone(|_| {}).await;
    for path in ["/", "/modules", "/docs", "/docs/", "/docs/index.html", "/docs/oauth2-redirect.html"] {
        let url = format!("http://{}{path}", world.running.address());
        let reply = Client::new().get(url).header("accept", "text/html").send().await.unwrap();
        let headers = reply.headers().clone();
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        if !text("content-type").starts_with("text/html") {
            assert!(!reply.text().await.unwrap().contains("<html"), "{path}");
            continue;
        }
        let policy = text("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy:?}");
        }
        assert!(!policy.contains("script-src 'self' 'unsafe"), "{path}: {policy}");
        assert_eq!(text("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(text("x-frame-options"), "DENY", "{path}");
    }
}

fn open_to_others(path: &Path, found: &mut Vec<String>) {
    let mode = path.metadata().unwrap().permissions().mode();
    if mode & 0o077 != 0 {
        found.push(format!("{} {:o}", path.display(), mode & 0o777));
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            // Other tools read and write there.
            if !path.ends_with("payloads_societes") {
                open_to_others(&path, found);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_keeps_is_its_owners_alone() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let large = format!("[{}1]", "1,".repeat(200_000));
        for (name, content) in [("small.json", "{}"), ("large.json", &*large)] {
            let part = reqwest::multipart::Part::text(content.to_owned()).file_name(name);
            let url = format!("http://{}/api/files/upload/rsp-bgs", world.running.address());
            let form = reqwest::multipart::Form::new().part("file", part);
            let sent = Client::new().post(url).bearer_auth(&admin.token).multipart(form).send().await;
            assert_eq!(sent.unwrap().status(), 200);
        }
        let mut found = Vec::new();
        open_to_others(&world.config().server.data, &mut found);
        assert_eq!(found, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_open_is_closed_and_a_folder_that_was_there_stays() {
    let world = World::alone(|config| {
        std::fs::create_dir_all(config.server.data.join("relais.packs")).unwrap();
        for (name, mode) in [("relais.packs", 0o755), (".", 0o755)] {
            let path = config.server.data.join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::write(config.server.data.join("relais.db"), "").unwrap();
    })
    .await;
    let mut found = Vec::new();
    open_to_others(&world.config().server.data, &mut found);
    assert_eq!(found, [format!("{} 755", world.config().server.data.display())]);
}
