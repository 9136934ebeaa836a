//! The embedded database.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relais_protocol::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, ErrorCode, OpenFlags};

use crate::buffer::LogBuffer;
use crate::checkpoint::Checkpointer;
use crate::config::StoreConfig;
use crate::connection::{Connection, Head, ReadConnection, Visit, WriteConnection};
use crate::error::StoreError;
use crate::log;
use crate::migration::{self, Migration};
use crate::packs::{PackWriter, Packs, Place};
use crate::param::Param;
use crate::params;
use crate::private;
use crate::row::Row;
use crate::tx::Backend;

/// Statements kept prepared per connection.
const STATEMENTS_MAX: usize = 512;
/// Bytes per page of a new file: small, because every page that a change touches is written to the WAL whole.
const PAGE_BYTES: i64 = 4096;

/// A connection to the file, for the writer or for a reader.
pub(crate) struct SqliteConnection {
    inner: rusqlite::Connection,
}

/// The writer's connection, and the lock that keeps other servers out.
pub(crate) struct SqliteWriter {
    connection: SqliteConnection,
    checkpointer: Checkpointer,
    /// None beside a server, whose packs they are.
    packs: Option<PackWriter>,
    _lock: File,
}

/// Opens the file for writing, creating and migrating it as needed.
pub(crate) fn open_writer(
    path: &Path,
    config: &StoreConfig,
    plan: &[Migration],
    now: Timestamp,
) -> Result<(SqliteWriter, Option<Arc<Packs>>), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private::create_folder(folder).map_err(|e| cannot_open(folder, &e))?;
    }
    close_to_others(path).map_err(|e| cannot_open(path, &e))?;
    let (lock, is_alone) = lock(path, config.beside_server)?;
    let mut inner = rusqlite::Connection::open(path).map_err(|e| cannot_open(path, &e))?;
    configure_writer(&inner, config).map_err(store_error)?;
    migrate(&mut inner, plan, now)?;
    let pages = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&pages);
    inner
        .wal_hook(Some(move |_: &mut _, count: std::ffi::c_int| {
            seen.store(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(store_error)?;
    let checkpointer = Checkpointer::start(path, pages)?;
    let mut connection = SqliteConnection { inner };
    let epoch = crate::random_epoch()?.to_string();
    connection.execute(log::CREATE_HEAD, params![&epoch])?;
    let packs = if is_alone { Some(open_packs(path, &mut connection)?) } else { None };
    let writer = packs.as_ref().map(|(packs, end)| PackWriter::new(Arc::clone(packs), *end));
    let packs = packs.map(|(packs, _)| packs);
    Ok((SqliteWriter { connection, checkpointer, packs: writer, _lock: lock }, packs))
}

/// Makes the file for its owner alone if it is missing, and takes from others what they may do with it and with what lies
/// beside it. SQLite gives what it makes itself the rights of the file.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    match private::create_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => drop(made?),
    }
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        private::close_to_others(Path::new(&name))?;
    }
    Ok(())
}

/// Opens the file for reading; the writer must hold it open.
pub(crate) fn open_reader(path: &Path) -> Result<SqliteConnection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let inner = rusqlite::Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, &e))?;
    configure(&inner).map_err(store_error)?;
    Ok(SqliteConnection { inner })
}

fn open_packs(path: &Path, connection: &mut SqliteConnection) -> Result<(Arc<Packs>, Place), StoreError> {
    let mut end = Place(0);
    connection.visit("SELECT pack_end FROM log_head WHERE id = 1", params![], &mut |row| {
        end = Place(row.u64(0)?);
        Ok(())
    })?;
    let packs = Packs::open(path, end).map_err(|e| cannot_open(&path.with_extension("packs"), &e))?;
    Ok((Arc::new(packs), end))
}

/// Locks out other servers. Also returns whether no other process has the file open.
fn lock(path: &Path, beside_server: bool) -> Result<(File, bool), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = private::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|e| cannot_open(&name, &e))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((file, true)),
        // SQLite's own locks keep the two apart, and the server finds what was committed meanwhile in the log.
        Err(rustix::io::Errno::WOULDBLOCK) if beside_server => Ok((file, false)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(path.to_owned())),
        Err(error) => Err(cannot_open(&name, &error)),
    }
}

