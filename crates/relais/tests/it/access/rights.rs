//! Rights end everywhere at once.

use std::sync::Arc;
use std::time::Duration;

use relais::auth::{Auth, Policy};
use relais::features;
use relais::features::accounts::{Accounts, Actor, Grant, UserChanges};
use relais_protocol::time::SystemClock;
use relais_store::{Store, StoreConfig};
use reqwest::Method;
use serde_json::{Value, json};

use super::wire::{Raw, Socket, emit, socket};
use super::{Person, World, on_both, on_both_with};
use relais::features::relay::Relay;

/// Less than the time that a request waits, more than what an answer takes on a busy computer.
const BEFORE_THE_WAIT_IS_OVER: Duration = Duration::from_secs(40);
const SECRET: &str = "a-secret-that-two-servers-have-in-common";

pub(super) fn accounts(world: &World) -> Accounts {
    Accounts::new(world.running.app().auth().clone())
}

pub(super) fn tester() -> Actor {
    Actor::named("test", None)
}

pub(super) async fn disable(accounts: &Accounts, who: &Person) {
    let changes = UserChanges { disabled: Some(true), ..UserChanges::default() };
    accounts.update_user(&tester(), &who.id, changes).await.unwrap();
}

/// A key as somebody who calls, and its id.
pub(super) async fn key(world: &World, scopes: &[&str]) -> (Person, String) {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let (info, token) = accounts(world).create_key(&tester(), "batch", &scopes, None).await.unwrap();
    (Person { id: String::new(), token }, info.id)
}

/// Waits for an event that does not come before the rights have ended; the status of the answer.
pub(super) async fn waiting(
    world: &World,
    who: &Person,
    path: &str,
    end: impl Future<Output = ()>,
) -> (u16, Value) {
    let since = world.running.app().store().head();
    let path = format!("{path}since={since}&wait=60");
    let asked = world.request(who, Method::GET, &path, Value::Null);
    let ended = async {
        world.polled().await;
        end.await;
    };
    let both = async { tokio::join!(asked, ended).0 };
    tokio::time::timeout(BEFORE_THE_WAIT_IS_OVER, both).await.expect("the answer comes at once")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_waits_answers_nothing_to_whose_rights_ended() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let ended = async {
            disable(&accounts(&world), &lea).await;
            emit(&world, "page:a").await;
        };
        let (status, reply) = waiting(&world, &lea, "/api/v1/poll?channel=page:a&", ended).await;
        assert_eq!((status, &reply["code"]), (401, &json!("unauthenticated")), "{reply}");

        let (program, id) = key(&world, &["events:subscribe:page:a"]).await;
        let revoked = async { accounts(&world).revoke_key(&tester(), &id).await.unwrap() };
        let (status, _) = waiting(&world, &program, "/api/v1/poll?channel=page:a&", revoked).await;
        assert_eq!(status, 401, "without any event");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_changes_ends_with_the_right_to_them() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let (accounts, all) = (accounts(&world), ["rsp-bgs", "autre"]);
        for societe in all {
            let grant = Grant { societe: societe.into(), access: "read".into() };
            accounts.set_grant(&tester(), &lea.id, grant).await.unwrap();
        }
        let removed = async { accounts.remove_grant(&tester(), &lea.id, "rsp-bgs").await.unwrap() };
        let path = "/api/files/societe/rsp-bgs/changes?";
        let (status, reply) = waiting(&world, &lea, path, removed).await;
        assert_eq!((status, &reply["code"]), (403, &json!("forbidden")), "{reply}");

        let (program, id) = key(&world, &["relay:read:*"]).await;
        let revoked = async { accounts.revoke_key(&tester(), &id).await.unwrap() };
        let (status, _) = waiting(&world, &program, "/api/files/changes?", revoked).await;
        assert_eq!(status, 401);
    })
    .await;
}

