//! PostgreSQL.

mod address;
mod append;
mod failure;
mod schema;
mod session;
mod tls;

use std::time::{Duration, Instant};

use relais_protocol::time::{Clock as _, SystemClock, Timestamp};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(crate) use self::address::Address;
use self::address::SslMode;
use self::failure::{is_refused, is_tls, store_error};
use self::session::Session;
use crate::buffer::LogBuffer;
use crate::config::StoreConfig;
use crate::connection::{Connection, Head, ReadConnection, Visit, VisitEach, WriteConnection};
use crate::error::StoreError;
use crate::log;
use crate::migration::Migration;
use crate::param::Param;
use crate::params;
use crate::tx::Backend;

/// The first pause between two attempts to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// What every connection is set to: a lock that is not granted, or a statement that does not end, becomes an
/// error instead of a standstill. A server that vanishes in a transaction, with the head of the log locked, loses it
/// before those who wait for that lock give up ([`StoreConfig::lock_timeout`](crate::StoreConfig::lock_timeout)).
const SESSION: &str = "SET statement_timeout = '60s'; SET timezone = 'UTC'; \
     SET idle_in_transaction_session_timeout = '8s'; SET synchronous_commit = 'on'";
/// How long rows that are no part of the log wait for a row at most; PostgreSQL looks for a deadlock after a second.
const ROW_LOCK_TIMEOUT: Duration = Duration::from_millis(500);

const BEGIN: &str = "BEGIN; SELECT epoch, seq FROM log_head WHERE id = 1 FOR UPDATE";

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Server {
    config: tokio_postgres::Config,
    mode: SslMode,
    tls: Option<MakeRustlsConnect>,
    patience: Duration,
    lock_timeout: Duration,
}

