//! What administrators are told of users and of the whole: a snapshot and what is told after it are a fresh one.

use relais_protocol::time::Clock as _;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::wire::Wire;
use super::{Person, World, on_both, on_both_in_time};

/// The users by their ids, as far as an administrator's page shows them.
async fn users(world: &World, admin: &Person) -> Map<String, Value> {
    let (status, listed) = world.request(admin, Method::GET, "/api/v1/users?limit=200", Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    let shown = |user: &Value| {
        let name = format!("{} {}", user["firstname"].as_str().unwrap(), user["lastname"].as_str().unwrap());
        let shown = json!({
            "name": name.trim(), "email": user["email"], "isAdmin": user["admin"], "disabled": user["disabled"],
        });
        (user["id"].as_str().unwrap().to_owned(), shown)
    };
    listed["users"].as_array().unwrap().iter().map(shown).collect()
}

fn take(known: &mut Map<String, Value>, data: &Value) {
    let Some(id) = data["id"].as_str() else { return };
    let told = ["name", "email", "isAdmin", "disabled"].map(|field| (field.to_owned(), data[field].clone()));
    known.insert(id.to_owned(), Value::Object(Map::from_iter(told)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_snapshot_and_what_is_told_after_it_are_those_of_a_fresh_one() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let mut people = vec![world.person("Lea").await];
        let mut random = fastrand::Rng::with_seed(7);
        let mut page = Wire::watcher(&world, &admin, &["role:admin"]).await;
        let mut known = users(&world, &admin).await;
        for step in 0..60 {
            let who = people[random.usize(..people.len())].clone();
            let path = format!("/api/v1/users/{}", who.id);
            match random.u8(..6) {
                0 => people.push(world.person(&format!("Paul{step}")).await),
                1 => {
                    world.request(&admin, Method::POST, &format!("{path}/disable"), Value::Null).await;
                }
                2 => {
                    let changes = json!({ "disabled": false, "admin": random.bool() });
                    world.request(&admin, Method::PATCH, &path, changes).await;
                }
                3 => {
                    // The page loses its connection, and what happens meanwhile.
                    drop(page);
                    world
                        .request(&admin, Method::PATCH, &path, json!({ "lastname": format!("A{step}") }))
                        .await;
                    page = Wire::watcher(&world, &admin, &["role:admin"]).await;
                    known = users(&world, &admin).await;
                }
                _ => {
                    world
                        .request(&admin, Method::PATCH, &path, json!({ "firstname": format!("F{step}") }))
                        .await;
                }
            }
        }
        // The last of all: what was told before it has been heard with it.
        world.person("Zoe").await;
        while !known.values().any(|user| user["name"] == "Zoe Martin") {
            let frame = page.next().await;
            if frame["name"].as_str().is_some_and(|name| name.starts_with("rt_user_")) {
                take(&mut known, &frame["data"]);
            }
        }
        let mut fresh = users(&world, &admin).await;
        known.sort_keys();
        fresh.sort_keys();
        assert_eq!(known, fresh);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_pages_are_told_each_change_of_what_they_count_and_may_ask_for_it() {
    on_both(|world| async move {
        let (admin, lea) = (world.user("Ada", true).await, world.person("Lea").await);
        let mut page = Wire::watcher(&world, &admin, &["role:admin"]).await;
        let credential = world.module("MC-1001-STN", Some(&lea)).await;
        world.module("MC-1002-STN", None).await;
        let device = Wire::device(&world, "MC-1001-STN", &credential).await;
        let counts = json!({ "online": 1, "total": 2 });
        while page.until("simple_stats_update").await["modules"] != counts {}
        let (status, all) = world.request(&admin, Method::GET, "/dashboard/stats", Value::Null).await;
        assert_eq!((status, &all["success"], &all["totalUsers"]), (200, &json!(true), &json!(2)));
        assert_eq!(all["modules"], json!({ "online": 1, "offline": 1, "total": 2 }));
        assert_eq!(all["stats"]["modules"], all["modules"]);
        let (_, own) = world.request(&lea, Method::GET, "/dashboard/stats", Value::Null).await;
        assert_eq!((&own["totalModules"], &own["onlineModules"]), (&json!(1), &json!(1)));
        assert!(own.get("stats").is_none() && own.get("totalUsers").is_none(), "{own}");
        let nobody = Person { token: String::new(), ..lea };
        assert_eq!(world.request(&nobody, Method::GET, "/dashboard/stats", Value::Null).await.0, 401);
        drop(device);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_that_are_told_are_those_that_are_asked_for() {
    on_both(|world| async move {
        let admin = world.user("Ada", true).await;
        let mut page = Wire::watcher(&world, &admin, &["role:admin"]).await;
        world.person("Lea").await;
        world.module("MC-1001-STN", None).await;
        loop {
            let told = page.until("rt_global_stats_updated").await["stats"].clone();
            if told["totalUsers"] == 2 && told["totalModules"] == 1 {
                let (_, mut asked) =
                    world.request(&admin, Method::GET, "/api/v1/statistics", Value::Null).await;
                asked["lastUpdate"] = told["lastUpdate"].clone();
                assert_eq!(asked, told);
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps_ends_no_connection_and_prolongs_none() {
    const DAY_MS: i64 = 86_400_000;
    on_both_in_time(|world, clock| async move {
        let admin = world.user("Ada", true).await;
        let mut page = Wire::watcher(&world, &admin, &[]).await;
        let app = world.running.app();
        clock.leap_ms(1_000 * DAY_MS);
        app.expiries().close_due(app.hub(), clock.steady());
        clock.leap_ms(-1_001 * DAY_MS);
        page.say(json!({ "type": "subscribe", "channel": "role:admin" })).await;
        assert_eq!(page.next().await["type"], "subscribed", "it is still open");
        clock.advance_ms(400 * DAY_MS);
        app.expiries().close_due(app.hub(), clock.steady());
        let (_, why) = page.closed().await;
        assert!(why.contains("expired"), "{why}");
    })
    .await;
}
