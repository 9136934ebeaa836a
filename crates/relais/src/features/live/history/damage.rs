//! Rows that cannot be read: each is left where it is, counted and named, and the others go on.

use super::codec::Damaged;

/// What was read, or nothing if it is damaged, which is said.
pub(super) fn readable<T>(
    read: Result<T, Damaged>,
    what: &'static str,
    module: &str,
    begin: i64,
) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            count();
            tracing::error!(what, module, begin, %error, "a row of history cannot be read and is left out");
            None
        }
    }
}

/// Counts one.
pub(super) fn count() {
    metrics::counter!("relais_history_rows_unreadable_total").increment(1);
}
