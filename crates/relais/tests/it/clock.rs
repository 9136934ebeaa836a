//! A clock that leaps: nothing is deleted for it, nobody waits longer, and no deadline comes sooner or later.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use relais::features::accounts::{Accounts, Actor};
use relais::features::live::{Command, CommandState, NewCommand, NewModule, Report, Visibility};
use relais_store::{Query as _, params};
use relais_testkit::TestClock;
use serde_json::json;

use crate::world::{World, on_both_in_time};
use relais::features::live::Live;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const YEARS: i64 = 3 * 365 * DAY;
const STATION: &str = "MC-1001-STN";

fn actor() -> Actor {
    Actor::named("test", None)
}

impl World {
    async fn station(&self) {
        let new = NewModule { id: STATION.into(), ..NewModule::default() };
        self.running.app().service::<Live>().modules().add(&actor(), new).await.unwrap();
    }

    async fn give(&self, name: &str) -> Command {
        let new = NewCommand { command: name.into(), ..NewCommand::default() };
        self.running
            .app()
            .service::<Live>()
            .commands()
            .give(&Visibility::All, &actor(), STATION, new)
            .await
            .unwrap()
    }

    async fn state_of(&self, command: &Command) -> CommandState {
        let commands = self.running.app().service::<Live>().commands();
        commands.find(&Visibility::All, STATION, &command.id).await.unwrap().state
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let read = self.running.app().store().read(move |tx| tx.query_one(sql, params![], |row| row.i64(0)));
        read.await.unwrap()
    }

