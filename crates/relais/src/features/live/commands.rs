//! Giving commands, and looking what became of them.

use relais_protocol::time::Timestamp;
use relais_store::{Query, Store, StoreError, WriteTx};
use serde_json::{Map, Value};

use super::command::{Command, CommandState, NewCommand, Step};
use super::command_queue::is_id;
use super::modules::{Visibility, seen};
use super::refusal::{
    checked_word, command_finished, command_key_in_use, commands_too_fast, invalid, module_away, no_command,
    no_module, too_many_open, too_many_open_anywhere,
};
use super::service::Live;
use super::store::commands as store;
use super::topics::{MODULE, module_topic};
use super::view::json;
use crate::AppError;
use crate::features::accounts::{Actor, record_action};
use crate::id::new_id;
use crate::said::said;

/// Commands that may be open, of one module and of all.
const OPEN_OF_MODULE_MAX: u64 = 100;
pub(super) const OPEN_MAX: usize = 100_000;
/// The longest name of a command, and of what its caller calls it, in bytes.
const NAME_BYTES_MAX: usize = 64;
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Parameters at most, in bytes of JSON.
const PARAMS_BYTES_MAX: usize = 8 * 1024;
/// Seconds that a command is of use unless it says, and at most.
const TTL_S: u32 = 60;
const TTL_S_MAX: u32 = 7 * 86_400;
/// Commands forgotten in one transaction, so that others wait moments only.
const FORGOTTEN_MAX: usize = 500;

/// Commands as the database has them. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    store: Store,
}

impl Commands {
    /// The commands in this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Stores a command; the server that holds the device's connection tells it. Given again with its `client_id` by
    /// the same caller, it is the same command.
    ///
    /// # Errors
    /// 400 for values that cannot be taken, 404 for a module that this caller does not see, 409 if too many commands
    /// are open or the `client_id` was used for another.
    pub async fn give(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        module: &str,
        new: NewCommand,
    ) -> Result<Command, AppError> {
        let ttl_ms = i64::from(check(&new)?) * 1000;
        let (visibility, by, module) = (visibility.clone(), actor.clone(), module.to_owned());
        actor
            .write(&self.store, move |tx| {
                seen(tx, &visibility, &module)?;
                let known = match &new.client_id {
                    Some(client_id) => store::find_by_client(tx, &by.name, client_id)?,
                    None => None,
                };
                match known {
                    Some(known) if is_same(&known, &module, &new, ttl_ms) => Ok(known),
                    Some(_) => Err(command_key_in_use()),
                    None => insert(tx, &by, module, new, ttl_ms),
                }
            })
            .await
    }

    /// Commands to a module, the newest first, before the command `before`; an empty text is the newest.
    ///
    /// # Errors
    /// 404 for a module that this caller does not see.
    pub async fn list(
        &self,
        visibility: &Visibility,
        module: &str,
        state: Option<CommandState>,
        before: &str,
        limit: usize,
    ) -> Result<Vec<Command>, AppError> {
        // Ids are written in hexadecimal digits.
        let before = if is_id(before) { before } else { "g" };
        let (visibility, module, before) = (visibility.clone(), module.to_owned(), before.to_owned());
        self.store
            .read(move |tx| {
                seen(tx, &visibility, &module)?;
                Ok(match state {
                    None => store::list(tx, &module, &before, limit)?,
                    Some(state) => store::list_in(tx, &module, state, &before, limit)?,
                })
            })
            .await
    }

    /// One command to a module.
    ///
    /// # Errors
    /// 404 if there is none that this caller sees.
    pub async fn find(&self, visibility: &Visibility, module: &str, id: &str) -> Result<Command, AppError> {
        let (visibility, module, id) = (visibility.clone(), module.to_owned(), id.to_owned());
        self.store
            .read(move |tx| {
                seen(tx, &visibility, &module)?;
                find(tx, &module, &id)
            })
            .await
    }

    /// Takes a command back that its device was not data, or is to be told again: it is not.
    ///
    /// # Errors
    /// 404 if there is none that this caller sees, 409 if it is too late.
    pub async fn cancel(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        module: &str,
        id: &str,
    ) -> Result<Command, AppError> {
        let (visibility, by, module, id) =
            (visibility.clone(), actor.clone(), module.to_owned(), id.to_owned());
        actor
            .write(&self.store, move |tx| {
                seen(tx, &visibility, &module)?;
                let mut command = find(tx, &module, &id)?;
                if !command.take(Step::Cancel, tx.now()) {
                    return Err(command_finished(&command));
                }
                record_action(
                    tx,
                    &by,
                    "module_command_cancelled",
                    &format!("module:{module}"),
                    &command.command,
                )?;
                write(tx, &command)?;
                Ok(command)
            })
            .await
    }

    /// Forgets commands that were finished before `before`; says whether there may be more.
    pub(super) async fn forget(&self, before: Timestamp) -> Result<bool, StoreError> {
        let gone = self.store.write_rows(move |tx| store::delete_finished(tx, before, FORGOTTEN_MAX)).await?;
        Ok(gone >= FORGOTTEN_MAX as u64)
    }
}

