//! Fields of modules under several names.

use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_a_module_has_any_of_its_names_or_several_with_one_value() {
    on_both(|world| async move {
        let (ada, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let (modules, id) = ("/api/v1/modules", "MC-1001-STN");
        let several = json!({
            "moduleId": id, "module_id": id, "id": id, "userId": null, "type": "Station", "moduleType": "Station",
        });
        let mut torn = several.clone();
        torn["module_id"] = "MC-1002-STN".into();
        let (status, refused) = world.request(&ada, Method::POST, modules, torn).await;
        assert_eq!((status, &refused["code"]), (422, &json!("invalid_body")), "{refused}");
        let (status, added) = world.request(&ada, Method::POST, modules, several).await;
        assert_eq!((status, &added["module"]["module_id"]), (201, &json!(id)), "{added}");

        let code = &added["claim_code"];
        let claim = json!({ "code": code, "claimCode": code, "claim_code": code, "moduleId": id, "module_id": id });
        let mut torn = claim.clone();
        torn["module_id"] = "MC-1002-STN".into();
        let path = "/api/v1/modules/claim";
        assert_eq!(world.request(&lea, Method::POST, path, torn).await.0, 422);
        let (status, claimed) = world.request(&lea, Method::POST, path, claim).await;
        assert_eq!((status, &claimed["userId"]), (200, &json!(lea.id)), "{claimed}");

        let page = "/modules/update/MC-1001-STN";
        let torn = json!({ "type": "Light FX", "moduleType": "Station", "csrf": "x" });
        let (status, refused) = world.request(&lea, Method::POST, page, torn).await;
        assert_eq!((status, &refused["code"], &refused["success"]), (422, &json!("invalid_body"), &json!(false)));
        let same = json!({ "type": "Station", "module_type": "Station", "moduleType": null, "csrf": "x" });
        let (status, changed) = world.request(&lea, Method::POST, page, same).await;
        assert_eq!((status, &changed["module"]["type"]), (200, &json!("Station")), "{changed}");

        for (path, sent, hint) in [
            ("/modules/add", json!({ "id": "MC-1003-STN", "passwrd": "x" }), "« password »"),
            (page, json!({ "nam": "x" }), "« name »"),
            (page, json!({ "name": "x", "moduleId": "MC-1002-STN" }), "un autre module"),
            ("/modules/claim", json!({ "code": "x", "something": "x" }), "code, moduleId, name"),
        ] {
            let (status, refused) = world.request(&ada, Method::POST, path, sent.clone()).await;
            assert_eq!((status, &refused["success"]), (422, &json!(false)), "{sent}: {refused}");
            assert!(refused["message"].as_str().unwrap().contains(hint), "{refused}");
        }

        let (of_it, names) = (format!("{modules}/{id}"), json!({ "type": "Light FX", "module_type": "Station" }));
        assert_eq!(world.request(&lea, Method::PATCH, &of_it, names).await.0, 422);
        let unchanged = json!({ "type": null, "name": "Quai 1" });
        let (status, changed) = world.request(&lea, Method::PATCH, &of_it, unchanged).await;
        assert_eq!((status, &changed["type"], &changed["name"]), (200, &json!("Station"), &json!("Quai 1")));
        assert_ne!(world.request(&lea, Method::GET, &of_it, Value::Null).await.1["type"], Value::Null);
    })
    .await;
}
