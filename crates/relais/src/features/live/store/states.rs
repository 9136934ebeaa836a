//! Last known states.

use std::collections::HashMap;
use std::sync::LazyLock;

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, RowTx, StoreError, WriteTx, params};

use super::super::entry::StoredState;
use super::super::model::Module;
use super::modules;

/// States written by one statement: to PostgreSQL each statement is a way there and back.
const ROWS: usize = 64;
const COLUMNS: usize = 5;

/// What a statement writes of a module that is there already.
#[derive(Clone, Copy)]
enum Part {
    /// That it came or went: the log says so too, in the same transaction.
    Presence,
    /// Its values: whether it is online is only written with what tells it.
    Values,
}

static PRESENCE_ONE: LazyLock<String> = LazyLock::new(|| upsert(1, Part::Presence));
static PRESENCE_MANY: LazyLock<String> = LazyLock::new(|| upsert(ROWS, Part::Presence));
static VALUES_ONE: LazyLock<String> = LazyLock::new(|| upsert(1, Part::Values));
static VALUES_MANY: LazyLock<String> = LazyLock::new(|| upsert(ROWS, Part::Values));
static READ_MANY: LazyLock<String> = LazyLock::new(|| {
    let marks: Vec<String> = (1..=ROWS).map(|row| format!("${row}")).collect();
    format!(
        "SELECT m.id, m.owner, s.online, m.created_at FROM modules m LEFT JOIN module_states s ON s.id = m.id WHERE m.id IN ({})",
        marks.join(", ")
    )
});

/// Values go by another connection than changes: what is older than what is there changes nothing.
fn upsert(rows: usize, part: Part) -> String {
    const VALUES: [&str; 3] = ["last_seen", "version", "telemetry"];
    let newer = "excluded.version >= module_states.version";
    let changes = match part {
        Part::Presence => {
            let kept = VALUES.map(|name| {
                format!("{name} = CASE WHEN {newer} THEN excluded.{name} ELSE module_states.{name} END")
            });
            format!("online = excluded.online, {}", kept.join(", "))
        }
        Part::Values => {
            let taken = VALUES.map(|name| format!("{name} = excluded.{name}"));
            format!("{} WHERE {newer}", taken.join(", "))
        }
    };
    let row = |row: usize| {
        let marks: Vec<String> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", marks.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO module_states (id, online, last_seen, version, telemetry) VALUES {} ON CONFLICT (id) \
         DO UPDATE SET {changes}",
        rows.join(", ")
    )
}

/// Writes who came and went, with their values; each module at most once.
pub(crate) fn write_presence(tx: &mut WriteTx<'_>, states: &[StoredState]) -> Result<(), StoreError> {
    write(&mut tx.rows(), states, &PRESENCE_ONE, &PRESENCE_MANY)
}

/// Writes values; each module at most once. Whether it is online stays as it is written.
pub(crate) fn write_values(tx: &mut RowTx<'_, '_>, states: &[StoredState]) -> Result<(), StoreError> {
    write(tx, states, &VALUES_ONE, &VALUES_MANY)
}

/// In the order of ids, as whoever writes rows beside others does.
fn write(
    tx: &mut RowTx<'_, '_>,
    states: &[StoredState],
    one: &'static str,
    many: &'static str,
) -> Result<(), StoreError> {
    let mut states: Vec<&StoredState> = states.iter().collect();
    states.sort_by(|one, other| one.id.cmp(&other.id));
    for chunk in states.chunks(ROWS) {
        let telemetry: Vec<String> = chunk.iter().map(|kept| json(&kept.telemetry)).collect();
        let values: Vec<Param<'_>> = chunk
            .iter()
            .zip(&telemetry)
            .flat_map(|(kept, telemetry)| -> [Param<'_>; COLUMNS] {
                let last_seen = kept.last_seen.map_or(Param::Null, Param::from);
                [
                    kept.id.as_str().into(),
                    kept.online.into(),
                    last_seen,
                    kept.version.into(),
                    telemetry.as_str().into(),
                ]
            })
            .collect();
        if chunk.len() == ROWS {
            tx.execute(many, &values)?;
        } else {
            for row in values.chunks(COLUMNS) {
                tx.execute(one, row)?;
            }
        }
    }
    Ok(())
}

fn json(telemetry: &serde_json::Map<String, serde_json::Value>) -> String {
    // PostgreSQL has no U+0000 in text; as an escape of JSON it is text like any other.
    serde_json::to_string(telemetry).unwrap_or_else(|_| "{}".to_owned())
}

/// What the log says of a module, and whose it is.
pub(crate) struct Published {
    pub(crate) owner: Option<String>,
    pub(crate) online: bool,
    /// When it was added: one with the same name may have been removed.
    pub(crate) created_at: Timestamp,
}

/// Of those of these modules that there are.
pub(crate) fn published<'a>(
    tx: &mut impl Query,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Published>, StoreError> {
    let (ids, mut all): (Vec<&str>, _) = (ids.collect(), HashMap::new());
    for chunk in ids.chunks(ROWS) {
        // The last is asked for again where a chunk has fewer.
        let asked: Vec<Param<'_>> = (0..ROWS).map(|row| chunk[row.min(chunk.len() - 1)].into()).collect();
        let found = tx.query(&READ_MANY, &asked, |row| {
            let (owner, online) = (row.opt_text(1)?, row.opt_i64(2)? == Some(1));
            let told = Published { owner, online, created_at: row.timestamp(3)? };
            Ok((row.text(0)?, told))
        })?;
        all.extend(found);
    }
    Ok(all)
}

/// Forgets what a module said. Whether it is online is only written with what tells it.
pub(crate) fn empty(tx: &mut WriteTx<'_>, id: &str) -> Result<(), StoreError> {
    let sql = "UPDATE module_states SET telemetry = '{}', last_seen = NULL WHERE id = $1";
    tx.execute(sql, params![id])?;
    Ok(())
}

/// Forgets the state of a module.
pub(crate) fn delete(tx: &mut WriteTx<'_>, id: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM module_states WHERE id = $1", params![id])?;
    Ok(())
}

/// Every module with its last known state.
pub(crate) fn load(tx: &mut impl Query) -> Result<Vec<(Module, Option<StoredState>)>, StoreError> {
    let sql = "SELECT m.id, m.name, m.type, m.owner, m.created_at, m.owned_at, m.owned_seq, m.updated_at, s.online, \
               s.last_seen, s.version, s.telemetry FROM modules m LEFT JOIN module_states s ON s.id = m.id";
    tx.query(sql, params![], |row| {
        let module = modules::module(row)?;
        let Some(version) = row.opt_u64(10)? else { return Ok((module, None)) };
        let telemetry = serde_json::from_str(row.str(11)?).unwrap_or_default();
        let (online, last_seen) = (row.bool(8)?, row.opt_timestamp(9)?);
        let kept = StoredState { id: module.id.clone(), online, last_seen, version, telemetry };
        Ok((module, Some(kept)))
    })
}
