//! Devices on their WebSocket, and who hears of them.

use std::sync::Arc;
use std::time::Duration;

use relais::features::accounts::Actor;
use relais::features::live::{ConnectionEnd, DeviceConnection, NewModule, Report, Visibility};
use relais_store::{StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::wire::Wire;
use super::{Person, World, on_both, on_both_in_time, on_both_with};
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";

impl World {
    fn actor() -> Actor {
        Actor::named("test", None)
    }

    /// Adds a module; its credential.
    pub(super) async fn module(&self, id: &str, owner: Option<&Person>) -> String {
        let owner = owner.map(|owner| owner.id.clone());
        let new = NewModule { id: id.into(), owner, ..NewModule::default() };
        let added = self.running.app().service::<Live>().modules().add(&Self::actor(), new).await.unwrap();
        added.credential.unwrap()
    }

    /// The names of what the log has of a topic.
    pub(super) async fn logged(&self, topic: &str) -> Vec<String> {
        let channel = topic.parse().unwrap();
        let events = self.running.app().store().events_after(&channel, 0, u64::MAX >> 1, 1000).await.unwrap();
        events.iter().map(|event| event.name.to_string()).collect()
    }
}

fn fleet(who: &Person) -> String {
    format!("fleet:user:{}", who.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_reports_reaches_its_owner_and_administrators_and_nobody_else() {
    on_both(|world| async move {
        let (admin, lea, eve) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Eve").await);
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&fleet(&lea)]).await;
        let mut watcher = Wire::watcher(&world, &admin, &["telemetry:*", "module:*"]).await;
        let mut stranger = Wire::watcher(&world, &eve, &[]).await;
        for channel in [&*fleet(&lea), "telemetry:*", "module:*", "telemetry:MC-1001-STN", "module:MC-1001-STN"] {
            stranger.say(json!({ "type": "subscribe", "channel": channel })).await;
            assert_eq!(stranger.next().await["code"], "forbidden", "{channel}");
        }

        let mut device = Wire::device(&world, STATION, &credential).await;
        assert_eq!(owner.until("rt_module_online").await["online"], true);
        assert_eq!(watcher.until("rt_module_online").await["moduleId"], STATION);
        let report = json!({
            "type": "telemetry", "moduleId": STATION, "password": credential, "uptime": 12, "position": "A",
            "status": "ok", "temperature": 21.5,
        });
        device.say(report).await;
        for wire in [&mut owner, &mut watcher] {
            let told = wire.until("rt_telemetry_updated").await;
            let values = json!({ "uptime": 12, "position": "A", "status": "ok", "temperature": 21.5 });
            assert_eq!((&told["moduleId"], &told["telemetry"]), (&json!(STATION), &values));
            assert!(told["lastSeenFormatted"].as_str().unwrap().contains('/'), "{told}");
            let told = wire.until("module_telemetry").await;
            assert_eq!((&told["uptime"], &told["position"], &told["status"]), (&json!(12), &json!("A"), &json!("ok")));
        }

        // The same again is no event: the next one that is told has another value.
        device.say(json!({ "type": "telemetry", "uptime": 12, "position": "A" })).await;
        device.say(json!({ "type": "heartbeat", "uptime": 13, "wifiRSSI": -60 })).await;
        let told = owner.until("rt_telemetry_updated").await;
        assert_eq!((&told["telemetry"]["uptime"], &told["telemetry"]["wifiRSSI"]), (&json!(13), &json!(-60)));

        device.say(json!({ "type": "command_response", "command": "ring", "status": "success", "position": "B" })).await;
        let told = owner.until("module_command_response").await;
        assert_eq!((&told["command"], &told["moduleId"]), (&json!("ring"), &json!(STATION)));
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"]["position"], "B");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_and_offline_are_told_when_they_change_and_a_restart_is_no_outage() {
    on_both_in_time(|world, clock| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let own = format!("user:{}", lea.id);
        let mut owner = Wire::watcher(&world, &lea, &[&own]).await;
        let first = Wire::device(&world, STATION, &credential).await;
        owner.until("user:module:online").await;

        // Gone and back while no time passes is no absence.
        first.leave().await;
        let second = Wire::device(&world, STATION, &credential).await;
        drop(owner);
        drop(second);
        let world = world.restart().await;
        let mut owner = Wire::watcher(&world, &lea, &[&own]).await;
        let back = Wire::device(&world, STATION, &credential).await;
        back.leave().await;
        // However late the server notices the end.
        let passing = async {
            loop {
                clock.advance_ms(1_000);
                world.running.app().service::<Live>().look();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = tokio::select! {
            told = owner.until("user:module:offline") => told,
            () = passing => unreachable!("time passes for ever"),
        };
        assert_eq!((&told["online"], told["disconnectedAt"].is_string()), (&json!(false), true));
        let expected = ["module_added", "rt_module_online", "rt_module_offline"];
        assert_eq!(world.logged(&format!("module:{STATION}")).await, expected);
        let expected = ["user:module:added", "user:module:online", "user:module:offline"];
        assert_eq!(world.logged(&own).await, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_said_last_outlives_the_server() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&fleet(&lea)]).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        device.say(json!({ "type": "telemetry", "position": "quai", "uptime": 7 })).await;
        let version = owner.until("rt_telemetry_updated").await["version"].as_u64().unwrap();
        let world = world.restart().await;
        let live = world.running.app().service::<Live>();
        let visibility = Visibility::Own(format!("user:{}", lea.id));
        let state: Value = serde_json::from_str(&live.state(&visibility, STATION).unwrap()).unwrap();
        assert_eq!(state["telemetry"], json!({ "position": "quai", "uptime": 7 }));
        assert_eq!((&state["online"], &state["uptime"]), (&json!(true), &json!(7)));
        live.snapshot(&visibility, None, |snapshot| {
            assert!(snapshot.full && snapshot.version > version, "versions go on");
        });
        let mut device = Wire::nameless(&world).await;
        device.say(json!({ "type": "module_identify", "moduleId": STATION, "password": credential })).await;
        let connected = device.next().await;
        assert_eq!(
            connected["initialState"],
            json!({ "uptime": 7, "position": "quai" }),
            "the firmware starts there"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_let_in_is_told_why() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let identify = |id: &str, password: &str| {
            json!({ "type": "module_identify", "moduleId": id, "password": password })
        };
        for first in [
            identify(STATION, "wrong"),
            identify("MC-1002-STN", &credential),
            identify("", ""),
            json!({ "type": "module_identify" }),
            json!({ "type": "module_identify", "moduleId": 5, "password": [] }),
            json!({ "type": "telemetry", "moduleId": STATION, "password": credential }),
            json!({}),
        ] {
            let mut device = Wire::nameless(&world).await;
            device.say(first.clone()).await;
            let told = device.next().await;
            assert_eq!(told["type"], "auth_error", "{first}");
            assert_eq!(device.closed().await, (1008, told["message"].as_str().unwrap().to_owned()), "{first}");
        }
    })
    .await;
}

/// A connection of a module that runs something when another takes over, on a thread of its own and to its end.
struct Former<F>(F);

impl<F: Fn() + Send + Sync + 'static> DeviceConnection for Former<F> {
    fn send(&self, _: &Value, _: Duration) {}

    fn end(&self, _: ConnectionEnd) {
        std::thread::scope(|scope| scope.spawn(&self.0).join()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_while_a_device_comes_in_is_no_wrong_password() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let (app, runtime) = (world.running.app().clone(), Handle::current());
        let (live, store) = (app.service::<Live>(), app.store().clone());
        // Between the two questions: the credential was right, and whether it still is cannot be read.
        let lose = move || {
            let gone = store.write(|tx| tx.execute("ALTER TABLE modules RENAME TO modules_away", params![]));
            let gone: Result<u64, StoreError> = runtime.block_on(gone);
            gone.unwrap();
        };
        live.link(STATION, Arc::new(Former(lose))).unwrap();
        let identify = json!({ "type": "module_identify", "moduleId": STATION, "password": credential });
        let mut device = Wire::nameless(&world).await;
        device.say(identify).await;
        assert_eq!(device.closed().await.0, 1011, "it is told nothing about its password");

        let back = "ALTER TABLE modules_away RENAME TO modules";
        let back: Result<u64, StoreError> = app.store().write(move |tx| tx.execute(back, params![])).await;
        back.unwrap();
        let state: Value = serde_json::from_str(&live.state(&Visibility::All, STATION).unwrap()).unwrap();
        assert_eq!(state.get("lastRefusal"), None, "nor does its owner see a failed sign-in");
        Wire::device(&world, STATION, &credential).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_say_which_module_it_is_is_closed() {
    let soon = |config: &mut relais::config::Config| config.hub.authenticate_timeout_s = 1;
    on_both_with(soon, |world| async move {
        let mut silent = Wire::nameless(&world).await;
        assert_eq!(silent.closed().await.0, 1008, "not identified in time");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_sends_more_than_it_may_is_closed() {
    // So few that even a slow machine reads more of them than that.
    let few = |config: &mut relais::config::Config| config.live.reports_per_s = 1;
    on_both_with(few, |world| async move {
        let credential = world.module(STATION, None).await;
        let mut flood = Wire::device(&world, STATION, &credential).await;
        for n in 0..100 {
            flood.say(json!({ "type": "heartbeat", "uptime": n })).await;
        }
        assert_eq!(flood.closed().await.0, 1008);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_device_should_say_does_what_is_written_down() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        for text in ["no json", "[1]", "\"telemetry\"", ""] {
            let mut device = Wire::device(&world, STATION, &credential).await;
            device.text(text).await;
            assert_eq!(device.closed().await.0, 1003, "{text:?}");
        }
        let mut device = Wire::device(&world, STATION, &credential).await;
        for (message, code) in [
            (json!({ "type": "telemetry", "moduleId": "MC-1002-STN", "t": 1 }), "foreign_module"),
            (json!({ "type": "reboot" }), "unknown_type"),
            (json!({ "type": "telemetry", "x".repeat(65): 1 }), "report_refused"),
        ] {
            device.say(message.clone()).await;
            assert_eq!(device.next().await["code"], code, "{message}");
        }
        let many: serde_json::Map<String, Value> = (0..200).map(|n| (format!("f{n}"), json!(n))).collect();
        device.say(json!({ "type": "telemetry", "nested": many })).await;
        device.say(Value::from(many)).await;
        assert_eq!(device.next().await["code"], "unknown_type");
        device.text(&json!({ "type": "telemetry", "text": "x".repeat(17_000) }).to_string()).await;
        assert_eq!(device.closed().await.0, 1009, "a message that is too long");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_is_null_a_bad_message_is_refused_and_those_after_it_are_taken() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&fleet(&lea)]).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        device.text(r#"{"type":"telemetry","humidity":40,"temperature":20.5}"#).await;
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"]["humidity"], 40);
        device.text("{\"type\":\"telemetry\",\"humidity\":nan,\"temperature\":21.5}").await;
        let told = owner.until("module_trouble").await;
        assert_eq!(
            (&told["moduleId"], &told["lastRefusal"]["code"]),
            (&json!(STATION), &json!("not_a_number"))
        );
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"], json!({ "temperature": 21.5 }));
        for (said, left) in [
            ("{\"type\":\"telemetry\",\"temperature\":1e999,\"x\":1}", json!({ "x": 1 })),
            ("{\"type\":\"heartbeat\",\"x\":2}\0\0", json!({ "x": 2 })),
        ] {
            device.text(said).await;
            assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"], left, "{said}");
        }

        device.text("{\"type\":\"telemetry\",\"x\":").await;
        let refused = device.next().await;
        assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("invalid_json")));
        device.say(json!({ "type": "telemetry", "x": 3 })).await;
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"]["x"], 3);
        let path = format!("/api/v1/modules/{STATION}/state");
        let (_, state) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((&state["online"], &state["lastRefusal"]["code"]), (&json!(true), &json!("invalid_json")));
        assert!(state.get("trouble").is_none(), "{state}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_utf_8_or_too_long_is_told_and_a_binary_one_is_taken() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&fleet(&lea)]).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        let latin_1 = b"{\"type\":\"telemetry\",\"t\":\"21.5\xb0C\"}";
        for kind in [Data::Text, Data::Binary] {
            device.bytes(kind, latin_1).await;
            let refused = device.next().await;
            assert_eq!(refused["code"], "invalid_json", "{refused}");
            assert!(refused["message"].as_str().unwrap().contains("not UTF-8"), "{refused}");
        }
        assert_eq!(owner.until("module_trouble").await["lastRefusal"]["code"], "invalid_json");
        device.bytes(Data::Binary, b"{\"type\":\"telemetry\",\"t\":7}").await;
        assert_eq!(owner.until("rt_telemetry_updated").await["telemetry"], json!({ "t": 7 }));

        device.say(json!({ "type": "x".repeat(16_000) })).await;
        let refused = device.next().await;
        assert_eq!(refused["code"], "unknown_type");
        assert!(refused["message"].as_str().unwrap().len() < 1100);
        let told = owner.until("module_trouble").await["lastRefusal"].clone();
        assert_eq!(told["code"], "unknown_type");
        assert!(told["message"].as_str().unwrap().len() < 1100);

        device.text(&"x".repeat(17_000)).await;
        assert_eq!(device.closed().await.0, 1009);
        drop(device);
        let told = owner.until("module_trouble").await["lastRefusal"].clone();
        assert_eq!(told["code"], "message_too_large", "{told}");
        assert!(told["message"].as_str().unwrap().contains("live.report_bytes"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_throw_each_other_out_are_told_of_to_the_owner_once() {
    on_both(|world| async move {
        let (lea, eve) = (world.person("Lea").await, world.person("Eve").await);
        let credential = world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&fleet(&lea)]).await;
        let mut thrown_out = Vec::new();
        for _ in 0..12 {
            thrown_out.push(Wire::device(&world, STATION, &credential).await);
        }
        let told = owner.until("module_trouble").await;
        assert_eq!(told["trouble"]["code"], "connections_replaced", "{told}");
        let path = format!("/api/v1/modules/{STATION}/state");
        let (_, state) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((&state["trouble"], &state["version"]), (&told["trouble"], &told["version"]));
        assert_eq!(world.request(&eve, Method::GET, &path, Value::Null).await.0, 404);

        // The next that is told is something else.
        let mut wrong = Wire::nameless(&world).await;
        wrong.say(json!({ "type": "module_identify", "moduleId": STATION, "password": "faux" })).await;
        let told = owner.until("module_trouble").await;
        assert_eq!(told["lastRefusal"]["code"], "wrong_credential");
        assert_eq!(told["trouble"]["code"], "connections_replaced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_finds_a_module_empty_and_who_comes_back_finds_it_as_it_was() {
    on_both(|world| async move {
        let (admin, lea, paul) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Paul").await);
        let credential = world.module(STATION, None).await;
        let (_, offered) = world
            .request(&admin, Method::POST, &format!("/api/v1/modules/{STATION}/claim-code"), Value::Null)
            .await;
        let claim = async |who: &Person, world: &World| {
            let body = json!({ "module_id": STATION, "module_code": offered["claim_code"] });
            let (status, reply) = world.request(who, Method::POST, "/modules/claim", body).await;
            assert_eq!(status, 200, "{reply}");
        };
        let give_back = async |who: &Person, world: &World| {
            let path = format!("/modules/delete/{STATION}");
            assert_eq!(world.request(who, Method::POST, &path, Value::Null).await.0, 200);
        };
        let seen = async |who: &Person, world: &World| {
            let (_, state) = world
                .request(who, Method::GET, &format!("/api/v1/modules/{STATION}/state"), Value::Null)
                .await;
            let path = format!("/api/v1/modules/{STATION}/history/series");
            let (_, series) = world.request(who, Method::GET, &path, Value::Null).await;
            (
                state["telemetry"].clone(),
                state["lastSeen"].is_null(),
                series["series"].as_array().unwrap().len(),
            )
        };
        claim(&lea, &world).await;
        let mut watcher = Wire::watcher(&world, &admin, &["telemetry:*"]).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        device.say(json!({ "type": "telemetry", "t": 5 })).await;
        // That it came is told first, with nothing yet.
        while watcher.until("rt_telemetry_updated").await["telemetry"] != json!({ "t": 5 }) {}
        assert_eq!(seen(&lea, &world).await, (json!({ "t": 5 }), false, 1));

        give_back(&lea, &world).await;
        let path = format!("/api/v1/modules/{STATION}/state");
        assert_eq!(world.request(&lea, Method::GET, &path, Value::Null).await.0, 404);
        claim(&lea, &world).await;
        assert_eq!(seen(&lea, &world).await, (json!({ "t": 5 }), false, 1), "it is hers again");

        give_back(&lea, &world).await;
        claim(&paul, &world).await;
        assert_eq!(seen(&paul, &world).await, (json!({}), true, 0), "nothing of hers");
        drop(device);
        let world = world.restart().await;
        assert_eq!(seen(&paul, &world).await, (json!({}), true, 0), "nor after a restart");
        let mut device = Wire::nameless(&world).await;
        device.say(json!({ "type": "module_identify", "moduleId": STATION, "password": credential })).await;
        let connected = device.next().await;
        assert_eq!(connected["initialState"], json!({ "uptime": null, "position": null }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_admits_a_device_whatever_its_origin() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let mut device = Wire::from_origin(&world, "/esp32", "file://").await.unwrap();
        device.say(json!({ "type": "module_identify", "moduleId": STATION, "password": credential })).await;
        assert_eq!(device.next().await["type"], "connected");
        let url = format!("http://{}/api/v1/modules/{STATION}/report", world.running.address());
        let client = reqwest::Client::new();
        let report = |body: Value| client.post(&url).header("origin", "file://").json(&body);
        let reply = report(json!({ "password": credential, "uptime": 5 })).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        let reply = report(json!({ "password": "faux" })).send().await.unwrap();
        assert_eq!(reply.status(), 401);

        // Where a cookie, or nothing at all, could let a page in, its origin counts.
        for path in ["/api/v1/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"] {
            assert_eq!(Wire::from_origin(&world, path, "file://").await.err(), Some(403), "{path}");
        }
        let lea = world.person("Lea").await;
        let reply = client
            .get(format!("http://{}/socket.io/?EIO=4&transport=polling", world.running.address()))
            .header("origin", "file://")
            .bearer_auth(&lea.token)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), 200, "a token that is shown is no cookie");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_when_it_is_not_the_devices_any_more() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let credential = world.module(STATION, None).await;
        let mut older = Wire::device(&world, STATION, &credential).await;
        let mut newer = Wire::device(&world, STATION, &credential).await;
        assert_eq!(older.closed().await.0, 1000, "replaced");

        let path = format!("/api/v1/modules/{STATION}/credential");
        let (_, reply) = world.request(&admin, Method::POST, &path, Value::Null).await;
        assert_eq!(newer.closed().await.0, 1008, "another credential");
        let credential = reply["credential"].as_str().unwrap();
        let mut device = Wire::device(&world, STATION, credential).await;
        let path = format!("/api/v1/modules/{STATION}");
        world.request(&admin, Method::DELETE, &path, Value::Null).await;
        assert_eq!(device.closed().await.0, 1008, "removed");
        assert_eq!(world.running.app().service::<Live>().count(&Visibility::All), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_a_module_before_it_was_ones_own_is_not_ones_to_read() {
    on_both(|world| async move {
        let (lea, paul) = (world.person("Lea").await, world.person("Paul").await);
        let beginning = world.running.app().store().head().to_string();
        world.module(STATION, Some(&lea)).await;
        let channel = format!("module:{STATION}");
        let before = Wire::watcher(&world, &lea, &[&channel]).await;
        let path = format!("/api/v1/modules/{STATION}/commands");
        let secret = json!({ "command": "open", "params": { "code": "4711" } });
        assert_eq!(world.request(&lea, Method::POST, &path, secret).await.0, 202);
        let code = format!("/api/v1/modules/{STATION}/claim-code");
        let (_, offered) = world.request(&lea, Method::POST, &code, Value::Null).await;
        let (status, _) = world
            .request(&paul, Method::POST, "/api/v1/modules/claim", json!({ "code": offered["claim_code"] }))
            .await;
        assert_eq!(status, 200);

        let mut after = Wire::watcher(&world, &paul, &[]).await;
        after.say(json!({ "type": "subscribe", "channel": channel, "since": beginning })).await;
        assert_eq!(after.next().await["type"], "subscribed");
        let first = after.next().await;
        assert_eq!(
            (&first["name"], &first["data"]["owner"]),
            (&json!("module_updated"), &json!(format!("user:{}", paul.id)))
        );
        let mut former = before;
        loop {
            let frame = former.next().await;
            if frame["type"] == "unsubscribed" {
                break;
            }
            assert_ne!(frame["data"]["owner"], first["data"]["owner"], "the former owner hears no more");
        }
        let (status, _) = world.request(&paul, Method::GET, "/api/v1/modules/%00/state", Value::Null).await;
        let (other, _) = world.request(&paul, Method::GET, "/api/v1/modules/%00", Value::Null).await;
        assert_eq!((status, other), (404, 404));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_turn_is_told_once_whatever_is_written_meanwhile() {
    let at_once = |config: &mut relais::config::Config| config.live.offline_delay_s = 0;
    on_both_with(at_once, |world| async move {
        let lea = world.person("Lea").await;
        world.module(STATION, Some(&lea)).await;
        let mut owner = Wire::watcher(&world, &lea, &[&format!("module:{STATION}")]).await;
        let live = world.running.app().service::<Live>();
        for turn in 0..120 {
            let fields = serde_json::Map::from_iter([("turn".to_owned(), json!(turn))]);
            live.report(STATION, Report::of(fields).unwrap()).unwrap();
            assert_eq!(owner.until("rt_module_online").await["online"], true, "turn {turn}");
            live.went(STATION);
            live.look();
            assert_eq!(owner.until("rt_module_offline").await["online"], false, "turn {turn}");
        }
    })
    .await;
}
