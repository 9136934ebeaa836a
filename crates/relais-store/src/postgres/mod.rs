//! PostgreSQL, through the synchronous client.

mod address;
mod failure;
mod tls;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use postgres::{Client, NoTls, SimpleQueryMessage, Statement};
use relais_protocol::time::Timestamp;
use tokio_postgres_rustls::MakeRustlsConnect;

pub(crate) use self::address::Address;
use self::address::SslMode;
use self::failure::{is_refused, is_tls, store_error, text};
use crate::connection::{Connection, Head, ReadConnection, Visit, WriteConnection};
use crate::error::StoreError;
use crate::log;
use crate::migration::{self, Migration};
use crate::param::Param;
use crate::params;
use crate::row::Row;
use crate::tx::Backend;

/// The first pause between two attempts to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// What every connection is set to: a lock that is not granted, or a statement that does not end, becomes an
/// error instead of a standstill.
const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '60s'; SET timezone = 'UTC'; \
     SET idle_in_transaction_session_timeout = '60s'; SET synchronous_commit = 'on'";
/// Names the lock under which one server at a time changes the schema.
const MIGRATION_LOCK: i64 = 0x5265_6c61_6973;

const BEGIN: &str = "BEGIN; SELECT epoch, seq FROM log_head WHERE id = 1 FOR UPDATE";

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Server {
    config: postgres::Config,
    mode: SslMode,
    tls: Option<MakeRustlsConnect>,
    patience: Duration,
}

impl Server {
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Self, StoreError> {
        let mut address = Address::parse(url)?;
        address
            .config
            .application_name("relais")
            .connect_timeout(Duration::from_secs(3))
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(30));
        let tls = tls::connector(&address)?;
        Ok(Self { config: address.config, mode: address.mode, tls, patience })
    }

    /// Connects for writing, and applies the steps of `plan` that are missing.
    pub(crate) fn open_writer(
        self: &Server,
        plan: &[Migration],
        now: Timestamp,
    ) -> Result<PostgresWriter, StoreError> {
        let mut session = self.connect()?;
        migrate(&mut session.client, plan, now)?;
        let epoch = crate::random_epoch()?.to_string();
        session.execute(log::CREATE_HEAD, params![&epoch])?;
        Ok(PostgresWriter { server: self.clone(), session: Some(session), outage: None })
    }

    /// Connects for reading.
    pub(crate) fn open_reader(&self) -> Result<PostgresReader, StoreError> {
        Ok(PostgresReader { server: self.clone(), session: self.connect()? })
    }

    fn connect(&self) -> Result<Session, StoreError> {
        let mut client = self.reach().map_err(|e| store_error(&e))?;
        client.batch_execute(SESSION).map_err(|e| store_error(&e))?;
        Ok(Session { client, statements: HashMap::new() })
    }

    fn reach(&self) -> Result<Client, postgres::Error> {
        let Some(tls) = &self.tls else { return self.config.connect(NoTls) };
        match self.config.connect(tls.clone()) {
            // `prefer` takes what it can get: a server may offer an encryption too old for us, or not want any.
            Err(error) if self.mode == SslMode::Prefer && (is_tls(&error) || is_refused(&error)) => {
                tracing::warn!(error = %store_error(&error), "the database is asked without encryption");
                self.config.connect(NoTls)
            }
            other => other,
        }
    }
}

fn migrate(client: &mut Client, plan: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).map_err(|e| store_error(&e))?;
    let result = migrate_locked(client, plan, now);
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).map_err(|e| store_error(&e))?;
    result
}

fn migrate_locked(client: &mut Client, plan: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    client.batch_execute(migration::TABLE).map_err(|e| store_error(&e))?;
    let rows = client
        .query("SELECT version, name FROM migrations ORDER BY version", &[])
        .map_err(|e| store_error(&e))?;
    let applied: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for step in migration::pending(plan, &applied)? {
        let sql = step.statements(Backend::Postgres);
        let failed = |e: postgres::Error| {
            StoreError::Schema(format!("step {} ({}) failed: {}", step.version, step.name, text(&e)))
        };
        let mut tx = client.transaction().map_err(failed)?;
        tx.batch_execute(&sql).map_err(failed)?;
        tx.execute(
            "INSERT INTO migrations (version, name, applied_at) VALUES ($1, $2, $3)",
            &[&step.version, &step.name, &now.as_millis()],
        )
        .map_err(failed)?;
        tx.commit().map_err(failed)?;
    }
    compare_by_bytes(client, plan)
}

