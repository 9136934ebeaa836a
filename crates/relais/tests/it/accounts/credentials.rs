//! Tokens by shared secret, API keys, and rights that end at once.

use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use relais::auth::{Access, Action, Auth, CACHE_TTL_MS, Credential, Ended, Principal};
use relais::features::accounts::{Accounts, Grant, UserChanges};
use relais_protocol::time::Clock;
use serde_json::{Value, json};

use super::{PASSWORD, SECRET, Server, config, on_each_database, open, rights_told, tester};

/// As the default of `auth.jwt.leeway_s`.
const LEEWAY_S: i64 = 30;

fn signed(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .unwrap()
}

async fn bearer(auth: &Auth, text: &str) -> Result<Principal, StatusCode> {
    auth.authenticate(Some(Credential::Bearer(text.into()))).await.map_err(|error| error.status())
}

async fn key(server: &Server, scopes: &[&str]) -> (String, String) {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let (info, key) = server.accounts.create_key(&tester(), "batch", &scopes, None).await.unwrap();
    (info.id, key)
}

#[tokio::test]
async fn an_existing_backends_users_come_with_the_rights_that_their_token_says() {
    on_each_database(config(), |server| async move {
        let exp = server.clock.now().as_secs() + 60;
        let claims = json!({"user_id": 42, "email": "a@b.fr", "exp": exp, "societes": ["rsp-bgs"]});
        let principal = bearer(&server.auth, &signed(&claims, SECRET, Algorithm::HS256)).await.unwrap();
        assert_eq!(&*principal.id(), "user:42");
        assert_eq!(server.auth.readable_societes(&principal), Access::only(["rsp-bgs"]));
        let refused = server.auth.require(&principal, Action::RelayWrite("rsp-bgs")).unwrap_err();
        assert_eq!(refused.french(), "Accès refusé à la société rsp-bgs");
    })
    .await;
}

#[tokio::test]
async fn a_token_cannot_give_one_of_our_users_more_than_the_table_says() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let now = server.clock.now().as_secs();
        let claims = json!({"user_id": user.id, "admin": true, "societes": "*", "iat": now, "exp": now + 60});
        let principal = bearer(&server.auth, &signed(&claims, SECRET, Algorithm::HS256)).await.unwrap();
        assert!(!principal.is_admin());
        assert_eq!(server.auth.readable_societes(&principal), Access::none());
    })
    .await;
}

