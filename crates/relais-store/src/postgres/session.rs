//! One connection, and the statements that it has prepared.
//!
//! The client is asynchronous, and each connection has a small runtime of its own that runs while a statement is waited
//! for. So a statement is a call that blocks, as everywhere in the store, and several that do not need each other's
//! answers go to the server together.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, SimpleQueryMessage, Socket, Statement};

use super::failure::{store_error, text};
use crate::connection::{Connection, Visit, VisitEach};
use crate::error::StoreError;
use crate::param::Param;
use crate::row::Row;
use crate::tx::Backend;

/// How long a server may take, all of its addresses together, until it has let a connection in.
const HELLO: Duration = Duration::from_secs(30);
/// How long the end of a connection may take that is not used any more.
const GOODBYE: Duration = Duration::from_millis(200);
/// Statements that go to the server together.
const TOGETHER_MAX: usize = 256;

/// The SELECT fails in a spoilt transaction, where COMMIT alone would undo everything and report success.
const COMMIT: &str = "SELECT 1; COMMIT";

/// What a parameter is to the client.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// A connection and the statements it has prepared.
pub(super) struct Session {
    runtime: Runtime,
    /// Taken when the connection ends.
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    statements: HashMap<&'static str, Statement>,
    /// Goes to the server with the statement that follows.
    ahead: Option<&'static str>,
}

