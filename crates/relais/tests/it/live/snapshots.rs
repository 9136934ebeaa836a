//! A snapshot and the events after it are a fresh snapshot, however often a watcher loses the connection.

use std::sync::Arc;

use relais::features::accounts::Actor;
use relais::features::live::{
    ConnectionEnd, DeviceConnection, DeviceConnectionId, Live, ModuleChanges, NewModule, Report, Visibility,
};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::wire::Wire;
use super::{Person, World, on_both_with};

const MODULES: usize = 6;
const STEPS: usize = 250;

/// A page of somebody, as far as it knows how modules are.
struct Watcher {
    person: Person,
    channels: Vec<String>,
    wire: Option<Wire>,
    states: Map<String, Value>,
    version: Option<u64>,
}

impl Watcher {
    fn new(person: Person, channels: Vec<String>) -> Self {
        Self { person, channels, wire: None, states: Map::new(), version: None }
    }

    /// Connects again: listens first, and then asks for what changed since.
    async fn connect(&mut self, world: &World) {
        let channels: Vec<&str> = self.channels.iter().map(String::as_str).collect();
        self.wire = Some(Wire::watcher(world, &self.person, &channels).await);
        let since = self.version.map(|version| format!("?version={version}")).unwrap_or_default();
        let path = format!("/api/v1/module-states{since}");
        let (status, snapshot) = world.request(&self.person, Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{snapshot}");
        if snapshot["full"] == true {
            self.states = Map::new();
        }
        for id in snapshot["removed"].as_array().unwrap() {
            self.states.shift_remove(id.as_str().unwrap());
        }
        for (id, state) in snapshot["states"].as_object().unwrap() {
            self.states.insert(id.clone(), state.clone());
        }
        self.version = snapshot["version"].as_u64();
    }

    /// Loses the connection with whatever is on the way.
    fn lose(&mut self) {
        self.wire = None;
    }

    /// Takes in events up to the one with this name.
    async fn take_until(&mut self, name: &str) {
        let Some(mut wire) = self.wire.take() else { return };
        loop {
            let frame = wire.next().await;
            if frame["name"] == name {
                break;
            }
            self.take(&frame);
        }
        self.wire = Some(wire);
    }

    fn take(&mut self, frame: &Value) {
        let data = &frame["data"];
        let Some(id) = data["moduleId"].as_str().map(str::to_owned) else { return };
        match frame["name"].as_str().unwrap() {
            "user:module:removed" | "rt_module_removed" => {
                self.states.shift_remove(&id);
            }
            "user:module:added" | "rt_module_added" | "user:module:updated" | "rt_module_updated" => {
                let fresh = json!({ "moduleId": id, "online": false, "telemetry": {}, "version": 0 });
                let state = self.states.entry(id).or_insert(fresh);
                for field in ["name", "type", "userId"] {
                    state[field] = data[field].clone();
                }
            }
            _ => self.merge(&id, data),
        }
    }

    /// What is older than what is known is not taken.
    fn merge(&mut self, id: &str, data: &Value) {
        let (Some(state), Some(version)) = (self.states.get_mut(id), data["version"].as_u64()) else {
            return;
        };
        if version < state["version"].as_u64().unwrap_or_default() {
            return;
        }
        for field in ["online", "telemetry", "version"] {
            if !data[field].is_null() {
                state[field] = data[field].clone();
            }
        }
        self.version = self.version.max(Some(version));
    }

    /// What it knows, as a fresh snapshot would say it.
    fn known(&self) -> Value {
        let compared = |state: &Value| {
            let field = |name: &str| (name.to_owned(), state[name].clone());
            Map::from_iter(["name", "type", "userId", "online", "telemetry"].map(field))
        };
        let mut all: Vec<_> = self.states.iter().map(|(id, state)| (id.clone(), compared(state))).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        json!(all)
    }
}

struct Plug;

impl DeviceConnection for Plug {
    fn send(&self, _: &Value, _: std::time::Duration) {}

    fn end(&self, _: ConnectionEnd) {}
}

/// What happens to modules, at random.
struct Life<'a> {
    world: &'a World,
    live: &'a Live,
    random: fastrand::Rng,
    owners: Vec<Person>,
    links: Vec<Option<DeviceConnectionId>>,
}

