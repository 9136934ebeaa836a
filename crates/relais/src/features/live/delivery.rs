//! Telling devices their commands. That one is sent is committed before the first byte of it goes out: whatever
//! happens then, what may be told once is not told twice.

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::time::{Moment, Timestamp};
use relais_store::{StoreError, WriteTx};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::command_queue::{CommandQueue, Work};
use super::commands::write;
use super::service::Live;
use super::state_writer::until;
use super::store::commands as store;
use crate::AppError;

/// Steps in one transaction at most, so that others wait moments only.
const WORK_MAX: usize = 256;
/// Commands that a device which asks gets at once.
const TAKEN_MAX: usize = 10;
/// After the database refused.
const PAUSE: Duration = Duration::from_secs(1);
/// How often old commands are forgotten.
const FORGET: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 86_400_000;

/// What became of a step: the command as the database has it, and whether the step was taken.
type Outcome = (Option<Command>, bool);

/// Tells devices their commands and writes down what becomes of these, until `stop`; then what is left to write.
pub async fn deliver_commands(live: Live, stop: CancellationToken) {
    let work = async {
        live.work(&stop).await;
        while until(&stop, live.0.due.notified()).await {
            live.work(&stop).await;
        }
    };
    let forget = async {
        let mut hours = tokio::time::interval(FORGET);
        while until(&stop, hours.tick()).await {
            if let Err(error) = live.forget_commands().await {
                tracing::warn!(%error, "old commands could not be forgotten; trying again in an hour");
            }
        }
    };
    tokio::join!(work, forget);
    live.work(&stop).await;
}

impl Live {
    /// Has the command queue do something at this moment of steady time, and has what results from it be written.
    pub(super) fn with_queue<T>(&self, act: impl FnOnce(&mut CommandQueue, Timestamp) -> T) -> T {
        let (mut command_queue, moment) = (self.0.command_queue.lock(), self.0.clock.moment());
        command_queue.report_time(moment);
        let acted = act(&mut command_queue, moment.steady);
        if command_queue.has_work() {
            self.0.due.notify_one();
        }
        acted
    }

    /// Writes what there is to write, and then tells devices what they are to be told. What cannot be written is tried
    /// again.
    async fn work(&self, stop: &CancellationToken) {
        let mut size = WORK_MAX;
        loop {
            let work = self.0.command_queue.lock().take_work(size);
            if work.is_empty() {
                return;
            }
            let error = match self.write_steps(work.clone()).await {
                Ok(outcomes) => {
                    for (work, (command, taken)) in work.iter().zip(&outcomes) {
                        self.written(work, command.as_ref(), *taken);
                    }
                    self.finish_work(work.len());
                    continue;
                }
                Err(error) => error,
            };
            match (error.is_temporary(), &*work) {
                (false, [one]) => {
                    tracing::error!(%error, command = &*one.id, "a command is given up: it cannot be written");
                    self.written(one, None, false);
                    self.finish_work(1);
                }
                // One of them cannot be written; it must not hold up the others.
                (false, _) => {
                    size = 1;
                    self.0.command_queue.lock().work_again(work);
                }
                (true, _) => {
                    let steps = work.len();
                    tracing::warn!(%error, steps, "what became of commands could not be written; trying again");
                    self.0.command_queue.lock().work_again(work);
                    if !until(stop, tokio::time::sleep(PAUSE)).await {
                        return;
                    }
                }
            }
        }
    }

    fn finish_work(&self, steps: usize) {
        self.0.command_queue.lock().finish_work(steps);
        self.0.worked.notify_waiters();
    }

    /// Returns once it is written what became of commands by what devices said before this call.
    pub(super) async fn steps_written(&self) {
        let wanted = self.0.command_queue.lock().pushed();
        loop {
            let mut worked = std::pin::pin!(self.0.worked.notified());
            worked.as_mut().enable();
            if self.0.command_queue.lock().finished() >= wanted {
                return;
            }
            worked.await;
        }
    }

    async fn write_steps(&self, work: Vec<Work>) -> Result<Vec<Outcome>, StoreError> {
        let clock = Arc::clone(&self.0.clock);
        let write = move |tx: &mut WriteTx<'_>| {
            work.into_iter().map(|work| write_step(tx, work, clock.moment())).collect()
        };
        self.0.store.write(write).await
    }

    fn written(&self, work: &Work, command: Option<&Command>, taken: bool) {
        let told = self.with_queue(|command_queue, now| command_queue.written(work, command, taken, now));
        let Some(command) = command.filter(|_| taken) else { return };
        metrics::counter!("relais_live_commands_total", "state" => command.state.name()).increment(1);
        // If the connection ended in this moment, the command queue was told so, or will be.
        if let Some(link) = self.0.connections.find(&work.module).filter(|_| told) {
            // In the command's own time, which does not leap.
            let now = command.sent_at.unwrap_or_else(|| self.now());
            link.send(&command.frame(), command.left(now));
        }
    }

    /// What a device that asks is to do, as its connection would be told: all that waits for it. These commands are
    /// sent then.
    ///
    /// # Errors
    /// What the database reports; nothing was sent then.
    pub async fn take_commands(&self, module: &str) -> Result<Vec<Value>, AppError> {
        let work = self.with_queue(|command_queue, now| command_queue.take(module, TAKEN_MAX, now));
        if work.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.write_steps(work.clone()).await?;
        let mut frames = Vec::new();
        for (work, (command, taken)) in work.iter().zip(outcomes) {
            self.written(work, command.as_ref(), taken);
            frames.extend(
                command.filter(|command| taken && !command.is_finished()).map(|command| command.frame()),
            );
        }
        Ok(frames)
    }

    /// Forgets commands that were finished long ago.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn forget_commands(&self) -> Result<(), StoreError> {
        let kept_ms = i64::from(self.0.config.commands_kept_days) * DAY_MS;
        let before = self.0.store.retention_now().plus_millis(-kept_ms);
        while self.0.commands.forget(before).await? {}
        Ok(())
    }
}

fn write_step(tx: &mut WriteTx<'_>, work: Work, moment: Moment) -> Result<Outcome, StoreError> {
    // Devices name commands, and only their own are theirs to answer.
    let found = store::find(tx, &work.id)?.filter(|command| command.module == *work.module);
    let Some(mut command) = found else { return Ok((None, false)) };
    let now = work.time_of(&command, moment);
    let taken = command.take(work.step, now);
    if taken {
        write(tx, &command)?;
    }
    Ok((Some(command), taken))
}
