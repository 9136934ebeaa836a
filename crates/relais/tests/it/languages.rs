//! The address decides in which language an error is: French at those of earlier systems, English at all others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use relais::http::openapi;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::world::{World, on_both};

/// As docs/api/errors.md has them.
const FRENCH: [&str; 11] = [
    "/api/files/",
    "/api/connexion",
    "/api/auth/",
    "/api/chat/",
    "/api/admin/chat/",
    "/chat/",
    "/ws/chat",
    "/socket.io/",
    "/esp32",
    "/modules/",
    "/dashboard/",
];

/// Words that no English sentence has.
const FRENCH_WORDS: &str = "le la les un une du des au aux de et ou est sont ne pas en dans avec pour par sur ce cette ces cet à \
    où il elle vous votre vos se sa ses que qui trop invalide inconnu inconnue requis octets demande \
    été utilisateur";

/// What of a text is French. A société is one in English, too.
fn french_in(text: &str) -> Option<String> {
    let text = text.replace("société", "company").replace("Société", "company");
    let letters = |c: char| "àâçèéêëîïôùûüœÀÂÇÈÉÊËÎÏÔÙÛÜŒ«»".contains(c);
    if let Some(at) = text.find(letters) {
        return Some(text[at..].chars().take(1).collect());
    }
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').map(str::to_lowercase);
    let found = words.find(|word| FRENCH_WORDS.split(' ').any(|french| french == word));
    found.or_else(|| [" :", " ;", " !"].into_iter().find(|mark| text.contains(mark)).map(str::to_owned))
}

fn is_french_address(path: &str) -> bool {
    FRENCH.iter().any(|begin| path.starts_with(begin))
}

/// Calls of every kind that an address refuses: nobody, somebody made up, somebody without rights and an administrator
/// say nothing, something that is not JSON, and fields that are none.
fn provocations(request: impl Fn() -> RequestBuilder, person: &str, admin: &str) -> Vec<RequestBuilder> {
    let wrong = json!({ "no_such_field": 1, "name": "", "events": [], "to_user_id": "1", "toUserId": "2" });
    let mut all = vec![
        request(),
        request().header("authorization", "Basic x"),
        request().bearer_auth("rk_0_x"),
        request().header("cookie", "relais_session=x").header("sec-fetch-site", "cross-site"),
        request().header("cookie", "relais_session=x").header("sec-fetch-site", "same-origin"),
        request().header("origin", "http://evil.example"),
    ];
    for token in [person, admin] {
        let told = || request().bearer_auth(token);
        all.extend([
            told(),
            told().query(&[("limit", "x"), ("wait", "x"), ("since", "x"), ("channel", "x"), ("from", "x")]),
            told().query(&[("channel", "societe:a"), ("since", "x-1"), ("version", "x"), ("points", "0")]),
            told().header("content-type", "application/json").body("{"),
            told().header("content-type", "multipart/form-data; boundary=b").body("--x"),
            told().body("x"),
            told().json(&json!({})),
            told().json(&wrong),
            told().json(&json!([1])),
            told().header("idempotency-key", "").json(&json!({ "topic": "a", "name": "é", "data": {} })),
        ]);
    }
    all
}

/// What an error says to people, and all other texts that are in it.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "code").for_each(|(_, value)| texts(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_of_a_new_address_is_french() {
    let world = World::alone(|_| {}).await;
    let (person, admin) = (world.person("Paul").await, world.user("Ada", true).await);
    let client = Client::new();
    let document = serde_json::to_value(openapi::document()).unwrap();
    let own = document["paths"].as_object().unwrap().keys().cloned();
    let others =
        ["/", "/modules", "/healthz", "/docs/x", "/assets/x", "/nowhere", "/api/nowhere", "/api/v1/nowhere"];
    let addresses = own.chain(others.into_iter().chain(["/api/v1/ws"]).map(str::to_owned));
    let mut codes = BTreeSet::new();
    for address in addresses.filter(|address| !is_french_address(address)) {
        // Long polls and streams that go well would not end.
        let path = address.replace("{id}", "no-such").replace(['{', '}'], "");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let request =
                || client.request(method.clone(), format!("http://{}{path}", world.running.address()));
            for provoked in provocations(request, &person.token, &admin.token) {
                let answer = provoked.send().await.unwrap();
                if !answer.status().is_client_error() && !answer.status().is_server_error() {
                    continue;
                }
                let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
                let body = answer.bytes().await.unwrap();
                assert_eq!(body.len(), length, "{method} {path}");
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let mut said = Vec::new();
                texts(&body, &mut said);
                assert!(!said.is_empty() && body["code"].is_string(), "{method} {path}: {body}");
                for text in said {
                    assert_eq!(french_in(&text), None, "{method} {path}: {text}");
                }
                codes.insert(body["code"].as_str().unwrap().to_owned());
            }
        }
    }
    let usual =
        ["unauthenticated", "forbidden", "not_found", "method_not_allowed", "invalid_body", "invalid_query"];
    for code in
        usual.into_iter().chain(["invalid_parameter", "cross_site", "origin_refused", "invalid_event"])
    {
        assert!(codes.contains(code), "{code} was provoked: {codes:?}");
    }
}

