//! Adding, owning, claiming, changing and removing modules.

use relais_protocol::event::Cursor;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Person, World, on_both};

const STATION: &str = "MC-1001-STN";

impl World {
    async fn accepted(&self, who: &Person, method: Method, path: &str, body: Value) -> Value {
        let (status, reply) = self.request(who, method, path, body).await;
        assert!(matches!(status, 200 | 201 | 204), "{status}: {reply}");
        reply
    }

    /// The status and the code of a call that is refused.
    async fn refused(&self, who: &Person, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, reply) = self.request(who, method, path, body).await;
        (status, reply["code"].as_str().unwrap_or_else(|| panic!("{status}: {reply}")).to_owned())
    }

    async fn ids(&self, who: &Person) -> Vec<String> {
        let reply = self.accepted(who, Method::GET, "/modules/api", Value::Null).await;
        assert_eq!(reply["success"], true);
        let modules = reply["modules"].as_array().unwrap();
        modules.iter().map(|module| module["module_id"].as_str().unwrap().to_owned()).collect()
    }

    /// What was told since `cursor`: topic, name and the module's id.
    async fn told(&self, since: Cursor) -> Vec<(String, String, String)> {
        let store = self.running.app().store();
        let mut all = Vec::new();
        for family in ["role:*", "user:*"] {
            all.extend(
                store.events_after(&family.parse().unwrap(), since.seq, u64::MAX >> 1, 100).await.unwrap(),
            );
        }
        all.sort_by_key(|event| event.seq);
        let told = all.iter().map(|event| {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["module"]["module_id"], data["moduleId"], "nested and flat");
            (event.topic.to_string(), event.name.to_string(), data["moduleId"].as_str().unwrap().to_owned())
        });
        told.collect()
    }
}

