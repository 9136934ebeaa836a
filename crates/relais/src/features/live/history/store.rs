//! The SQL of history.

use relais_store::{Migration, Query, Row, RowTx, StoreError, WriteTx, params};

/// The tables of history.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 502, name: "history of modules", sql: include_str!("schema.sql") }];

/// A module as it is stored.
pub(super) struct ModuleRow {
    pub(super) id: i64,
    pub(super) series: String,
    pub(super) marks: Marks,
}

/// How far a module's points have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// Up to this entry the journal's points are in blocks.
    pub(super) journal_done: i64,
    /// Blocks of hours before it are in the aggregates.
    pub(super) rolled_to: i64,
    /// The newest hour that has a block.
    pub(super) last_hour: i64,
}

fn marks(row: &Row<'_>, from: usize) -> Result<Marks, StoreError> {
    Ok(Marks { journal_done: row.i64(from)?, rolled_to: row.i64(from + 1)?, last_hour: row.i64(from + 2)? })
}

/// Modules after `after` in the order of their ids; without a name: those that are gone.
pub(super) fn modules(
    tx: &mut impl Query,
    after: i64,
    limit: usize,
) -> Result<Vec<(Option<String>, ModuleRow)>, StoreError> {
    tx.query(
        "SELECT id, module, series, journal_done, rolled_to, last_hour FROM history_modules WHERE id > $1 \
         ORDER BY id LIMIT $2",
        params![after, limit],
        |row| {
            Ok((row.opt_text(1)?, ModuleRow { id: row.i64(0)?, series: row.text(2)?, marks: marks(row, 3)? }))
        },
    )
}

/// How far a module's points have come; nothing if it is gone.
pub(super) fn find_marks(tx: &mut impl Query, module: i64) -> Result<Option<Marks>, StoreError> {
    tx.query_opt(
        "SELECT journal_done, rolled_to, last_hour FROM history_modules WHERE id = $1 AND module IS NOT NULL",
        params![module],
        |row| marks(row, 0),
    )
}

/// Adds a module, or writes the names of its series.
pub(super) fn put_module(tx: &mut RowTx<'_, '_>, name: &str, row: &ModuleRow) -> Result<(), StoreError> {
    // One that is gone may have come in after it went.
    tx.execute(
        "UPDATE history_modules SET module = NULL WHERE module = $1 AND id <> $2",
        params![name, row.id],
    )?;
    tx.execute(
        "INSERT INTO history_modules (id, module, series, journal_done, rolled_to, last_hour) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET series = excluded.series",
        params![row.id, name, &row.series, row.marks.journal_done, row.marks.rolled_to, row.marks.last_hour],
    )?;
    Ok(())
}

/// Moves a module's marks if they are still where they are thought to be; says whether they were.
pub(super) fn advance(tx: &mut RowTx<'_, '_>, row: &ModuleRow, before: Marks) -> Result<bool, StoreError> {
    let moved = tx.execute(
        "UPDATE history_modules SET series = $1, journal_done = $2, rolled_to = $3, last_hour = $4 \
         WHERE id = $5 AND journal_done = $6 AND rolled_to = $7 AND module IS NOT NULL",
        params![
            &row.series,
            row.marks.journal_done,
            row.marks.rolled_to,
            row.marks.last_hour,
            row.id,
            before.journal_done,
            before.rolled_to
        ],
    )?;
    Ok(moved > 0)
}

/// A module has no history any more; its rows go later, step by step.
pub(super) fn disown(tx: &mut WriteTx<'_>, name: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE history_modules SET module = NULL WHERE module = $1", params![name])?;
    Ok(())
}

/// Appends to the journal. Again is once.
pub(super) fn append(tx: &mut RowTx<'_, '_>, id: i64, data: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO history_journal (id, data) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    tx.execute(sql, params![id, data])?;
    Ok(())
}

/// Entries of the journal after `after`.
pub(super) fn journal(
    tx: &mut impl Query,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let sql = "SELECT id, data FROM history_journal WHERE id > $1 ORDER BY id LIMIT $2";
    tx.query(sql, params![after, limit], |row| Ok((row.i64(0)?, row.bytes(1)?)))
}

