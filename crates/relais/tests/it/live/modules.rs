//! Adding, owning, claiming, changing and removing modules.

use relais_protocol::event::Cursor;
use relais_store::{StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Person, World, on_both};
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";
/// What a browser takes.
const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

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

/// Adds so many modules that are nobody's.
const MANY: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000) \
    INSERT INTO modules (id, name, type, secret_hash, created_at, owned_at, updated_at) \
    SELECT 'MC-' || (100000 + n) || '-STN', 'm', 'Station', '', 1, 1, 1 FROM numbers";

#[tokio::test(flavor = "multi_thread")]
async fn a_list_for_a_page_that_is_not_whole_says_so() {
    on_both(|world| async move {
        let ada = world.user("Ada", true).await;
        let add = world.running.app().store().write(|tx| tx.execute(MANY, params![]).map(drop));
        add.await.unwrap_or_else(|error: StoreError| panic!("{error}"));
        let world = world.restart().await;
        let list = async || world.accepted(&ada, Method::GET, "/modules/api", Value::Null).await;
        let whole = list().await;
        assert_eq!((&whole["total"], &whole["truncated"]), (&json!(10_000), &json!(false)));
        let new = json!({ "id": "MC-999999-STN" });
        world.accepted(&ada, Method::POST, "/api/v1/modules", new).await;
        let cut = list().await;
        assert_eq!((&cut["total"], &cut["truncated"]), (&json!(10_001), &json!(true)));
        assert_eq!(cut["modules"].as_array().unwrap().len(), 10_000);
    })
    .await;
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
        let (status, _) = world.request(&admin, Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, 204);
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
        let live = world.running.app().service::<Live>().modules();
        assert_eq!(live.identify(STATION, first).await.unwrap().id, STATION);
        for (id, credential) in [(STATION, ""), (STATION, "faux"), ("MC-1002-STN", first), ("", "")] {
            assert_eq!(live.identify(id, credential).await.unwrap_err().code(), "unauthenticated");
        }
        let path = format!("/api/v1/modules/{STATION}/credential");
        let second = world.accepted(&lea, Method::POST, &path, Value::Null).await;
        assert!(live.identify(STATION, first).await.is_err());
        assert!(live.identify(STATION, second["credential"].as_str().unwrap()).await.is_ok());
        world.accepted(&lea, Method::POST, &format!("/modules/delete/{STATION}"), Value::Null).await;
        assert!(
            live.identify(STATION, second["credential"].as_str().unwrap()).await.is_ok(),
            "it was given back"
        );
        world.accepted(&admin, Method::DELETE, &format!("/api/v1/modules/{STATION}"), Value::Null).await;
        assert!(live.identify(STATION, second["credential"].as_str().unwrap()).await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_gives_a_module_back_and_only_an_administrator_removes_it_for_good() {
    on_both(|world| async move {
        let (admin, lea, eve) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Eve").await);
        let new = json!({ "id": STATION, "password": "F674iaRftVsHGKOA" });
        let added = world.accepted(&admin, Method::POST, "/api/v1/modules", new).await;
        let claim = json!({ "module_id": STATION, "module_code": added["claim_code"], "name": "Quai 1" });
        let claimed = world.accepted(&lea, Method::POST, "/modules/claim", claim.clone()).await;
        assert_eq!(claimed["module"]["name"], "Quai 1");
        let own = format!("user:{}", lea.id);
        let delete = format!("/modules/delete/{STATION}");
        assert_eq!(
            world.refused(&eve, Method::POST, &delete, Value::Null).await,
            (404, "module_not_found".into())
        );
        for path in [delete.as_str(), &format!("/api/v1/modules/{STATION}")] {
            let since = world.running.app().store().head();
            let method = if path == delete { Method::POST } else { Method::DELETE };
            world.accepted(&lea, method, path, Value::Null).await;
            assert_eq!((world.ids(&lea).await, world.ids(&admin).await.len()), (vec![], 1));
            let expected = [told(&own, "user:module:removed"), told("role:admin", "rt_module_updated")];
            assert_eq!(world.told(since).await, expected);
            assert!(
                world
                    .running
                    .app()
                    .service::<Live>()
                    .modules()
                    .identify(STATION, "F674iaRftVsHGKOA")
                    .await
                    .is_ok()
            );
            let again = world.accepted(&lea, Method::POST, "/modules/claim", claim.clone()).await;
            assert_eq!(again["module"]["userId"], json!(lea.id), "the same code claims it again");
            assert_eq!(
                world.refused(&eve, Method::POST, "/modules/claim", claim.clone()).await.0,
                404,
                "once"
            );
        }
        // What is nobody's an administrator removes with the old call, too.
        world.accepted(&lea, Method::POST, &delete, Value::Null).await;
        world.accepted(&admin, Method::POST, &delete, Value::Null).await;
        assert_eq!(world.ids(&admin).await, Vec::<String>::new());
        assert_eq!(world.refused(&lea, Method::POST, "/modules/claim", claim).await.0, 404);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_existing_pages_are_answered_with_the_way_back() {
    on_both(|world| async move {
        let (admin, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let post = async |who: Option<&Person>, path: &str, form: &[(&str, &str)], accept: &str| {
            let url = format!("http://{}{path}", world.running.address());
            let form = reqwest::Url::parse_with_params("http://relais/", form).unwrap();
            let form = form.query().unwrap_or_default().to_owned();
            let kind = "application/x-www-form-urlencoded";
            let mut request =
                client.post(url).body(form).header("content-type", kind).header("accept", accept);
            if let Some(who) = who {
                request = request.bearer_auth(&who.token);
            }
            let reply = request.send().await.unwrap();
            let location = reply.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
            let status = reply.status().as_u16();
            let Some(location) = location else { return (status, reply.json::<Value>().await.unwrap()) };
            let url = reqwest::Url::parse(&format!("http://relais{location}")).unwrap();
            assert_eq!(url.path(), "/modules");
            (status, url.query_pairs().map(|(name, value)| (name.into_owned(), json!(value))).collect())
        };
        let add = [("module_id", STATION), ("password", "F674iaRftVsHGKOA"), ("name", ""), ("_csrf", "x")];
        let added = post(Some(&admin), "/modules/add", &add, HTML).await;
        assert_eq!(added, (303, json!({ "flash": "Module ajouté" })));
        let path = format!("/api/v1/modules/{STATION}/claim-code");
        let (_, offered) = world.request(&admin, Method::POST, &path, Value::Null).await;
        let code = offered["claim_code"].as_str().unwrap();
        let claim =
            [("module_id", STATION), ("module_code", code), ("name", "Quai d'été"), ("page", "modules")];
        let wrong = [("module_id", STATION), ("module_code", "ABCD-EFGH")];
        for (who, form, error) in [
            (None, &claim[..], "unauthenticated"),
            (Some(&lea), &wrong, "claim_code_unknown"),
            (Some(&lea), &claim[..1], "invalid_body"),
        ] {
            let (status, reply) = post(who, "/modules/claim", form, HTML).await;
            assert_eq!((status, reply["error"].as_str()), (303, Some(error)), "{reply}");
            assert!(!reply["flash"].as_str().unwrap().is_empty());
        }
        let (status, reply) = post(Some(&lea), "/modules/claim", &wrong, "application/json").await;
        assert_eq!(
            (status, &reply["success"], &reply["code"]),
            (404, &json!(false), &json!("claim_code_unknown"))
        );

        let claimed = post(Some(&lea), "/modules/claim", &claim, "*/*").await;
        assert_eq!(claimed, (303, json!({ "flash": "Module ajouté à votre compte" })));
        let path = format!("/api/v1/modules/{STATION}");
        let (_, module) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((&module["name"], &module["userId"]), (&json!("Quai d'été"), &json!(lea.id)));
        let renamed =
            post(Some(&lea), &format!("/modules/update/{STATION}"), &[("name", "Quai 2")], HTML).await;
        assert_eq!(renamed, (303, json!({ "flash": "Module modifié" })));
        let (_, module) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!(module["name"], "Quai 2");
        let gone = post(Some(&lea), &format!("/modules/delete/{STATION}"), &[], HTML).await;
        assert_eq!(gone, (303, json!({ "flash": "Module retiré de votre compte" })));
        assert_eq!(world.ids(&lea).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_have_the_password_that_is_in_its_firmware_and_what_is_not_known_is_refused() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let modules = world.running.app().service::<Live>().modules();
        let new = json!({ "id": STATION, "password": "F674iaRftVsHGKOA" });
        let added = world.accepted(&admin, Method::POST, "/api/v1/modules", new).await;
        assert!(added.get("credential").is_none(), "who gave it knows it: {added}");
        assert!(modules.identify(STATION, "F674iaRftVsHGKOA").await.is_ok());
        let path = format!("/api/v1/modules/{STATION}/credential");
        let given = json!({ "password": "un autre" });
        assert_eq!(world.accepted(&admin, Method::POST, &path, given).await, json!({}));
        assert!(modules.identify(STATION, "F674iaRftVsHGKOA").await.is_err());
        assert!(modules.identify(STATION, "un autre").await.is_ok());
        let made = world.accepted(&admin, Method::POST, &path, Value::Null).await;
        assert!(modules.identify(STATION, made["credential"].as_str().unwrap()).await.is_ok());

        let long = "x".repeat(257);
        for (path, body, status, code) in [
            ("/api/v1/modules", json!({ "id": "MC-1002-STN", "password": "" }), 400, "invalid_value"),
            ("/api/v1/modules", json!({ "id": "MC-1002-STN", "password": "abc" }), 400, "invalid_value"),
            ("/api/v1/modules", json!({ "id": "MC-1002-STN", "password": long }), 400, "invalid_value"),
            (
                "/api/v1/modules",
                json!({ "id": "MC-1002-STN", "password": "abcd\u{0}" }),
                400,
                "invalid_value",
            ),
            ("/api/v1/modules", json!({ "id": "MC-1002-STN", "credential": "x" }), 422, "invalid_body"),
            ("/api/v1/modules/claim", json!({ "code": "x", "secret": "x" }), 422, "invalid_body"),
            (&path, json!({ "credential": "x" }), 422, "invalid_body"),
            (&path, json!({ "password": "" }), 400, "invalid_value"),
        ] {
            let refused = world.refused(&admin, Method::POST, path, body.clone()).await;
            assert_eq!(refused, (status, code.into()), "{path} {body}");
        }
        let path = format!("/api/v1/modules/{STATION}");
        let refused = world.refused(&admin, Method::PATCH, &path, json!({ "owner": "x" })).await;
        assert_eq!(refused, (422, "invalid_body".into()), "what changes nothing is not said to be done");
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
