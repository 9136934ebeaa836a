//! A module that is handed over while the clock is wrong.

use relais::features::live::Report;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Person, World, on_both, on_both_in_time};
use relais::features::live::Live;

const HOUR: i64 = 3_600_000;
const STATION: &str = "MC-1001-STN";

impl World {
    /// Has `to` claim the module of `from` under a name, if there is one.
    async fn pass_on(&self, from: &Person, to: &Person, name: Option<&str>) -> Value {
        let code = format!("/api/v1/modules/{STATION}/claim-code");
        let (_, offered) = self.request(from, Method::POST, &code, Value::Null).await;
        let claim = json!({ "code": offered["claim_code"], "name": name });
        let (status, module) = self.request(to, Method::POST, "/api/v1/modules/claim", claim).await;
        assert_eq!(status, 200, "{module}");
        module
    }

    /// What somebody reads of the module's topic since a cursor.
    async fn read_topic(&self, who: &Person, since: &str) -> Vec<Value> {
        let path = format!("/api/v1/poll?channel=module:{STATION}&since={since}");
        let (status, page) = self.request(who, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{page}");
        page["events"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_an_owners_begins_with_the_hand_over_whatever_the_clock_said() {
    on_both_in_time(|world, clock| async move {
        let (lea, paul, zoe) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Zoe").await);
        let beginning = world.running.app().store().head().to_string();
        world.module(STATION, Some(&lea)).await;
        clock.leap_ms(HOUR);
        let commands = format!("/api/v1/modules/{STATION}/commands");
        let secret = json!({ "command": "open", "params": { "code": "4711" } });
        assert_eq!(world.request(&lea, Method::POST, &commands, secret).await.0, 202);
        clock.leap_ms(-HOUR);
        world.pass_on(&lea, &paul, None).await;
        let read = world.read_topic(&paul, &beginning).await;
        assert_eq!(read[0]["data"]["owner"], format!("user:{}", paul.id), "{read:?}");
        assert!(!json!(read).to_string().contains("4711"), "{read:?}");

        clock.leap_ms(HOUR);
        world.pass_on(&paul, &zoe, None).await;
        clock.leap_ms(-HOUR);
        clock.advance_ms(1000);
        let live = world.running.app().service::<Live>();
        let values = json!({ "t": 5 });
        live.report(STATION, Report::of(values.as_object().unwrap().clone()).unwrap()).unwrap();
        live.look();
        live.stored().await.unwrap();
        for _ in 0..2 {
            let read = world.read_topic(&zoe, &beginning).await;
            assert_eq!(read[0]["data"]["owner"], format!("user:{}", zoe.id), "{read:?}");
            assert!(read.iter().any(|event| event["name"] == "rt_module_online"), "{read:?}");
        }
        let path = format!("/api/v1/modules/{STATION}/history");
        let (_, history) = world.request(&zoe, Method::GET, &path, Value::Null).await;
        assert!(history.to_string().contains("\"t\""), "{history}");

        let world = world.restart().await;
        let read = world.read_topic(&zoe, &beginning).await;
        assert_eq!(read[0]["data"]["owner"], format!("user:{}", zoe.id), "after a restart: {read:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_owner_called_a_module_is_not_passed_on() {
    on_both(|world| async move {
        let (ada, lea, paul) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Paul").await);
        world.module(STATION, None).await;
        assert_eq!(world.pass_on(&ada, &lea, Some("Chambre de Léa")).await["name"], "Chambre de Léa");
        assert_eq!(world.pass_on(&lea, &paul, None).await["name"], STATION);
        assert_eq!(world.pass_on(&paul, &lea, Some("Quai")).await["name"], "Quai");
        let path = format!("/api/v1/modules/{STATION}");
        let named = json!({ "name": "Gare de Lyon" });
        assert_eq!(world.request(&ada, Method::PATCH, &path, named).await.0, 200);
        assert_eq!(world.request(&lea, Method::PATCH, &path, json!({ "name": "Chez moi" })).await.0, 200);
        let passed = world.pass_on(&lea, &paul, None).await;
        assert_eq!(passed["name"], "Gare de Lyon", "what an administrator called it");
        let (_, found) = world.request(&paul, Method::GET, &path, Value::Null).await;
        assert_eq!(found["name"], "Gare de Lyon");
    })
    .await;
}