#[tokio::test]
async fn the_addresses_of_earlier_systems_say_what_they_always_said() {
    on_both(|world| async move {
        let paul = world.person("Paul").await;
        let call =
            async |method: Method, path: &str, body: Value| world.request(&paul, method, path, body).await;
        for (method, path, body, text) in [
            (Method::GET, "/api/files/societe/a/files", Value::Null, "Accès refusé à la société a"),
            (
                Method::GET,
                "/api/files/nowhere",
                Value::Null,
                "Adresse inconnue : la liste des appels est sous /docs",
            ),
            (Method::PUT, "/api/auth/login", Value::Null, "Méthode non permise à cette adresse : voir /docs"),
            (
                Method::POST,
                "/api/connexion",
                json!({ "email": "a@b", "password": "c" }),
                "Email ou mot de passe incorrect",
            ),
            (Method::GET, "/api/chat/conversations/x", Value::Null, "Conversation non trouvée"),
            (Method::GET, "/api/admin/chat/search", Value::Null, "Paramètre « q » requis"),
            (Method::GET, "/chat/groups/x", Value::Null, "Conversation non trouvée"),
            (
                Method::GET,
                "/ws/chat",
                Value::Null,
                "Connexion WebSocket refusée : ce chemin est un WebSocket",
            ),
            (Method::GET, "/esp32", Value::Null, "Connexion WebSocket refusée : ce chemin est un WebSocket"),
            (Method::POST, "/modules/add", json!({}), "Accès réservé aux administrateurs"),
            (
                Method::POST,
                "/modules/claim",
                json!({ "code": "x", "colour": 1 }),
                "« colour » n'est pas un champ de cette \
                demande : les champs sont code, moduleId, name",
            ),
            (
                Method::PUT,
                "/dashboard/stats",
                Value::Null,
                "Méthode non permise à cette adresse : voir /docs",
            ),
        ] {
            let (status, told) = call(method, path, body).await;
            assert!(status >= 400 && told["message"] == text && told["detail"] == text, "{path}: {told}");
        }
        let both = json!({ "to_user_id": "1", "toUserId": "2" });
        let french = call(Method::POST, "/api/chat/invitations", both.clone()).await.1;
        let english = call(Method::POST, "/api/v1/chat/invitations", both).await.1;
        let (french, english) = (french["message"].as_str().unwrap(), english["message"].as_str().unwrap());
        assert!(
            french.starts_with("Corps de requête invalide : ")
                && french.contains("« to_user_id » et ses autres noms")
        );
        assert!(english.starts_with("Invalid request body: ") && french_in(english).is_none(), "{english}");
    })
    .await;
}

#[tokio::test]
async fn the_answer_to_a_head_announces_the_text_of_its_address() {
    let world = World::alone(|_| {}).await;
    for (path, text) in [
        ("/api/v1/nowhere", "Unknown address: the list of calls is at /docs"),
        ("/api/files/nowhere", "Adresse inconnue : la liste des appels est sous /docs"),
    ] {
        let url = format!("http://{}{path}", world.running.address());
        let answer = Client::new().head(url).send().await.unwrap();
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert_eq!(
            length,
            2 * text.len() + r#"{"detail":"","message":"","error":"Not Found","code":"not_found"}"#.len()
        );
        assert_eq!(answer.bytes().await.unwrap().len(), 0);
    }
}

/// The Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_english_text_is_french() {
    let literal = r#""((?:[^"\\]|\\.|\\\n)*)""#;
    let both = Regex::new(&format!(r"said!\(\s*{literal},\s*{literal}")).unwrap();
    let english = Regex::new(&format!(r"in_english\(\s*(?:format!\(\s*)?{literal}")).unwrap();
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut count = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = both.captures_iter(&text).map(|found| found[2].to_owned());
        for said in found.chain(english.captures_iter(&text).map(|found| found[1].to_owned())) {
            let said = placeholder.replace_all(&said, "x").replace("\\\"", "\"");
            let is_named = file.ends_with("said.rs");
            assert!(
                is_named || french_in(&said).is_none(),
                "{}: {said}: {:?}",
                file.display(),
                french_in(&said)
            );
            count += 1;
        }
    }
    assert!(count > 150, "{count} texts were found");
}