fn configure(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A plan depends on the text alone: else a statement with `LIMIT $1` is parsed and planned anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16384)
}

fn configure_writer(connection: &rusqlite::Connection, config: &StoreConfig) -> rusqlite::Result<()> {
    configure(connection)?;
    connection.busy_timeout(config.lock_timeout)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if let Some(bytes) = config.sqlite_bytes_max {
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        connection.pragma_update(None, "max_page_count", (bytes / page).max(1))?;
    }
    Ok(())
}

fn migrate(
    connection: &mut rusqlite::Connection,
    plan: &[Migration],
    now: Timestamp,
) -> Result<(), StoreError> {
    connection.execute_batch(migration::TABLE).map_err(store_error)?;
    let applied = applied(connection).map_err(store_error)?;
    for step in migration::pending(plan, &applied)? {
        let sql = step.statements(Backend::Sqlite);
        let failed = |e: rusqlite::Error| {
            StoreError::Schema(format!("step {} ({}) failed: {e}", step.version, step.name))
        };
        let tx = connection.transaction().map_err(failed)?;
        tx.execute_batch(&sql).map_err(failed)?;
        tx.execute(
            "INSERT INTO migrations (version, name, applied_at) VALUES (?1, ?2, ?3)",
            (step.version, step.name, now.as_millis()),
        )
        .map_err(failed)?;
        tx.commit().map_err(failed)?;
    }
    Ok(())
}

fn applied(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare("SELECT version, name FROM migrations ORDER BY version")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn load_head(connection: &mut SqliteConnection) -> Result<Head, StoreError> {
    let mut found = None;
    connection.visit(log::FIND_HEAD, params![], &mut |row| {
        found = Some(Head { epoch: log::parse_epoch(row.str(0)?)?, seq: row.u64(1)? });
        Ok(())
    })?;
    found.ok_or_else(|| StoreError::Internal("the log has no head".to_owned()))
}

impl SqliteConnection {
    fn run(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.execute(sql, &[]).map(drop)
    }

    fn prepare(&self, sql: &'static str, params: &[Param<'_>]) -> Result<CachedStatement<'_>, StoreError> {
        Param::check(params)?;
        let mut statement = self.inner.prepare_cached(sql).map_err(store_error)?;
        let count = statement.parameter_count();
        let mut highest = 0;
        for index in 1..=count {
            let number = statement.parameter_name(index).and_then(|name| name.strip_prefix('$'));
            let number = number.and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0);
            let Some(param) = number.checked_sub(1).and_then(|at| params.get(at)) else {
                return Err(wrong_count(sql, params.len()));
            };
            statement.raw_bind_parameter(index, param).map_err(store_error)?;
            highest = highest.max(number);
        }
        if highest == params.len() { Ok(statement) } else { Err(wrong_count(sql, params.len())) }
    }
}

fn wrong_count(sql: &str, given: usize) -> StoreError {
    StoreError::Internal(format!("{given} parameters do not fit the $1, $2 … of: {sql}"))
}

impl Connection for SqliteConnection {
    fn backend(&self) -> Backend {
        Backend::Sqlite
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let mut statement = self.prepare(sql, params)?;
        statement.raw_execute().map(|count| count as u64).map_err(store_error)
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(store_error)? {
            visit(&Row::sqlite(row))?;
        }
        Ok(())
    }
}

impl ReadConnection for SqliteConnection {
    fn begin_read(&mut self) -> Result<(), StoreError> {
        self.run("BEGIN DEFERRED")
    }

    fn end_read(&mut self) -> Result<(), StoreError> {
        if self.inner.is_autocommit() { Ok(()) } else { self.run("ROLLBACK") }
    }
}

impl Connection for SqliteWriter {
    fn backend(&self) -> Backend {
        Backend::Sqlite
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.connection.execute(sql, params)
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        self.connection.visit(sql, params, visit)
    }
}

