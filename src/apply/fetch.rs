//! Rows that came to a new key with a big value that the log leaves out: fetched from the source.
//!
//! What the target has under the old key must not be used before the checkpoint: it can be a
//! later row of that key, brought by a page read later. The source's own row is newer than
//! the change, so the checkpoint is raised to a moment after the fetch; everything up to there
//! is replayed over it and ends in the same state. A row that is not there any more needs no
//! writing: a later change in the log says where it went.

use super::{ApplyTable, Fold, State};
use crate::{
    conn::{Connection, Error},
    pg::{Snapshot, Xid},
    sql::fetch_rows,
};

/// How many rows are fetched at a time: few enough that the snapshot of one query is short, even
/// when every row has megabytes.
pub(super) const ROWS_AT_A_TIME: usize = 256;

/// Whether the source shows all of `xids` by now.
///
/// A transaction is in the stream before it can be seen (synchronous replication stretches the
/// gap). A row read too early would be taken for gone, or miss its last change. What one
/// snapshot shows, every later one does too.
pub(super) async fn shows(source: &mut Connection, xids: &[Xid]) -> Result<bool, Error> {
    let seen = source.query("SELECT pg_current_snapshot() AS snapshot").await?;
    let snapshot: Snapshot = seen.row()?.get("snapshot")?;
    Ok(xids.iter().all(|xid| snapshot.shows(*xid)))
}

/// Fetches the rows of the given entries, whole; entries without a row are marked so. Under the
/// table's lock, and only from the table that was planned.
pub(super) async fn fetch(
    source: &mut Connection,
    table: &ApplyTable,
    fold: &mut Fold,
    entries: &[usize],
) -> Result<(), Error> {
    let sql = fetch_rows(&table.source, &table.column_names(), &table.source_key, entries.len());
    let key_types = table.key_places().into_iter().map(|i| table.columns[i].source_type);
    let types = key_types.collect::<Vec<_>>().repeat(entries.len());
    let cells: Vec<_> = (entries.iter())
        .flat_map(|&at| fold.key(&fold.entries()[at]).collect::<Vec<_>>())
        .collect();
    let formats: Vec<_> = cells.iter().map(|cell| super::writer::format_of(*cell)).collect();
    let values: Vec<_> = cells.iter().map(|cell| fold.value(*cell)).collect();
    let lock = format!("BEGIN READ ONLY; LOCK TABLE {} IN ACCESS SHARE MODE", table.source);
    let holds = format!("SELECT {} AS holds", table.foundation.assertion());
    let read = async {
        source.query(&lock).await?;
        source.query(&holds).await?;
        source.query_bound(&sql, &types, &formats, &values).await
    };
    let result = read.await;
    // The session is asked more, also where this has failed.
    let ended = source.query(if result.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let result = result.and_then(|result| ended.map(|_| result))?;

    let mut found = vec![None; entries.len()];
    for row in result.rows() {
        let number: usize = row.get(NUMBER)?;
        if let Some(place) = found.get_mut(number) {
            *place = Some(row);
        }
    }
    for (&at, row) in entries.iter().zip(found) {
        // The first value is the number.
        let values = row.map(|row| row.values().iter().skip(1).map(Option::as_deref));
        fold.fetched(at, values);
    }
    Ok(())
}

/// The column in which [`fetch_rows`] tells which key a row was found by.
const NUMBER: &str = crate::sql::FETCH_NUMBER;

/// The entries that wait to be fetched.
pub(super) fn waiting(fold: &Fold) -> Vec<usize> {
    let is_waiting = |at: &usize| fold.entries()[*at].state == State::Fetch;
    (0..fold.len()).filter(is_waiting).collect()
}