impl Life<'_> {
    fn id(module: usize) -> String {
        format!("MC-100{module}-STN")
    }

    async fn step(&mut self) {
        let module = self.random.usize(..MODULES);
        let (id, modules) = (Self::id(module), self.live.modules());
        let actor = Actor::named("test", None);
        match self.random.u8(..15) {
            0 => {
                let owner = self.random.usize(..=self.owners.len());
                let owner = self.owners.get(owner).map(|owner| owner.id.clone());
                let new = NewModule { id, owner, ..NewModule::default() };
                // It may be there already.
                let _ = modules.add(&actor, new).await;
            }
            1 => {
                let _ = modules.remove(&Visibility::All, &actor, &id).await;
            }
            2 => {
                let name = Some(format!("module {}", self.random.u8(..4)));
                let _ =
                    modules.change(&Visibility::All, &actor, &id, ModuleChanges { name, kind: None }).await;
            }
            3..=5 => match self.links[module].take() {
                Some(link) => self.live.unlink(&id, link),
                None => self.links[module] = self.live.link(&id, Arc::new(Plug)),
            },
            6 => self.live.look(),
            7 => {
                // It may not be there.
                let Ok(code) = modules.offer(&Visibility::All, &actor, &id).await else { return };
                let owner = &self.owners[self.random.usize(..self.owners.len())];
                let path = "/api/v1/modules/claim";
                let (status, reply) =
                    self.world.request(owner, Method::POST, path, json!({ "code": code })).await;
                assert_eq!(status, 200, "{reply}");
            }
            8 => {
                let _ = modules.give_back(&Visibility::All, &actor, &id).await;
            }
            _ => {
                let (field, value) = (["a", "b", "c"][self.random.usize(..3)], self.random.u8(..3));
                let value = if value == 0 { Value::Null } else { json!(value) };
                let fields = Map::from_iter([(field.to_owned(), value)]);
                self.live.report(&id, Report::of(fields).unwrap()).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_the_events_after_it_are_a_fresh_snapshot() {
    let seed = fastrand::u64(..);
    // Before anything can fail or hang.
    eprintln!("seed {seed}");
    let settings = |config: &mut relais::config::Config| {
        config.live.offline_delay_s = 0;
        config.live.window_ms = 3;
    };
    on_both_with(settings, |world| async move {
        let (ada, lea, paul) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Paul").await);
        let own = |who: &Person| {
            vec![format!("user:{}", who.id), format!("fleet:user:{}", who.id), "system".into()]
        };
        let all = ["role:admin", "module:*", "telemetry:*", "system"].map(str::to_owned).to_vec();
        let mut watchers = [
            Watcher::new(ada.clone(), all),
            Watcher::new(lea.clone(), own(&lea)),
            Watcher::new(paul.clone(), own(&paul)),
        ];
        let live = world.running.app().service::<Live>().clone();
        let mut life = Life {
            world: &world,
            live: &live,
            random: fastrand::Rng::with_seed(seed),
            owners: vec![lea, paul],
            links: vec![None; MODULES],
        };
        for step in 0..STEPS {
            life.step().await;
            let watcher = &mut watchers[life.random.usize(..3)];
            if watcher.wire.is_none() {
                watcher.connect(&world).await;
            } else if life.random.u8(..8) == 0 {
                watcher.lose();
            }
            if step % 50 == 49 {
                settle(&world, step).await;
                for watcher in &mut watchers {
                    watcher.take_until(&format!("settled_{step}")).await;
                    if watcher.wire.is_none() {
                        watcher.connect(&world).await;
                    }
                    let mut fresh = Watcher::new(watcher.person.clone(), Vec::new());
                    fresh.connect(&world).await;
                    assert_eq!(
                        watcher.known(),
                        fresh.known(),
                        "seed {seed}, step {step}, {}",
                        watcher.person.id
                    );
                }
            }
        }
    })
    .await;
}

/// Everything that happened is told, and after it that it is.
async fn settle(world: &World, step: usize) {
    let live = world.running.app().service::<Live>();
    live.look();
    live.settled().await;
    let topic = relais_protocol::event::Topic::new("system").unwrap();
    let name = format!("settled_{step}");
    let store = world.running.app().store();
    store
        .write(move |tx| tx.emit(&topic, &name, "{}".to_owned()).map(drop))
        .await
        .unwrap_or_else(|error: relais_store::StoreError| panic!("{error}"));
}
