//! Rights that end on one server end on the other: what is under way there, and what is asked of it next.

use std::time::Duration;

use relais::features::accounts::{Grant, UserChanges};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Pair;
use crate::access::rights::{accounts, bearer, disable, key, reader, tester, upload_under_way};
use crate::access::sessions::{sign_out, signed_in};
use crate::access::wire::{Polling, Raw, Socket, emit, socket};
use crate::world::{Person, World};

/// Less than the time that a request waits, more than what an answer takes on a busy computer.
const BEFORE_THE_WAIT_IS_OVER: Duration = Duration::from_secs(40);
const SOCKETS: [&str; 4] =
    ["/api/v1/ws", "/api/files/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"];
/// Where a key is let in.
const SOCKETS_OF_KEYS: &[&str] = &["/api/v1/ws", "/api/files/ws"];

/// Everything that somebody may have under way on a server.
struct Underway {
    sockets: Vec<(&'static str, Socket)>,
    stream: Raw,
    upload: (Raw, &'static str),
    /// The status of the answer to a request that waits for an event.
    poll: JoinHandle<u16>,
}

impl Underway {
    /// Begins it with a credential: one header.
    async fn begin(world: &World, header: (&str, &str), paths: &[&'static str]) -> Self {
        assert_eq!(status(world, header).await, 200, "it counts, and is remembered here");
        let headers = [header, ("sec-fetch-site", "same-origin")];
        let mut sockets = Vec::new();
        for path in paths {
            let mut standing = socket(world, path, &headers).await.unwrap();
            standing.text().await;
            sockets.push((*path, standing));
        }
        let head = format!("{}: {}\r\nSec-Fetch-Site: same-origin", header.0, header.1);
        let mut stream = Raw::to(world).await;
        stream.write(format!("GET /api/files/events HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n")).await;
        assert_eq!(stream.answer().await.0, 200);
        stream.read_to("event: connection").await;
        let upload = upload_under_way(world, &head).await;
        let since = world.running.app().store().head();
        let url = format!("http://{}/api/files/changes?since={since}&wait=60", world.running.address());
        let asked = Client::new().get(url).header(header.0, header.1).send();
        let poll = tokio::spawn(async move { asked.await.unwrap().status().as_u16() });
        world.polled().await;
        Self { sockets, stream, upload, poll }
    }

    /// It ends, and the reason of the sockets has this word.
    async fn ends(self, why: &str) {
        let Self { sockets, mut stream, upload: (mut upload, rest), poll } = self;
        for (path, mut socket) in sockets {
            let (code, reason) = socket.closed().await;
            assert_eq!((code, reason.contains(why)), (1012, true), "{path}: {reason}");
        }
        stream.read_to("event: close").await;
        let answered = tokio::time::timeout(BEFORE_THE_WAIT_IS_OVER, poll).await.expect("at once").unwrap();
        assert_eq!(answered, 401, "the request that waited");
        upload.write(rest).await;
        assert_eq!(upload.answer().await.0, 401, "the upload");
    }
}

/// Whether a credential counts.
async fn status(world: &World, (name, value): (&str, &str)) -> u16 {
    let url = format!("http://{}/api/files/status", world.running.address());
    Client::new().get(url).header(name, value).send().await.unwrap().status().as_u16()
}

/// Somebody who may read and write a société, known to both servers.
async fn writer(pair: &Pair) -> Person {
    let lea = reader(&pair.first).await;
    let grant = Grant { societe: "rsp-bgs".into(), access: "write".into() };
    accounts(&pair.first).set_grant(&tester(), &lea.id, grant).await.unwrap();
    // What gave her the grant is no news any more.
    pair.caught_up().await;
    lea
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_disabled_at_one_server_is_out_of_the_other() {
    let pair = Pair::start().await;
    let lea = writer(&pair).await;
    let token = format!("Bearer {}", lea.token);
    let underway = Underway::begin(&pair.second, ("authorization", &token), &SOCKETS).await;
    disable(&accounts(&pair.first), &lea).await;
    underway.ends("rights").await;
    assert_eq!(status(&pair.second, ("authorization", &token)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_at_one_server_ends_what_came_before_at_the_other() {
    let pair = Pair::start().await;
    let lea = writer(&pair).await;
    let (token, cookie) = (format!("Bearer {}", lea.token), signed_in(&pair.first, "lea").await);
    let by_token = Underway::begin(&pair.second, ("authorization", &token), &SOCKETS).await;
    let headers = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    let mut by_cookie = socket(&pair.second, "/ws/chat", &headers).await.unwrap();
    by_cookie.text().await;
    let changes = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
    accounts(&pair.first).update_user(&tester(), &lea.id, changes).await.unwrap();
    by_token.ends("rights").await;
    assert_eq!(by_cookie.closed().await.0, 1012);
    for header in [("authorization", &*token), ("cookie", &*cookie)] {
        assert_eq!(status(&pair.second, header).await, 401, "{}", header.0);
    }
    let new = accounts(&pair.first).issue_token(&tester(), &lea.id, None).await.unwrap();
    assert_eq!(status(&pair.second, ("authorization", &format!("Bearer {new}"))).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_at_one_server_is_out_of_the_other() {
    let pair = Pair::start().await;
    let (program, id) = key(&pair.first, &["relay:*", "events:subscribe:*"]).await;
    let token = format!("Bearer {}", program.token);
    let underway = Underway::begin(&pair.second, ("authorization", &token), SOCKETS_OF_KEYS).await;
    accounts(&pair.first).revoke_key(&tester(), &id).await.unwrap();
    underway.ends("rights").await;
    assert_eq!(status(&pair.second, ("authorization", &token)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_signed_out_of_at_one_server_ends_at_the_other_and_no_other_does() {
    let pair = Pair::start().await;
    writer(&pair).await;
    let (office, phone) = (signed_in(&pair.first, "lea").await, signed_in(&pair.second, "lea").await);
    let leaving = Underway::begin(&pair.second, ("cookie", &office), &SOCKETS).await;
    let headers = [("cookie", &*phone), ("sec-fetch-site", "same-origin")];
    let mut staying = socket(&pair.second, "/api/v1/ws", &headers).await.unwrap();
    staying.text().await;
    sign_out(&pair.first, &office).await;
    leaving.ends("signed out").await;
    assert_eq!(status(&pair.second, ("cookie", &office)).await, 401);
    assert_eq!(status(&pair.second, ("cookie", &phone)).await, 200);
    staying.say(r#"{"type":"ping"}"#).await;
    assert!(staying.text().await.contains("pong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_of_engine_io_ends_with_the_rights_that_ended_at_the_other_server() {
    let pair = Pair::start().await;
    let lea = writer(&pair).await;
    let polling = Polling::open(&pair.second, "authorization", &format!("Bearer {}", lea.token)).await;
    polling.connect("").await;
    let polls = async {
        loop {
            let answer = polling.get().await;
            if answer.status() != 200 {
                return (answer.status().as_u16(), answer.text().await.unwrap());
            }
        }
    };
    let accounts = accounts(&pair.first);
    let both = async { tokio::join!(polls, disable(&accounts, &lea)).0 };
    let (status, told) = tokio::time::timeout(BEFORE_THE_WAIT_IS_OVER, both).await.expect("at once");
    assert!(status == 400 || status == 401, "{status}: {told}");
}

/// A group of Léa's with Paul in it.
async fn group(world: &World, lea: &Person, paul: &Person) -> String {
    let group = world.post(lea, "groups", json!({ "name": "Chantier" })).await;
    let id = group["group_id"].as_str().unwrap();
    let invited = world.post(lea, &format!("groups/{id}/invite"), json!({ "to_user_id": paul.id })).await;
    let path = format!("group-invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
    world.put(paul, &path, json!({ "action": "accept" })).await;
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_taken_out_at_one_server_hears_nothing_more_at_the_other() {
    let pair = Pair::start().await;
    let (lea, paul) = (pair.first.person("Lea").await, pair.first.person("Paul").await);
    let id = group(&pair.first, &lea, &paul).await;
    pair.caught_up().await;
    let (second, channel) = (&pair.second, format!("conversation:{id}"));
    let mut chat = second.connect(&paul).await;
    let token = format!("Bearer {}", paul.token);
    let mut native = socket(second, "/api/v1/ws", &[("authorization", &token)]).await.unwrap();
    native.text().await;
    for channel in [&*channel, "page:a"] {
        native.say(&json!({ "type": "subscribe", "channel": channel }).to_string()).await;
        assert!(native.text().await.contains("subscribed"));
    }
    let mut stream = Raw::to(second).await;
    stream
        .write(format!(
            "GET /api/v1/events?channel={channel}&channel=page:a HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n",
            bearer(&paul)
        ))
        .await;
    stream.read_to("event: subscribed").await;
    let since = second.running.app().store().head();
    let path = format!("/api/v1/poll?channel={channel}&since={since}&wait=60");
    let asked = second.request(&paul, Method::GET, &path, Value::Null);
    let taken_out = async {
        second.polled().await;
        pair.first.delete(&lea, &format!("groups/{id}/members/{}", paul.id)).await;
        pair.first.send(&lea, &id, "entre nous").await;
        emit(&pair.first, "page:a").await;
    };
    let (status, reply) = tokio::join!(asked, taken_out).0;
    assert_eq!(status, 404, "{reply}");
    let mut told = vec![stream.read_to("event: changed").await];
    loop {
        told.push(native.text().await);
        if told.last().unwrap().contains("\"changed\"") {
            break;
        }
    }
    told.extend(chat.heard().await.iter().map(Value::to_string));
    assert!(!told.iter().any(|text| text.contains("entre nous")), "{told:?}");
    let (status, _) =
        second.call(&paul, Method::GET, &format!("conversations/{id}/messages"), Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_down_meanwhile_knows_what_ended() {
    let Pair { first, second, database } = Pair::start().await;
    let lea = reader(&first).await;
    let (program, id) = key(&first, &["relay:*"]).await;
    let cookie = signed_in(&second, "lea").await;
    let config = second.config().clone();
    second.running.stop().await;
    disable(&accounts(&first), &lea).await;
    accounts(&first).revoke_key(&tester(), &id).await.unwrap();
    let again = relais::boot::start(config).await.unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {}", lea.token)),
        ("authorization", format!("Bearer {}", program.token)),
        ("cookie", cookie),
    ] {
        let url = format!("http://{}/api/files/status", again.address());
        let answer = Client::new().get(url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{name}");
    }
    again.stop().await;
    drop((first, database));
}

/// Where somebody opens a stream of one société.
const STREAMS: [&str; 2] = ["/api/files/events?societe=rsp-bgs", "/api/v1/events?channel=societe:rsp-bgs"];

/// Somebody opens a stream at the second server, which hears of what the first has committed while that is done.
async fn stream(pair: &Pair, path: &str, who: &Person) -> (u16, Raw) {
    let since = pair.first.running.app().store().head();
    let mut stream = Raw::to(&pair.second).await;
    let head = format!("{path}&since={since} HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", bearer(who));
    stream.write(format!("GET {head}")).await;
    (stream.answer().await.0, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_stream_while_the_news_of_their_rights_arrives_has_the_rights_that_hold() {
    for path in STREAMS {
        let pair = Pair::start().await;
        let (accounts, lea) = (accounts(&pair.first), writer(&pair).await);
        let grant = |access: &str| Grant { societe: "rsp-bgs".into(), access: access.into() };
        for access in ["read", "write"] {
            accounts.set_grant(&tester(), &lea.id, grant(access)).await.unwrap();
            let (status, mut stream) = stream(&pair, path, &lea).await;
            assert_eq!(status, 200, "{path}: she may read it before and after");
            stream.read_to("\n\n").await;
        }
        accounts.remove_grant(&tester(), &lea.id, "rsp-bgs").await.unwrap();
        assert_eq!(stream(&pair, path, &lea).await.0, 403, "{path}");
        accounts.set_grant(&tester(), &lea.id, grant("read")).await.unwrap();
        pair.caught_up().await;
        disable(&accounts, &lea).await;
        assert_eq!(stream(&pair, path, &lea).await.0, 401, "{path}");
    }
}