/// Texts are compared by their bytes also in tables that an earlier version made, in which the language of the database
/// decided: an order that the other database does not know. Rebuilds indexes, once.
fn compare_by_bytes(client: &mut Client, plan: &[Migration]) -> Result<(), StoreError> {
    const OTHERS: &str = "SELECT format('ALTER TABLE %s %s', c.oid::regclass, \
             string_agg(format('ALTER COLUMN %I TYPE text COLLATE \"C\"', a.attname), ', ')) \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname::text = ANY($1) \
             AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype \
             AND a.attcollation <> \
                 (SELECT oid FROM pg_collation WHERE collname = 'C' AND collnamespace = 'pg_catalog'::regnamespace) \
         GROUP BY c.oid";
    let tables: Vec<&str> = plan.iter().flat_map(Migration::tables).collect();
    let changes = client.query(OTHERS, &[&tables]).map_err(|e| store_error(&e))?;
    if changes.is_empty() {
        return Ok(());
    }
    let failed = |e: postgres::Error| {
        StoreError::Schema(format!("texts could not be made to compare by their bytes: {}", text(&e)))
    };
    let mut tx = client.transaction().map_err(failed)?;
    tx.batch_execute("SET LOCAL statement_timeout = 0").map_err(failed)?;
    for change in &changes {
        tx.batch_execute(change.get(0)).map_err(failed)?;
    }
    tx.commit().map_err(failed)?;
    tracing::info!(tables = changes.len(), "texts in the database are compared by their bytes from now on");
    Ok(())
}

/// A connection and the statements it has prepared.
struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    fn statement(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).map_err(|e| store_error(&e))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).map_err(|e| store_error(&e))
    }
}

impl Connection for Session {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        Param::check(params)?;
        let statement = self.statement(sql)?;
        check_count(&statement, sql, params)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &params).map_err(|e| store_error(&e))
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        Param::check(params)?;
        let statement = self.statement(sql)?;
        check_count(&statement, sql, params)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&statement, &params).map_err(|e| store_error(&e))?;
        rows.iter().try_for_each(|row| visit(&Row::postgres(row)))
    }
}

/// The client panics on a wrong number of parameters, so it is told before.
fn check_count(statement: &Statement, sql: &str, params: &[Param<'_>]) -> Result<(), StoreError> {
    if statement.params().len() == params.len() {
        return Ok(());
    }
    Err(StoreError::Internal(format!("{} parameters do not fit the $1, $2 … of: {sql}", params.len())))
}

/// A connection for reading.
pub(crate) struct PostgresReader {
    server: Server,
    session: Session,
}

impl Connection for PostgresReader {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.session.execute(sql, params)
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        self.session.visit(sql, params, visit)
    }
}

impl ReadConnection for PostgresReader {
    fn begin_read(&mut self) -> Result<(), StoreError> {
        const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        if self.session.batch(BEGIN_READ).is_ok() {
            return Ok(());
        }
        // Nothing has been read yet, so a connection that went stale is replaced without anybody noticing.
        self.session = self.server.connect()?;
        self.session.batch(BEGIN_READ)
    }

    fn end_read(&mut self) -> Result<(), StoreError> {
        self.session.batch("ROLLBACK")
    }
}

/// The connection of the writer thread, or the time since which there is none.
pub(crate) struct PostgresWriter {
    server: Server,
    session: Option<Session>,
    outage: Option<Outage>,
}

struct Outage {
    since: Instant,
    next_attempt: Instant,
    pause: Duration,
}

