//! Looking at the ledger without a migration in hand.

use super::store::is_free;
use crate::{
    conn::{Connection, Error},
    pg::Lsn,
    sql::quote_literal,
};

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

/// Whether a pghost is at a migration: another session has taken its name ([`super::lock`]).
pub async fn is_running(target: &mut Connection, migration: &str) -> Result<bool, Error> {
    let free: bool =
        target.query(&is_free(&migration_lock(migration))).await?.row()?.get("free")?;
    Ok(!free)
}

/// The name by which a pghost has a migration for itself.
#[must_use]
pub fn migration_lock(migration: &str) -> String {
    format!("pghost migration {migration}")
}

/// Everything that was committed on the source before this is on the target, and nothing else;
/// `None` if the migration has no position, or is not there.
pub async fn applied(target: &mut Connection, migration: &str) -> Result<Option<Lsn>, Error> {
    let name = quote_literal(migration);
    let sql = format!("SELECT applied_lsn FROM pghost.migration WHERE name = {name}");
    let result = target.query(&sql).await?;
    Ok(result.rows().first().map(|row| row.get("applied_lsn")).transpose()?.flatten())
}
