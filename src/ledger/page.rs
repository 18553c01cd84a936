//! The pages that were copied.

use std::collections::HashMap;

use super::{
    handle::Ledger,
    store::{json_list, sql_list},
};
use crate::{
    conn::{Connection, Error, PATH_AGAIN},
    pg::Lsn,
    sql::quote_literal,
};

/// One page that is on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRecord {
    /// Its place in the key's order: pages with higher numbers have higher keys.
    pub number: u64,
    /// The key after which it begins; `None` for the first.
    pub lower: Option<Vec<String>>,
    /// The key with which it ends; `None` for the last.
    pub upper: Option<Vec<String>>,
    /// Its rows.
    pub rows: u64,
    /// Their bytes as COPY sent them.
    pub bytes: u64,
    /// `pg_current_snapshot()` of the transaction that read it: which transactions it shows.
    pub snapshot: String,
    /// `pg_current_wal_insert_lsn()`, taken after the snapshot: everything the page shows was
    /// committed before.
    pub lsn: Lsn,
}

/// Opens the target transaction of a page.
///
/// It may commit asynchronously: if a crash of the target undoes it, the page is undone together
/// with its line here. Nothing is acknowledged to the source before the catch-up, whose commits
/// wait for the target's log and so for every page before them.
pub fn begin_page(target: &mut Connection) {
    target.queue_query(&format!("{PATH_AGAIN}; BEGIN; SET LOCAL synchronous_commit = off"));
}

impl Ledger<'_> {
    /// Writes a page's line and commits it together with the page's rows.
    ///
    /// Errors: the commit did not happen; neither rows nor line are there.
    pub async fn commit_page(&mut self, ordinal: usize, page: &PageRecord) -> Result<(), Error> {
        let bound = |bound: &Option<Vec<String>>| {
            bound.as_ref().map_or_else(|| "NULL".to_owned(), |b| sql_list(b))
        };
        let sql = format!(
            "INSERT INTO {}.page
                 (migration, ordinal, number, lower_bound, upper_bound, row_count, byte_count,
                  snapshot, lsn)
             VALUES ({}, {ordinal}, {}, {}, {}, {}, {}, {}, '{}'); COMMIT",
            self.migration.ledger,
            quote_literal(self.migration.as_str()),
            page.number,
            bound(&page.lower),
            bound(&page.upper),
            page.rows,
            page.bytes,
            quote_literal(&page.snapshot),
            page.lsn
        );
        let result = self.session.query(&sql).await?;
        // COMMIT of a failed transaction is answered with ROLLBACK, which is not an error.
        match result.statements.last() {
            Some(last) if last.tag == "COMMIT" => Ok(()),
            last => Err(Error::Result(format!(
                "a page's COMMIT was answered with {:?}",
                last.map(|s| s.tag.as_str())
            ))),
        }
    }

    /// The pages of a table that are on the target, in the key's order.
    pub async fn load_pages(&mut self, ordinal: usize) -> Result<Vec<PageRecord>, Error> {
        let sql = format!(
            "SELECT number, to_json(lower_bound) AS lower, to_json(upper_bound) AS upper,
                    row_count, byte_count, snapshot, lsn
               FROM {}.page WHERE migration = {} AND ordinal = {ordinal} ORDER BY number",
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let result = self.session.query(&sql).await?;
        let page = |row: &crate::conn::Row| {
            Ok(PageRecord {
                number: row.get("number")?,
                lower: row.get::<Option<String>>("lower")?.map(|s| json_list(&s)).transpose()?,
                upper: row.get::<Option<String>>("upper")?.map(|s| json_list(&s)).transpose()?,
                rows: row.get("row_count")?,
                bytes: row.get("byte_count")?,
                snapshot: row.get("snapshot")?,
                lsn: row.get("lsn")?,
            })
        };
        result.rows().iter().map(page).collect()
    }

    /// How many rows were copied, by the tables' places in the migration.
    pub async fn rows_copied(&mut self) -> Result<HashMap<usize, u64>, Error> {
        let sql = format!(
            "SELECT ordinal, sum(row_count)::bigint AS row_count
               FROM {}.page WHERE migration = {} GROUP BY ordinal",
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let result = self.session.query(&sql).await?;
        result.rows().iter().map(|row| Ok((row.get("ordinal")?, row.get("row_count")?))).collect()
    }

    /// Where in the log the last page of each table was read, by the tables' places in the
    /// migration.
    pub async fn pages_until(&mut self) -> Result<HashMap<usize, Lsn>, Error> {
        let sql = format!(
            "SELECT ordinal, max(lsn) AS lsn FROM {}.page WHERE migration = {} GROUP BY ordinal",
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let result = self.session.query(&sql).await?;
        result.rows().iter().map(|row| Ok((row.get("ordinal")?, row.get("lsn")?))).collect()
    }
}