impl PostgresWriter {
    fn session(&mut self) -> Result<&mut Session, StoreError> {
        match &mut self.session {
            Some(session) if !session.client.is_closed() => Ok(session),
            _ => Err(StoreError::Unavailable("the connection was lost".to_owned())),
        }
    }

    /// Connects again if the connection is lost: at once, then with growing pauses. Waits only until the outage
    /// has lasted as long as the configuration allows; beyond that it fails at once between two attempts.
    fn reconnect(&mut self) -> Result<(), StoreError> {
        if self.session.as_ref().is_some_and(|session| !session.client.is_closed()) {
            return Ok(());
        }
        self.session = None;
        let now = Instant::now();
        let mut outage =
            self.outage.take().unwrap_or(Outage { since: now, next_attempt: now, pause: BACKOFF_MIN });
        let result = self.attempt(&mut outage);
        match &result {
            Ok(()) => tracing::info!("connected to the database again"),
            Err(_) => self.outage = Some(outage),
        }
        result
    }

    fn attempt(&mut self, outage: &mut Outage) -> Result<(), StoreError> {
        let deadline = outage.since + self.server.patience;
        loop {
            let now = Instant::now();
            if now >= outage.next_attempt {
                match self.server.connect() {
                    Ok(session) => {
                        self.session = Some(session);
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the database cannot be reached");
                        outage.next_attempt = Instant::now() + outage.pause;
                        outage.pause = (outage.pause * 2).min(BACKOFF_MAX);
                    }
                }
            }
            if outage.next_attempt.max(Instant::now()) > deadline {
                return Err(StoreError::Unavailable("the server cannot be reached".to_owned()));
            }
            std::thread::sleep(outage.next_attempt.saturating_duration_since(Instant::now()));
        }
    }

    fn try_begin(&mut self) -> Result<Head, StoreError> {
        let answer = self.session()?.client.simple_query(BEGIN).map_err(|e| store_error(&e))?;
        for message in answer {
            if let SimpleQueryMessage::Row(row) = message {
                let (epoch, seq) = (row.get(0).unwrap_or(""), row.get(1).unwrap_or(""));
                let seq = seq.parse().map_err(|_| StoreError::Value(format!("{seq:?} is no count")))?;
                return Ok(Head { epoch: log::parse_epoch(epoch)?, seq });
            }
        }
        Err(StoreError::Internal("the log has no head".to_owned()))
    }
}

impl Connection for PostgresWriter {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.session()?.execute(sql, params)
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        self.session()?.visit(sql, params, visit)
    }
}

impl WriteConnection for PostgresWriter {
    fn begin(&mut self) -> Result<Head, StoreError> {
        self.reconnect()?;
        match self.try_begin() {
            Ok(head) => Ok(head),
            // Nothing has run yet, so a connection that went stale is replaced without anybody noticing.
            Err(_) if self.session().is_err() => {
                self.reconnect()?;
                self.try_begin()
            }
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn savepoint(&mut self, replace: bool) -> Result<(), StoreError> {
        let sql = if replace { "RELEASE SAVEPOINT one; SAVEPOINT one" } else { "SAVEPOINT one" };
        self.session()?.batch(sql)
    }

    fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        self.session()?.batch("ROLLBACK TO SAVEPOINT one")
    }

    fn commit(&mut self, seq: Option<u64>) -> Result<(), StoreError> {
        if let Some(seq) = seq {
            self.session()?.execute(log::MOVE_HEAD, params![seq])?;
        }
        // The SELECT fails in a spoilt transaction, where COMMIT alone would undo everything and report success.
        match self.session()?.batch("SELECT 1; COMMIT") {
            // The server may have committed before whatever cut its answer off.
            Err(StoreError::Unavailable(reason)) => Err(StoreError::CommitUnknown(reason)),
            other => other,
        }
    }

    fn rollback(&mut self) {
        // A connection that cannot even roll back is not used again.
        if self.session().is_ok_and(|session| session.batch("ROLLBACK").is_err()) {
            self.session = None;
        }
    }

    fn in_transaction(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.client.is_closed())
    }

    fn reads_need_savepoint(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) {}
}
