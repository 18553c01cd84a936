//! Which table of the target rows are copied to, and which of its columns. One that is dropped and
//! made again has the name, and nothing of what was copied.

use super::handle::Ledger;
use crate::{
    conn::Error,
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

impl Ledger<'_> {
    /// Notes that the target table was made by pghost. Meant for the transaction that makes it.
    pub async fn set_target_made(
        &mut self,
        ordinal: usize,
        name: &QualifiedName,
    ) -> Result<(), Error> {
        let name = quote_literal(&name.to_string());
        let oid = format!("{name}::regclass");
        let set = format!("target_made = true, target_oid = {oid}, {}", stand(&oid));
        self.update_table(ordinal, &set).await
    }

    /// A column that travels and does not stand where it stood when the table was first seen;
    /// `None` if all do.
    pub async fn moved_column(&mut self, ordinal: usize) -> Result<Option<Ident>, Error> {
        let sql = format!(
            "SELECT min(c.name) AS name
               FROM {}.migration_table t, unnest(t.columns, t.target_columns) AS c(name, attnum)
              WHERE t.migration = {} AND t.ordinal = {ordinal} AND c.attnum IS NOT NULL
                AND NOT EXISTS (SELECT FROM pg_attribute a
                                 WHERE a.attrelid = t.target_oid AND a.attnum = c.attnum
                                   AND a.attname = c.name)",
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let name: Option<String> = self.session.query(&sql).await?.row()?.get("name")?;
        Ok(name.map(Ident::new))
    }
}

/// Notes where the columns that travel stand in the target table.
pub(super) fn stand(target_oid: &str) -> String {
    format!(
        "target_columns = ARRAY(
             SELECT a.attnum FROM unnest(columns) WITH ORDINALITY c(name, n)
               LEFT JOIN pg_attribute a ON a.attrelid = {target_oid} AND a.attname = c.name
              ORDER BY n)"
    )
}
