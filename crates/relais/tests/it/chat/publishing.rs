//! Publishing from outside, and the hub's own protocols for conversations.

use relais::features::accounts::{Accounts, Actor};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{World, on_both};
use crate::world::text_until;

async fn publish(world: &World, key: &str, headers: &[(&str, &str)], body: &Value) -> (StatusCode, Value) {
    let url = format!("http://{}/api/v1/events", world.running.address());
    let mut request = reqwest::Client::new().post(url).bearer_auth(key).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = request.send().await.unwrap();
    (reply.status(), reply.json().await.unwrap())
}

async fn key(world: &World, scope: &str) -> String {
    let accounts = Accounts::new(world.running.app().auth().clone());
    let actor = Actor::named("test", None);
    accounts.create_key(&actor, "backend", &[scope.to_owned()], None).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_tells_a_person_once() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let key = key(&world, "events:publish:user:*").await;
        let mut of_lea = world.connect(&lea).await;
        let event =
            json!({ "topic": format!("user:{}", lea.id), "name": "invoice.paid", "data": { "n": 7 } });
        let once = [("Idempotency-Key", "42")];
        let (status, first) = publish(&world, &key, &once, &event).await;
        assert_eq!(status, StatusCode::OK, "{first}");
        assert_eq!(publish(&world, &key, &once, &event).await, (status, first.clone()));
        let heard = of_lea.heard().await;
        assert_eq!(heard.len(), 1);
        assert_eq!((&heard[0]["type"], &heard[0]["n"]), (&json!("invoice.paid"), &json!(7)));
        assert_eq!(heard[0]["cursor"], first["published"][0]["cursor"]);
        let other = json!({ "topic": format!("user:{}", lea.id), "name": "invoice.lost", "data": {} });
        assert_eq!(publish(&world, &key, &once, &other).await.1["code"], "idempotency_key_in_use");
        let typing =
            json!({ "topic": format!("user:{}", lea.id), "name": "busy", "data": {}, "ephemeral": true });
        assert_eq!(publish(&world, &key, &[], &typing).await.1["published"][0]["offset"], Value::Null);
        assert_eq!(of_lea.heard().await[0]["type"], "busy");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_calls_its_fields_and_how_it_writes_them_changes_no_frame() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let key = key(&world, "events:publish:user:*").await;
        let mut of_lea = world.connect(&lea).await;
        let topic = format!("user:{}", lea.id);
        for data in ["{ }", "{\n \"type\": \"authenticated\", \"cursor\": 1, \"offset\": null }"] {
            let body = format!("{{\"topic\":\"{topic}\",\"name\":\"invoice.paid\",\"data\":{data}}}");
            let call =
                reqwest::Client::new().post(format!("http://{}/api/v1/events", world.running.address()));
            let call = call.bearer_auth(&key).header("content-type", "application/json").body(body);
            let published: Value = call.send().await.unwrap().json().await.unwrap();
            let heard = of_lea.heard().await;
            assert_eq!(heard.len(), 1, "{data}");
            assert_eq!(heard[0]["type"], "invoice.paid");
            assert_eq!(heard[0]["cursor"], published["published"][0]["cursor"]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_is_no_place_to_come_back_to() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let key = key(&world, "events:publish:user:*").await;
        let topic = format!("user:{}", lea.id);
        let url = format!("http://{}/api/v1/events?channel={topic}", world.running.address());
        let stream = reqwest::Client::new().get(url).bearer_auth(&lea.token).send().await.unwrap();
        for ephemeral in [true, false] {
            let event = json!({ "topic": topic, "name": "busy", "data": {}, "ephemeral": ephemeral });
            publish(&world, &key, &[], &event).await;
        }
        let whole = |text: &str| text.matches("event: busy").count() >= 2 && text.ends_with("\n\n");
        let text = text_until(stream, whole).await;
        let blocks: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert!(blocks[0].starts_with("id: ") && blocks[1].starts_with("event: busy\n"), "{text}");
        assert!(!blocks[1].contains("cursor") && blocks[2].starts_with("id: "), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_published_is_refused_and_nothing_of_its_call_is() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let (all, one) =
            (key(&world, "events:publish:*").await, key(&world, "events:publish:flow:paie").await);
        let event =
            |topic: &str, name: &str, data: Value| json!({ "topic": topic, "name": name, "data": data });
        let good = event("flow:paie", "run.ended", json!({}));
        for (key, body, code) in [
            (&one, event("flow:stock", "run.ended", json!({})), "forbidden"),
            (&all, event("societe:rsp-bgs", "file_uploaded", json!({})), "forbidden"),
            (&all, event("conversation:1", "new_message", json!({})), "forbidden"),
            (&all, event("", "x", json!({})), "invalid_event"),
            (&all, event("flow:paie", "connect", json!({})), "invalid_event"),
            (&all, event(&format!("user:{}", lea.id), "conversation_joined", json!({})), "invalid_event"),
            (&all, event(&format!("user:{}", lea.id), "conversation_left", json!({})), "invalid_event"),
            (&all, event(&format!("user:{}", lea.id), "new_message", json!({})), "invalid_event"),
            (&all, event(&format!("user:{}", lea.id), "authenticated", json!({})), "invalid_event"),
            (&all, event("system", "user_presence", json!({})), "invalid_event"),
            (&all, event("system", "file_uploaded", json!({})), "invalid_event"),
            (&all, event("role:admin", "module_command_failed", json!({})), "invalid_event"),
            (&all, event("flow:paie", "é", json!({})), "invalid_event"),
            (&all, event("flow:paie", "x", json!([1])), "invalid_event"),
            (&all, event("flow:paie", "x", json!({ "long": "x".repeat(70_000) })), "invalid_event"),
            (&all, json!({ "events": [] }), "invalid_event"),
            (&all, json!({ "topic": "flow:paie" }), "invalid_body"),
            (&all, json!({ "events": [good, event("flow:paie", "", json!({}))] }), "invalid_event"),
        ] {
            let (_, refused) = publish(&world, key, &[], &body).await;
            assert_eq!(refused["code"], code, "{body}");
        }
        assert_eq!(
            publish(&world, &lea.token, &[], &good).await.0,
            StatusCode::FORBIDDEN,
            "a person has no scope"
        );
        let (_, done) = publish(&world, &one, &[], &json!({ "events": [good, good] })).await;
        let offsets: Vec<&Value> =
            done["published"].as_array().unwrap().iter().map(|p| &p["offset"]).collect();
        assert_eq!(offsets, [&json!(1), &json!(2)], "nothing of the refused calls is there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_module_of_this_server_the_server_alone_tells() {
    on_both(|world| async move {
        let (admin, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let new = json!({ "id": "MC-1001-STN", "owner": lea.id });
        assert_eq!(world.request(&admin, Method::POST, "/api/v1/modules", new).await.0, 201);
        let (key, own) = (key(&world, "events:publish:*").await, format!("user:{}", lea.id));
        let told = |topic: &str, name: &str, data: Value| {
            let event = json!({ "topic": topic, "name": name, "data": data });
            let (world, key) = (&world, &key);
            async move { publish(world, key, &[], &event).await }
        };
        let (ours, theirs) = (json!({ "moduleId": "MC-1001-STN" }), json!({ "moduleId": "MC-2002-APP" }));
        for (topic, name, data) in [
            ("role:admin", "rt_module_offline", ours.clone()),
            ("page:modules", "rt_telemetry_updated", ours.clone()),
            ("page:modules", "module_telemetry", ours.clone()),
            ("flow:modules", "rt_module_removed", ours.clone()),
            (&own, "user:module:removed", json!({ "module": { "module_id": "MC-1001-STN" } })),
            (&own, "user:module:added", json!({ "module_id": "MC-1001-STN", "moduleId": "MC-2002-APP" })),
        ] {
            let (status, refused) = told(topic, name, data).await;
            let expected = (StatusCode::BAD_REQUEST, &json!("invalid_event"), &json!("name"));
            assert_eq!((status, &refused["code"], &refused["field"]), expected, "{topic} {name}: {refused}");
        }
        for (topic, name, data) in [
            ("role:admin", "rt_module_offline", theirs.clone()),
            (&own, "user:module:added", theirs),
            ("role:admin", "rt_user_logged_in", json!({ "id": lea.id })),
            (&own, "invoice.paid", ours),
        ] {
            let (status, published) = told(topic, name, data).await;
            assert_eq!(status, StatusCode::OK, "{topic} {name}: {published}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_hear_a_conversation_by_polling_too_and_others_do_not() {
    on_both(|world| async move {
        let (lea, paul, eve) =
            (world.person("Lea").await, world.person("Paul").await, world.person("Eve").await);
        let id = world.befriend(&lea, &paul).await;
        let since = world.get(&paul, "conversations").await["cursor"].as_str().unwrap().to_owned();
        world.send(&lea, &id, "par le journal").await;
        let poll = |who: String| {
            let address = world.running.address();
            let url = format!("http://{address}/api/v1/poll?channel=conversation:{id}&since={since}&wait=20");
            async move { reqwest::Client::new().get(url).bearer_auth(who).send().await.unwrap() }
        };
        let page: Value = poll(paul.token).await.json().await.unwrap();
        assert_eq!(page["events"][0]["data"]["message"]["content"], "par le journal");
        assert_eq!(poll(eve.token).await.status(), StatusCode::NOT_FOUND);
    })
    .await;
}
