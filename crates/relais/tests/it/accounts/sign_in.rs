//! Signing in and out, sessions, and what guards them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use relais::auth::{Credential, Principal};
use relais::features::accounts::UserChanges;
use serde_json::json;

use super::{PASSWORD, config, on_each_database, rights_told, sign_in_request, tester};

#[tokio::test]
async fn signing_in_gives_existing_clients_the_reply_they_know() {
    on_each_database(config(), |server| async move {
        let user = server.add("Marie@Relais.FR", false).await;
        for (path, admin) in [("/api/connexion", json!(0)), ("/api/auth/login", json!(false))] {
            let mut request = sign_in_request(" marie@relais.fr ", PASSWORD);
            *request.uri_mut() = path.parse().unwrap();
            let reply = server.send(request).await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
            assert_eq!(
                reply.body["user"],
                json!({
                    "id": user.id, "firstname": "Marie", "lastname": "Curie", "email": "marie@relais.fr",
                    "phone": "", "admin": admin, "staff": false, "disabled": false,
                    "created_at": user.created_at.to_string(),
                })
            );
            let me = server.get("/api/auth/me", reply.text("token")).await;
            assert_eq!(me.body["principal"], format!("user:{}", user.id));
            let me = server.with_cookie("GET", "/api/auth/me", &reply.session()).await;
            assert_eq!(me.body["user"]["email"], "marie@relais.fr");
        }
    })
    .await;
}

#[tokio::test]
async fn existing_clients_know_an_administrator_by_the_number_one() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", true).await;
        for (path, admin) in [("/api/connexion", json!(1)), ("/api/auth/login", json!(true))] {
            let mut request = sign_in_request("marie@relais.fr", PASSWORD);
            *request.uri_mut() = path.parse().unwrap();
            let reply = server.send(request).await;
            assert_eq!(reply.body["user"]["admin"], admin, "{path}");
            let me = server.get("/api/auth/me", reply.text("token")).await;
            assert_eq!(me.body["user"]["admin"], true);
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_does_not_tell_whether_the_account_exists() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let disabled = UserChanges { disabled: Some(true), ..UserChanges::default() };
        let wrong = server.sign_in("marie@relais.fr", "wrong password").await;
        let unknown = server.sign_in("nobody@relais.fr", PASSWORD).await;
        server.accounts.update_user(&tester(), &user.id, disabled).await.unwrap();
        let refused = server.sign_in("marie@relais.fr", PASSWORD).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.text("message"), "Email ou mot de passe incorrect");
        for other in [unknown, refused] {
            assert_eq!((other.status, other.body), (wrong.status, wrong.body.clone()));
        }
    })
    .await;
}

