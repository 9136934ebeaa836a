//! Commands to devices: told in their turn, answered or not, once or until they are.

use relais::features::accounts::Actor;
use relais::features::live::{Command, CommandState, Delivery, NewCommand, Visibility};
use relais_store::{StoreError, params};
use reqwest::Method;
use serde_json::{Value, json};

use super::wire::Wire;
use super::{Person, World, on_both, on_both_in_time};
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";
const COMMANDS: &str = "/api/v1/modules/MC-1001-STN/commands";

fn actor() -> Actor {
    Actor::named("test", None)
}

fn ring(delivery: Delivery) -> NewCommand {
    NewCommand { command: "ring".into(), delivery, ..NewCommand::default() }
}

impl World {
    /// Gives a command as an administrator.
    async fn command(&self, new: NewCommand) -> Command {
        let live = self.running.app().service::<Live>();
        live.commands().give(&Visibility::All, &actor(), STATION, new).await.unwrap()
    }

    async fn shown(&self, id: &str) -> Command {
        self.running.app().service::<Live>().commands().find(&Visibility::All, STATION, id).await.unwrap()
    }

    async fn state(&self, id: &str) -> CommandState {
        self.shown(id).await.state
    }

    /// The states that the log tells of a command, in order.
    async fn story(&self, id: &str) -> Vec<String> {
        let channel = format!("module:{STATION}").parse().unwrap();
        let events = self.running.app().store().events_after(&channel, 0, u64::MAX >> 1, 1000).await.unwrap();
        let told = events.iter().filter_map(|event| {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            (data["id"] == id).then(|| event.name.trim_start_matches("module_command_").to_owned())
        });
        told.collect()
    }
}

impl Wire {
    /// The next frame, which is a command; its id.
    async fn told(&mut self) -> String {
        let frame = self.next().await;
        assert_eq!(frame["type"], "command", "{frame}");
        frame["id"].as_str().unwrap().to_owned()
    }

    async fn done(&mut self, id: &str) {
        self.say(json!({ "type": "command_response", "id": id, "status": "success" })).await;
    }

    /// Returns once a command is told to be in this state.
    async fn until_command(&mut self, id: &str, state: &str) -> Value {
        loop {
            let told = self.until(&format!("module_command_{state}")).await;
            if told["id"] == id {
                return told;
            }
        }
    }
}

