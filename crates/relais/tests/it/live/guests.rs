//! Devices that report by calls.

use relais::features::accounts::Actor;
use relais::features::live::{Arrival, Refused, Showing, Visibility};
use relais_testkit::TestDb;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::wire::Wire;
use super::{World, on_both, on_both_with};
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";

impl World {
    /// What the report of a device is answered with; `shown` is its credential in the header.
    async fn report(
        &self,
        module: &str,
        shown: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let reply = self.raw_report(module, shown, body).await;
        (reply.status().as_u16(), reply.json().await.unwrap_or_default())
    }

    async fn raw_report(
        &self,
        module: &str,
        shown: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let url = format!("http://{}/api/v1/modules/{module}/report", self.running.address());
        let mut request = reqwest::Client::new().post(url).body(body);
        if let Some(shown) = shown {
            request = request.bearer_auth(shown);
        }
        request.send().await.unwrap()
    }

    fn is_online(&self, module: &str) -> bool {
        let state = self.running.app().service::<Live>().state(&Visibility::All, module).unwrap();
        state.contains("\"online\":true")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reports_by_a_call_and_is_there_until_it_is_silent() {
    let soon = |config: &mut relais::config::Config| config.live.offline_after_s = 1;
    on_both_with(soon, |world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let (fleet, own) = (format!("fleet:user:{}", lea.id), format!("user:{}", lea.id));
        let mut owner = Wire::watcher(&world, &lea, &[&fleet, &own]).await;
        let body = json!({ "uptime": 12, "position": "A", "humidity": 40.5 }).to_string();
        let (status, reply) = world.report(STATION, Some(&credential), body).await;
        assert_eq!((status, &reply["success"], &reply["commands"]), (200, &json!(true), &json!([])));
        assert!(reply["timestamp"].is_string());
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"]["humidity"], 40.5);
        assert_eq!(owner.until("user:module:offline").await["moduleId"], STATION);
        let names = world.logged(&own).await;
        assert_eq!(names, ["user:module:added", "user:module:online", "user:module:offline"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_show_its_password_as_the_firmware_does_and_answer_commands() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&format!("fleet:user:{}", lea.id)]).await;
        let body = json!({
            "type": "command_response", "moduleId": STATION, "password": credential, "command": "ring",
            "status": "success",
        });
        assert_eq!(world.report(STATION, None, body.to_string()).await.0, 200);
        let told = owner.until("module_command_response").await;
        assert_eq!((&told["command"], told.get("password")), (&json!("ring"), None));
        let body = json!({ "moduleId": STATION, "password": credential, "uptime": 5 });
        assert_eq!(world.report(STATION, None, body.to_string()).await.0, 200);
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"], json!({ "uptime": 5 }));
        let body = "{\"uptime\":6,\"humidity\":-nan,\"t\":1e999}\0";
        assert_eq!(world.report(STATION, Some(&credential), body).await.0, 200);
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"], json!({ "uptime": 6 }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_refused_says_why_and_does_nothing() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let other = world.module("MC-1002-STN", None).await;
        let right = Some(credential.as_str());
        let long = json!({ "text": "x".repeat(20_000) }).to_string();
        let many: serde_json::Map<String, Value> = (0..200).map(|n| (format!("f{n}"), json!(n))).collect();
        for (module, shown, body, status, code) in [
            (STATION, None, "{}".to_owned(), 401, "unauthenticated"),
            (STATION, Some("wrong"), "{}".to_owned(), 401, "unauthenticated"),
            (STATION, Some(other.as_str()), "{}".to_owned(), 401, "unauthenticated"),
            ("MC-9999-STN", right, "{}".to_owned(), 401, "unauthenticated"),
            ("a%2Fb", right, "{}".to_owned(), 401, "unauthenticated"),
            (STATION, None, json!({ "password": 5 }).to_string(), 401, "unauthenticated"),
            (STATION, right, "no json".to_owned(), 400, "invalid_report"),
            (STATION, right, "[1]".to_owned(), 400, "invalid_report"),
            (STATION, right, "{\"t\":".to_owned(), 400, "invalid_report"),
            (STATION, right, json!({ "moduleId": "MC-1002-STN" }).to_string(), 400, "foreign_module"),
            (STATION, right, long, 413, "report_too_large"),
        ] {
            let (got, reply) = world.report(module, shown, body.clone()).await;
            assert_eq!((got, reply["code"].as_str()), (status, Some(code)), "{module} {shown:?} {body:.60}");
        }
        assert!(!world.is_online(STATION), "none of them is a sign of life");
        let (got, reply) = world.report(STATION, right, Value::from(many).to_string()).await;
        assert_eq!((got, &reply["code"]), (400, &json!("report_refused")));
        assert!(world.running.app().service::<Live>().telemetry(STATION).is_empty());

        let lea = world.person("Lea").await;
        let (got, _) = world.report(STATION, Some(&lea.token), "{}").await;
        assert_eq!(got, 401, "a person is no device");
        let path = format!("/api/v1/modules/{STATION}/report");
        assert_eq!(world.request(&lea, Method::GET, &path, Value::Null).await.0, 405);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reports_too_often_is_told_to_wait_and_others_are_not() {
    let slow = |config: &mut relais::config::Config| config.live.reports_per_s = 2;
    on_both_with(slow, |world| async move {
        let (first, second) = (world.module(STATION, None).await, world.module("MC-1002-STN", None).await);
        let mut refused = None;
        for number in 0..50 {
            let reply = world.raw_report(STATION, Some(&first), json!({ "n": number }).to_string()).await;
            if reply.status() == StatusCode::TOO_MANY_REQUESTS {
                refused = Some(reply);
                break;
            }
            assert_eq!(reply.status(), StatusCode::OK);
        }
        let refused = refused.expect("fifty calls take less than the seconds that they are worth");
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_reports");
        assert_eq!(world.report("MC-1002-STN", Some(&second), "{}").await.0, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_changed_counts_no_more() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let old = world.module(STATION, None).await;
        assert_eq!(world.report(STATION, Some(&old), "{}").await.0, 200);
        let path = format!("/api/v1/modules/{STATION}/credential");
        let (_, reply) = world.request(&admin, Method::POST, &path, Value::Null).await;
        assert_eq!(world.report(STATION, Some(&old), "{}").await.0, 401);
        assert_eq!(world.report(STATION, reply["credential"].as_str(), "{}").await.0, 200);
        let path = format!("/api/v1/modules/{STATION}");
        world.request(&admin, Method::DELETE, &path, Value::Null).await;
        assert_eq!(world.report(STATION, reply["credential"].as_str(), "{}").await.0, 401);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_does_not_learn_which_modules_there_are() {
    on_both(|world| async move {
        world.module(STATION, None).await;
        let live = world.running.app().service::<Live>();
        // Before anything else: names that there are not, more than an address may look up.
        let guesser = "198.51.100.1".parse().unwrap();
        for number in 0..60 {
            let refused = live.identify(&format!("MC-{number}-STN"), "wrong", guesser).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{number}");
        }
        for module in [STATION, "MC-9999-STN"] {
            let refused = live.identify(module, "wrong", guesser).await.unwrap_err();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{module}");
            let mut answers = Vec::new();
            for _ in 0..200 {
                let showing = Showing::Password("wrong", "192.0.2.7".parse().ok());
                answers.push(matches!(
                    live.admit(module, showing, Arrival::Now).await.unwrap_err(),
                    Refused::TooFast
                ));
            }
            assert!(!answers[..20].contains(&true) && answers.contains(&true), "{module}: {answers:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_another_process_counts_at_once() {
    let database = TestDb::postgres();
    let secret = "a-secret-that-two-servers-have-in-common";
    let (first, second) =
        (World::on(database.address(), secret).await, World::on(database.address(), secret).await);
    let added = first.module(STATION, None).await;
    assert_eq!(second.report(STATION, Some(&added), "{}").await.0, 200, "just added");
    let modules = first.running.app().service::<Live>().modules();
    let actor = Actor::named("test", None);
    let changed = modules.rotate(&Visibility::All, &actor, STATION, None).await.unwrap();
    assert_eq!(second.report(STATION, changed.as_deref(), "{}").await.0, 200, "just changed");
    let added = first.module("MC-1002-STN", None).await;
    Wire::device(&second, "MC-1002-STN", &added).await.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_a_credential_is_slowed_and_the_device_is_not() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let live = world.running.app().service::<Live>();
        let [device, guesser] = ["192.0.2.7", "198.51.100.1"].map(|address| address.parse().ok());
        assert!(live.admit(STATION, Showing::Password(&credential, device), Arrival::Now).await.is_ok());
        let mut reached_limit = false;
        for number in 0..200 {
            let guess = format!("guess {number}");
            let refused =
                live.admit(STATION, Showing::Password(&guess, guesser), Arrival::Now).await.unwrap_err();
            reached_limit |= matches!(refused, Refused::TooFast);
        }
        assert!(reached_limit);
        assert!(live.admit(STATION, Showing::Password(&credential, device), Arrival::Now).await.is_ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_from_the_address_of_a_device_that_was_there_does_not_shut_it_out() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let live = world.running.app().service::<Live>();
        let shared = "192.0.2.7".parse().unwrap();
        assert!(live.identify(STATION, &credential, shared).await.is_ok());
        let mut codes = Vec::new();
        for number in 0..200 {
            let guess = format!("guess {number}");
            codes.push(live.identify(STATION, &guess, shared).await.unwrap_err().code());
        }
        assert!(codes.contains(&"too_many_attempts") && codes.contains(&"unauthenticated"), "{codes:?}");
        assert!(live.identify(STATION, &credential, shared).await.is_ok());
        // Whatever was proven, a credential that was replaced is none any more.
        let admin = world.user("Ada", true).await;
        let path = format!("/api/v1/modules/{STATION}/credential");
        let (_, reply) = world.request(&admin, Method::POST, &path, Value::Null).await;
        let elsewhere = "198.51.100.1".parse().unwrap();
        assert_eq!(
            live.identify(STATION, &credential, elsewhere).await.unwrap_err().code(),
            "unauthenticated"
        );
        assert!(live.identify(STATION, reply["credential"].as_str().unwrap(), elsewhere).await.is_ok());
    })
    .await;
}