/// More wrong passwords than anybody needs.
async fn guess_until_slowed_down(guess: impl AsyncFn() -> StatusCode) {
    for _ in 0..100 {
        match guess().await {
            StatusCode::UNAUTHORIZED => {}
            status => return assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    panic!("a hundred guesses are not slowed down");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_wait_is_said() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let guess = || server.sign_in("marie@relais.fr", "wrong password");
        guess_until_slowed_down(async || guess().await.status).await;
        let reply = server.sign_in("marie@relais.fr", PASSWORD).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "the right password has to wait too");
        let seconds = reply.body["retry_after"].as_i64().unwrap();
        assert_eq!(reply.headers[header::RETRY_AFTER], seconds.to_string());
        server.clock.advance_s(seconds);
        assert_eq!(server.sign_in("marie@relais.fr", PASSWORD).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn signing_in_never_keeps_the_session_that_the_browser_came_with() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let chosen = "a".repeat(64);
        for planted in [chosen, server.sign_in("marie@relais.fr", PASSWORD).await.session()] {
            let mut request = sign_in_request("marie@relais.fr", PASSWORD);
            let cookie = format!("relais_session={planted}").parse().unwrap();
            request.headers_mut().insert(header::COOKIE, cookie);
            let fresh = server.send(request).await.session();
            assert_ne!(fresh, planted);
            let old = server.with_cookie("GET", "/api/auth/me", &planted).await;
            assert_eq!(old.status, StatusCode::UNAUTHORIZED);
            assert_eq!(server.with_cookie("GET", "/api/auth/me", &fresh).await.status, StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_with_signing_out() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let session = server.sign_in("marie@relais.fr", PASSWORD).await.session();
        assert_eq!(server.with_cookie("GET", "/api/auth/me", &session).await.status, StatusCode::OK);
        let reply = server.with_cookie("POST", "/api/auth/logout", &session).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
        let after = server.with_cookie("GET", "/api/auth/me", &session).await;
        assert_eq!(after.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn signing_out_ends_that_session_only_and_one_that_is_not_there_signals_nobody() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let principal: Arc<str> = format!("user:{}", user.id).into();
        let [first, second] = [(); 2].map(|()| server.sign_in("marie@relais.fr", PASSWORD));
        let (first, second) = (first.await.session(), second.await.session());
        let before = server.store.head();
        for made_up in ["made-up", &"0".repeat(64), &"x".repeat(10_000)] {
            let reply = server.with_cookie("POST", "/api/auth/logout", made_up).await;
            assert_eq!(reply.status, StatusCode::OK);
        }
        assert_eq!(rights_told(&server, before).await, []);
        server.with_cookie("POST", "/api/auth/logout", &first).await;
        let told = rights_told(&server, before).await;
        assert_eq!((told.len(), &told[0].principal), (1, &principal));
        let Principal::User(other) =
            server.auth.authenticate(Some(Credential::Session(second))).await.unwrap()
        else {
            panic!("somebody")
        };
        assert!(told[0].session.is_some() && told[0].session != other.session);
        server.with_cookie("POST", "/api/auth/logout", &first).await;
        assert_eq!(rights_told(&server, before).await.len(), 1, "it has ended already");
    })
    .await;
}

#[tokio::test]
async fn whoever_guesses_does_not_shut_the_owner_out() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let guess =
            || server.send_from("198.51.100.1:4000", sign_in_request("marie@relais.fr", "wrong password"));
        guess_until_slowed_down(async || guess().await.status).await;
        let owner = server.send_from("192.0.2.7:5000", sign_in_request("marie@relais.fr", PASSWORD)).await;
        assert_eq!(owner.status, StatusCode::OK);
        assert_eq!(guess().await.status, StatusCode::TOO_MANY_REQUESTS, "whoever guesses still waits");
    })
    .await;
}

#[tokio::test]
async fn another_site_can_neither_sign_somebody_out_nor_act_for_them() {
    on_each_database(config(), |server| async move {
        server.add("admin@relais.fr", true).await;
        let session = server.sign_in("admin@relais.fr", PASSWORD).await.session();
        for (method, path) in
            [("POST", "/api/auth/logout"), ("POST", "/api/v1/users"), ("DELETE", "/api/v1/keys/x")]
        {
            let request = Request::builder().method(method).uri(path);
            let request = request.header(header::COOKIE, format!("relais_session={session}"));
            let request = request.header(header::HOST, "relais.fr").header(header::ORIGIN, "https://evil.fr");
            let reply = server.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((reply.status, reply.text("code")), (StatusCode::FORBIDDEN, "cross_site"), "{path}");
        }
        assert_eq!(server.with_cookie("GET", "/api/auth/me", &session).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_session_lives_while_it_is_used_but_not_for_ever() {
    const DAY_S: i64 = 86_400;
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let session = server.sign_in("marie@relais.fr", PASSWORD).await.session();
        for day in [6, 12, 18, 24] {
            server.clock.advance_s(6 * DAY_S);
            let status = server.with_cookie("GET", "/api/auth/me", &session).await.status;
            assert_eq!(status, StatusCode::OK, "day {day}");
        }
        server.clock.advance_s(6 * DAY_S);
        let status = server.with_cookie("GET", "/api/auth/me", &session).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "day 30, however much it was used");

        let unused = server.sign_in("marie@relais.fr", PASSWORD).await.session();
        server.clock.advance_s(7 * DAY_S);
        assert_eq!(server.with_cookie("GET", "/api/auth/me", &unused).await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}
