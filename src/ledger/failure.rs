//! What the last run of a migration ended with, where it was an error: for whoever asks later how a
//! run that nobody was looking at came to its end. Nothing is decided by it.

use super::{
    name::MigrationName,
    store::{end, exists, make_table},
};
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

/// Notes how a run has ended; nothing if the migration has no line any more.
pub async fn note_failure(
    target: &mut Connection,
    migration: &MigrationName,
    message: &str,
    hint: &str,
) -> Result<(), Error> {
    target.query("BEGIN").await?;
    let noted = note(target, migration, message, hint).await;
    end(target, noted).await
}

async fn note(
    target: &mut Connection,
    migration: &MigrationName,
    message: &str,
    hint: &str,
) -> Result<(), Error> {
    let ledger = &migration.ledger;
    make_table(target, ledger, "failure").await?;
    let sql = format!(
        "INSERT INTO {ledger}.failure (migration, message, hint, failed_at)
         SELECT name, {}, {}, pg_catalog.now() FROM {ledger}.migration WHERE name = {}
         ON CONFLICT (migration) DO UPDATE SET message = excluded.message, hint = excluded.hint,
             failed_at = excluded.failed_at",
        quote_literal(message),
        quote_literal(hint),
        quote_literal(migration.as_str())
    );
    target.query(&sql).await.map(drop)
}

/// Forgets it: a new run is under way.
pub async fn forget_failure(
    target: &mut Connection,
    migration: &MigrationName,
) -> Result<(), Error> {
    let ledger = &migration.ledger;
    if exists(target, ledger, "failure").await? {
        let name = quote_literal(migration.as_str());
        target.query(&format!("DELETE FROM {ledger}.failure WHERE migration = {name}")).await?;
    }
    Ok(())
}

/// What the last run ended with, if it was an error.
pub async fn last_failure(
    target: &mut Connection,
    migration: &MigrationName,
) -> Result<Option<LastFailure>, Error> {
    let ledger = &migration.ledger;
    if !exists(target, ledger, "failure").await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT message, hint,
                to_char(failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at
           FROM {ledger}.failure WHERE migration = $1"
    );
    let result = target.query_with(&sql, &[Some(migration.as_str())]).await?;
    let Some(row) = result.rows().first() else { return Ok(None) };
    Ok(Some(LastFailure {
        message: row.get("message")?,
        hint: row.get("hint")?,
        at: row.get("at")?,
    }))
}