/// The head and the first half of an upload, once the server has asked for the rest.
async fn upload_under_way(world: &World, who: &Person) -> (Raw, &'static str) {
    let first = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n{\"a\":";
    let rest = "1}\r\n--X--\r\n";
    let mut upload = Raw::to(world).await;
    upload
        .write(format!(
            "POST /api/files/upload/rsp-bgs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: multipart/form-data; boundary=X\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            who.token,
            first.len() + rest.len()
        ))
        .await;
    // Asked for once it is clear that the caller may.
    assert_eq!(upload.answer().await.0, 100);
    upload.write(first).await;
    (upload, rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_is_not_stored_for_whom_the_rights_ended() {
    on_both(|world| async move {
        let (accounts, grant) =
            (accounts(&world), || Grant { societe: "rsp-bgs".into(), access: "write".into() });
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        for person in [&lea, &paul] {
            accounts.set_grant(&tester(), &person.id, grant()).await.unwrap();
        }
        let (program, id) = key(&world, &["relay:write:rsp-bgs"]).await;

        let (mut upload, rest) = upload_under_way(&world, &lea).await;
        disable(&accounts, &lea).await;
        upload.write(rest).await;
        assert_eq!(upload.answer().await.0, 401, "disabled");

        let (mut upload, rest) = upload_under_way(&world, &paul).await;
        accounts.remove_grant(&tester(), &paul.id, "rsp-bgs").await.unwrap();
        upload.write(rest).await;
        assert_eq!(upload.answer().await.0, 403, "without the grant");

        let (mut upload, rest) = upload_under_way(&world, &program).await;
        accounts.revoke_key(&tester(), &id).await.unwrap();
        upload.write(rest).await;
        assert_eq!(upload.answer().await.0, 401, "revoked");

        assert_eq!(world.running.app().service::<Relay>().totals(|_| true).files, 0);
        accounts.set_grant(&tester(), &paul.id, grant()).await.unwrap();
        let (mut upload, rest) = upload_under_way(&world, &paul).await;
        upload.write(rest).await;
        assert_eq!(upload.answer().await.0, 200, "nothing is wrong with the upload itself");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_took_its_time_changes_nothing_once_the_rights_ended() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let body = json!({ "name": "mine", "scopes": ["admin:*"] }).to_string();
        let mut call = Raw::to(&world).await;
        call.write(format!(
            "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            admin.token,
            body.len()
        ))
        .await;
        assert_eq!(call.answer().await.0, 100);
        world.user("Eve", true).await;
        disable(&accounts(&world), &admin).await;
        call.write(&body).await;
        assert_eq!(call.answer().await.0, 401);
        assert!(accounts(&world).list_keys(String::new(), 10).await.unwrap().is_empty());
    })
    .await;
}

/// One live connection of every kind, as somebody who hears a société.
async fn connections(world: &World, who: &Person) -> Vec<(&'static str, Socket)> {
    let authorization = format!("Bearer {}", who.token);
    let headers = [("authorization", &*authorization)];
    let mut all = Vec::new();
    for path in ["/api/v1/ws", "/api/files/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"] {
        let mut standing = socket(world, path, &headers).await.unwrap();
        standing.text().await;
        all.push((path, standing));
    }
    all
}

async fn all_closed(connections: Vec<(&'static str, Socket)>) {
    for (path, mut socket) in connections {
        let (code, reason) = socket.closed().await;
        assert_eq!((code, reason.contains("rights")), (1012, true), "{path}: {reason}");
    }
}

async fn reader(world: &World) -> Person {
    let lea = world.person("Lea").await;
    let grant = Grant { societe: "rsp-bgs".into(), access: "read".into() };
    accounts(world).set_grant(&tester(), &lea.id, grant).await.unwrap();
    lea
}

#[tokio::test(flavor = "multi_thread")]
async fn live_connections_of_every_kind_end() {
    on_both(|world| async move {
        let lea = reader(&world).await;
        let sockets = connections(&world, &lea).await;
        let mut stream = Raw::to(&world).await;
        stream
            .write(format!(
                "GET /api/files/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
                lea.token
            ))
            .await;
        assert_eq!(stream.answer().await.0, 200);
        stream.read_to("event: connection").await;
        disable(&accounts(&world), &lea).await;
        all_closed(sockets).await;
        stream.read_to("event: close").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_committed_after_the_end_is_heard() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let authorization = format!("Bearer {}", lea.token);
        let mut listener = socket(&world, "/api/v1/ws", &[("authorization", &authorization)]).await.unwrap();
        listener.text().await;
        listener.say(r#"{"type":"subscribe","channel":"page:a"}"#).await;
        assert!(listener.text().await.contains("subscribed"));
        disable(&accounts(&world), &lea).await;
        emit(&world, "page:a").await;
        let heard = tokio::time::timeout(Duration::from_secs(60), listener.closed_after()).await.unwrap();
        assert_eq!(heard, Vec::<String>::new());
    })
    .await;
}

/// The command line works on the same database, beside the server.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_takes_away_ends_here_too() {
    on_both(|world| async move {
        let lea = reader(&world).await;
        let sockets = connections(&world, &lea).await;
        let config = world.config().clone();
        let mut store_config = StoreConfig::new(config.database_url().parse().unwrap());
        store_config.beside_server = true;
        let (data, clock) = (config.server.data.clone(), Arc::new(SystemClock));
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&store_config, &features::migrations(), clock.clone()).unwrap();
            let policy = Policy { open_mode: false, topics: features::topics() };
            let auth = Auth::open(&config.auth, store.clone(), &data, policy, clock).unwrap();
            (store, Accounts::new(auth))
        });
        let (store, accounts) = opened.await.unwrap();
        let ended = async {
            disable(&accounts, &lea).await;
            emit(&world, "societe:rsp-bgs").await;
        };
        let (status, _) = waiting(&world, &lea, "/api/files/changes?", ended).await;
        assert_eq!(status, 401);
        all_closed(sockets).await;
        store.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_database_hears_of_it() {
    let database = relais_testkit::TestDb::postgres();
    let url = database.address().to_owned();
    let first = World::on(&url, SECRET).await;
    let second = World::on(&url, SECRET).await;
    let lea = reader(&first).await;
    // What gave her the grant is no news any more.
    second.running.app().store().catch_up().await.unwrap();
    let sockets = connections(&second, &lea).await;
    let since = second.running.app().store().head();
    let path = format!("/api/v1/poll?channel=page:a&since={since}&wait=60");
    let asked = second.request(&lea, Method::GET, &path, Value::Null);
    let ended = async {
        second.polled().await;
        disable(&accounts(&first), &lea).await;
    };
    let both = async { tokio::join!(asked, ended).0 };
    let (status, _) =
        tokio::time::timeout(BEFORE_THE_WAIT_IS_OVER, both).await.expect("long before the wait is over");
    assert_eq!(status, 401);
    all_closed(sockets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_second_of_a_change_counts_by_its_generation() {
    on_both_with(
        |config| config.auth.jwt.secret = Some(SECRET.into()),
        |world| async move {
            let lea = world.person("Lea").await;
            let (accounts, me) = (accounts(&world), "/api/auth/me");
            for n in 0..3 {
                let before = accounts.issue_token(&tester(), &lea.id, None).await.unwrap();
                let changes =
                    UserChanges { password: Some(format!("another password {n}")), ..UserChanges::default() };
                accounts.update_user(&tester(), &lea.id, changes).await.unwrap();
                let after = accounts.issue_token(&tester(), &lea.id, None).await.unwrap();
                for (token, expected) in [(before, 401), (after, 200)] {
                    let who = Person { id: lea.id.clone(), token };
                    let (status, _) = world.request(&who, Method::GET, me, Value::Null).await;
                    assert_eq!(status, expected, "change {n}");
                }
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_knows_which_generation_counts() {
    let database = relais_testkit::TestDb::postgres();
    let url = database.address().to_owned();
    let world = World::on(&url, SECRET).await;
    let lea = world.person("Lea").await;
    let changes = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
    accounts(&world).update_user(&tester(), &lea.id, changes).await.unwrap();
    let world = world.restart().await;
    let (status, _) = world.request(&lea, Method::GET, "/api/auth/me", Value::Null).await;
    assert_eq!(status, 401);
}
