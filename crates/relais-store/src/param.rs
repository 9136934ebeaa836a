//! Values that go into a statement.

use bytes::BytesMut;
use relais_protocol::time::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::error::StoreError;

/// One value for a `$n` of a statement. Borrowed: nothing is copied before the database takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Param<'a> {
    /// SQL `NULL`.
    Null,
    /// `BIGINT`: counts, times in milliseconds, booleans as 0 and 1.
    Integer(i64),
    /// `TEXT`.
    Text(&'a str),
    /// `BLOB` or `BYTEA`.
    Bytes(&'a [u8]),
    /// A number that `BIGINT` cannot hold; the statement is refused with [`StoreError::Unstorable`].
    TooLarge(u64),
}

impl Param<'_> {
    /// Refuses what no column can hold.
    pub(crate) fn check(params: &[Self]) -> Result<(), StoreError> {
        for param in params {
            match param {
                Self::TooLarge(_) => {
                    return Err(StoreError::Unstorable("a number is more than 9223372036854775807"));
                }
                // PostgreSQL has no U+0000 in text, so neither database takes it.
                Self::Text(text) if text.as_bytes().contains(&0) => {
                    return Err(StoreError::Unstorable("a text contains the character U+0000"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Param<'_> {
    fn from(value: i32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<u32> for Param<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<u64> for Param<'_> {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::TooLarge(value), Self::Integer)
    }
}

impl From<usize> for Param<'_> {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl From<bool> for Param<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<Timestamp> for Param<'_> {
    fn from(value: Timestamp) -> Self {
        Self::Integer(value.as_millis())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Param<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A slice of [`Param`]s from values: `params![id, name, None::<&str>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Param::from($value)),*] as &[$crate::Param<'_>] };
}

impl rusqlite::ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null | Self::TooLarge(_) => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) => integer_to_sql(*value, ty, out),
            Self::Text(text) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            Self::Bytes(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            Self::TooLarge(_) | Self::Text(_) | Self::Bytes(_) => {
                Err(format!("{self:?} does not fit a parameter of type {ty}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL decides the width of a parameter from its surroundings (`$1 + 1` is 32 bits wide).
fn integer_to_sql(value: i64, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
    match *ty {
        Type::INT8 => value.to_sql(ty, out),
        Type::INT4 => i32::try_from(value)?.to_sql(ty, out),
        Type::INT2 => i16::try_from(value)?.to_sql(ty, out),
        Type::BOOL => (value != 0).to_sql(ty, out),
        _ => Err(format!("the number {value} does not fit a parameter of type {ty}").into()),
    }
}