impl Server {
    pub(crate) fn new(url: &str, config: &StoreConfig) -> Result<Self, StoreError> {
        let mut address = Address::parse(url)?;
        address
            .config
            .application_name("relais")
            .connect_timeout(Duration::from_secs(3))
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10));
        let tls = tls::connector(&address)?;
        Ok(Self {
            config: address.config,
            mode: address.mode,
            tls,
            patience: config.outage_patience,
            lock_timeout: config.lock_timeout,
        })
    }

    /// Connects for writing, and applies the steps of `plan` that are missing.
    pub(crate) fn open_writer(
        self: &Server,
        plan: &[Migration],
        now: Timestamp,
    ) -> Result<PostgresWriter, StoreError> {
        let mut session = self.connect()?;
        schema::migrate(&mut session, plan, now)?;
        let epoch = crate::random_epoch()?.to_string();
        session.execute(log::CREATE_HEAD, params![&epoch])?;
        Ok(PostgresWriter { server: self.clone(), session: Some(session), outage: None })
    }

    /// Connects for rows that are no part of the log, once there is one to write. It waits for a row that another
    /// connection holds no longer than the server waits before it looks for a deadlock: this one gives way.
    pub(crate) fn rows_writer(&self) -> PostgresWriter {
        let server = Self { lock_timeout: self.lock_timeout.min(ROW_LOCK_TIMEOUT), ..self.clone() };
        PostgresWriter { server, session: None, outage: None }
    }

    /// Connects for reading.
    pub(crate) fn open_reader(&self) -> Result<PostgresReader, StoreError> {
        Ok(PostgresReader { server: self.clone(), session: self.connect()? })
    }

    fn connect(&self) -> Result<Session, StoreError> {
        let mut session = self.reach()?;
        let lock_ms = self.lock_timeout.as_millis().max(1);
        session.batch(&format!("SET lock_timeout = '{lock_ms}ms'; {SESSION}"))?;
        Ok(session)
    }

    fn reach(&self) -> Result<Session, StoreError> {
        let plain = || Session::connect(&self.config, NoTls)?.map_err(|e| store_error(&e));
        let Some(tls) = &self.tls else { return plain() };
        match Session::connect(&self.config, tls.clone())? {
            // `prefer` takes what it can get: a server may offer an encryption too old for us, or not want any.
            Err(error) if self.mode == SslMode::Prefer && (is_tls(&error) || is_refused(&error)) => {
                tracing::warn!(error = %store_error(&error), "the database is asked without encryption");
                plain()
            }
            other => other.map_err(|e| store_error(&e)),
        }
    }
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

    fn visit_each(
        &mut self,
        sql: &'static str,
        all: &[&[Param<'_>]],
        visit: VisitEach<'_>,
    ) -> Result<(), StoreError> {
        self.session.visit_each(sql, all, visit)
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
            Some(session) if !session.is_closed() => Ok(session),
            _ => Err(StoreError::Unavailable("the connection was lost".to_owned())),
        }
    }

    /// Connects again if the connection is lost: at once, then with growing pauses. Waits only until the outage
    /// has lasted as long as the configuration allows; beyond that it fails at once between two attempts.
    fn reconnect(&mut self) -> Result<(), StoreError> {
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            return Ok(());
        }
        self.session = None;
        let now = SystemClock.instant();
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
            let now = SystemClock.instant();
            if now >= outage.next_attempt {
                match self.server.connect() {
                    Ok(session) => {
                        self.session = Some(session);
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the database cannot be reached");
                        outage.next_attempt = SystemClock.instant() + outage.pause;
                        outage.pause = (outage.pause * 2).min(BACKOFF_MAX);
                    }
                }
            }
            if outage.next_attempt.max(SystemClock.instant()) > deadline {
                return Err(StoreError::Unavailable("the server cannot be reached".to_owned()));
            }
            std::thread::sleep(outage.next_attempt.saturating_duration_since(SystemClock.instant()));
        }
    }

    fn begin_with<T>(&mut self, begin: impl Fn(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.reconnect()?;
        let mut begun = begin(self);
        if begun.is_err() {
            self.rollback();
            if self.session().is_err() {
                // Nothing has run yet, so a connection that went stale is replaced without anybody noticing.
                self.reconnect()?;
                begun = begin(self);
            }
        }
        if begun.is_err() {
            self.rollback();
        }
        begun
    }

    fn try_begin(&mut self) -> Result<Head, StoreError> {
        let answer = self.session()?.simple_query(BEGIN)?;
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

    fn execute_each(&mut self, sql: &'static str, all: &[&[Param<'_>]]) -> Result<Vec<u64>, StoreError> {
        self.session()?.execute_each(sql, all)
    }

    fn visit_each(
        &mut self,
        sql: &'static str,
        all: &[&[Param<'_>]],
        visit: VisitEach<'_>,
    ) -> Result<(), StoreError> {
        self.session()?.visit_each(sql, all, visit)
    }
}

impl WriteConnection for PostgresWriter {
    fn begin(&mut self) -> Result<Head, StoreError> {
        self.begin_with(Self::try_begin)
    }

    fn begin_rows(&mut self) -> Result<(), StoreError> {
        self.begin_with(|writer| writer.session()?.batch("BEGIN"))
    }

    fn savepoint(&mut self, replace: bool) -> Result<(), StoreError> {
        let sql = if replace { "RELEASE SAVEPOINT one; SAVEPOINT one" } else { "SAVEPOINT one" };
        let session = self.session()?;
        if !session.has_ahead() {
            session.send_ahead(sql);
        }
        Ok(())
    }

    fn rollback_to_savepoint(&mut self) -> Result<(), StoreError> {
        let session = self.session()?;
        // One that has not gone yet has nothing after it, and is still to come.
        if session.has_ahead() { Ok(()) } else { session.batch("ROLLBACK TO SAVEPOINT one") }
    }

    fn append(&mut self, log: &LogBuffer) -> Result<(), StoreError> {
        append::append(self.session()?, log)
    }

    fn commit(&mut self, log: &LogBuffer, seq: Option<u64>) -> Result<(), StoreError> {
        append::commit(self.session()?, log, seq)
    }

    fn rollback(&mut self) {
        if let Ok(session) = self.session() {
            session.forget_ahead();
            // A connection that cannot even roll back is not used again.
            if session.batch("ROLLBACK").is_err() {
                self.session = None;
            }
        }
    }

    fn in_transaction(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_closed())
    }

    fn reads_need_savepoint(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) {}
}
