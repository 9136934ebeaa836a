//! Tokens of an identity provider, with a real one of our own in the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use relais::auth::{Access, Action, Credential, Principal};
use relais::config::AuthConfig;
use relais_protocol::time::Clock;
use serde_json::{Value, json};

use super::{Server, config, on_each_database};

const ISSUER: &str = "https://id.example/realms/rsp";
/// What precedes the RSA key itself in the PKCS#8 form of 2048-bit keys.
const PKCS8_HEADER_BYTES: usize = 26;

/// A key pair under a name.
#[derive(Clone)]
struct SigningKey {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl SigningKey {
    fn rsa(id: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'static> = pair.as_der().unwrap();
        let private = EncodingKey::from_rsa_der(&der.as_ref()[PKCS8_HEADER_BYTES..]);
        Self { id, algorithm: Algorithm::RS256, private }
    }

    fn ec(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { id, algorithm: Algorithm::ES256, private }
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.into());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.into());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// Publishes whatever keys it is given and counts how often it is asked.
#[derive(Clone, Default)]
struct Provider {
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    broken: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Provider {
    fn publish(&self, keys: &[&SigningKey]) {
        *self.keys.lock() = keys.iter().map(|key| key.public()).collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Starts on a free port; the settings that make a server trust it.
    async fn start(&self) -> AuthConfig {
        let shared = self.clone();
        let answer = move || {
            shared.asked.fetch_add(1, Ordering::SeqCst);
            let whole = json!({"keys": *shared.keys.lock()}).to_string().into_bytes();
            let broken = shared.broken.lock().clone();
            std::future::ready(broken.unwrap_or(whole))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/certs", listener.local_addr().unwrap());
        let router = Router::new().route("/certs", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut config = config();
        config.jwks.url = Some(url);
        config.jwks.issuer = Some(ISSUER.into());
        config.jwks.audience = Some("relais".into());
        config
    }
}

fn claims(server: &Server) -> Value {
    json!({
        "iss": ISSUER, "aud": ["account", "relais"], "sub": "f3a1", "email": "jean@rsp.fr",
        "exp": server.clock.now().as_secs() + 300, "societes": ["rsp-bgs"],
    })
}

async fn bearer(server: &Server, token: &str) -> Result<Principal, StatusCode> {
    server.auth.authenticate(Some(Credential::Bearer(token.into()))).await.map_err(|error| error.status())
}

async fn refused(server: &Server, token: &str) -> bool {
    bearer(server, token).await.err() == Some(StatusCode::UNAUTHORIZED)
}

#[tokio::test]
async fn tokens_of_the_provider_work_with_either_kind_of_key() {
    let provider = Provider::default();
    let (rsa, ec) = (SigningKey::rsa("one"), SigningKey::ec("two"));
    provider.publish(&[&rsa, &ec]);
    on_each_database(provider.start().await, |server| {
        let keys = [rsa.clone(), ec.clone()];
        async move {
            for key in keys {
                let principal = bearer(&server, &key.sign(&claims(&server))).await.unwrap();
                assert_eq!(&*principal.id(), "ext:f3a1");
                assert_eq!(server.auth.readable_societes(&principal), Access::only(["rsp-bgs"]));
                assert!(!server.auth.allows(&principal, Action::Administer));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_for_others_or_from_others_or_out_of_its_time_is_refused() {
    let provider = Provider::default();
    let (key, stranger) = (SigningKey::rsa("one"), SigningKey::rsa("one"));
    provider.publish(&[&key]);
    on_each_database(provider.start().await, |server| {
        let (key, stranger) = (key.clone(), stranger.clone());
        async move {
            let now = server.clock.now().as_secs();
            for (claim, value) in [
                ("iss", json!("https://id.example/realms/other")),
                ("iss", Value::Null),
                ("aud", json!("account")),
                ("aud", Value::Null),
                ("exp", json!(now - 60)),
                ("exp", Value::Null),
                ("nbf", json!(now + 60)),
                ("sub", json!("")),
            ] {
                let mut wrong = claims(&server);
                wrong[claim] = value;
                assert!(refused(&server, &key.sign(&wrong)).await, "{wrong}");
            }
            assert!(refused(&server, &stranger.sign(&claims(&server))).await, "the same id, another key");
            assert!(bearer(&server, &key.sign(&claims(&server))).await.is_ok());
        }
    })
    .await;
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let provider = Provider::default();
    let key = SigningKey::rsa("one");
    // A provider that publishes a symmetric key must not make it count either.
    provider.publish(&[&key]);
    provider.keys.lock().push(json!({"kty": "oct", "kid": "sym", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldA"}));
    on_each_database(provider.start().await, |server| {
        let public = key.public();
        async move {
            let modulus = public["n"].as_str().unwrap().to_owned();
            for (kid, secret) in [
                ("one", public.to_string().into_bytes()),
                ("one", modulus.into_bytes()),
                ("sym", b"secret-secret".to_vec()),
            ] {
                let mut header = Header::new(Algorithm::HS256);
                header.kid = Some(kid.into());
                let key = EncodingKey::from_secret(&secret);
                let token = jsonwebtoken::encode(&header, &claims(&server), &key).unwrap();
                assert!(refused(&server, &token).await, "{kid}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_algorithm_that_the_key_is_not_for_is_refused() {
    let provider = Provider::default();
    let key = SigningKey::rsa("one");
    provider.publish(&[&key]);
    on_each_database(provider.start().await, |server| {
        let other = SigningKey { algorithm: Algorithm::RS512, ..key.clone() };
        let pss = SigningKey { algorithm: Algorithm::PS256, ..key.clone() };
        let ec = SigningKey { id: "one", ..SigningKey::ec("two") };
        async move {
            for wrong in [other, pss, ec] {
                assert!(refused(&server, &wrong.sign(&claims(&server))).await, "{:?}", wrong.algorithm);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_rotated_key_is_fetched_when_it_is_first_seen_and_the_old_one_ends() {
    let provider = Provider::default();
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    on_each_database(provider.start().await, |server| {
        let (provider, old, new) = (provider.clone(), old.clone(), new.clone());
        provider.publish(&[&old]);
        async move {
            assert!(bearer(&server, &old.sign(&claims(&server))).await.is_ok());
            provider.publish(&[&new]);
            server.clock.advance_s(10);
            assert!(bearer(&server, &new.sign(&claims(&server))).await.is_ok());
            assert!(refused(&server, &old.sign(&claims(&server))).await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_per_interval() {
    let provider = Provider::default();
    let (key, unknown) = (SigningKey::ec("one"), SigningKey::ec("unknown"));
    provider.publish(&[&key]);
    on_each_database(provider.start().await, |server| {
        let (provider, unknown) = (provider.clone(), unknown.clone());
        async move {
            let before = provider.asked();
            let token = unknown.sign(&claims(&server));
            let flood = (0..50).map(|_| refused(&server, &token));
            assert!(futures_util::future::join_all(flood).await.into_iter().all(|refused| refused));
            assert_eq!(provider.asked() - before, 1);
            server.clock.advance_s(10);
            assert!(refused(&server, &token).await);
            assert_eq!(provider.asked() - before, 2);
        }
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_fails_does_not_lock_out_those_whose_key_is_known() {
    let provider = Provider::default();
    let key = SigningKey::ec("one");
    provider.publish(&[&key]);
    on_each_database(provider.start().await, |server| {
        let (provider, key) = (provider.clone(), key.clone());
        async move {
            assert!(bearer(&server, &key.sign(&claims(&server))).await.is_ok());
            for answer in [b"<html>".to_vec(), vec![b' '; 300 * 1024]] {
                *provider.broken.lock() = Some(answer);
                server.clock.advance_s(3600);
                assert!(bearer(&server, &key.sign(&claims(&server))).await.is_ok());
            }
            server.clock.advance_s(24 * 3600);
            assert!(refused(&server, &key.sign(&claims(&server))).await, "but not for ever");
            *provider.broken.lock() = None;
        }
    })
    .await;
}
