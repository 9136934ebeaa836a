//! The schema, step by step.

use crate::error::StoreError;
use crate::tx::Backend;

/// One step of the schema. A step that has been released is never changed; a new one is added.
///
/// In `sql`, which may hold several statements, `{blob}` stands for the type of bytes, `{key}` for a `BIGINT`
/// primary key that the program assigns, and `{clustered}` after a table of small rows says that SQLite keeps
/// them in the order of the primary key. What one database alone has stands between `{sqlite}` or `{postgres}`
/// and `{end}`.
///
/// A column of type ` TEXT` is compared and ordered by its bytes on both databases, whatever language a server was set
/// up for.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique across all features and applied in ascending order. Below 100 belongs to this crate.
    pub version: i64,
    /// What the step does, for messages.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

impl Migration {
    /// The statements for one database.
    pub(crate) fn statements(&self, backend: Backend) -> String {
        let (own, other, bytes, key, clustered) = match backend {
            Backend::Sqlite => ("{sqlite}", "{postgres}", "BLOB", "INTEGER PRIMARY KEY", "WITHOUT ROWID"),
            Backend::Postgres => ("{postgres}", "{sqlite}", "BYTEA", "BIGINT PRIMARY KEY", ""),
        };
        let mut text = String::new();
        for (number, part) in self.sql.split(other).enumerate() {
            // The first part is before the other's section, and every further part begins inside one.
            let kept = if number == 0 { part } else { part.split_once("{end}").map_or("", |(_, rest)| rest) };
            text.push_str(kept);
        }
        let text = text.replace(own, "").replace("{end}", "");
        let text = text.replace("{blob}", bytes).replace("{key}", key).replace("{clustered}", clustered);
        match backend {
            Backend::Sqlite => text,
            Backend::Postgres => text.replace(" TEXT", " TEXT COLLATE \"C\""),
        }
    }

    /// The tables that the step makes.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'static str> {
        let after = self.sql.split("CREATE TABLE ").skip(1);
        after.filter_map(|text| text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next())
    }
}

/// The steps that this crate needs for itself.
pub(crate) const OWN: &[Migration] = &[
    Migration { version: 1, name: "event log", sql: include_str!("schema/log.sql") },
    Migration { version: 2, name: "calendar", sql: include_str!("schema/calendar.sql") },
    Migration { version: 3, name: "amended events", sql: include_str!("schema/amendments.sql") },
    Migration { version: 4, name: "jobs", sql: include_str!("schema/jobs.sql") },
];

/// Where the applied steps are remembered.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)";

/// Every step, this crate's and the features', in order.
pub(crate) fn plan(features: &[Migration]) -> Result<Vec<Migration>, StoreError> {
    let mut all: Vec<Migration> = OWN.iter().chain(features).copied().collect();
    all.sort_by_key(|step| step.version);
    for pair in all.windows(2) {
        if pair[0].version == pair[1].version {
            return Err(StoreError::Schema(format!(
                "the steps {:?} and {:?} both have version {}",
                pair[0].name, pair[1].name, pair[0].version
            )));
        }
    }
    Ok(all)
}

/// The steps that are still to be applied, given those that were.
pub(crate) fn pending(plan: &[Migration], applied: &[(i64, String)]) -> Result<Vec<Migration>, StoreError> {
    for (version, name) in applied {
        match plan.iter().find(|step| step.version == *version) {
            None => {
                return Err(StoreError::Schema(format!(
                    "step {version} ({name}) was applied by a newer program: start that one, or restore a backup"
                )));
            }
            Some(step) if step.name != name => {
                return Err(StoreError::Schema(format!(
                    "step {version} was applied as {name:?} but this program calls it {:?}",
                    step.name
                )));
            }
            Some(_) => {}
        }
    }
    let is_new = |step: &&Migration| applied.iter().all(|(version, _)| *version != step.version);
    Ok(plan.iter().filter(is_new).copied().collect())
}
