//! What devices do, whichever way they connect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relais_protocol::event::{Channel, Event, Topic};
use relais_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answers::Answered;
use super::connections::{DeviceConnection, DeviceConnectionId};
use super::diagnosis::Diagnosis;
use super::entry::Entry;
use super::model::Module;
use super::report::{Report, ReportError, is_envelope};
use super::service::Live;
use super::tier::Tier;
use super::topics::{CREDENTIAL_CHANGED, FLEET, MODULE, TELEMETRY, module_topic, owner_topic};
use super::view::{Diagnosed, json, passing};
use crate::auth::Principal;
use crate::error::{beginning_of, cut};

/// What an event about a module says.
#[derive(Deserialize)]
struct EventModule {
    module: EventModuleId,
    owner: Option<String>,
    /// What it said is gone, with whom it was said to.
    #[serde(default)]
    emptied: bool,
}

#[derive(Deserialize)]
struct EventModuleId {
    module_id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    created_at: Timestamp,
    owned_at: Timestamp,
    updated_at: Timestamp,
}

/// Tells the answers of this process's devices apart.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

impl Live {
    /// A device that identified itself is connected; an older connection of it ends. Says nothing if the module was
    /// removed meanwhile.
    pub fn link(&self, module: &str, link: Arc<dyn DeviceConnection>) -> Option<DeviceConnectionId> {
        let _linking = self.0.linking.lock();
        self.0.states.lock().find(module)?;
        let (id, replaced) = self.0.connections.put(module, link);
        // Of a connection before it.
        self.with_queue(|command_queue, _| command_queue.lost(module));
        self.0.states.lock().link(module, self.0.clock.moment());
        if replaced {
            self.note_replaced(module);
        }
        self.0.presence_changed.notify_one();
        Some(id)
    }

    /// A connection ended. The module is not gone yet: it has some seconds to come back.
    pub fn unlink(&self, module: &str, link: DeviceConnectionId) {
        let _linking = self.0.linking.lock();
        if self.0.connections.remove(module, link) {
            self.0.states.lock().unlink(module, self.steady());
            self.with_queue(|command_queue, _| command_queue.lost(module));
            // There may be another way to it.
            self.ready(module);
        }
    }

    /// A module reported. What changes is told to watchers, and every number goes into its history.
    ///
    /// # Errors
    /// [`ReportError`] if its telemetry would be too large; nothing has changed then.
    pub fn report(&self, module: &str, report: Report) -> Result<(), ReportError> {
        let (moment, numbers) = (self.0.clock.moment(), report.numbers());
        let measured_at = report.when(moment.now).at();
        let reported = self.0.states.lock().report(module, report, moment).transpose()?;
        if reported.is_some() && !numbers.is_empty() {
            let values = numbers.iter().map(|(name, value)| (name.as_str(), *value));
            self.0.history.record(module, measured_at, values);
        }
        if reported == Some(true) {
            self.0.changed.notify_one();
        }
        self.0.presence_changed.notify_one();
        metrics::counter!("relais_live_reports_total").increment(1);
        Ok(())
    }

    /// Tells those who watch a module something that is not stored: what its device answered, for example.
    pub(super) fn publish_to_watchers(&self, module: &Module, name: &str, data: &str) {
        self.publish_to_each(module, name, data, &module.id);
    }

    fn publish_to_each(&self, module: &Module, name: &str, data: &str, key: &str) {
        let (epoch, now) = (self.0.hub.head().epoch, self.now());
        let (name, data): (Arc<str>, Arc<str>) = (name.into(), data.into());
        for topic in module_topic(MODULE, &module.id).into_iter().chain(self.fleets(module)) {
            self.publish_passing(passing(topic, epoch, &name, &data, now), key);
        }
    }

    /// For a slow watcher, the newest of each name and `key` waits.
    fn publish_passing(&self, event: Arc<Event>, key: &str) {
        if !self.0.hub.publish_latest(event, key.into()) {
            tracing::debug!(key, "something about a module found no room in the hub");
        }
    }

