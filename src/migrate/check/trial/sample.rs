//! Some dozens of rows of a source table, read in one short statement.
//!
//! From both ends of the key, where what is oldest and what is newest lies, and some from between;
//! of a small table all, up to a hundred and some.

use bytes::BytesMut;

use crate::{
    conn::{Connection, Error, Row},
    migrate::plan::PlannedTable,
    pg::Ident,
    wire::TextRowWriter,
};

/// How many rows are taken from each end, and from between.
const ROWS: u32 = 16;
/// A table is read from its beginning rather than sampled up to this size.
const SMALL_BYTES: u64 = 256 * 1024;
/// The most that a row may have, as it is stored: a trial holds all its rows in memory.
const ROW_BYTES: u32 = 64 * 1024;

/// What goes before a statement that must not last, in a transaction that changes nothing. The
/// statement's own result is the third from the beginning.
pub(super) fn in_short(sql: &str) -> String {
    format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = '3s'; SET LOCAL lock_timeout = '1s';
         {sql}; COMMIT"
    )
}

/// The rows of [`in_short`]'s statement.
pub(super) async fn ask_in_short(source: &mut Connection, sql: &str) -> Result<Vec<Row>, Error> {
    match source.query(&in_short(sql)).await {
        Ok(mut result) if result.statements.len() > 3 => Ok(result.statements.swap_remove(3).rows),
        Ok(_) => Err(Error::Result("a statement gave no result".into())),
        Err(error) => {
            if source.in_transaction() {
                source.query("ROLLBACK").await?;
            }
            Err(error)
        }
    }
}

/// Sampled rows, as COPY takes them; and how many.
///
/// Errors: the source's, among them that reading them lasts too long.
pub(super) async fn rows(
    source: &mut Connection,
    table: &PlannedTable,
) -> Result<(BytesMut, usize), Error> {
    let found = ask_in_short(source, &statement(table)).await?;
    let mut kept: Vec<&Row> = Vec::new();
    let mut text = BytesMut::new();
    for row in &found {
        // In one snapshot equal rows are one row, since the key is among them.
        if kept.iter().any(|other| other.values() == row.values()) {
            continue;
        }
        let mut line = TextRowWriter::new(&mut text);
        for value in row.values() {
            line.field(value.as_deref());
        }
        line.end_row();
        kept.push(row);
    }
    Ok((text, kept.len()))
}

fn statement(table: &PlannedTable) -> String {
    let list = |names: &[Ident], end: &str| {
        let names: Vec<_> = names.iter().map(|name| format!("{name}{end}")).collect();
        names.join(", ")
    };
    let columns = list(&table.columns(), "");
    let name = &table.source.name;
    let (up, down) = (list(&table.key_names(), ""), list(&table.key_names(), " DESC"));
    let mut parts = vec![
        format!("(SELECT {columns} FROM {name} ORDER BY {up} LIMIT {ROWS})"),
        format!("(SELECT {columns} FROM {name} ORDER BY {down} LIMIT {ROWS})"),
    ];
    let between = match percent(table, 4 * ROWS) {
        // Of so small a table nobody knows how many rows it has, unless it was analyzed.
        Some(percent) if table.source.bytes > SMALL_BYTES => {
            format!("TABLESAMPLE SYSTEM ({percent}) LIMIT {ROWS}")
        }
        _ => format!("LIMIT {}", 8 * ROWS),
    };
    parts.push(format!("(SELECT {columns} FROM {name} {between})"));
    let bytes: Vec<_> =
        table.columns().iter().map(|c| format!("coalesce(pg_column_size({c}), 0)")).collect();
    format!(
        "SELECT {columns} FROM ({}) AS sampled WHERE {} < {ROW_BYTES}",
        parts.join(" UNION ALL "),
        bytes.join(" + ")
    )
}

/// Which part of a table's blocks has about so many rows; `None` where that is nearly all of them.
pub(super) fn percent(table: &PlannedTable, rows: u32) -> Option<f64> {
    let estimated = table.source.estimated_rows.unwrap_or(0);
    // Far less than any number of rows that a table can have.
    let part = f64::from(rows) * 100.0 / estimated.max(1) as f64;
    (part < 50.0).then_some(part)
}
