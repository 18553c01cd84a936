//! Whether the lines of a migration are all there: a dump that was restored in part, or a hand that
//! has tidied up, would have rows copied twice or left out.

use super::{handle::Ledger, store::exists};
use crate::{conn::Error, sql::quote_literal};

impl Ledger<'_> {
    /// What is missing of the migration's lines, in words; `None` if nothing is, or if there is no
    /// ledger at all. Its tables are whole ([`super::inspect`]).
    ///
    /// `known` if the migration has its line.
    pub async fn what_is_missing(&mut self, known: bool) -> Result<Option<String>, Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        if !exists(self.session, ledger, "migration").await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {ledger}.migration_table
                             WHERE migration = {name}) AS tables,
                    EXISTS (SELECT FROM {ledger}.page WHERE migration = {name}) AS pages"
        );
        let result = self.session.query(&sql).await?;
        let row = result.row()?;
        let (tables, pages): (bool, bool) = (row.get("tables")?, row.get("pages")?);
        let here = ledger.as_str();
        Ok(match (known, tables, pages) {
            (true, false, _) => Some(format!("{here}.migration_table has no line of it")),
            (false, false, false) | (true, true, _) => None,
            (false, ..) => {
                Some(format!("it has lines of tables or pages, and none in {here}.migration"))
            }
        })
    }
}
