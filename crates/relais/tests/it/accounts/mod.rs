//! Users, keys, sessions, tokens and the record, through HTTP and on both databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod credentials;
mod identity_provider;
mod sign_in;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use relais::auth::{Auth, Ended, Policy};
use relais::config::AuthConfig;
use relais::features;
use relais::features::accounts::{self, Accounts, Actor, NewUser, UserInfo};
use relais_protocol::event::{Channel, Cursor, Event, Topic};
use relais_protocol::time::{Clock, Timestamp};
use relais_store::{DatabaseUrl, EventSink, Store, StoreConfig};
use relais_testkit::TestDb;
use serde_json::{Value, json};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
const SECRET: &str = "a-secret-that-a-backend-shares-with-us";

/// A clock that moves only when told.
#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl StoppedClock {
    fn advance_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Timestamp {
        self.now()
    }
}

/// The accounts of one server on one database.
struct Server {
    auth: Auth,
    accounts: Accounts,
    store: Store,
    clock: Arc<StoppedClock>,
    url: DatabaseUrl,
    router: Router,
    _folder: tempfile::TempDir,
}

/// A reply, read to its end.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    /// The session in the cookie that this reply sets.
    fn session(&self) -> String {
        let cookie = self.headers[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().strip_prefix("relais_session=").unwrap().to_owned()
    }

    fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field} in {}", self.body))
    }
}

impl Server {
    async fn start(url: DatabaseUrl, folder: tempfile::TempDir, config: AuthConfig) -> Self {
        let clock = Arc::new(StoppedClock(AtomicI64::new(1_700_000_000_000)));
        let (opening, shared, data) = (url.clone(), clock.clone(), folder.path().to_owned());
        let opened = tokio::task::spawn_blocking(move || open(&opening, &data, &config, shared));
        let (store, auth) = opened.await.unwrap();
        let router = accounts::http::router::<Auth>().with_state(auth.clone()).into();
        let accounts = Accounts::new(auth.clone());
        Self { auth, accounts, store, clock, url, router, _folder: folder }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        self.send_from("192.0.2.7:5000", request).await
    }

    async fn send_from(&self, address: &str, mut request: Request<Body>) -> Reply {
        request.extensions_mut().insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, bearer: &str, body: Value) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn get(&self, path: &str, bearer: &str) -> Reply {
        self.call("GET", path, bearer, Value::Null).await
    }

    async fn with_cookie(&self, method: &str, path: &str, session: &str) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::COOKIE, format!("relais_session={session}"));
        let request = request.header("sec-fetch-site", "same-origin");
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn sign_in(&self, email: &str, password: &str) -> Reply {
        self.send(sign_in_request(email, password)).await
    }

    async fn add(&self, email: &str, admin: bool) -> UserInfo {
        let new = NewUser {
            email: email.into(),
            password: PASSWORD.into(),
            firstname: "Marie".into(),
            lastname: "Curie".into(),
            admin,
            ..NewUser::default()
        };
        self.accounts.create_user(&tester(), new).await.unwrap()
    }

    /// A token of an administrator, made for the purpose.
    async fn admin_token(&self) -> String {
        self.add("admin@relais.fr", true).await;
        self.sign_in("admin@relais.fr", PASSWORD).await.text("token").to_owned()
    }
}

fn sign_in_request(email: &str, password: &str) -> Request<Body> {
    let body = json!({"email": email, "password": password}).to_string();
    let request = Request::post("/api/auth/login").header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body)).unwrap()
}

fn tester() -> Actor {
    Actor::named("test", None)
}

/// What the log tells of rights that ended after `since`.
async fn rights_told(server: &Server, since: Cursor) -> Vec<Ended> {
    let (channel, head) = (Channel::Topic(Topic::new("rights").unwrap()), server.store.head());
    let events = server.store.events_after(&channel, since.seq, head.seq, 100).await.unwrap();
    events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect()
}

fn open(url: &DatabaseUrl, data: &Path, config: &AuthConfig, clock: Arc<StoppedClock>) -> (Store, Auth) {
    let mut store_config = StoreConfig::new(url.clone());
    store_config.beside_server = true;
    let store = Store::open(&store_config, accounts::MIGRATIONS, clock.clone()).unwrap();
    let policy = Policy { open_mode: false, topics: features::topics() };
    let auth = Auth::open(config, store.clone(), data, policy, clock).unwrap();
    store.set_sink(Arc::new(Observer(auth.clone())));
    (store, auth)
}

/// What a server does with events that end rights.
struct Observer(Auth);

impl EventSink for Observer {
    fn committed(&self, event: Arc<Event>) {
        let _ = self.0.observe(&event);
    }
}

fn config() -> AuthConfig {
    let mut config = AuthConfig::default();
    config.jwt.secret = Some(SECRET.into());
    config
}

/// Runs a test on SQLite and on PostgreSQL.
async fn on_each_database<F: Future<Output = ()>>(config: AuthConfig, test: impl Fn(Server) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::sqlite(folder.path().join("relais.db"));
    test(Server::start(url, folder, config.clone()).await).await;
    let database = TestDb::postgres();
    test(Server::start(database.url(), tempfile::tempdir().unwrap(), config).await).await;
}
