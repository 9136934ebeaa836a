//! What a broker was asked for.

use relais_store::{Query, RowTx, StoreError, params};

/// The filters that the broker has under this name.
pub(crate) fn list(tx: &mut impl Query, client_id: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT filter FROM mqtt_filters WHERE client_id = $1 ORDER BY filter";
    tx.query(sql, params![client_id], |row| row.text(0))
}

/// The broker has these and no others.
pub(crate) fn replace(tx: &mut RowTx<'_, '_>, client_id: &str, filters: &[String]) -> Result<(), StoreError> {
    tx.execute("DELETE FROM mqtt_filters WHERE client_id = $1", params![client_id])?;
    for filter in filters {
        let sql = "INSERT INTO mqtt_filters (client_id, filter) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        tx.execute(sql, params![client_id, filter])?;
    }
    Ok(())
}