impl Live {
    /// Gives a command, as [`Commands::give`].
    ///
    /// # Errors
    /// As there, and 429 for somebody who gives them too fast, or if the server has too many.
    pub async fn command(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        module: &str,
        new: NewCommand,
    ) -> Result<Command, AppError> {
        self.0.command_rates.take(&actor.name, self.0.clock.steady()).map_err(commands_too_fast)?;
        if self.0.command_queue.lock().count() >= OPEN_MAX {
            return Err(too_many_open_anywhere(OPEN_MAX));
        }
        self.0.commands.give(visibility, actor, module, new).await
    }

    /// Gives a command to a module that is there, or none: nothing is kept for one that is away, so that it does not
    /// happen later, when nobody expects it.
    ///
    /// # Errors
    /// As [`Live::command`], and 409 if the module is away.
    pub async fn command_now(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        module: &str,
        new: NewCommand,
    ) -> Result<Command, AppError> {
        let is_seen = self.0.states.lock().find(module).is_some_and(|entry| visibility.sees(&entry.module));
        if !is_seen {
            return Err(no_module());
        }
        if !self.0.command_queue.lock().is_ready(module) {
            return Err(module_away());
        }
        let command = self.command(visibility, actor, module, new).await?;
        // It may have gone in this moment.
        let waits = self.0.command_queue.lock().waits(module, &command.id);
        if waits && self.0.commands.cancel(visibility, actor, module, &command.id).await.is_ok() {
            return Err(module_away());
        }
        Ok(command)
    }

    /// The commands of the database.
    #[must_use]
    pub fn commands(&self) -> &Commands {
        &self.0.commands
    }
}

fn find(tx: &mut impl Query, module: &str, id: &str) -> Result<Command, AppError> {
    let found = if is_id(id) { store::find(tx, id)? } else { None };
    found.filter(|command| command.module == module).ok_or_else(no_command)
}

/// Seconds that a command is of use, if it can be taken.
fn check(new: &NewCommand) -> Result<u32, AppError> {
    checked_word("command", &new.command, NAME_BYTES_MAX)?;
    if let Some(client_id) = &new.client_id {
        checked_word("client_id", client_id, CLIENT_ID_BYTES_MAX)?;
    }
    if json(&new.params).len() > PARAMS_BYTES_MAX {
        let message = said!(
            "« params » : {PARAMS_BYTES_MAX} octets de JSON au plus",
            "\"params\": at most {PARAMS_BYTES_MAX} bytes of JSON"
        );
        return Err(invalid("params", message));
    }
    match new.ttl_s.unwrap_or(TTL_S) {
        ttl_s @ 1..=TTL_S_MAX => Ok(ttl_s),
        _ => {
            let message =
                said!("« ttl_s » : de 1 à {TTL_S_MAX} secondes", "\"ttl_s\": 1 to {TTL_S_MAX} seconds");
            Err(invalid("ttl_s", message))
        }
    }
}

fn is_same(known: &Command, module: &str, new: &NewCommand, ttl_ms: i64) -> bool {
    let nothing = Map::<String, Value>::new();
    let params = new.params.as_ref().unwrap_or(&nothing);
    known.module == module
        && known.command == new.command
        && known.params == *params
        && known.delivery == new.delivery
        && known.expires_at == known.created_at.plus_millis(ttl_ms)
}

fn insert(
    tx: &mut WriteTx<'_>,
    actor: &Actor,
    module: String,
    new: NewCommand,
    ttl_ms: i64,
) -> Result<Command, AppError> {
    if store::count_open(tx, &module)? >= OPEN_OF_MODULE_MAX {
        return Err(too_many_open(OPEN_OF_MODULE_MAX));
    }
    let now = tx.now();
    let command = Command {
        id: new_id(now),
        module,
        command: new.command,
        params: new.params.unwrap_or_default(),
        state: CommandState::Queued,
        delivery: new.delivery,
        created_at: now,
        expires_at: now.plus_millis(ttl_ms),
        sent_at: None,
        attempts: 0,
        finished_at: None,
        result: None,
    };
    store::insert(tx, &actor.name, new.client_id.as_deref(), &command)?;
    record_action(tx, actor, "module_command", &format!("module:{}", command.module), &command.command)?;
    emit(tx, &command)?;
    Ok(command)
}

/// Writes where a command is now, and tells it.
pub(super) fn write(tx: &mut WriteTx<'_>, command: &Command) -> Result<(), StoreError> {
    store::update(tx, command)?;
    emit(tx, command)
}

fn emit(tx: &mut WriteTx<'_>, command: &Command) -> Result<(), StoreError> {
    let mut data = serde_json::to_value(command).unwrap_or_default();
    data["timestamp"] = tx.now().to_string().into();
    if let Some(topic) = module_topic(MODULE, &command.module) {
        tx.emit(&topic, command.state.event(), data.to_string())?;
    }
    Ok(())
}