impl WriteConnection for SqliteWriter {
    fn begin(&mut self) -> Result<Head, StoreError> {
        self.connection.run("BEGIN IMMEDIATE")?;
        // Read anew each time: a tool beside this server may have moved it.
        match load_head(&mut self.connection) {
            Ok(head) => Ok(head),
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn savepoint(&mut self, replace: bool) -> Result<(), StoreError> {
        if replace {
            self.connection.run("RELEASE one")?;
        }
        self.connection.run("SAVEPOINT one")
    }

    fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.connection.run("ROLLBACK TO one")
    }

    fn pack(&mut self, content: &[u8]) -> Result<Option<Place>, StoreError> {
        self.packs.as_mut().map(|packs| packs.append(content)).transpose()
    }

    fn begin_rows(&mut self) -> Result<(), StoreError> {
        self.connection.run("BEGIN IMMEDIATE")
    }

    fn append(&mut self, log: &LogBuffer) -> Result<(), StoreError> {
        for (id, topic, last_offset) in log.waiting_topics() {
            let row = params![id, topic.as_str(), topic.family(), last_offset];
            self.connection.execute(log::ADD_TOPIC, row)?;
        }
        for (id, last_offset) in log.moved_topics() {
            self.connection.execute(log::MOVE_TOPIC, params![id, last_offset])?;
        }
        for (id, event) in log.waiting_events() {
            let row = params![event.seq, *id, event.offset, &*event.name, &*event.data, event.at];
            self.connection.execute(log::APPEND, row)?;
        }
        Ok(())
    }

    fn commit(&mut self, log: &LogBuffer, seq: Option<u64>) -> Result<(), StoreError> {
        self.append(log)?;
        if let Some(packs) = self.packs.as_mut().filter(|packs| packs.is_waiting()) {
            packs.sync()?;
            self.connection.execute(log::MOVE_PACK_END, params![packs.end().0])?;
        }
        if let Some(seq) = seq {
            self.connection.execute(log::MOVE_HEAD, params![seq])?;
        }
        self.connection.run("COMMIT")?;
        if let Some(packs) = &self.packs {
            packs.committed();
        }
        self.checkpointer.after_commit(&self.connection.inner);
        Ok(())
    }

    fn rollback(&mut self) {
        if self.in_transaction()
            && let Err(error) = self.connection.run("ROLLBACK")
        {
            tracing::error!(%error, "a rollback failed");
        }
        if let Some(packs) = &mut self.packs {
            packs.forget();
        }
    }

    fn in_transaction(&self) -> bool {
        !self.connection.inner.is_autocommit()
    }

    fn reads_need_savepoint(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) {
        self.checkpointer.stop();
        let result = self
            .connection
            .inner
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0));
        if let Err(error) = result {
            tracing::warn!(%error, "the write-ahead log could not be folded into the database at the end");
        }
    }
}

fn cannot_open(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display()))
}

/// Sorts an error by what the caller can do about it.
#[expect(clippy::needless_pass_by_value, reason = "handed to map_err by name")]
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(failure, message) = &error else {
        return StoreError::Internal(error.to_string());
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ConstraintViolation => match message.as_deref().and_then(unique_constraint) {
            Some(constraint) => StoreError::Conflict { constraint },
            None => StoreError::Internal(error.to_string()),
        },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked(error.to_string()),
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::FileLockingProtocolFailed => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Internal(error.to_string()),
    }
}

/// `jobs(kind, dedup_key)` from `UNIQUE constraint failed: jobs.kind, jobs.dedup_key`.
fn unique_constraint(message: &str) -> Option<String> {
    let columns = message.strip_prefix("UNIQUE constraint failed: ")?;
    let table = columns.split_once('.')?.0;
    let columns: Vec<&str> = columns.split(", ").filter_map(|c| Some(c.split_once('.')?.1)).collect();
    Some(format!("{table}({})", columns.join(", ")))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_planned_once_whatever_it_is_given() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        configure(&connection).unwrap();
        connection.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)").unwrap();
        let sql = "SELECT a FROM t WHERE b = $1 ORDER BY a LIMIT $2";
        let mut planned_again = 0;
        for limit in [1, 50, 100] {
            let mut statement = connection.prepare_cached(sql).unwrap();
            statement.query_map(rusqlite::params!["x", limit], |row| row.get::<_, i64>(0)).unwrap().count();
            planned_again += statement.reset_status(StatementStatus::RePrepare);
        }
        assert_eq!(planned_again, 0);
    }
}
