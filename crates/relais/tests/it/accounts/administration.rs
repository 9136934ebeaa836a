//! Users, grants, keys and the record, as an administrator manages them.

use axum::http::{Request, StatusCode};
use relais::auth::{Action, Auth, Credential};
use relais_store::params;
use serde_json::{Value, json};

use super::{PASSWORD, Server, config, on_each_database, tester};

async fn may(auth: &Auth, token: &str, action: Action<'_>) -> bool {
    let principal = auth.authenticate(Some(Credential::Bearer(token.into()))).await.unwrap();
    auth.allows(&principal, action)
}

fn actions(reply: &Value) -> Vec<&str> {
    reply["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

async fn first_admin(server: &Server) -> bool {
    server.accounts.ensure_first_admin().await.unwrap()
}

#[tokio::test]
async fn only_administrators_administer() {
    on_each_database(config(), |server| async move {
        server.add("marie@relais.fr", false).await;
        let token = server.sign_in("marie@relais.fr", PASSWORD).await.text("token").to_owned();
        let (_, key) =
            server.accounts.create_key(&tester(), "batch", &["relay:*".into()], None).await.unwrap();
        for (method, path) in [
            ("GET", "/api/v1/users"),
            ("POST", "/api/v1/users"),
            ("GET", "/api/v1/users/x"),
            ("PATCH", "/api/v1/users/x"),
            ("POST", "/api/v1/users/x/disable"),
            ("GET", "/api/v1/users/x/grants"),
            ("PUT", "/api/v1/users/x/grants"),
            ("DELETE", "/api/v1/users/x/grants/a"),
            ("GET", "/api/v1/keys"),
            ("POST", "/api/v1/keys"),
            ("DELETE", "/api/v1/keys/x"),
            ("GET", "/api/v1/audit"),
        ] {
            for credential in [&token, &key] {
                let reply = server.call(method, path, credential, json!({})).await;
                assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method} {path}");
            }
            let request = Request::builder().method(method).uri(path);
            let reply = server.send(request.body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(reply.text("code"), "unauthenticated");
        }
    })
    .await;
}

#[tokio::test]
async fn users_are_made_listed_and_changed() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        for n in 0..3 {
            server.clock.advance_s(1);
            let new = json!({"email": format!("u{n}@relais.fr"), "password": PASSWORD, "staff": n == 0});
            assert_eq!(server.call("POST", "/api/v1/users", &admin, new).await.status, StatusCode::CREATED);
        }
        let first = server.get("/api/v1/users?limit=3", &admin).await.body;
        let cursor = first["cursor"].as_str().unwrap();
        let second = server.get(&format!("/api/v1/users?limit=3&cursor={cursor}"), &admin).await.body;
        let emails = |page: &Value| -> Vec<String> {
            page["users"]
                .as_array()
                .unwrap()
                .iter()
                .map(|u| u["email"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(emails(&first), ["admin@relais.fr", "u0@relais.fr", "u1@relais.fr"]);
        assert_eq!((emails(&second), &second["cursor"]), (vec!["u2@relais.fr".to_owned()], &Value::Null));

        let id = second["users"][0]["id"].as_str().unwrap();
        let path = format!("/api/v1/users/{id}");
        let changed =
            server.call("PATCH", &path, &admin, json!({"lastname": "Noether", "admin": true})).await;
        assert_eq!((changed.text("lastname"), changed.body["admin"].as_bool()), ("Noether", Some(true)));
        assert_eq!(server.get(&path, &admin).await.body, changed.body);
    })
    .await;
}

#[tokio::test]
async fn values_that_cannot_be_taken_are_refused_and_change_nothing() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        let new = |email: &str, password: &str| json!({"email": email, "password": password});
        for (body, status) in [
            (new("no-address", PASSWORD), StatusCode::BAD_REQUEST),
            (new("a@b@c", PASSWORD), StatusCode::BAD_REQUEST),
            (new("lea\u{202e}@relais.fr", PASSWORD), StatusCode::BAD_REQUEST),
            (new("a@b.fr", "short"), StatusCode::BAD_REQUEST),
            (new("ADMIN@relais.fr", PASSWORD), StatusCode::CONFLICT),
            (json!({"email": "a@b.fr"}), StatusCode::UNPROCESSABLE_ENTITY),
            (json!({"email": "a@b.fr", "password": PASSWORD, "id": "1"}), StatusCode::UNPROCESSABLE_ENTITY),
            (json!({"email": "a@b.fr", "password": PASSWORD, "phone": "1\u{0}2"}), StatusCode::BAD_REQUEST),
        ] {
            let reply = server.call("POST", "/api/v1/users", &admin, body.clone()).await;
            assert_eq!(reply.status, status, "{body}");
        }
        let users = server.get("/api/v1/users", &admin).await.body;
        assert_eq!(users["users"].as_array().unwrap().len(), 1);
        let absent = json!({
            "email": "a@b.fr", "password": PASSWORD, "firstname": null, "phone": null, "admin": null, "staff": null,
        });
        let reply = server.call("POST", "/api/v1/users", &admin, absent).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
    })
    .await;
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        let id = server.accounts.find_user("admin@relais.fr").await.unwrap().id;
        for changes in [json!({"admin": false}), json!({"disabled": true})] {
            let reply = server.call("PATCH", &format!("/api/v1/users/{id}"), &admin, changes).await;
            assert_eq!((reply.status, reply.text("code")), (StatusCode::CONFLICT, "last_admin"));
        }
        server.add("second@relais.fr", true).await;
        let reply = server.call("POST", &format!("/api/v1/users/{id}/disable"), &admin, json!({})).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(server.get("/api/v1/users", &admin).await.status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test]
