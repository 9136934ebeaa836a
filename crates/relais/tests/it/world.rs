//! A server with people, for the tests of features.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use relais::boot::{self, Running};
use relais::config::{AuthMode, Config};
use relais::features::accounts::{Accounts, Actor, NewUser};
use relais_protocol::time::{Clock as _, SharedClock, SystemClock};
use relais_testkit::{TestClock, TestDb};
use reqwest::{Client, Method};
use serde_json::Value;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it takes until it is looked again whether something is so.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A server that requires credentials.
pub(crate) struct World {
    pub(crate) running: Running,
    config: Config,
    clock: SharedClock,
    client: Client,
    _folder: tempfile::TempDir,
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl World {
    async fn start(database: Option<String>, settings: impl Fn(&mut Config), clock: SharedClock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.data = folder.path().join("data");
        config.server.drain_s = 0;
        config.auth.mode = AuthMode::Required;
        config.database.url = database;
        settings(&mut config);
        let running = boot::start_with(config.clone(), Arc::clone(&clock)).await.unwrap();
        Self { running, config, clock, client: Client::new(), _folder: folder }
    }

    /// A server on SQLite, for what no database decides.
    pub(crate) async fn alone(settings: impl Fn(&mut Config)) -> Self {
        Self::start(None, settings, Arc::new(SystemClock)).await
    }

    /// A server on a database that others may use too, with the secret that they have in common.
    pub(crate) async fn on(database: &str, secret: &str) -> Self {
        Self::on_in_time(database, secret, Arc::new(SystemClock)).await
    }

    /// The same, at a time of its own.
    pub(crate) async fn on_in_time(database: &str, secret: &str, clock: SharedClock) -> Self {
        let settings = |config: &mut Config| config.auth.jwt.secret = Some(secret.to_owned());
        Self::start(Some(database.to_owned()), settings, clock).await
    }

    /// Waits until a request waits for an event.
    pub(crate) async fn polled(&self) {
        let began = Instant::now();
        while self.running.app().polls_waiting() == 0 {
            assert!(began.elapsed() < PATIENCE, "no poll waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The settings.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) async fn restart(mut self) -> Self {
        self.running.stop().await;
        self.running = boot::start_with(self.config.clone(), Arc::clone(&self.clock)).await.unwrap();
        self
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        self.user(name, false).await
    }

    pub(crate) async fn user(&self, name: &str, admin: bool) -> Person {
        let accounts = Accounts::new(self.running.app().auth().clone());
        let actor = Actor::named("test", None);
        let user = NewUser {
            email: format!("{}@relais.fr", name.to_lowercase()),
            password: "correct horse battery".into(),
            firstname: name.into(),
            lastname: "Martin".into(),
            admin,
            ..NewUser::default()
        };
        let user = accounts.create_user(&actor, user).await.unwrap();
        let token = accounts.issue_token(&actor, &user.id, None).await.unwrap();
        Person { id: user.id, token }
    }

    /// A call; the status and the whole reply.
    pub(crate) async fn request(
        &self,
        who: &Person,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.running.address());
        let mut request = self.client.request(method, url).bearer_auth(&who.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap_or_default())
    }
}

/// What an endless answer says until `done`. A piece of it may end within a character.
pub(crate) async fn text_until(mut answer: reqwest::Response, done: impl Fn(&str) -> bool) -> String {
    let mut bytes = Vec::new();
    let text = async {
        loop {
            if let Ok(text) = std::str::from_utf8(&bytes)
                && done(text)
            {
                return text.to_owned();
            }
            bytes.extend_from_slice(&answer.chunk().await.unwrap().expect("the answer goes on"));
        }
    };
    tokio::time::timeout(PATIENCE, text).await.expect("the answer says it in time")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what} in time");
}

/// Runs a test on SQLite and on PostgreSQL.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    on_both_with(|_| {}, test).await;
}

pub(crate) async fn on_both_with<F: Future<Output = ()>>(
    settings: impl Fn(&mut Config),
    test: impl Fn(World) -> F,
) {
    let clock = || Arc::new(SystemClock);
    test(World::start(None, &settings, clock()).await).await;
    let database = TestDb::postgres();
    test(World::start(Some(database.address().to_owned()), &settings, clock()).await).await;
}

/// As [`on_both`], at a time that passes only when the test says so.
pub(crate) async fn on_both_in_time<F: Future<Output = ()>>(test: impl Fn(World, Arc<TestClock>) -> F) {
    let postgres = TestDb::postgres();
    for database in [None, Some(postgres.address().to_owned())] {
        let clock = TestClock::at(SystemClock.now().as_millis());
        test(World::start(database, |_| {}, Arc::clone(&clock) as SharedClock).await, clock).await;
    }
}
