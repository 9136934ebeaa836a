//! The relay from inside: what a crash may leave behind, what other programs do, what two writers do at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conditions;
mod crash;
mod folder;
mod left_out;
mod listening;
mod writing;

use std::path::PathBuf;

use relais::boot::{self, Running};
use relais::config::Config;
use relais::features::relay::Relay;
use relais_protocol::event::Cursor;
use relais_testkit::TestDb;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A server, with what is needed to start it again on the same data.
pub(crate) struct TestServer {
    running: Running,
    config: Config,
    client: Client,
    folder: tempfile::TempDir,
}

impl TestServer {
    async fn start(database: Option<String>, settings: impl Fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.data = folder.path().join("data");
        config.server.drain_s = 0;
        config.database.url = database;
        settings(&mut config);
        let running = boot::start(config.clone()).await.unwrap();
        Self { running, config, client: Client::new(), folder }
    }

    /// Stops the server, lets `meddle` do what happens meanwhile, and starts it again.
    async fn restart(mut self, meddle: impl FnOnce(&PathBuf)) -> Self {
        self.running.stop().await;
        meddle(&self.folder.path().join("data"));
        self.running = boot::start(self.config.clone()).await.unwrap();
        self
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.config.relay_files_dir().join("rsp-bgs").join(name)
    }

    fn cursor(&self) -> Cursor {
        self.running.app().service::<Relay>().cursor()
    }

    async fn upload(&self, name: &str, content: impl Into<String>) -> Response {
        self.upload_if(name, content, &[]).await
    }

    async fn upload_if(&self, name: &str, content: impl Into<String>, headers: &[(&str, &str)]) -> Response {
        let part = reqwest::multipart::Part::text(content.into()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        let mut request = self.client.post(self.url("/api/files/upload/rsp-bgs")).multipart(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn uploaded(&self, name: &str, content: impl Into<String>) -> Value {
        let reply = self.upload(name, content).await;
        assert_eq!(reply.status(), StatusCode::OK);
        reply.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    async fn downloaded(&self, name: &str) -> String {
        self.get(&format!("/api/files/download/rsp-bgs/{name}")).await.text().await.unwrap()
    }

    /// What happened after a cursor; waits until something did.
    async fn changes_after(&self, cursor: &str) -> Vec<Value> {
        let page = self.json(&format!("/api/files/changes?since={cursor}&wait=20")).await;
        page["changes"].as_array().unwrap().clone()
    }

    /// Every event of the log, in order.
    async fn whole_feed(&self) -> Vec<Value> {
        self.json("/api/files/changes?limit=1000").await["changes"].as_array().unwrap().clone()
    }
}

/// Runs a test on SQLite and on PostgreSQL.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(TestServer) -> F) {
    on_both_with(|_| {}, test).await;
}

async fn on_both_with<F: Future<Output = ()>>(
    settings: impl Fn(&mut Config),
    test: impl Fn(TestServer) -> F,
) {
    test(TestServer::start(None, &settings).await).await;
    let database = TestDb::postgres();
    test(TestServer::start(Some(database.address().to_owned()), &settings).await).await;
}
