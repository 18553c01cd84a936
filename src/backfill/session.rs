//! The sessions that pages are looked for, read and written on: that each is on the right server,
//! and plans and locks as it should.

use std::time::Duration;

use super::{Backfill, Origin};
use crate::{
    conn::{Connection, Error, PATH_AGAIN, SessionKind},
    ledger::{self, Ledger},
    pg::{Lsn, QualifiedName},
    sql::quote_literal,
};

/// How often a page is read again that a standby gave up, and how much longer each time it waits:
/// a minute in all, twice the longest that a standby lets a query hold up its log by default
/// (`max_standby_streaming_delay`).
pub(super) const CONFLICTS_MAX: u32 = 15;
pub(super) const CONFLICT_WAIT: Duration = Duration::from_millis(500);

/// A session on the source whose plans are what paging needs: a walk of the key's index for
/// every page, never a scan of the whole table, and no workers besides.
pub(super) async fn connect_for_pages(backfill: &Backfill) -> Result<Connection, Error> {
    let mut connection = Connection::connect(&backfill.source, SessionKind::Source).await?;
    backfill.origin.check(&mut connection).await?;
    ledger::join_readers(&mut connection, &backfill.migration).await?;
    connection
        .query("SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0; SET jit = off")
        .await?;
    Ok(connection)
}

impl Origin {
    async fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
                          pg_is_in_recovery() AS standby,
                          CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END AS lsn";
        let result = connection.query(sql).await?;
        let row = result.row()?;
        let replayed: Option<Lsn> = row.get("lsn")?;
        let wrong = if row.get::<String>("system_id")? != self.system_id {
            "belongs to another cluster"
        } else if row.get::<bool>("standby")? != self.standby_from.is_some() {
            "is a standby where the primary was meant, or the other way round"
        } else if self.standby_from.is_some_and(|from| replayed.is_none_or(|lsn| lsn < from)) {
            "has not replayed the log up to where the slot begins"
        } else {
            return Ok(());
        };
        Err(Error::Settings(format!(
            "the server that was reached for reading pages {wrong}; name exactly one host"
        )))
    }
}

/// A session on the target in which nothing but the rows is written.
pub(super) async fn connect_to_target(backfill: &Backfill) -> Result<Connection, Error> {
    let mut connection = Connection::connect(&backfill.target, SessionKind::Sql).await?;
    Ledger::of(&mut connection, &backfill.migration).prepare_writer().await?;
    Ok(connection)
}

/// Puts a transaction on its way that locks a table as reading it would; [`locked`] waits for it.
/// While it waits it holds no snapshot, and nor does it before the first thing is asked: not even
/// one of the catalog, with which LOCK would look the table up, and which it would keep. So that
/// is done before the transaction, and LOCK finds everything in the session's cache.
///
/// The lock comes before the snapshot also because a table that is rewritten in between would be
/// empty to it.
pub(super) fn queue_lock(source: &mut Connection, begin: &str, table: &QualifiedName) {
    let name = quote_literal(&table.to_string());
    source.queue_query(&format!(
        "{PATH_AGAIN}; SELECT pg_catalog.has_table_privilege({name}, 'SELECT')"
    ));
    source.queue_query(&format!("{begin}; LOCK TABLE {table} IN ACCESS SHARE MODE"));
}

/// Waits for the lock that was queued.
pub(super) async fn locked(source: &mut Connection) -> Result<(), Error> {
    source.result().await?;
    source.result().await.map(drop)
}
