//! Writing down how modules are: that one came or went at once and with its events, its values about every second.

use std::sync::atomic::Ordering;
use std::time::Duration;

use relais_store::{StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use super::command_queue::CommandQueue;
use super::entry::{PresenceChange, StoredState};
use super::service::Live;
use super::store;
use super::topics::{MODULE, module_topic};
use super::view::{PresenceUpdate, json};
use crate::features::publish::{Target, emit};

/// How often values are written, and looked who is gone.
const EVERY: Duration = Duration::from_secs(1);
/// After the database refused.
const PAUSE: Duration = Duration::from_secs(1);
/// Modules in one transaction at most, so that others wait moments only.
const TURNS_MAX: usize = 500;
const STATES_MAX: usize = 1_024;

/// Writes down what comes and goes, until `stop`; then everything that is left.
pub async fn write_states(live: Live, stop: CancellationToken) {
    let changes = async {
        while until(&stop, live.0.presence_changed.notified()).await {
            live.write_presence_changes(&stop).await;
        }
    };
    let values = async {
        let mut seconds = tokio::time::interval(EVERY);
        while until(&stop, seconds.tick()).await {
            let _ = live.keep_values().await;
        }
    };
    // Apart, so that a slow database does not put off what is decided.
    let looks = async {
        let mut seconds = tokio::time::interval(EVERY);
        while until(&stop, seconds.tick()).await {
            live.look();
        }
    };
    tokio::join!(changes, values, looks);
    live.write_presence_changes(&stop).await;
    let _ = live.keep_values().await;
}

/// Waits for `what`; false if it is time to stop.
pub(super) async fn until(stop: &CancellationToken, what: impl Future) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        _ = what => true,
    }
}

impl Live {
    /// The server stops: from now on nobody is gone. They have their time to come back once it is there again.
    pub fn stop_looking(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Time passed: whoever is gone is told to be, and commands whose time is over end.
    pub fn look(&self) {
        if self.0.stopping.load(Ordering::Relaxed) {
            return;
        }
        let over = self.0.states.lock().look_at_troubles(self.steady());
        over.iter().for_each(|entry| self.publish_diagnosis(entry));
        let gone = self.0.states.lock().look(self.steady());
        for module in gone {
            self.remove_route(&module);
        }
        self.0.presence_changed.notify_one();
        self.with_queue(CommandQueue::look);
    }

    /// Returns once everything is told that happened until now.
    pub async fn settled(&self) {
        loop {
            let mut told = std::pin::pin!(self.0.told.notified());
            told.as_mut().enable();
            if !self.0.states.lock().has_news() {
                return;
            }
            told.await;
        }
    }

    /// Writes who came and went, with the events that tell it. What cannot be written is tried again: it would never
    /// be told otherwise.
    async fn write_presence_changes(&self, stop: &CancellationToken) {
        loop {
            let changes = self.0.states.lock().take_presence_changes(TURNS_MAX);
            if changes.is_empty() {
                return;
            }
            match self.write_presence(changes.clone()).await {
                Ok(()) => {
                    self.0.states.lock().presence_published(&changes);
                    self.0.told.notify_waiters();
                }
                Err(error) => {
                    let modules = changes.len();
                    tracing::warn!(%error, modules, "who came and went could not be written; trying again");
                    self.0.states.lock().retry_presence(&changes);
                    if !until(stop, tokio::time::sleep(PAUSE)).await {
                        return;
                    }
                }
            }
        }
    }

    async fn write_presence(&self, changes: Vec<PresenceChange>) -> Result<(), StoreError> {
        let live = self.clone();
        self.0
            .store
            .write(move |tx| {
                let told = store::states::published(
                    tx,
                    changes.iter().map(|change| change.entry.module.id.as_str()),
                )?;
                let is_news = |change: &&PresenceChange| {
                    let told = told.get(&change.entry.module.id);
                    let of_this = told.filter(|told| told.created_at == change.entry.module.created_at);
                    of_this.is_some_and(|told| told.online != change.online)
                };
                let news: Vec<&PresenceChange> = changes.iter().filter(is_news).collect();
                let kept =
                    |change: &&PresenceChange| StoredState { online: change.online, ..change.entry.kept() };
                store::states::write_presence(tx, &news.iter().map(kept).collect::<Vec<_>>())?;
                news.iter().try_for_each(|change| {
                    let owner = told.get(&change.entry.module.id).and_then(|told| told.owner.as_deref());
                    live.emit_presence(tx, change, owner)
                })
            })
            .await
    }

    /// The owner is the one of this moment: the module may have changed hands since it turned.
    fn emit_presence(
        &self,
        tx: &mut WriteTx<'_>,
        change: &PresenceChange,
        owner: Option<&str>,
    ) -> Result<(), StoreError> {
        let PresenceChange { online, entry } = change;
        let (at, word) = (tx.now(), if *online { "online" } else { "offline" });
        let told = PresenceUpdate::of(entry, *online, &self.0.format, at);
        if let Some(topic) = module_topic(MODULE, &entry.module.id) {
            tx.emit(&topic, &format!("rt_module_{word}"), json(&told))?;
        }
        if let Some(owner) = owner {
            emit(tx, Target::Person(owner), &format!("user:module:{word}"), &told)?;
        }
        Ok(())
    }

    /// Returns once everything that devices said before this call is in the database: numbers, last known values, and
    /// what became of commands. Those who wait meanwhile share what is written.
    ///
    /// # Errors
    /// What the database reports; what was said stays in memory and is written when that is possible.
    pub async fn stored(&self) -> Result<(), StoreError> {
        let (history, values, ()) =
            tokio::join!(self.0.history.stored(), self.keep_values(), self.steps_written());
        history.and(values)
    }

    /// Writes the values that changed before this call. What changes meanwhile is for the next one, so that steady
    /// reports keep nobody here.
    async fn keep_values(&self) -> Result<(), StoreError> {
        let wanted = self.0.states.lock().changes();
        let mut written = self.0.keeping.lock().await;
        let (changes, mut left) = {
            let states = self.0.states.lock();
            (states.changes(), states.count_dirty())
        };
        // A write that began after this call has had it all.
        if *written >= wanted {
            return Ok(());
        }
        while left > 0 {
            let count = left.min(STATES_MAX);
            left -= count;
            let kept = self.0.states.lock().take_dirty(count);
            if kept.is_empty() {
                // All of them were removed.
                continue;
            }
            if let Err(error) = self.write_values(kept.clone()).await {
                tracing::warn!(%error, modules = kept.len(), "states of modules could not be written; trying again");
                self.0.states.lock().keep_again(&kept);
                return Err(error);
            }
        }
        *written = changes;
        Ok(())
    }

    async fn write_values(&self, kept: Vec<StoredState>) -> Result<(), StoreError> {
        self.0.store.write_rows(move |tx| store::states::write_values(tx, &kept)).await
    }
}