async fn a_societe_is_the_same_in_whatever_form_its_name_is_written() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        let user = server.add("marie@relais.fr", false).await;
        let token = server.sign_in("marie@relais.fr", PASSWORD).await.text("token").to_owned();
        let grants = format!("/api/v1/users/{}/grants", user.id);
        let decomposed = "Socie\u{301}te\u{301}";
        let grant = json!({"societe": decomposed, "access": "read"});
        let granted = server.call("PUT", &grants, &admin, grant).await;
        assert!(granted.status.is_success(), "{}", granted.body);
        assert!(may(&server.auth, &token, Action::RelayRead("Société")).await);
        let listed = server.get(&grants, &admin).await.body;
        assert!(listed.to_string().contains("Société"), "{listed}");
        let encoded = "Socie%CC%81te%CC%81";
        let removed = server.call("DELETE", &format!("{grants}/{encoded}"), &admin, Value::Null).await;
        assert_eq!(removed.status, StatusCode::NO_CONTENT);
        assert!(!may(&server.auth, &token, Action::RelayRead("Société")).await);

        // One that was stored before names had one form can be taken away, too.
        let id = user.id.clone();
        let stored = server.store.write(move |tx| {
            let sql = "INSERT INTO grants (user_id, societe, writes) VALUES ($1, $2, $3)";
            tx.execute(sql, params![&id, decomposed, true]).map(drop)
        });
        stored.await.unwrap();
        let removed =
            server.call("DELETE", &format!("{grants}/Soci%C3%A9t%C3%A9"), &admin, Value::Null).await;
        assert_eq!(removed.status, StatusCode::NO_CONTENT);
        assert_eq!(server.get(&grants, &admin).await.body, json!({"grants": []}));

        let key = json!({"name": "erp", "scopes": [format!("relay:read:{decomposed}")]});
        let key = server.call("POST", "/api/v1/keys", &admin, key).await;
        assert_eq!(key.body["scopes"], json!(["relay:read:Société"]));
        assert!(may(&server.auth, key.text("key"), Action::RelayRead("Société")).await);
    })
    .await;
}