impl Session {
    /// Connects; the outer error has no runtime or no answer in time, the inner one is the server's.
    pub(super) fn connect<T>(
        config: &Config,
        tls: T,
    ) -> Result<Result<Self, tokio_postgres::Error>, StoreError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| StoreError::Unavailable(format!("no runtime for a connection: {e}")))?;
        let connected = runtime.block_on(async { tokio::time::timeout(HELLO, config.connect(tls)).await });
        let connected = connected.map_err(|_| {
            StoreError::Unavailable(format!("no connection within {} seconds", HELLO.as_secs()))
        })?;
        Ok(connected.map(|(client, connection)| {
            let connection = runtime.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database ended");
                }
            });
            Self {
                runtime,
                client: Some(client),
                connection: Some(connection),
                statements: HashMap::new(),
                ahead: None,
            }
        }))
    }

    /// Whether the connection is known to be lost.
    pub(super) fn is_closed(&self) -> bool {
        self.client.as_ref().is_none_or(Client::is_closed)
    }

    fn client(&self) -> Result<&Client, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Unavailable("the connection was lost".to_owned()))
    }

    fn wait<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(statement).map_err(|e| store_error(&e))
    }

    /// Sends `sql`, several statements without parameters, with whatever statement follows: it costs no round trip.
    pub(super) fn send_ahead(&mut self, sql: &'static str) {
        self.ahead = Some(sql);
    }

    /// Whether something was to go with the next statement; it does not go.
    pub(super) fn forget_ahead(&mut self) -> bool {
        self.ahead.take().is_some()
    }

    /// Whether something is to go with the next statement.
    pub(super) fn has_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    pub(super) fn statement(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        // A statement that cannot be prepared spoils the transaction like one that fails.
        self.flush_ahead()?;
        let statement = self.wait(self.client()?.prepare(sql))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn flush_ahead(&mut self) -> Result<(), StoreError> {
        match self.ahead.take() {
            Some(ahead) => self.batch(ahead),
            None => Ok(()),
        }
    }

    /// Runs statements without parameters and without answers.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.client()?.batch_execute(sql))
    }

    /// Runs statements without parameters.
    pub(super) fn simple_query(&mut self, sql: &str) -> Result<Vec<SimpleQueryMessage>, StoreError> {
        self.wait(self.client()?.simple_query(sql))
    }

    /// Runs prepared statements, each with its values, in one round trip.
    pub(super) fn execute_all(&mut self, all: &[(Statement, Vec<Value<'_>>)]) -> Result<(), StoreError> {
        let (ahead, client) = (self.ahead.take(), self.client()?);
        let all = all.iter().map(|(statement, values)| client.execute(statement, values));
        let (ahead, all) =
            self.runtime.block_on(async { futures_util::join!(batch(client, ahead), join_all(all)) });
        first_failure(ahead, all).map(drop)
    }

    /// As [`Session::execute_all`], and after that `COMMIT`, in the same round trip.
    pub(super) fn execute_all_and_commit(
        &mut self,
        all: &[(Statement, Vec<Value<'_>>)],
    ) -> Result<(), StoreError> {
        // A savepoint that nothing followed is not needed.
        self.ahead = None;
        let client = self.client()?;
        let all = all.iter().map(|(statement, values)| client.execute(statement, values));
        let (all, end) =
            self.runtime.block_on(async { futures_util::join!(join_all(all), client.batch_execute(COMMIT)) });
        let before = all.into_iter().find_map(Result::err);
        match (before, end) {
            // What the server refuses it has not committed: the end of the text failed with it.
            (Some(refused), _) if refused.as_db_error().is_some() => Err(store_error(&refused)),
            (Some(lost), _) => Err(StoreError::CommitUnknown(text(&lost))),
            // The server may have committed before whatever cut its answer off.
            (None, Err(error)) => match store_error(&error) {
                StoreError::Unavailable(reason) | StoreError::Locked(reason) => {
                    Err(StoreError::CommitUnknown(reason))
                }
                other => Err(other),
            },
            (None, Ok(())) => Ok(()),
        }
    }

    fn execute_some(&mut self, statement: &Statement, some: &[&[Param<'_>]]) -> Result<Vec<u64>, StoreError> {
        let (ahead, client) = (self.ahead.take(), self.client()?);
        let values: Vec<Vec<Value<'_>>> = some.iter().map(|params| as_values(params)).collect();
        let all = values.iter().map(|values| client.execute(statement, values));
        let (ahead, all) =
            self.runtime.block_on(async { futures_util::join!(batch(client, ahead), join_all(all)) });
        first_failure(ahead, all)
    }

    fn query_some(
        &mut self,
        statement: &Statement,
        some: &[&[Param<'_>]],
    ) -> Result<Vec<Vec<tokio_postgres::Row>>, StoreError> {
        let (ahead, client) = (self.ahead.take(), self.client()?);
        let values: Vec<Vec<Value<'_>>> = some.iter().map(|params| as_values(params)).collect();
        let all = values.iter().map(|values| client.query(statement, values));
        let (ahead, all) =
            self.runtime.block_on(async { futures_util::join!(batch(client, ahead), join_all(all)) });
        first_failure(ahead, all)
    }
}

async fn batch(client: &Client, sql: Option<&str>) -> Result<(), tokio_postgres::Error> {
    match sql {
        Some(sql) => client.batch_execute(sql).await,
        None => Ok(()),
    }
}

/// All answers, or what went wrong first: what follows a failure in a transaction fails for it.
fn first_failure<T>(
    ahead: Result<(), tokio_postgres::Error>,
    all: Vec<Result<T, tokio_postgres::Error>>,
) -> Result<Vec<T>, StoreError> {
    ahead.and_then(|()| all.into_iter().collect()).map_err(|e| store_error(&e))
}

fn as_values<'a>(params: &'a [Param<'_>]) -> Vec<Value<'a>> {
    params.iter().map(|param| param as Value<'a>).collect()
}

impl Connection for Session {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let changed = self.execute_each(sql, &[params])?;
        changed.first().copied().ok_or_else(|| StoreError::Internal(format!("no answer to: {sql}")))
    }

    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError> {
        self.visit_each(sql, &[params], &mut |_, row| visit(row))
    }

    fn execute_each(&mut self, sql: &'static str, all: &[&[Param<'_>]]) -> Result<Vec<u64>, StoreError> {
        let statement = self.checked(sql, all)?;
        let mut changed = Vec::with_capacity(all.len());
        for some in all.chunks(TOGETHER_MAX) {
            changed.extend(self.execute_some(&statement, some)?);
        }
        Ok(changed)
    }

    fn visit_each(
        &mut self,
        sql: &'static str,
        all: &[&[Param<'_>]],
        visit: VisitEach<'_>,
    ) -> Result<(), StoreError> {
        let statement = self.checked(sql, all)?;
        for (at, some) in all.chunks(TOGETHER_MAX).enumerate() {
            let answers = self.query_some(&statement, some)?;
            for (number, rows) in answers.iter().enumerate() {
                rows.iter().try_for_each(|row| visit(at * TOGETHER_MAX + number, &Row::postgres(row)))?;
            }
        }
        Ok(())
    }
}

impl Session {
    /// The statement, if the parameters are such that the client takes them: it panics on a wrong number.
    fn checked(&mut self, sql: &'static str, all: &[&[Param<'_>]]) -> Result<Statement, StoreError> {
        all.iter().try_for_each(|params| Param::check(params))?;
        let statement = self.statement(sql)?;
        match all.iter().find(|params| params.len() != statement.params().len()) {
            None => Ok(statement),
            Some(params) => Err(StoreError::Internal(format!(
                "{} parameters do not fit the $1, $2 … of: {sql}",
                params.len()
            ))),
        }
    }
}

impl Drop for Session {
    /// Notifies the server, which otherwise detects it by itself.
    fn drop(&mut self) {
        self.client = None;
        if let Some(connection) = self.connection.take()
            && tokio::runtime::Handle::try_current().is_err()
        {
            let _ = self.runtime.block_on(async { tokio::time::timeout(GOODBYE, connection).await });
        }
    }
}