    async fn sign_in(&self, password: &str) -> reqwest::Response {
        let url = format!("http://{}/api/connexion", self.running.address());
        let body = json!({ "email": "lea@relais.fr", "password": password });
        reqwest::Client::new().post(url).json(&body).send().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_ahead_of_years_deletes_nothing() {
    on_both_in_time(|world, clock: Arc<TestClock>| async move {
        let lea = world.user("Lea", true).await;
        assert_eq!(world.sign_in("correct horse battery").await.status(), 200);
        let accounts = Accounts::new(world.running.app().auth().clone());
        let scope = ["events:publish:user:*".to_owned()];
        let key = accounts.create_key(&actor(), "backend", &scope, None).await.unwrap().1;
        let event = json!({ "topic": format!("user:{}", lea.id), "name": "moved", "data": {} });
        let url = format!("http://{}/api/v1/events", world.running.address());
        let publish = async |once: &str| {
            let sent = reqwest::Client::new().post(&url).bearer_auth(&key).header("idempotency-key", once);
            let reply = sent.json(&event).send().await.unwrap();
            assert_eq!(reply.status(), 200, "{once}");
        };
        publish("first").await;
        let counts = async || {
            [
                world.count("SELECT COUNT(*) FROM sessions").await,
                world.count("SELECT COUNT(*) FROM published").await,
                world.count("SELECT COUNT(*) FROM audit WHERE action = 'user_created'").await,
                world.count("SELECT COUNT(*) FROM events").await,
            ]
        };
        let app = world.running.app();
        let [sessions, published, audited, events] = counts().await;

        clock.leap_ms(YEARS);
        clock.advance_ms(120_000);
        app.store().trim_events(app.store().retention_now().plus_millis(-30 * DAY), 0).await.unwrap();
        app.service::<Live>().forget_commands().await.unwrap();
        assert_eq!(world.sign_in("correct horse battery").await.status(), 200);
        publish("second").await;

        clock.leap_ms(-YEARS);
        let after = counts().await;
        assert_eq!(after[..3], [sessions + 1, published + 1, audited], "what came, and nothing went");
        assert!(after[3] > events);
        publish("first").await;
        assert_eq!(counts().await[3], after[3], "it was known, and was not published again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_back_of_hours_keeps_nobody_from_signing_in() {
    on_both_in_time(|world, clock| async move {
        world.person("Lea").await;
        let mut wait_s: i64 = 0;
        for _ in 0..30 {
            let reply = world.sign_in("wrong").await;
            if reply.status() == 429 {
                wait_s = reply.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                break;
            }
        }
        assert!((1..=300).contains(&wait_s), "{wait_s}");
        clock.leap_ms(-2 * HOUR);
        assert_eq!(world.sign_in("correct horse battery").await.status(), 429, "nor does it free anybody");
        clock.advance_ms(wait_s * 1000);
        assert_eq!(world.sign_in("correct horse battery").await.status(), 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_neither_ends_a_command_nor_prolongs_it() {
    on_both_in_time(|world, clock| async move {
        world.station().await;
        let live = world.running.app().service::<Live>();
        let early = world.give("early").await;
        clock.leap_ms(YEARS);
        clock.advance_ms(10_000);
        live.look();
        live.stored().await.unwrap();
        assert_eq!(world.state_of(&early).await, CommandState::Queued, "ten seconds of sixty have passed");
        let told = live.take_commands(STATION).await.unwrap();
        assert_eq!(told.len(), 1, "it is told while the clock is wrong");
        clock.leap_ms(-YEARS);
        live.look();
        live.stored().await.unwrap();
        assert_eq!(world.state_of(&early).await, CommandState::Sent);

        let late = world.give("late").await;
        clock.leap_ms(-2 * HOUR);
        clock.advance_ms(61_000);
        live.look();
        live.stored().await.unwrap();
        assert_eq!(world.state_of(&late).await, CommandState::Expired);
        assert!(live.take_commands(STATION).await.unwrap().is_empty(), "what has expired is not told");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_takes_no_version_along() {
    on_both_in_time(|world, clock| async move {
        world.station().await;
        let live = world.running.app().service::<Live>();
        let version = || {
            let mut found = 0;
            live.snapshot(&Visibility::All, None, |snapshot| found = snapshot.version);
            found
        };
        let before = version();
        clock.leap_ms(YEARS);
        live.refused(STATION, "invalid_json", "no JSON");
        let after = version();
        let passed_ms = (after - before) / 1000;
        assert!(after > before && passed_ms < DAY as u64, "{before} {after}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_has_no_module_go_and_keeps_none() {
    on_both_in_time(|world, clock| async move {
        world.station().await;
        let live = world.running.app().service::<Live>();
        let is_online = || live.state(&Visibility::All, STATION).unwrap().contains("\"online\":true");
        let values = json!({ "t": 1 });
        live.report(STATION, Report::of(values.as_object().unwrap().clone()).unwrap()).unwrap();
        for leap in [YEARS, -YEARS, -2 * HOUR] {
            clock.leap_ms(leap);
            clock.advance_ms(1_000);
            live.look();
            assert!(is_online(), "{leap}");
        }
        clock.advance_ms(90_000);
        live.look();
        assert!(!is_online(), "silent for as long as a module may be");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_back_does_not_keep_a_session_that_ended_elsewhere() {
    on_both_in_time(|world, clock| async move {
        world.person("Lea").await;
        let signed_in = world.sign_in("correct horse battery").await;
        let cookie =
            signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let me = async || {
            let url = format!("http://{}/api/auth/me", world.running.address());
            let call = reqwest::Client::new().get(url).header("cookie", &cookie);
            call.send().await.unwrap().status().as_u16()
        };
        assert_eq!(me().await, 200);
        // As another process would: nobody tells this one.
        let ended = world.running.app().store().write(|tx| tx.execute("DELETE FROM sessions", params![]));
        let ended: Result<u64, relais_store::StoreError> = ended.await;
        assert_eq!(ended.unwrap(), 1);
        clock.advance_ms(4_000);
        clock.leap_ms(-4_000);
        clock.advance_ms(4_000);
        assert_eq!(me().await, 401, "after five seconds at the latest");
    })
    .await;
}
