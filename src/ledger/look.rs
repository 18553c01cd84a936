//! Looking at the ledger without a migration in hand.

use super::{
    handle::Ledger,
    name::{LedgerSchema, MigrationName},
    store::exists,
};
use crate::{
    conn::{Connection, Error, Row},
    pg::Lsn,
    sql::quote_literal,
};

/// The names of all migrations that the target knows, in order; none without a ledger.
pub async fn names(
    target: &mut Connection,
    ledger: &LedgerSchema,
) -> Result<Vec<MigrationName>, Error> {
    if !exists(target, ledger, "migration").await? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT name FROM {ledger}.migration ORDER BY created_at, name");
    let result = target.query(&sql).await?;
    let name = |row: &Row| Ok(MigrationName::new(ledger, row.get::<String>("name")?));
    result.rows().iter().map(name).collect()
}

impl Ledger<'_> {
    /// Everything that was committed on the source before this is on the target, and nothing else;
    /// `None` if the migration has no position, or is not there.
    pub async fn applied(&mut self) -> Result<Option<Lsn>, Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        let sql = format!("SELECT applied_lsn FROM {ledger}.migration WHERE name = {name}");
        let result = self.session.query(&sql).await?;
        Ok(result.rows().first().map(|row| row.get("applied_lsn")).transpose()?.flatten())
    }
}
