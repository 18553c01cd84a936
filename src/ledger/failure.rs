//! What the last run of a migration ended with, where it was an error: for whoever asks later how a
//! run that nobody was looking at came to its end. Nothing is decided by it, but where the run has
//! seen what can't be seen a second time: then its being final is.

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
    /// Whether no run may go on after it: what is wrong with the target now can't be seen in the
    /// ledger or on either server.
    pub is_final: bool,
}

const CREATE: &str = "
CREATE TABLE IF NOT EXISTS pghost.failure (
    migration text PRIMARY KEY REFERENCES pghost.migration ON DELETE CASCADE,
    message text NOT NULL,
    hint text NOT NULL,
    failed_at timestamptz NOT NULL,
    is_final boolean NOT NULL
);";

/// Notes how a run has ended; nothing if the migration has no line any more.
pub async fn note_failure(
    target: &mut Connection,
    migration: &str,
    message: &str,
    hint: &str,
    is_final: bool,
) -> Result<(), Error> {
    let (message, hint) = (quote_literal(message), quote_literal(hint));
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('pghost ledger', 0));{CREATE}
         INSERT INTO pghost.failure (migration, message, hint, failed_at, is_final)
         SELECT name, {message}, {hint}, now(), {is_final} FROM pghost.migration WHERE name = {}
         ON CONFLICT (migration) DO UPDATE SET message = excluded.message, hint = excluded.hint,
             failed_at = excluded.failed_at, is_final = excluded.is_final
         WHERE NOT failure.is_final;",
        quote_literal(migration)
    );
    target.query(&sql).await?;
    finish(target, "COMMIT").await
}

/// Forgets it, unless it is final: a new run is under way.
pub async fn forget_failure(target: &mut Connection, migration: &str) -> Result<(), Error> {
    if is_kept(target).await? {
        let name = quote_literal(migration);
        let sql = format!("DELETE FROM pghost.failure WHERE migration = {name} AND NOT is_final");
        target.query(&sql).await?;
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
    let sql = "SELECT message, hint, is_final,
                      to_char(failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at
                 FROM pghost.failure WHERE migration = $1";
    let result = target.query_with(sql, &[Some(migration)]).await?;
    let Some(row) = result.rows().first() else { return Ok(None) };
    Ok(Some(LastFailure {
        message: row.get("message")?,
        hint: row.get("hint")?,
        at: row.get("at")?,
        is_final: row.get("is_final")?,
    }))
}

/// The table is made with the first failure.
async fn is_kept(target: &mut Connection) -> Result<bool, Error> {
    let sql = "SELECT to_regclass('pghost.failure') IS NOT NULL AS kept";
    target.query(sql).await?.row()?.get("kept")
}
