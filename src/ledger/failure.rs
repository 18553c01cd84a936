//! What the last run of a migration ended with, where it was an error: for whoever asks later how a
//! run that nobody was looking at came to its end. Nothing is decided by it.

use super::store::finish;
use crate::{
    conn::{Connection, Error},
    sql::quote_literal,
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// When, as the target writes times in ISO 8601, to the second.
    pub at: String,
}

const CREATE: &str = "
CREATE TABLE IF NOT EXISTS pghost.failure (
    migration text PRIMARY KEY REFERENCES pghost.migration ON DELETE CASCADE,
    message text NOT NULL,
    hint text NOT NULL,
    failed_at timestamptz NOT NULL
);";

/// Notes how a run has ended; nothing if the migration has no line any more.
pub async fn note_failure(
    target: &mut Connection,
    migration: &str,
    message: &str,
    hint: &str,
) -> Result<(), Error> {
    let (message, hint) = (quote_literal(message), quote_literal(hint));
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('pghost ledger', 0));{CREATE}
         INSERT INTO pghost.failure (migration, message, hint, failed_at)
         SELECT name, {message}, {hint}, now() FROM pghost.migration WHERE name = {}
         ON CONFLICT (migration) DO UPDATE SET message = excluded.message, hint = excluded.hint,
             failed_at = excluded.failed_at;",
        quote_literal(migration)
    );
    target.query(&sql).await?;
    finish(target, "COMMIT").await
}

/// Forgets it: a new run is under way.
pub async fn forget_failure(target: &mut Connection, migration: &str) -> Result<(), Error> {
    if is_kept(target).await? {
        let name = quote_literal(migration);
        target.query(&format!("DELETE FROM pghost.failure WHERE migration = {name}")).await?;
    }
    Ok(())
}

/// What the last run ended with, if it was an error.
pub async fn last_failure(
    target: &mut Connection,
    migration: &str,
) -> Result<Option<LastFailure>, Error> {
    if !is_kept(target).await? {
        return Ok(None);
    }
    let sql = "SELECT message, hint,
                      to_char(failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at
                 FROM pghost.failure WHERE migration = $1";
    let result = target.query_with(sql, &[Some(migration)]).await?;
    let Some(row) = result.rows().first() else { return Ok(None) };
    Ok(Some(LastFailure {
        message: row.get("message")?,
        hint: row.get("hint")?,
        at: row.get("at")?,
    }))
}

/// The table is made with the first failure.
async fn is_kept(target: &mut Connection) -> Result<bool, Error> {
    let sql = "SELECT to_regclass('pghost.failure') IS NOT NULL AS kept";
    target.query(sql).await?.row()?.get("kept")
}