fn told(topic: &str, name: &str) -> (String, String, String) {
    (topic.to_owned(), name.to_owned(), STATION.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_and_an_administrator_see_a_module_and_a_stranger_does_not() {
    on_both(|world| async move {
        let (admin, lea, eve) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Eve").await);
        let since = world.running.app().store().head();
        let new = json!({ "id": STATION, "name": "Quai 1", "owner": "lea@relais.fr" });
        let added = world.accepted(&admin, Method::POST, "/api/v1/modules", new.clone()).await;
        assert_eq!(added["module"]["type"], "Station", "the end of the id says it");
        assert_eq!((&added["module"]["userId"], &added["claim_code"]), (&json!(lea.id), &Value::Null));
        assert_eq!(added["credential"].as_str().unwrap().len(), 64);

        assert_eq!(
            (world.ids(&lea).await, world.ids(&admin).await),
            (vec![STATION.into()], vec![STATION.into()])
        );
        assert_eq!(world.ids(&eve).await, Vec::<String>::new());
        let path = format!("/api/v1/modules/{STATION}");
        for (method, body) in [
            (Method::GET, Value::Null),
            (Method::PATCH, json!({ "name": "à moi" })),
            (Method::DELETE, Value::Null),
        ] {
            let refused = world.refused(&eve, method, &path, body).await;
            assert_eq!(refused, (404, "module_not_found".into()));
        }
        assert_eq!(world.refused(&lea, Method::POST, "/api/v1/modules", new.clone()).await.0, 403);
        let again = world.refused(&admin, Method::POST, "/api/v1/modules", new).await;
        assert_eq!(again, (409, "module_exists".into()));

        let changed =
            world.accepted(&lea, Method::PATCH, &path, json!({ "name": "Quai 2", "type": "LFX" })).await;
        assert_eq!((&changed["name"], &changed["type"]), (&json!("Quai 2"), &json!("Light FX")));
        world.accepted(&lea, Method::PATCH, &path, json!({ "name": "Quai 2" })).await;
        world.accepted(&lea, Method::DELETE, &path, Value::Null).await;
        let own = format!("user:{}", lea.id);
        let expected: Vec<_> = ["added", "updated", "removed"]
            .iter()
            .flat_map(|what| {
                [told("role:admin", &format!("rt_module_{what}")), told(&own, &format!("user:module:{what}"))]
            })
            .collect();
        assert_eq!(world.told(since).await, expected, "what changes nothing is not told");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_code_makes_one_person_the_owner_once() {
    on_both(|world| async move {
        let (admin, lea, eve) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Eve").await);
        let added =
            world.accepted(&admin, Method::POST, "/modules/add", json!({ "moduleId": STATION })).await;
        let code = added["claim_code"].as_str().unwrap();
        let claim = |code: &str| json!({ "code": code.to_lowercase(), "moduleId": STATION });
        for wrong in [claim("ABCD-EFGH"), json!({ "code": code, "moduleId": "MC-1002-STN" }), claim("")] {
            let refused = world.refused(&lea, Method::POST, "/modules/claim", wrong).await;
            assert_eq!(refused, (404, "claim_code_unknown".into()));
        }
        let claimed = world.accepted(&lea, Method::POST, "/modules/claim", claim(code)).await;
        assert_eq!((&claimed["success"], &claimed["module"]["userId"]), (&json!(true), &json!(lea.id)));
        assert_eq!(world.refused(&eve, Method::POST, "/modules/claim", claim(code)).await.0, 404, "once");

        let path = format!("/api/v1/modules/{STATION}/claim-code");
        assert_eq!(world.refused(&eve, Method::POST, &path, Value::Null).await.0, 404);
        let offered = world.accepted(&lea, Method::POST, &path, Value::Null).await;
        let since = world.running.app().store().head();
        world
            .accepted(
                &eve,
                Method::POST,
                "/api/v1/modules/claim",
                claim(offered["claim_code"].as_str().unwrap()),
            )
            .await;
        assert_eq!((world.ids(&lea).await, world.ids(&eve).await), (vec![], vec![STATION.to_owned()]));
        let (former, owner) = (format!("user:{}", lea.id), format!("user:{}", eve.id));
        assert_eq!(
            world.told(since).await,
            [
                told(&former, "user:module:removed"),
                told("role:admin", "rt_module_updated"),
                told(&owner, "user:module:added")
            ]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_shows_its_credential_until_that_is_changed() {
    on_both(|world| async move {
        let (admin, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let new = json!({ "id": STATION, "owner": lea.id });
        let added = world.accepted(&admin, Method::POST, "/api/v1/modules", new).await;
        let first = added["credential"].as_str().unwrap();
        let live = world.running.app().live().modules();
        assert_eq!(live.identify(STATION, first).await.unwrap().id, STATION);
        for (id, credential) in [(STATION, ""), (STATION, "faux"), ("MC-1002-STN", first), ("", "")] {
            assert_eq!(live.identify(id, credential).await.unwrap_err().code(), "unauthenticated");
        }
        let path = format!("/api/v1/modules/{STATION}/credential");
        let second = world.accepted(&lea, Method::POST, &path, Value::Null).await;
        assert!(live.identify(STATION, first).await.is_err());
        assert!(live.identify(STATION, second["credential"].as_str().unwrap()).await.is_ok());
        world.accepted(&lea, Method::POST, &format!("/modules/delete/{STATION}"), Value::Null).await;
        assert!(live.identify(STATION, second["credential"].as_str().unwrap()).await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_module_is_refused_with_the_reason() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        for (new, status, code) in [
            (json!({ "id": "a b" }), 400, "invalid_value"),
            (json!({ "id": STATION, "type": "Camera" }), 400, "invalid_value"),
            (json!({ "id": "porte" }), 400, "invalid_value"),
            (json!({ "id": STATION, "name": " " }), 400, "invalid_value"),
            (json!({ "id": STATION, "owner": "personne@relais.fr" }), 404, "not_found"),
            (json!({ "name": "x" }), 422, "invalid_body"),
        ] {
            let refused = world.refused(&admin, Method::POST, "/modules/add", new.clone()).await;
            assert_eq!(refused, (status, code.into()), "{new}");
        }
        assert_eq!(world.ids(&admin).await, Vec::<String>::new());
    })
    .await;
}
