//! What the last run of a migration ended with, where it was an error: for whoever asks later how a
//! run that nobody was looking at came to its end. Nothing is decided by it.

use super::{
    handle::Ledger,
    store::{end, exists, make_table},
};
use crate::{conn::Error, sql::quote_literal};

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

impl Ledger<'_> {
    /// Notes how a run has ended; nothing if the migration has no line any more.
    pub async fn note_failure(&mut self, message: &str, hint: &str) -> Result<(), Error> {
        self.session.query("BEGIN").await?;
        let noted = self.note(message, hint).await;
        end(self.session, noted).await
    }

    async fn note(&mut self, message: &str, hint: &str) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        make_table(self.session, ledger, "failure").await?;
        let sql = format!(
            "INSERT INTO {ledger}.failure (migration, message, hint, failed_at)
             SELECT name, {}, {}, pg_catalog.now() FROM {ledger}.migration WHERE name = {}
             ON CONFLICT (migration) DO UPDATE SET message = excluded.message, hint = excluded.hint,
                 failed_at = excluded.failed_at",
            quote_literal(message),
            quote_literal(hint),
            quote_literal(self.migration.as_str())
        );
        self.session.query(&sql).await.map(drop)
    }

    /// Forgets it: a new run is under way.
    pub async fn forget_failure(&mut self) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        if exists(self.session, ledger, "failure").await? {
            let name = quote_literal(self.migration.as_str());
            self.session
                .query(&format!("DELETE FROM {ledger}.failure WHERE migration = {name}"))
                .await?;
        }
        Ok(())
    }

    /// What the last run ended with, if it was an error.
    pub async fn last_failure(&mut self) -> Result<Option<LastFailure>, Error> {
        let ledger = &self.migration.ledger;
        if !exists(self.session, ledger, "failure").await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT message, hint,
                    to_char(failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at
               FROM {ledger}.failure WHERE migration = $1"
        );
        let result = self.session.query_with(&sql, &[Some(self.migration.as_str())]).await?;
        let Some(row) = result.rows().first() else { return Ok(None) };
        Ok(Some(LastFailure {
            message: row.get("message")?,
            hint: row.get("hint")?,
            at: row.get("at")?,
        }))
    }
}
