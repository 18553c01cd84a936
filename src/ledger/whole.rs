//! Whether the ledger is all there: a dump that was restored in part, or a hand that has tidied up,
//! would have rows copied twice or left out.

use crate::{
    conn::{Connection, Error},
    sql::quote_literal,
};

/// What this build reads, as table and columns.
const READ: &[(&str, &str)] = &[
    (
        "migration",
        "name ledger_version phase source_system_id source_timeline source_database slot \
         publication publication_made publication_shape slot_start_lsn checkpoint_lsn applied_lsn \
         skipped longest_snapshot_seconds backfill_seconds catch_up_seconds",
    ),
    (
        "migration_table",
        "migration ordinal source_schema source_name source_oid target_schema target_name \
         target_oid target_made key_columns key_order columns target_columns shape backfilled \
         inserted updated deleted truncated",
    ),
    ("page", "migration ordinal number lower_bound upper_bound row_count byte_count snapshot lsn"),
];

/// What is missing of the ledger, in words; `None` if nothing is, or if there is no ledger at all.
///
/// `known` if the migration has its line.
pub async fn what_is_missing(
    target: &mut Connection,
    name: &str,
    known: bool,
) -> Result<Option<String>, Error> {
    let pairs: Vec<_> = READ
        .iter()
        .flat_map(|(table, columns)| columns.split_whitespace().map(move |c| (table, c)))
        .map(|(table, column)| format!("('{table}', '{column}')"))
        .collect();
    let sql = format!(
        "SELECT count(*) = count(a.attname) AS whole, count(a.attname) = 0 AS nothing,
                string_agg(format('%s.%s', w.t, w.c), ', ') FILTER (WHERE a.attname IS NULL) AS gone
           FROM (VALUES {}) w(t, c)
           LEFT JOIN pg_attribute a
             ON a.attrelid = to_regclass('pghost.' || w.t) AND a.attname = w.c AND a.attnum > 0",
        pairs.join(", ")
    );
    let result = target.query(&sql).await?;
    let row = result.row()?;
    if row.get("nothing")? {
        return Ok(None);
    }
    if !row.get::<bool>("whole")? {
        let gone: String = row.get("gone")?;
        return Ok(Some(format!("it has no {gone}")));
    }
    let name = quote_literal(name);
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pghost.migration_table WHERE migration = {name}) AS tables,
                EXISTS (SELECT FROM pghost.page WHERE migration = {name}) AS pages"
    );
    let result = target.query(&sql).await?;
    let row = result.row()?;
    let (tables, pages): (bool, bool) = (row.get("tables")?, row.get("pages")?);
    Ok(match (known, tables, pages) {
        (true, false, _) => Some("pghost.migration_table has no line of it".into()),
        (false, false, false) | (true, true, _) => None,
        (false, ..) => Some("it has lines of tables or pages, and none in pghost.migration".into()),
    })
}