/// Deletes the oldest entries before `before`, a few; returns how many.
pub(super) fn trim_journal(tx: &mut RowTx<'_, '_>, before: i64, limit: usize) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM history_journal WHERE id IN \
         (SELECT id FROM history_journal WHERE id < $1 ORDER BY id LIMIT $2)",
        params![before, limit],
    )
}

/// Adds a block.
pub(super) fn put_block(
    tx: &mut RowTx<'_, '_>,
    module: i64,
    hour: i64,
    part: i64,
    data: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO history_blocks (module, hour, part, data) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, params![module, hour, part, data])?;
    Ok(())
}

/// Where a block is: hour and part.
pub(super) type BlockKey = (i64, i64);

/// Blocks of a module of hours before `until`, after the one at `after`, in order.
pub(super) fn blocks(
    tx: &mut impl Query,
    module: i64,
    after: BlockKey,
    until: i64,
    limit: usize,
) -> Result<Vec<(BlockKey, Vec<u8>)>, StoreError> {
    tx.query(
        "SELECT hour, part, data FROM history_blocks \
         WHERE module = $1 AND (hour, part) > ($2, $3) AND hour < $4 ORDER BY hour, part LIMIT $5",
        params![module, after.0, after.1, until, limit],
        |row| Ok(((row.i64(0)?, row.i64(1)?), row.bytes(2)?)),
    )
}

/// The first hour of a module from `from` on that has a block.
pub(super) fn first_hour(tx: &mut impl Query, module: i64, from: i64) -> Result<Option<i64>, StoreError> {
    tx.query_one(
        "SELECT MIN(hour) FROM history_blocks WHERE module = $1 AND hour >= $2",
        params![module, from],
        |row| row.opt_i64(0),
    )
}

/// The row of aggregates that begins at `start`.
pub(super) fn find_aggregates(
    tx: &mut impl Query,
    module: i64,
    width: i64,
    start: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    tx.query_opt(
        "SELECT data FROM history_aggregates WHERE module = $1 AND width = $2 AND start = $3",
        params![module, width, start],
        |row| row.bytes(0),
    )
}

/// Rows of aggregates that begin after `after` and before `until`.
pub(super) fn aggregates(
    tx: &mut impl Query,
    module: i64,
    width: i64,
    after: i64,
    until: i64,
    limit: usize,
) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    tx.query(
        "SELECT start, data FROM history_aggregates \
         WHERE module = $1 AND width = $2 AND start > $3 AND start < $4 ORDER BY start LIMIT $5",
        params![module, width, after, until, limit],
        |row| Ok((row.i64(0)?, row.bytes(1)?)),
    )
}

/// Writes a row of aggregates.
pub(super) fn put_aggregates(
    tx: &mut RowTx<'_, '_>,
    module: i64,
    width: i64,
    start: i64,
    data: &[u8],
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO history_aggregates (module, width, start, data) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (module, width, start) DO UPDATE SET data = excluded.data",
        params![module, width, start, data],
    )?;
    Ok(())
}

/// Deletes blocks of a module of hours before `before`: those within `span` of the oldest. Returns how many.
pub(super) fn trim_blocks(
    tx: &mut RowTx<'_, '_>,
    module: i64,
    before: i64,
    span: i64,
) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM history_blocks WHERE module = $1 AND hour < $2 \
         AND hour <= (SELECT MIN(hour) FROM history_blocks WHERE module = $1) + $3",
        params![module, before, span],
    )
}

/// Deletes rows of aggregates that begin before `before`: those within `span` of the oldest. Returns how many.
pub(super) fn trim_aggregates(
    tx: &mut RowTx<'_, '_>,
    module: i64,
    width: i64,
    before: i64,
    span: i64,
) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM history_aggregates WHERE module = $1 AND width = $2 AND start < $3 \
         AND start <= (SELECT MIN(start) FROM history_aggregates WHERE module = $1 AND width = $2) + $4",
        params![module, width, before, span],
    )
}

/// Deletes what is left of a module that is gone.
pub(super) fn delete_module(tx: &mut RowTx<'_, '_>, module: i64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM history_modules WHERE id = $1", params![module])?;
    Ok(())
}
