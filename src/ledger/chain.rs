//! Whether a table's pages chain from before every key to after every key: asserted by the target
//! itself, from what the ledger has, in the transaction that takes the table for whole.
//!
//! Whoever copies counts its pages as well. But a counter knows only what it was told, and a row
//! that no page has brought would be missing without a word.

use std::fmt;

use super::{handle::Ledger, name::MigrationName, store::line_is_gone};
use crate::{
    conn::{Error, Row},
    sql::quote_literal,
};

/// Where pages do not chain, in words that go on after "its pages ..".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap(String);

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first place where the pages of a table do not chain; no row if they do. Bounds are compared
/// as the texts that they are: one page's upper bound is written as the next one's lower bound,
/// whatever the key's types and their order.
fn gap(migration: &MigrationName, ordinal: usize) -> String {
    format!(
        "SELECT p.number, p.place, pg_catalog.array_to_string(p.ends, ', ') AS ends,
                pg_catalog.array_to_string(p.begins, ', ') AS begins
           FROM (SELECT number, NULL::text[] AS ends, lower_bound AS begins,
                        CASE WHEN lower_bound IS NOT NULL AND pg_catalog.row_number() OVER w = 1
                             THEN 'first' END AS place
                   FROM {0}.page WHERE migration = {1} AND ordinal = {ordinal}
                 WINDOW w AS (ORDER BY number)
                 UNION ALL
                 SELECT number, upper_bound, pg_catalog.lead(lower_bound) OVER w,
                        CASE WHEN pg_catalog.lead(number) OVER w IS NULL
                             THEN CASE WHEN upper_bound IS NOT NULL THEN 'last' END
                             WHEN (upper_bound = pg_catalog.lead(lower_bound) OVER w) IS NOT TRUE
                             THEN 'between' END
                   FROM {0}.page WHERE migration = {1} AND ordinal = {ordinal}
                 WINDOW w AS (ORDER BY number)
                 UNION ALL
                 SELECT -1, NULL, NULL, 'none'
                  WHERE NOT EXISTS (SELECT FROM {0}.page
                                     WHERE migration = {1} AND ordinal = {ordinal})) p
          WHERE p.place IS NOT NULL ORDER BY p.number, p.place LIMIT 1",
        migration.ledger,
        quote_literal(migration.as_str())
    )
}

impl Ledger<'_> {
    /// The first place where the pages of a table do not chain. Meant for the transaction that
    /// rests on them.
    pub async fn find_gap(&mut self, ordinal: usize) -> Result<Option<Gap>, Error> {
        let found = self.session.query(&gap(self.migration, ordinal)).await?;
        found.rows().first().map(in_words).transpose()
    }

    /// Notes that all pages of a table are there, if they chain; else notes nothing, and gives
    /// where they do not. One statement, so that it speaks of the pages that it has seen.
    pub async fn close_table(&mut self, ordinal: usize) -> Result<Option<Gap>, Error> {
        let sql = format!(
            "WITH gap AS ({}),
                  closed AS (
                      UPDATE {}.migration_table SET backfilled = true
                       WHERE migration = {} AND ordinal = {ordinal}
                         AND NOT EXISTS (SELECT FROM gap)
                   RETURNING 1)
             SELECT gap.* FROM gap
              UNION ALL SELECT NULL, 'closed', NULL, NULL FROM closed",
            gap(self.migration, ordinal),
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let found = self.session.query(&sql).await?;
        match found.rows().first() {
            None => Err(line_is_gone()),
            Some(row) if row.get::<String>("place")? == "closed" => Ok(None),
            Some(row) => in_words(row).map(Some),
        }
    }
}

fn in_words(row: &Row) -> Result<Gap, Error> {
    let [ends, begins] = ["ends", "begins"].map(|column| row.get::<Option<String>>(column));
    let or_open =
        |key: Option<String>| key.map_or_else(|| "no bound".to_owned(), |key| format!("({key})"));
    let (ends, begins) = (or_open(ends?), or_open(begins?));
    Ok(Gap(match row.get::<String>("place")?.as_str() {
        "none" => "are all gone".to_owned(),
        "first" => format!("begin only after the key {begins}"),
        "last" => format!("end with the key {ends}"),
        _ => format!("do not chain: one ends with {ends}, and the next begins after {begins}"),
    }))
}