#[tokio::test]
async fn tokens_with_another_secret_or_algorithm_or_time_are_refused() {
    on_each_database(config(), |server| async move {
        let now = server.clock.now().as_secs();
        let good = json!({"user_id": "42", "exp": now + 60});
        let refused = [
            signed(&good, "another-secret-of-the-right-length-32", Algorithm::HS256),
            signed(&good, SECRET, Algorithm::HS384),
            signed(&good, SECRET, Algorithm::HS512),
            signed(&json!({"user_id": "42", "exp": now - 60}), SECRET, Algorithm::HS256),
            signed(&json!({"user_id": "42", "exp": now + 99, "nbf": now + 60}), SECRET, Algorithm::HS256),
            signed(&json!({"user_id": "42"}), SECRET, Algorithm::HS256),
            signed(&json!({"exp": now + 60}), SECRET, Algorithm::HS256),
            String::new(),
            "x".repeat(100_000),
        ];
        for token in refused {
            let outcome = bearer(&server.auth, &token).await;
            assert_eq!(outcome.err(), Some(StatusCode::UNAUTHORIZED), "{token:.80}");
        }
        assert!(bearer(&server.auth, &signed(&good, SECRET, Algorithm::HS256)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_until_it_ends() {
    on_each_database(config(), |server| async move {
        let end = server.clock.now().plus_millis(3_600_000);
        let scopes = ["relay:write:rsp-bgs".to_owned()];
        let made = server.accounts.create_key(&tester(), "batch", &scopes, Some(end)).await;
        let (info, key) = made.unwrap();
        let principal = bearer(&server.auth, &key).await.unwrap();
        assert_eq!((&*principal.id(), principal.display_name()), (&*format!("key:{}", info.id), "batch"));
        assert!(server.auth.allows(&principal, Action::RelayWrite("rsp-bgs")));
        assert!(!server.auth.allows(&principal, Action::RelayRead("other")));
        server.clock.advance_s(3_600);
        assert_eq!(bearer(&server.auth, &key).await.err(), Some(StatusCode::UNAUTHORIZED));
    })
    .await;
}

#[tokio::test]
async fn a_key_with_a_wrong_secret_is_refused() {
    on_each_database(config(), |server| async move {
        let (id, key) = key(&server, &["relay:*"]).await;
        let other = format!("rk_{id}_{}", "0".repeat(64));
        for wrong in
            [other, key[..key.len() - 1].to_owned(), format!("{key}0"), "rk_none_0".into(), "rk_".into()]
        {
            assert_eq!(bearer(&server.auth, &wrong).await.err(), Some(StatusCode::UNAUTHORIZED), "{wrong}");
        }
        assert!(bearer(&server.auth, &key).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_its_listeners_are_told() {
    on_each_database(config(), |server| async move {
        let (id, key) = key(&server, &["relay:*"]).await;
        assert!(bearer(&server.auth, &key).await.is_ok());
        let before = server.store.head();
        server.accounts.revoke_key(&tester(), &id).await.unwrap();
        assert_eq!(bearer(&server.auth, &key).await.err(), Some(StatusCode::UNAUTHORIZED));
        let told = rights_told(&server, before).await;
        assert_eq!(told, [Ended { principal: format!("key:{id}").into(), session: None }]);
        assert_eq!(
            server.accounts.revoke_key(&tester(), &id).await.unwrap_err().status(),
            StatusCode::NOT_FOUND
        );
    })
    .await;
}

#[tokio::test]
async fn the_use_of_a_key_is_noted_once_a_minute() {
    on_each_database(config(), |server| async move {
        let (_, key) = key(&server, &["relay:*"]).await;
        let mut noted = Vec::new();
        for _ in 0..4 {
            bearer(&server.auth, &key).await.unwrap();
            let used = server.accounts.list_keys(String::new(), 1).await.unwrap()[0].last_used_at.unwrap();
            noted.push(used.as_millis() - 1_700_000_000_000);
            server.clock.advance_s(30);
        }
        assert_eq!(noted, [0, 0, 60_000, 60_000]);
    })
    .await;
}

#[tokio::test]
async fn a_disabled_user_loses_sessions_and_tokens_at_once_and_for_good() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let signed_in = server.sign_in("marie@relais.fr", PASSWORD).await;
        let (token, session) = (signed_in.text("token"), signed_in.session());
        assert_eq!(server.get("/api/auth/me", token).await.status, StatusCode::OK);
        assert_eq!(server.with_cookie("GET", "/api/auth/me", &session).await.status, StatusCode::OK);
        server.clock.advance_s(1);
        for disabled in [true, false] {
            let changes = UserChanges { disabled: Some(disabled), ..UserChanges::default() };
            server.accounts.update_user(&tester(), &user.id, changes).await.unwrap();
            assert_eq!(server.get("/api/auth/me", token).await.status, StatusCode::UNAUTHORIZED);
            let status = server.with_cookie("GET", "/api/auth/me", &session).await.status;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "disabled: {disabled}");
        }
        assert_eq!(server.sign_in("marie@relais.fr", PASSWORD).await.status, StatusCode::OK, "enabled again");
    })
    .await;
}

#[tokio::test]
async fn whether_rights_are_still_those_of_a_moment_ago_can_be_asked() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let (_, key) = server
            .accounts
            .create_key(&tester(), "paie", &["relay:read:rsp-bgs".to_owned()], None)
            .await
            .unwrap();
        let signed_in = server.sign_in("marie@relais.fr", PASSWORD).await;
        let token = signed_in.text("token");
        let person = bearer(&server.auth, token).await.unwrap();
        let program = bearer(&server.auth, &key).await.unwrap();
        let now = server.clock.now();
        assert!(
            server.auth.is_current(&person, now).await.unwrap()
                && server.auth.is_current(&program, now).await.unwrap()
        );
        let grant = Grant { societe: "rsp-bgs".into(), access: "read".into() };
        server.accounts.set_grant(&tester(), &user.id, grant).await.unwrap();
        assert!(!server.auth.is_current(&person, now).await.unwrap(), "there are more of them");
        let person = bearer(&server.auth, token).await.unwrap();
        assert!(server.auth.is_current(&person, now).await.unwrap());
        let changes = UserChanges { disabled: Some(true), ..UserChanges::default() };
        server.accounts.update_user(&tester(), &user.id, changes).await.unwrap();
        let id = key.split('_').nth(1).unwrap();
        server.accounts.revoke_key(&tester(), id).await.unwrap();
        assert!(!server.auth.is_current(&person, now).await.unwrap());
        assert!(!server.auth.is_current(&program, now).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_new_password_ends_what_the_old_one_began() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let before = server.sign_in("marie@relais.fr", PASSWORD).await;
        server.clock.advance_s(1);
        let changes = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
        server.accounts.update_user(&tester(), &user.id, changes).await.unwrap();
        assert_eq!(server.get("/api/auth/me", before.text("token")).await.status, StatusCode::UNAUTHORIZED);
        let status = server.with_cookie("GET", "/api/auth/me", &before.session()).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(server.sign_in("marie@relais.fr", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
        let after = server.sign_in("marie@relais.fr", "another password").await;
        assert_eq!(server.get("/api/auth/me", after.text("token")).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn what_began_in_the_second_of_the_change_ends_with_it_too() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let backends = |server: &Server| {
            let now = server.clock.now().as_secs();
            let claims = json!({"user_id": user.id, "iat": now, "exp": now + 60});
            signed(&claims, SECRET, Algorithm::HS256)
        };
        let me = "/api/auth/me";
        let (before, foreign) = (server.sign_in("marie@relais.fr", PASSWORD).await, backends(&server));
        assert_eq!(server.get(me, &foreign).await.status, StatusCode::OK, "also in the second of its making");
        let changes = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
        server.accounts.update_user(&tester(), &user.id, changes).await.unwrap();
        let after = server.sign_in("marie@relais.fr", "another password").await;
        for (token, expected) in [
            (before.text("token"), StatusCode::UNAUTHORIZED),
            (&foreign, StatusCode::UNAUTHORIZED),
            (after.text("token"), StatusCode::OK),
        ] {
            assert_eq!(server.get(me, token).await.status, expected);
        }
        assert_eq!(server.with_cookie("GET", me, &before.session()).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(server.with_cookie("GET", me, &after.session()).await.status, StatusCode::OK);
        server.clock.advance_s(LEEWAY_S);
        assert_eq!(server.get(me, &backends(&server)).await.status, StatusCode::UNAUTHORIZED);
        server.clock.advance_s(1);
        assert_eq!(server.get(me, &backends(&server)).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_backend_whose_clock_is_ahead_prolongs_nothing_beyond_a_change() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let now = server.clock.now().as_secs();
        let ahead = json!({"user_id": user.id, "iat": now + LEEWAY_S, "exp": now + 3_600});
        let before = signed(&ahead, SECRET, Algorithm::HS256);
        assert!(bearer(&server.auth, &before).await.is_ok());
        let changes = UserChanges { password: Some("another password".into()), ..UserChanges::default() };
        server.accounts.update_user(&tester(), &user.id, changes).await.unwrap();
        for _ in 0..3 {
            assert_eq!(bearer(&server.auth, &before).await.err(), Some(StatusCode::UNAUTHORIZED));
            server.clock.advance_s(LEEWAY_S);
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_that_no_topic_can_have_is_refused_with_its_value() {
    on_each_database(config(), |server| async move {
        let exp = server.clock.now().as_secs() + 60;
        let token = |id: &str| signed(&json!({"user_id": id, "exp": exp}), SECRET, Algorithm::HS256);
        for id in ["*", "a\u{a0}b", "\u{2028}", "a*b@relais.fr"] {
            let refused = server.get("/api/auth/me", &token(id)).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{id:?}");
            assert!(refused.text("message").contains(&format!("{id:?}")), "{}", refused.body);
        }
        for id in ["a b", "a:b", " u@relais.fr "] {
            assert_eq!(server.get("/api/auth/me", &token(id)).await.status, StatusCode::OK, "{id:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_another_process_changes_counts_within_the_documented_time() {
    on_each_database(config(), |server| async move {
        let user = server.add("marie@relais.fr", false).await;
        let token = server.sign_in("marie@relais.fr", PASSWORD).await.text("token").to_owned();
        assert!(bearer(&server.auth, &token).await.is_ok());
        let (url, clock) = (server.url.clone(), server.clock.clone());
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let opened = tokio::task::spawn_blocking(move || open(&url, &data, &config(), clock));
        let (store, auth) = opened.await.unwrap();
        let grant = Grant { societe: "rsp-bgs".into(), access: "write".into() };
        Accounts::new(auth).set_grant(&tester(), &user.id, grant).await.unwrap();
        store.shutdown().await;
        server.clock.advance_s(CACHE_TTL_MS / 1000);
        let principal = bearer(&server.auth, &token).await.unwrap();
        assert!(server.auth.allows(&principal, Action::RelayWrite("rsp-bgs")));
        server.store.check().await.unwrap();
    })
    .await;
}
