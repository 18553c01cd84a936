//! The position at which the target will be whole.

use crate::{
    conn::{Connection, Error, PATH_AGAIN},
    pg::Lsn,
};

/// Takes a position of the source that everything seen so far was committed before, makes sure
/// that it is flushed, and leaves a mark in the log after it.
///
/// It is the *insert* position: with asynchronous commit a row can be seen while its commit
/// lies beyond the flush position, which is what IDENTIFY_SYSTEM tells. The mark is a
/// transactional logical message; its commit flushes the log, and an idle source sends it
/// through the stream, where it shows that the position was passed. (Its commit does not wait
/// for standbys: pghost's own walsender may be taken for one.)
pub async fn take_checkpoint(source: &mut Connection) -> Result<Lsn, Error> {
    let sql = format!("{PATH_AGAIN}; SELECT pg_catalog.pg_current_wal_insert_lsn() AS lsn");
    let position = source.query(&sql).await?;
    source
        .query(
            "BEGIN; SET LOCAL synchronous_commit = local;
             SELECT pg_catalog.pg_logical_emit_message(true, 'pghost', 'checkpoint'); COMMIT",
        )
        .await?;
    position.row()?.get("lsn")
}