    /// A device answered something, such as `command_response`: watchers hear it as `module_command_response`.
    /// If it is to a command, that is finished.
    pub fn answered(&self, module: &str, kind: &str, mut message: Map<String, Value>) {
        let Answered { id, name, answer } = Answered::read(&self.0.config.answers, kind, &message);
        self.with_queue(|command_queue, _| {
            command_queue.answered(module, id.as_deref(), name.as_deref(), answer);
        });
        message.retain(|name, _| !is_envelope(name));
        message.insert("moduleId".to_owned(), module.into());
        message.entry("timestamp").or_insert_with(|| self.now().to_string().into());
        let known = self.0.states.lock().find(module).map(|entry| entry.module.clone());
        if let Some(known) = known {
            // One answer does not stand for another.
            let key = ANSWERED.fetch_add(1, Ordering::Relaxed).to_string();
            self.publish_to_each(&known, &format!("module_{kind}"), &json(&message), &key);
        }
        self.take_position(module, message);
    }

    /// What a device did may have moved it.
    fn take_position(&self, module: &str, mut message: Map<String, Value>) {
        let position = message.remove("position");
        let moved = position.map(|position| Map::from_iter([("position".to_owned(), position)]));
        let report = Report::of(moved.unwrap_or_default()).unwrap_or_default();
        // A position that is too large is not taken; the answer was passed on as it is.
        let _ = self.report(module, report);
    }

    /// Something that came as a module's was not taken: whoever watches it is told, at most once a minute for the same,
    /// and the log has one line of it a minute. Says nothing of what is no module.
    pub fn refused(&self, module: &str, code: &'static str, message: &str) {
        let moment = self.0.clock.moment();
        let mut logs = false;
        let note = |found: &mut Diagnosis| {
            let told = found.refused(code, cut(message.to_owned()), moment);
            logs = told && found.may_log(moment.steady);
            told
        };
        let told = self.0.states.lock().diagnose(module, moment.steady, note);
        metrics::counter!("relais_live_refusals_total", "code" => code).increment(1);
        if logs {
            let message = beginning_of(&message);
            tracing::warn!(module, code, "something of a module was not taken: {message}");
        }
        told.iter().for_each(|entry| self.publish_diagnosis(entry));
    }

    /// Numbers of a message that were none were taken for null.
    pub fn note_mended(&self, module: &str, mended: usize) {
        if mended > 0 {
            let message = format!("{mended} numbers of a message were none (nan, inf, …) and are null");
            self.refused(module, "not_a_number", &message);
        }
    }

    fn note_replaced(&self, module: &str) {
        let moment = self.0.clock.moment();
        metrics::counter!("relais_live_replaced_total").increment(1);
        let told = self.0.states.lock().diagnose(module, moment.steady, |found| found.replaced(moment));
        if let Some(told) = told {
            tracing::warn!(
                module = told.module.id,
                "connections of a module throw each other out: perhaps two devices show its password; give one of \
                 them another with relais module rotate"
            );
            self.publish_diagnosis(&told);
        }
    }

    /// Tells those who watch a module what is wrong with it, or that nothing is any more.
    pub(super) fn publish_diagnosis(&self, entry: &Entry) {
        self.publish_to_watchers(&entry.module, "module_trouble", &json(&Diagnosed::of(entry, self.now())));
    }

    /// The last known values of a module; none if there is no such module.
    #[must_use]
    pub fn telemetry(&self, module: &str) -> Map<String, Value> {
        self.0.states.lock().find(module).map(|entry| entry.telemetry.clone()).unwrap_or_default()
    }

    /// A device is ready for what was meant for it while it was away.
    pub fn ready(&self, module: &str) {
        if self.0.connections.find(module).is_some() {
            self.with_queue(|command_queue, _| command_queue.ready(module));
        }
    }

    /// Where the pages of a module's owner listen.
    fn fleets(&self, module: &Module) -> impl Iterator<Item = Topic> {
        let owner = module.owner.clone();
        Tier::ALL.into_iter().filter_map(move |tier| owner_topic(FLEET, tier, owner.as_deref()?))
    }

    /// Follows what is committed, by this process or another, in the order of the log and before it is published.
    pub fn observe(&self, event: &Event) {
        // Topics of this family are published here alone: what others say of modules changes nothing.
        if event.topic.family() != MODULE {
            return;
        }
        match &*event.name {
            "module_added" | "module_updated" | "module_removed" => self.observe_module(event),
            "rt_module_online" | "rt_module_offline" => self.repeat_to_owner(event),
            CREDENTIAL_CHANGED => {
                let module = event.topic.key();
                self.0.guests.forget(module);
                if self.0.connections.end(module) {
                    let (mut states, now) = (self.0.states.lock(), self.steady());
                    states.unlink(module, now);
                    states.went(module, now);
                    drop(states);
                    self.with_queue(|command_queue, _| command_queue.lost(module));
                }
            }
            name if name.starts_with("module_command_") => {
                if let Ok(command) = serde_json::from_str(&event.data) {
                    self.with_queue(|command_queue, _| command_queue.observe(&command));
                }
                self.repeat_in_fleets(event);
            }
            _ => {}
        }
    }