async fn watch(world: &World) -> (Person, Wire) {
    let admin = world.user("Ada", true).await;
    let watcher = Wire::watcher(world, &admin, &["module:*"]).await;
    (admin, watcher)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reaches_its_device_and_the_answer_everybody_who_may_know() {
    on_both(|world| async move {
        let (lea, eve) = (world.person("Lea").await, world.person("Eve").await);
        let credential = world.module(STATION, Some(&lea)).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        let mut owner = Wire::watcher(&world, &lea, &[&format!("fleet:user:{}", lea.id)]).await;

        let given = json!({ "command": "move", "params": { "to": "B", "command": "other" } });
        let (status, stored) = world.request(&lea, Method::POST, COMMANDS, given.clone()).await;
        assert_eq!(
            (status, &stored["state"], &stored["delivery"]),
            (202, &json!("queued"), &json!("at_most_once"))
        );
        let id = stored["id"].as_str().unwrap();
        let frame = device.next().await;
        assert_eq!((&frame["type"], &frame["id"]), (&json!("command"), &json!(id)));
        assert_eq!(frame["data"], json!({ "command": "move", "to": "B" }), "the command's name wins");
        assert!(frame["timestamp"].is_string());

        let answer = json!({
            "type": "command_response", "moduleId": STATION, "password": credential, "command": "move",
            "status": "success", "position": "B",
        });
        device.say(answer).await;
        let told = owner.until("module_command_acknowledged").await;
        assert_eq!(
            (&told["id"], &told["moduleId"], &told["command"]),
            (&json!(id), &json!(STATION), &json!("move"))
        );
        assert_eq!(told["result"], json!({ "status": "success", "position": "B" }));
        assert_eq!(world.story(id).await, ["queued", "sent", "acknowledged"]);

        let path = format!("{COMMANDS}/{id}");
        let (_, shown) = world.request(&lea, Method::GET, &path, Value::Null).await;
        assert_eq!((&shown["state"], &shown["attempts"]), (&json!("acknowledged"), &json!(1)));
        for (method, path, body) in [
            (Method::POST, COMMANDS, given),
            (Method::GET, COMMANDS, Value::Null),
            (Method::GET, &path, Value::Null),
            (Method::DELETE, &path, Value::Null),
        ] {
            let (status, reply) = world.request(&eve, method, path, body).await;
            assert_eq!((status, &reply["code"]), (404, &json!("module_not_found")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_all_at_once_in_order_and_an_answer_under_another_name_holds_up_nothing() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let (_, mut watcher) = watch(&world).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(world.command(ring(Delivery::AtMostOnce)).await.id);
        }
        let mut device = Wire::device(&world, STATION, &credential).await;
        for id in &ids {
            assert_eq!(device.told().await, *id, "what waited while it was away");
        }
        for _ in 0..2 {
            let id = world.command(ring(Delivery::AtMostOnce)).await.id;
            assert_eq!(device.told().await, id, "what is given while nothing is answered");
            ids.push(id);
            device.say(json!({ "type": "command_response", "command": "switch", "status": "success" })).await;
        }
        assert_eq!(watcher.until("module_command_response").await["command"], "switch", "it is passed on");
        for id in &ids {
            assert_eq!(world.state(id).await, CommandState::Sent, "and ends nothing");
        }
        for id in ids.iter().rev() {
            device.done(id).await;
            watcher.until_command(id, "acknowledged").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_refuses_has_failed_and_what_it_says_twice_or_of_nothing_changes_nothing() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let (_, mut watcher) = watch(&world).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        let first = world.command(ring(Delivery::AtLeastOnce)).await.id;
        let second = world.command(ring(Delivery::AtMostOnce)).await.id;
        let third = world.command(ring(Delivery::AtMostOnce)).await.id;
        for id in [&first, &second, &third] {
            assert_eq!(device.told().await, *id);
        }
        for stray in
            [json!({ "id": "unknown" }), json!({ "id": "0" }), json!({ "command": "sing" }), json!({})]
        {
            let mut stray = stray;
            stray["type"] = "command_response".into();
            device.say(stray).await;
        }
        device
            .say(json!({ "type": "command_response", "command": "ring", "status": "unknown_command" }))
            .await;
        let told = watcher.until_command(&first, "failed").await;
        assert_eq!(told["result"], json!({ "status": "unknown_command" }), "the oldest of that name");

        device.done(&first).await;
        device.say(json!({ "type": "command_error", "commandId": second, "message": "stuck" })).await;
        watcher.until_command(&second, "failed").await;
        device.done(&second).await;
        device.done(&third).await;
        watcher.until_command(&third, "acknowledged").await;
        assert_eq!(world.story(&first).await, ["queued", "sent", "failed"]);
        assert_eq!(world.story(&second).await, ["queued", "sent", "failed"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_before_the_answer_fails_what_may_be_told_once_and_repeats_the_rest() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let (_, mut watcher) = watch(&world).await;
        let once = world.command(ring(Delivery::AtMostOnce)).await.id;
        let again = world.command(ring(Delivery::AtLeastOnce)).await.id;
        let mut device = Wire::device(&world, STATION, &credential).await;
        assert_eq!((device.told().await, device.told().await), (once.clone(), again.clone()));
        device.leave().await;
        let told = watcher.until_command(&once, "failed").await;
        assert_eq!(told["result"], json!({ "error": "no answer" }));

        let mut device = Wire::device(&world, STATION, &credential).await;
        assert_eq!(device.told().await, again, "what failed is not told again");
        device.done(&once).await;
        let told = watcher.until_command(&once, "acknowledged").await;
        assert_eq!(told["attempts"], 1, "within its time, the answer with its id says what became of it");
        // A newer connection takes over before the older is gone.
        let mut newer = Wire::device(&world, STATION, &credential).await;
        assert_eq!(newer.told().await, again);
        newer.done(&again).await;
        let told = watcher.until_command(&again, "acknowledged").await;
        assert_eq!(told["attempts"], 3);
        assert_eq!(world.story(&again).await, ["queued", "sent", "sent", "sent", "acknowledged"]);
        assert_eq!(world.story(&once).await, ["queued", "sent", "failed", "acknowledged"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_was_told_once_is_not_told_again_and_the_rest_goes_on() {
    on_both(|world| async move {
        let credential = world.module(STATION, None).await;
        let once = world.command(ring(Delivery::AtMostOnce)).await.id;
        let again = world.command(ring(Delivery::AtLeastOnce)).await.id;
        let frames = world.running.app().service::<Live>().take_commands(STATION).await.unwrap();
        assert_eq!(frames.iter().map(|frame| &frame["id"]).collect::<Vec<_>>(), [&once, &again]);
        assert!(
            world.running.app().service::<Live>().take_commands(STATION).await.unwrap().is_empty(),
            "each once"
        );
        let queued = world.command(ring(Delivery::AtMostOnce)).await.id;

        let world = world.restart().await;
        let (_, mut watcher) = watch(&world).await;
        let mut device = Wire::device(&world, STATION, &credential).await;
        assert_eq!(device.told().await, again);
        device.done(&again).await;
        assert_eq!(device.told().await, queued);
        device.done(&queued).await;
        watcher.until_command(&queued, "acknowledged").await;
        let lost = world.shown(&once).await;
        assert_eq!((lost.state, lost.attempts), (CommandState::Failed, 1));
        assert_eq!(lost.result, Some(json!({ "error": "unknown outcome" })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_what_is_not_answered_and_what_is_of_no_use_any_more() {
    on_both_in_time(|world, clock| async move {
        let credential = world.module(STATION, None).await;
        let (_, mut watcher) = watch(&world).await;
        let live = world.running.app().service::<Live>().clone();
        let pass = |seconds: i64| {
            clock.advance_ms(seconds * 1000);
            live.look();
        };
        let late = world.command(ring(Delivery::AtMostOnce)).await.id;
        pass(59);
        assert_eq!(world.state(&late).await, CommandState::Queued);
        pass(1);
        watcher.until_command(&late, "expired").await;

        let mut device = Wire::device(&world, STATION, &credential).await;
        let once = world.command(ring(Delivery::AtMostOnce)).await.id;
        assert_eq!(device.told().await, once);
        watcher.until_command(&once, "sent").await;
        pass(15);
        let told = watcher.until_command(&once, "failed").await;
        assert_eq!(told["result"], json!({ "error": "no answer" }));

        let again = world.command(NewCommand { ttl_s: Some(40), ..ring(Delivery::AtLeastOnce) }).await.id;
        for wait_s in [15, 30] {
            assert_eq!(device.told().await, again);
            pass(wait_s);
        }
        watcher.until_command(&again, "expired").await;
        device.done(&again).await;
        device.done(&once).await;
        assert_eq!(world.story(&again).await, ["queued", "sent", "sent", "expired"]);
        assert_eq!(world.story(&once).await, ["queued", "sent", "failed"]);
        assert_eq!(world.story(&late).await, ["queued", "expired"]);

        live.forget_commands().await.unwrap();
        assert_eq!(world.state(&late).await, CommandState::Expired);
        clock.advance_ms(30 * 86_400_000 + 1);
        live.forget_commands().await.unwrap();
        let left = live.commands().list(&Visibility::All, STATION, None, "", 10).await.unwrap();
        assert_eq!(left, [], "kept for thirty days");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_at_it_has_until_the_end_of_the_commands_time() {
    on_both_in_time(|world, clock| async move {
        let credential = world.module(STATION, None).await;
        let (_, mut watcher) = watch(&world).await;
        let live = world.running.app().service::<Live>().clone();
        let mut device = Wire::device(&world, STATION, &credential).await;
        let id = world.command(ring(Delivery::AtMostOnce)).await.id;
        assert_eq!(device.told().await, id);
        watcher.until_command(&id, "sent").await;
        let progress =
            json!({ "type": "command_response", "id": id, "status": "IN_PROGRESS", "percent": 40 });
        device.say(progress.clone()).await;
        let told = watcher.until_command(&id, "in_progress").await;
        assert_eq!((&told["state"], &told["result"]["percent"]), (&json!("in_progress"), &json!(40)));
        assert!(told["finished_at"].is_null());
        device.say(progress).await;
        clock.advance_ms(59_000);
        live.look();
        assert_eq!(world.state(&id).await, CommandState::InProgress);
        let (visibility, page) = (Visibility::All, live.commands());
        let shown = page.list(&visibility, STATION, Some(CommandState::InProgress), "", 10).await.unwrap();
        assert_eq!(shown.len(), 1);
        device.say(json!({ "type": "command_response", "id": id, "status": "Done" })).await;
        watcher.until_command(&id, "acknowledged").await;
        assert_eq!(world.story(&id).await, ["queued", "sent", "in_progress", "acknowledged"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_answers_its_own_commands_only() {
    on_both(|world| async move {
        world.module(STATION, None).await;
        let other = world.module("MC-1002-STN", None).await;
        let (_, mut watcher) = watch(&world).await;
        let id = world.command(ring(Delivery::AtMostOnce)).await.id;
        world.running.app().service::<Live>().take_commands(STATION).await.unwrap();
        let mut stranger = Wire::device(&world, "MC-1002-STN", &other).await;
        stranger.done(&id).await;
        watcher.until("module_command_response").await;
        let own = world.command(ring(Delivery::AtMostOnce)).await.id;
        world.running.app().service::<Live>().take_commands(STATION).await.unwrap();
        watcher.until_command(&own, "sent").await;
        assert_eq!(world.state(&id).await, CommandState::Sent);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_named_in_two_ways_is_refused() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        world.module(STATION, Some(&lea)).await;
        let url = format!("http://{}{COMMANDS}", world.running.address());
        let give = async |key: &str| {
            let call =
                reqwest::Client::new().post(&url).bearer_auth(&lea.token).header("Idempotency-Key", key);
            let reply = call.json(&json!({ "command": "ring", "client_id": "a" })).send().await.unwrap();
            (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
        };
        let (status, refused) = give("b").await;
        assert_eq!(
            (status, &refused["code"], &refused["field"]),
            (400, &json!("invalid_value"), &json!("client_id"))
        );
        let (status, given) = give("a").await;
        assert_eq!((status, given["id"].is_string()), (202, true), "the same name is one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sent_again_is_one_and_one_that_waits_can_be_taken_back() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        let credential = world.module(STATION, Some(&lea)).await;
        let given = json!({ "command": "ring", "client_id": "a", "ttl_s": 600 });
        let (_, first) = world.request(&lea, Method::POST, COMMANDS, given.clone()).await;
        let (status, same) = world.request(&lea, Method::POST, COMMANDS, given).await;
        assert_eq!((status, &same), (202, &first));
        let other = json!({ "command": "sing", "client_id": "a" });
        let (status, reply) = world.request(&lea, Method::POST, COMMANDS, other).await;
        assert_eq!((status, &reply["code"]), (409, &json!("idempotency_key_in_use")));
        let sooner = json!({ "command": "ring", "client_id": "a", "ttl_s": 60 });
        let (status, reply) = world.request(&lea, Method::POST, COMMANDS, sooner).await;
        assert_eq!((status, &reply["code"]), (409, &json!("idempotency_key_in_use")), "another time to live");
        let (_, second) = world.request(&lea, Method::POST, COMMANDS, json!({ "command": "ring" })).await;

        let path = |command: &Value| format!("{COMMANDS}/{}", command["id"].as_str().unwrap());
        let (status, taken) = world.request(&lea, Method::DELETE, &path(&first), Value::Null).await;
        assert_eq!(
            (status, &taken["state"], &taken["result"]),
            (200, &json!("failed"), &json!({ "error": "cancelled" }))
        );
        let mut device = Wire::device(&world, STATION, &credential).await;
        assert_eq!(device.told().await, second["id"], "the other is told nobody");
        for late in [&first, &second] {
            let (status, reply) = world.request(&lea, Method::DELETE, &path(late), Value::Null).await;
            assert_eq!((status, &reply["code"]), (409, &json!("command_not_cancellable")));
        }
        for unknown in ["none", "%00", "0"] {
            let path = format!("{COMMANDS}/{unknown}");
            let (status, reply) = world.request(&lea, Method::GET, &path, Value::Null).await;
            assert_eq!((status, &reply["code"]), (404, &json!("command_not_found")), "{unknown}");
        }
        let path = format!("{COMMANDS}?state=gone");
        assert_eq!(world.request(&lea, Method::GET, &path, Value::Null).await.0, 400);

        let ids = |reply: &Value| {
            reply["commands"].as_array().unwrap().iter().map(|c| c["id"].clone()).collect::<Vec<_>>()
        };
        let (_, page) = world.request(&lea, Method::GET, &format!("{COMMANDS}?limit=1"), Value::Null).await;
        assert_eq!(ids(&page), [second["id"].clone()], "the newest first");
        let next = format!("{COMMANDS}?limit=1&cursor={}", page["cursor"].as_str().unwrap());
        let (_, page) = world.request(&lea, Method::GET, &next, Value::Null).await;
        assert_eq!((ids(&page), &page["cursor"]), (vec![first["id"].clone()], &Value::Null));
        let (_, failed) =
            world.request(&lea, Method::GET, &format!("{COMMANDS}?state=failed"), Value::Null).await;
        assert_eq!(ids(&failed), [first["id"].clone()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_or_too_much_is_refused_with_the_reason() {
    on_both(|world| async move {
        let lea = world.person("Lea").await;
        world.module(STATION, Some(&lea)).await;
        for (given, status, code) in [
            (json!({ "command": "" }), 400, "invalid_value"),
            (json!({ "command": "x".repeat(65) }), 400, "invalid_value"),
            (json!({ "command": "a\u{0}b" }), 400, "invalid_value"),
            (json!({ "command": "ring", "params": { "text": "x".repeat(8192) } }), 400, "invalid_value"),
            (json!({ "command": "ring", "params": [] }), 422, "invalid_body"),
            (json!({ "command": "ring", "ttl_s": 0 }), 400, "invalid_value"),
            (json!({ "command": "ring", "ttl_s": 604_801 }), 400, "invalid_value"),
            (json!({ "command": "ring", "client_id": "" }), 400, "invalid_value"),
            (json!({ "command": "ring", "delivery": "twice" }), 422, "invalid_body"),
        ] {
            let (found, reply) = world.request(&lea, Method::POST, COMMANDS, given.clone()).await;
            assert_eq!((found, reply["code"].as_str()), (status, Some(code)), "{given}");
        }
        let absent = json!({
            "command": "ring", "params": null, "client_id": null, "ttl_s": null, "delivery": null,
        });
        assert_eq!(world.request(&lea, Method::POST, COMMANDS, absent).await.0, 202);
        for _ in 0..99 {
            world.command(ring(Delivery::AtMostOnce)).await;
        }
        let (status, reply) = world.request(&lea, Method::POST, COMMANDS, json!({ "command": "ring" })).await;
        assert_eq!((status, &reply["code"]), (409, &json!("too_many_commands")));
        let mut refused = (status, reply);
        for _ in 0..60 {
            if refused.0 == 429 {
                break;
            }
            refused = world.request(&lea, Method::POST, COMMANDS, json!({ "command": "ring" })).await;
        }
        assert_eq!((refused.0, &refused.1["code"]), (429, &json!("too_many_commands")));
        assert!(refused.1["retry_after"].is_u64());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_module_go_with_it_and_with_its_owner() {
    on_both(|world| async move {
        let (admin, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let path = format!("/api/v1/modules/{STATION}");
        let listed = || async {
            let (_, listed) = world.request(&admin, Method::GET, COMMANDS, Value::Null).await;
            listed["commands"].as_array().unwrap().len()
        };
        world.module(STATION, None).await;
        world.command(ring(Delivery::AtLeastOnce)).await;
        world.request(&admin, Method::DELETE, &path, Value::Null).await;
        let credential = world.module(STATION, None).await;
        assert_eq!(listed().await, 0);
        world.command(ring(Delivery::AtLeastOnce)).await;
        let (_, code) = world.request(&admin, Method::POST, &format!("{path}/claim-code"), Value::Null).await;
        let claim = json!({ "code": code["claim_code"] });
        assert_eq!(world.request(&lea, Method::POST, "/api/v1/modules/claim", claim).await.0, 200);
        assert_eq!(listed().await, 0);

        let mut device = Wire::device(&world, STATION, &credential).await;
        let fresh = world.command(ring(Delivery::AtMostOnce)).await.id;
        assert_eq!(device.told().await, fresh, "nobody else's");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_read_keep_neither_the_server_nor_other_commands() {
    on_both(|world| async move {
        world.module(STATION, None).await;
        let odd = world.command(ring(Delivery::AtMostOnce)).await;
        let other = world.command(ring(Delivery::AtMostOnce)).await;
        let good = world.command(ring(Delivery::AtLeastOnce)).await;
        let (state, delivery) = (odd.id.clone(), other.id.clone());
        let spoil = world.running.app().store().write(move |tx| {
            tx.execute("UPDATE module_commands SET state = 'zzz' WHERE id = $1", params![&*state])?;
            tx.execute("UPDATE module_commands SET delivery = 'zzz' WHERE id = $1", params![&*delivery])?;
            Ok::<_, StoreError>(())
        });
        spoil.await.unwrap();
        let world = world.restart().await;
        assert_eq!(world.state(&good.id).await, CommandState::Queued);
        let listed = world
            .running
            .app()
            .service::<Live>()
            .commands()
            .list(&Visibility::All, STATION, None, "", 10)
            .await
            .unwrap();
        assert_eq!(listed.iter().map(|command| &*command.id).collect::<Vec<_>>(), [&*good.id]);
        let named = relais::features::live::unreadable_rows(world.running.app().store()).await.unwrap();
        assert!(
            named.len() == 2 && named[0].contains(&odd.id) && named[1].contains("delivery \"zzz\""),
            "{named:?}"
        );
    })
    .await;
}
