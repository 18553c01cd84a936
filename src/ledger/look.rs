//! Looking at the ledger without a migration in hand.

use super::store::advisory_key;
use crate::conn::{Connection, Error};

/// The names of all migrations that the target knows, in order; none without a ledger.
pub async fn names(target: &mut Connection) -> Result<Vec<String>, Error> {
    let exists = "SELECT to_regclass('pghost.migration') IS NOT NULL AS found";
    if !target.query(exists).await?.row()?.get::<bool>("found")? {
        return Ok(Vec::new());
    }
    let result =
        target.query("SELECT name FROM pghost.migration ORDER BY created_at, name").await?;
    result.rows().iter().map(|row| row.get("name")).collect()
}

/// Whether another session has taken this name ([`lock`](super::lock)).
pub async fn is_locked(connection: &mut Connection, what: &str) -> Result<bool, Error> {
    let key = advisory_key(what);
    let sql = format!("SELECT pg_try_advisory_lock({key}) AS free");
    if !connection.query(&sql).await?.row()?.get::<bool>("free")? {
        return Ok(true);
    }
    connection.query(&format!("SELECT pg_advisory_unlock({key})")).await?;
    Ok(false)
}
