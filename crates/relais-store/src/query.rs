//! Asking the database: the same way inside a transaction that writes and on a snapshot.

use relais_protocol::event::Cursor;

use crate::connection::Connection;
use crate::error::StoreError;
use crate::log;
use crate::param::Param;
use crate::row::Row;

/// Which database it is, for the few statements that only one of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded one.
    Sqlite,
    /// The server.
    Postgres,
}

/// Runs statements and reads their answers; implemented by [`WriteTx`](crate::WriteTx), [`RowTx`](crate::RowTx) and
/// [`ReadTx`].
///
/// The same SQL text runs on both databases. Parameters are written `$1`, `$2` … and may be used several
/// times. Statements are prepared once per connection, hence the static text.
pub trait Query {
    /// Which database it is.
    fn backend(&self) -> Backend;

    /// Runs `sql` and shows each row to `visit`, in order.
    ///
    /// # Errors
    /// Whatever the database or `visit` reports.
    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs `sql` once with each of `all`, in one round trip, and shows each row to `visit` with the number of its
    /// question, in order.
    ///
    /// # Errors
    /// Whatever the database or `visit` reports first.
    fn visit_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
        visit: &mut dyn FnMut(usize, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// For each of `all`, in order, the first row of its answer through `map`, or nothing. One round trip.
    ///
    /// # Errors
    /// Whatever the database or `map` reports first.
    fn query_opt_each<'p, T>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let mut found: Vec<Option<T>> = all.iter().map(|_| None).collect();
        self.visit_each(sql, all, &mut |number, row| {
            if let Some(place @ None) = found.get_mut(number) {
                *place = Some(map(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Every row of the answer through `map`. The statement carries its own `LIMIT`.
    ///
    /// # Errors
    /// Whatever the database or `map` reports.
    fn query<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.visit(sql, params, &mut |row| {
            found.push(map(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The first row of the answer through `map`, or nothing.
    ///
    /// # Errors
    /// Whatever the database or `map` reports.
    fn query_opt<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.visit(sql, params, &mut |row| {
            if found.is_none() {
                found = Some(map(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The one row that the answer always has.
    ///
    /// # Errors
    /// Whatever the database or `map` reports; [`StoreError::Internal`] if there is no row.
    fn query_one<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.query_opt(sql, params, map)?.ok_or_else(|| StoreError::Internal(format!("no row from: {sql}")))
    }
}

/// A consistent, unchanging view of the database.
pub struct ReadTx<'a> {
    connection: &'a mut dyn Connection,
}

impl<'a> ReadTx<'a> {
    pub(crate) fn new(connection: &'a mut dyn Connection) -> Self {
        Self { connection }
    }

    /// The last event that this view contains. What this view shows, plus every event after this cursor, is
    /// what a later view shows.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub fn cursor(&mut self) -> Result<Cursor, StoreError> {
        log::bounds(self).map(|bounds| bounds.head)
    }
}

impl Query for ReadTx<'_> {
    fn backend(&self) -> Backend {
        self.connection.backend()
    }

    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.connection.visit(sql, params, visit)
    }

    fn visit_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
        visit: &mut dyn FnMut(usize, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let all: Vec<&[Param<'p>]> = all.iter().map(AsRef::as_ref).collect();
        self.connection.visit_each(sql, &all, visit)
    }
}