#[tokio::test]
async fn grants_count_at_once_and_so_does_their_end() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        let user = server.add("marie@relais.fr", false).await;
        let token = server.sign_in("marie@relais.fr", PASSWORD).await.text("token").to_owned();
        assert!(!may(&server.auth, &token, Action::RelayRead("rsp-bgs")).await);
        let path = format!("/api/v1/users/{}/grants", user.id);
        for (access, writes) in [("read", false), ("write", true), ("read", false)] {
            let grant = json!({"societe": "rsp-bgs", "access": access});
            assert_eq!(server.call("PUT", &path, &admin, grant.clone()).await.status, StatusCode::OK);
            assert_eq!(server.get(&path, &admin).await.body, json!({"grants": [grant]}));
            assert!(may(&server.auth, &token, Action::RelayRead("rsp-bgs")).await);
            assert_eq!(may(&server.auth, &token, Action::RelayWrite("rsp-bgs")).await, writes);
        }
        let reply = server.call("DELETE", &format!("{path}/rsp-bgs"), &admin, json!({})).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert!(!may(&server.auth, &token, Action::RelayRead("rsp-bgs")).await);
    })
    .await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_as_a_digest() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        let new = json!({"name": "batch", "scopes": ["relay:write:rsp-bgs", "relay:*:b"]});
        let made = server.call("POST", "/api/v1/keys", &admin, new).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert!(may(&server.auth, made.text("key"), Action::RelayWrite("rsp-bgs")).await);
        let listed = server.get("/api/v1/keys", &admin).await;
        assert_eq!(listed.body["keys"][0]["scopes"], json!(["relay:write:rsp-bgs", "relay:*:b"]));
        let secret = made.text("key").rsplit('_').next().unwrap();
        assert!(!listed.body.to_string().contains(secret));
        let wrong = json!({"name": "batch", "scopes": ["relay:write"]});
        assert_eq!(server.call("POST", "/api/v1/keys", &admin, wrong).await.status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn the_record_says_who_did_what_from_where() {
    on_each_database(config(), |server| async move {
        let admin = server.admin_token().await;
        server.clock.advance_s(1);
        server.sign_in("Somebody@relais.fr", "wrong password").await;
        server.clock.advance_s(1);
        let new = json!({"email": "u@relais.fr", "password": "a secret password"});
        let user = server.call("POST", "/api/v1/users", &admin, new).await;
        let record = server.get("/api/v1/audit", &admin).await.body;
        assert_eq!(actions(&record), ["user_created", "sign_in_failed", "sign_in", "user_created"]);
        let entries = &record["entries"];
        assert_eq!(entries[0]["target"], format!("user:{}", user.text("id")));
        assert_eq!(entries[0]["actor"], entries[2]["target"], "the administrator made the user");
        assert_eq!(
            (&entries[1]["target"], &entries[1]["address"]),
            (&json!("somebody@relais.fr"), &json!("192.0.2.7"))
        );
        assert!(!record.to_string().contains("secret password"));
        let older =
            server.get(&format!("/api/v1/audit?cursor={}", entries[1]["id"].as_str().unwrap()), &admin).await;
        assert_eq!(actions(&older.body), ["sign_in", "user_created"]);
    })
    .await;
}

#[tokio::test]
async fn the_configuration_makes_the_first_administrator_and_no_other() {
    let mut with_admin = config();
    with_admin.admin_email = Some("root@relais.fr".into());
    with_admin.admin_password = Some(PASSWORD.into());
    on_each_database(with_admin, |server| async move {
        assert!(first_admin(&server).await);
        assert_eq!(server.sign_in("root@relais.fr", PASSWORD).await.body["user"]["admin"], true);
        assert!(!first_admin(&server).await, "there is a user now");
    })
    .await;
    on_each_database(config(), |server| async move {
        assert!(!first_admin(&server).await, "none is configured");
    })
    .await;
}