    fn observe_module(&self, event: &Event) {
        let Ok(EventModule { module: told, owner, emptied }) =
            serde_json::from_str::<EventModule>(&event.data)
        else {
            return;
        };
        let EventModuleId { module_id: id, name, kind, created_at, owned_at, updated_at } = told;
        let now = self.steady();
        let is_gone = &*event.name == "module_removed";
        let known =
            self.0.states.lock().find(&id).map(|entry| (entry.module.owner.clone(), entry.module.owned_seq));
        let begins = emptied || &*event.name == "module_added";
        let owned_seq = if begins { event.seq } else { known.as_ref().map_or(0, |(_, seq)| *seq) };
        let changes = known.map(|(former, _)| former).filter(|former| is_gone || *former != owner);
        if is_gone {
            let _linking = self.0.linking.lock();
            self.0.states.lock().remove(&id, now);
            self.0.connections.end(&id);
            self.0.history.forget(&id);
            self.with_queue(|command_queue, _| command_queue.lost(&id));
            self.0.guests.forget(&id);
        } else {
            let id = id.clone();
            let module = Module { id, name, kind, owner, created_at, owned_at, owned_seq, updated_at };
            if emptied {
                self.0.history.forget(&module.id);
            }
            self.0.states.lock().put(module, emptied, now);
            self.0.changed.notify_one();
        }
        // Once it is known whose it is: whoever subscribes from now on is asked again after that.
        if let Some(former) = changes {
            if let Some(former) = former {
                self.shut_out(&former, &id);
            }
            self.with_queue(|command_queue, _| command_queue.clear(&id));
        }
    }

    /// A page takes no values of a module of which it does not know: they are told again once it does. They may have been
    /// told between the moment in which the module became the owner's and the event that says so.
    pub(super) fn publish_to_new_owner(&self, event: &Event) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Added {
            module_id: String,
        }
        let Ok(Added { module_id }) = serde_json::from_str(&event.data) else { return };
        self.0.states.lock().republish(&module_id);
        self.0.changed.notify_one();
    }

    /// Whoever does not own a module any more hears no more of it.
    fn shut_out(&self, former: &str, module: &str) {
        let telemetry = Tier::ALL.map(|tier| format!("{TELEMETRY}{}", tier.suffix()));
        for family in telemetry.iter().map(String::as_str).chain([MODULE]) {
            if let Some(topic) = module_topic(family, module) {
                self.0.hub.revoke(former, Channel::Topic(topic));
            }
        }
    }

    /// Whether there is such a module.
    pub(super) fn has(&self, module: &str) -> bool {
        self.0.states.lock().find(module).is_some()
    }

    /// From which event of the log on a topic is that of a module of this principal, if it is.
    #[must_use]
    pub fn owned_since(&self, principal: &Principal, topic: &Topic) -> Option<u64> {
        let of_one = topic.family() == MODULE
            || Tier::ALL.iter().any(|tier| topic.family().strip_prefix(TELEMETRY) == Some(tier.suffix()));
        let states = self.0.states.lock();
        let module = states.find(topic.key()).map(|entry| &entry.module).filter(|_| of_one)?;
        module.owner.as_deref().filter(|owner| *principal.id() == **owner).map(|_| module.owned_seq)
    }

    /// Pages of the owner hear of their modules in one topic. What is stored for the owner is in the owner's own.
    fn repeat_to_owner(&self, event: &Event) {
        let Some(module) = self.repeat_in_fleets(event) else { return };
        let online = &*event.name == "rt_module_online";
        let presence = serde_json::json!({ "moduleId": module.id, "online": online });
        self.publish_to_watchers(&module, "module_presence", &presence.to_string());
    }

    fn repeat_in_fleets(&self, event: &Event) -> Option<Module> {
        let module = self.0.states.lock().find(event.topic.key()).map(|entry| entry.module.clone())?;
        for topic in self.fleets(&module) {
            // Each waits for a slow watcher: one does not stand for another.
            let key = event.seq.to_string();
            self.publish_passing(passing(topic, event.epoch, &event.name, &event.data, event.at), &key);
        }
        Some(module)
    }
}
