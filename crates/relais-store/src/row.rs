//! One row of an answer, the same to read on both databases.

use relais_protocol::time::Timestamp;
use tokio_postgres::types::{FromSql, Type};

use crate::error::StoreError;

/// One row of an answer. Columns are counted from 0.
///
/// Every accessor fails with [`StoreError::Value`] when the column has another type, or `NULL` where the
/// accessor does not say `opt_`. Sums must be written `CAST(SUM(x) AS BIGINT)`, since PostgreSQL widens them.
pub struct Row<'a>(Inner<'a>);

enum Inner<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl<'a> Row<'a> {
    pub(crate) fn sqlite(row: &'a rusqlite::Row<'a>) -> Self {
        Self(Inner::Sqlite(row))
    }

    pub(crate) fn postgres(row: &'a tokio_postgres::Row) -> Self {
        Self(Inner::Postgres(row))
    }

    /// A number, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is no whole number.
    pub fn opt_i64(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.0 {
            Inner::Sqlite(row) => row.get(column).map_err(|e| misfit(column, &e)),
            Inner::Postgres(row) => row
                .try_get::<_, Option<Integer>>(column)
                .map(|found| found.map(|integer| integer.0))
                .map_err(|e| misfit(column, &e)),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or no whole number.
    pub fn i64(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_i64(column)?.ok_or_else(|| null(column))
    }

    /// A count that cannot be negative.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL`, negative or no whole number.
    pub fn u64(&self, column: usize) -> Result<u64, StoreError> {
        self.opt_u64(column)?.ok_or_else(|| null(column))
    }

    /// A count that cannot be negative, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is negative or no whole number.
    pub fn opt_u64(&self, column: usize) -> Result<Option<u64>, StoreError> {
        self.opt_i64(column)?.map(|value| u64::try_from(value).map_err(|e| misfit(column, &e))).transpose()
    }

    /// A boolean, stored as 0 or 1.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or no whole number.
    pub fn bool(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.i64(column)? != 0)
    }

    /// A moment, stored in milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or no whole number.
    pub fn timestamp(&self, column: usize) -> Result<Timestamp, StoreError> {
        self.i64(column).map(Timestamp::from_millis)
    }

    /// A moment, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is no whole number.
    pub fn opt_timestamp(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.opt_i64(column)?.map(Timestamp::from_millis))
    }

    /// A text that lives as long as the row, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is no text.
    pub fn opt_str(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.0 {
            Inner::Sqlite(row) => row
                .get_ref(column)
                .map_err(|e| misfit(column, &e))?
                .as_str_or_null()
                .map_err(|e| misfit(column, &e)),
            Inner::Postgres(row) => row.try_get(column).map_err(|e| misfit(column, &e)),
        }
    }

    /// A text that lives as long as the row.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or no text.
    pub fn str(&self, column: usize) -> Result<&str, StoreError> {
        self.opt_str(column)?.ok_or_else(|| null(column))
    }

    /// A text.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or no text.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.str(column).map(str::to_owned)
    }

    /// A text, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is no text.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(self.opt_str(column)?.map(str::to_owned))
    }

    /// Bytes that live as long as the row, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column does not hold bytes.
    pub fn opt_slice(&self, column: usize) -> Result<Option<&[u8]>, StoreError> {
        match self.0 {
            Inner::Sqlite(row) => row
                .get_ref(column)
                .map_err(|e| misfit(column, &e))?
                .as_blob_or_null()
                .map_err(|e| misfit(column, &e)),
            Inner::Postgres(row) => row.try_get(column).map_err(|e| misfit(column, &e)),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column is `NULL` or does not hold bytes.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        self.opt_slice(column)?.map(<[u8]>::to_vec).ok_or_else(|| null(column))
    }

    /// Bytes, or nothing for `NULL`.
    ///
    /// # Errors
    /// [`StoreError::Value`] if the column does not hold bytes.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.opt_slice(column)?.map(<[u8]>::to_vec))
    }
}

fn misfit(column: usize, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Value(format!("column {column}: {error}"))
}

fn null(column: usize) -> StoreError {
    StoreError::Value(format!("column {column} is NULL"))
}

/// A whole number of any width that PostgreSQL computes with.
struct Integer(i64);

impl<'a> FromSql<'a> for Integer {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT8 => i64::from_sql(ty, raw)?,
            Type::INT4 => i32::from_sql(ty, raw)?.into(),
            Type::INT2 => i16::from_sql(ty, raw)?.into(),
            _ => bool::from_sql(ty, raw)?.into(),
        }))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::INT4 | Type::INT2 | Type::BOOL)
    }
}
