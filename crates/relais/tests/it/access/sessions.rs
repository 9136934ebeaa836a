//! Sessions of browsers and their live connections; connections that are known by an id.

use relais::features::accounts::Accounts;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::wire::{Socket, socket};
use super::{Person, World, on_both, on_both_with};

/// Signs somebody in; the value of the cookie.
pub(crate) async fn signed_in(world: &World, name: &str) -> String {
    let url = format!("http://{}/api/auth/login", world.running.address());
    let body = json!({ "email": format!("{name}@relais.fr"), "password": "correct horse battery" });
    let reply = Client::new().post(url).json(&body).send().await.unwrap();
    let cookie = reply.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

pub(crate) async fn sign_out(world: &World, cookie: &str) {
    let url = format!("http://{}/api/auth/logout", world.running.address());
    let request = Client::new().post(url).header("cookie", cookie).header("sec-fetch-site", "same-origin");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

async fn browser(world: &World, cookie: &str) -> Socket {
    let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    let mut browser = socket(world, "/api/v1/ws", &headers).await.unwrap();
    browser.text().await;
    browser
}

async fn still_there(socket: &mut Socket) {
    socket.say(r#"{"type":"ping"}"#).await;
    assert!(socket.text().await.contains("pong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_connections_of_that_session_only() {
    // Nobody is asked who they are meanwhile.
    on_both_with(
        |config| config.hub.authenticate_timeout_s = 600,
        |world| async move {
            let lea = world.person("Lea").await;
            let (office, phone) = (signed_in(&world, "lea").await, signed_in(&world, "lea").await);
            let mut leaving = browser(&world, &office).await;
            let mut staying = browser(&world, &phone).await;
            let token = format!("Bearer {}", lea.token);
            let mut program = socket(&world, "/api/v1/ws", &[("authorization", &token)]).await.unwrap();
            program.text().await;
            let mut nobody = socket(&world, "/api/v1/ws", &[]).await.unwrap();
            nobody.text().await;
            let mut chat = socket(&world, "/ws/chat", &[]).await.unwrap();
            let mut device = socket(&world, "/esp32", &[]).await.unwrap();
            let sid = opened(&world, None).await;
            sign_out(&world, "relais_session=made-up").await;
            assert_eq!(polled(&world, Method::POST, &sid, None).await.status(), 200);
            chat.say(&json!({ "type": "authenticate", "token": lea.token }).to_string()).await;
            assert!(chat.text().await.contains("authenticated"));
            device.say(&json!({ "type": "module_identify", "moduleId": "x" }).to_string()).await;
            assert!(device.text().await.contains("auth_error"), "it was still listened to");
            sign_out(&world, &office).await;
            assert_eq!(leaving.closed().await.0, 1012);
            for other in [&mut staying, &mut program, &mut nobody] {
                still_there(other).await;
            }
            sign_out(&world, &phone).await;
            assert_eq!(staying.closed().await.0, 1012);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_ones_own_is_no_success_and_ends_nothing() {
    on_both(|world| async move {
        let (lea, eve) = (world.person("Lea").await, world.person("Eve").await);
        let hers = bearer(&lea);
        let headers = [("authorization", &*hers)];
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut page = socket(&world, path, &headers).await.unwrap();
        page.text().await;
        page.say("40").await;
        for (token, expected) in [
            ("garbage", "client:auth:error"),
            (&*eve.token, "client:auth:error"),
            (&*lea.token, "client:auth:success"),
        ] {
            page.say(&format!("42{}", json!(["client:authenticate", { "token": token }]))).await;
            let mut heard = page.text().await;
            while !heard.contains("client:auth:") {
                heard = page.text().await;
            }
            assert!(heard.contains(expected), "{heard}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_modules_ends_with_the_session_that_it_came_with() {
    on_both(|world| async move {
        world.person("Lea").await;
        let cookie = signed_in(&world, "lea").await;
        let headers = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
        let mut page = socket(&world, "/socket.io/?EIO=4&transport=websocket", &headers).await.unwrap();
        page.text().await;
        page.say("40").await;
        page.say(&format!("42{}", json!(["register_page", { "page": "modules" }]))).await;
        while !page.text().await.contains("page_registered") {}
        sign_out(&world, &cookie).await;
        let (code, reason) = page.closed().await;
        assert_eq!((code, reason.contains("signed out")), (1012, true), "{reason}");
    })
    .await;
}

/// A request of Engine.IO polling.
async fn polled(world: &World, method: Method, sid: &str, header: Option<(&str, &str)>) -> Response {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling{sid}", world.running.address());
    let mut request = Client::new().request(method.clone(), url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    if method == Method::POST {
        request = request.body("40");
    }
    request.send().await.unwrap()
}

async fn opened(world: &World, header: Option<(&str, &str)>) -> String {
    let reply = polled(world, Method::GET, "", header).await.text().await.unwrap();
    let handshake: Value = serde_json::from_str(&reply[1..]).unwrap();
    handshake["sid"].as_str().unwrap().to_owned()
}

fn bearer(who: &Person) -> String {
    format!("Bearer {}", who.token)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_connection_alone_neither_reads_nor_writes() {
    on_both(|world| async move {
        let (lea, eve) = (world.person("Lea").await, world.person("Eve").await);
        let (hers, other) = (bearer(&lea), bearer(&eve));
        let cookie = signed_in(&world, "lea").await;
        for header in [("authorization", &*hers), ("cookie", &*cookie)] {
            let sid = opened(&world, Some(header)).await;
            for foreign in [None, Some(("authorization", &*other)), Some(("authorization", "Bearer made-up"))]
            {
                for method in [Method::GET, Method::POST] {
                    let status = polled(&world, method, &sid, foreign).await.status();
                    assert!(status == 403 || status == 401, "{status} with {foreign:?}");
                }
                let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
                let headers: Vec<_> = foreign.into_iter().collect();
                let refused = socket(&world, &path, &headers).await.err();
                assert!(matches!(refused, Some(403 | 401)), "the upgrade, with {foreign:?}");
            }
            assert_eq!(polled(&world, Method::POST, &sid, Some(header)).await.status(), 200);
            let heard = polled(&world, Method::GET, &sid, Some(header)).await;
            assert!(heard.text().await.unwrap().starts_with("40"), "it goes on undisturbed");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_token_and_another_session_of_the_same_person_go_on() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let accounts = Accounts::new(world.running.app().auth().clone());
        let actor = relais::features::accounts::Actor::named("test", None);
        let newer = accounts.issue_token(&actor, &lea.id, Some(60)).await.unwrap();
        let (old, newer) = (bearer(&lea), format!("Bearer {newer}"));
        let sid = opened(&world, Some(("authorization", &old))).await;
        assert_eq!(polled(&world, Method::POST, &sid, Some(("authorization", &newer))).await.status(), 200);
        let (first, second) = (signed_in(&world, "lea").await, signed_in(&world, "lea").await);
        let sid = opened(&world, Some(("cookie", &first))).await;
        assert_eq!(polled(&world, Method::POST, &sid, Some(("cookie", &second))).await.status(), 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_opened_goes_on_when_somebody_signs_in() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let sid = opened(&world, None).await;
        assert_eq!(polled(&world, Method::POST, &sid, None).await.status(), 200);
        let hers = bearer(&lea);
        assert_eq!(polled(&world, Method::GET, &sid, Some(("authorization", &hers))).await.status(), 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_first_comes_with_the_upgrade_has_the_client_connect_again_with_it() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let sid = opened(&world, None).await;
        assert_eq!(polled(&world, Method::POST, &sid, None).await.status(), 200);
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}&token={}", lea.token);
        assert_eq!(socket(&world, &path, &[]).await.err(), Some(400));
        // What still waits comes first.
        let mut ended = polled(&world, Method::GET, &sid, None).await;
        while ended.status() == 200 {
            ended = polled(&world, Method::GET, &sid, None).await;
        }
        assert_eq!(ended.status(), 400);
        let why: Value = ended.json().await.unwrap();
        assert_eq!((&why["code"], &why["close_code"]), (&json!(1), &json!(1012)), "{why}");
        assert!(why["message"].as_str().unwrap().contains("connect again with it"), "{why}");
    })
    .await;
}
