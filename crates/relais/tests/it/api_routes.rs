//! The OpenAPI document and the router say the same: what is documented is served, and what is served is documented.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use relais::http::{asyncapi, openapi, router};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::world::World;

/// What is served beside the calls: where it begins, and where it is described.
const NO_CALLS: &[(&[&str], &str)] = &[
    (&["/", "/modules", "/assets/{file}"], "pages"),
    (&["/docs", "/docs/{*file}", "/openapi.json", "/asyncapi.json"], "the documents themselves"),
    (&["/js/reconnection-manager.js"], "a script, in the guide of live modules"),
    (
        &["/healthz", "/readyz", "/metrics"],
        "for the machine that watches the server, in the operator's guide",
    ),
    (&["/socket.io", "/socket.io/"], "Socket.IO and its client library, in the guides"),
];

/// Addresses that have the same calls as others; a description of the document says so.
const SAME: &[(&str, &str)] =
    &[("/api/admin/chat", "/api/chat"), ("/api/v1/chat", "/api/chat"), ("/chat", "/api/chat")];

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What the document has: by address and method, the description.
struct Documented {
    operations: BTreeMap<(String, String), String>,
    tags: String,
}

impl Documented {
    fn read() -> Self {
        let document = serde_json::to_value(openapi::document()).unwrap();
        let mut operations = BTreeMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let description = operation["description"].as_str().unwrap_or_default().to_owned();
                operations.insert((path.clone(), method.to_uppercase()), description);
            }
        }
        Self { operations, tags: document["tags"].to_string() }
    }

    /// Whether a reader of the document learns of this call: it has it, or says that it is another way of one that it has.
    fn tells(&self, path: &str, method: &Method) -> bool {
        let (address, way) = (format!("`{path}`"), format!("Also by {method}"));
        let here = |(at, by): &(String, String), description: &str| {
            at == path && (by == method.as_str() || description.contains(&way))
        };
        self.operations
            .iter()
            .any(|(at, description)| here(at, description) || description.contains(&address))
    }
}

/// Every address of the router, which axum tells nobody but whoever debugs it.
fn addresses(world: &World) -> BTreeSet<String> {
    let told = format!("{:?}", router(world.running.app()));
    let own = told.split("fallback_router").next().unwrap();
    let route = Regex::new(r#"RouteId\(\d+\): "([^"]+)""#).unwrap();
    let found: BTreeSet<String> = route.captures_iter(own).map(|found| found[1].to_owned()).collect();
    assert!(
        found.contains("/api/v1/users/{id}") && found.contains("/healthz"),
        "axum tells it otherwise: {told}"
    );
    found
}

/// Whether there is a call at an address that the router has.
async fn is_served(world: &World, path: &str, method: &Method) -> bool {
    let path = Regex::new(r"\{[^}]*\}").unwrap().replace_all(path, "x");
    let url = format!("http://{}{path}", world.running.address());
    let answer = Client::new().request(method.clone(), url).send().await.unwrap();
    answer.status() != StatusCode::METHOD_NOT_ALLOWED
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_call_is_served() {
    let world = World::alone(|_| {}).await;
    let addresses = addresses(&world);
    for (path, method) in Documented::read().operations.into_keys() {
        let method = method.parse().unwrap();
        assert!(addresses.contains(&path), "{path} is not there");
        assert!(is_served(&world, &path, &method).await, "{method} {path} is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_is_served_is_documented() {
    let world = World::alone(|_| {}).await;
    let documented = Documented::read();
    let sockets: BTreeSet<String> = {
        let document = asyncapi::document();
        let channels = document["channels"].as_object().unwrap();
        channels.values().map(|channel| channel["address"].as_str().unwrap().to_owned()).collect()
    };
    let (mut undocumented, mut used) = (Vec::new(), BTreeSet::new());
    for path in addresses(&world) {
        let excused = NO_CALLS.iter().flat_map(|(begins, _)| *begins).find(|begin| {
            path == **begin || **begin != "/" && begin.ends_with('/') && path.starts_with(**begin)
        });
        if let Some(begin) = excused {
            used.insert(*begin);
            continue;
        }
        let same =
            SAME.iter().find_map(|(begin, other)| Some(format!("{other}{}", path.strip_prefix(begin)?)));
        for method in METHODS {
            let told = documented.tells(&path, &method)
                || same.as_ref().is_some_and(|same| documented.tells(same, &method))
                || sockets.contains(&path) && method == Method::GET;
            if !told && is_served(&world, &path, &method).await {
                undocumented.push(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(undocumented, Vec::<String>::new());
    let needless = NO_CALLS.iter().flat_map(|(begins, _)| *begins).filter(|begin| !used.contains(*begin));
    assert_eq!(needless.collect::<Vec<_>>(), Vec::<&&str>::new(), "an exception that nothing needs any more");
    for (begin, other) in SAME {
        assert!(documented.tags.contains(&format!("`{begin}`")), "a tag says that {begin} is {other}");
    }
}

/// Clients that are made of the document have a method for each.
#[test]
fn every_operation_has_a_name_of_its_own_and_a_tag() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let items = document["paths"].as_object().unwrap().values();
    let mut names = BTreeSet::new();
    for operation in items.flat_map(|item| item.as_object().unwrap().values()) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{name} has no tag");
    }
}

/// What a client is made of: every schema that is named is there.
#[test]
fn every_schema_that_is_named_is_there() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let named = Regex::new(r##""\$ref":"#(/[^"]+)""##).unwrap();
    for found in named.captures_iter(&document.to_string()) {
        assert_ne!(document.pointer(&found[1]).unwrap_or(&Value::Null), &Value::Null, "{}", &found[1]);
    }
}
