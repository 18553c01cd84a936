//! The key of a table that pghost has made, built once its rows are there.
//!
//! Pages need no key on the target: each is committed with its line in the ledger, so none is
//! written twice, and within a page the source's key holds. Changes do need it, so it is there
//! before the first of them.

use std::pin::pin;

use tokio::sync::watch;

use super::{Failure, plan::PlannedTable, target};
use crate::{
    apply,
    catalog::{ObjectKind, add_key, load_table},
    conn::{Connection, Error},
    ledger,
};

/// More than the servers' default of 64 MB, as `pg_restore`'s manual recommends for building
/// indexes, and little enough for a server of a few gigabytes.
///
/// And a server that goes on building for a client that was killed would keep the next run out. Not
/// every system lets a server see that (`WaitEventSetCanReportClosed` in `latch.c`); Linux does.
pub(super) const BEFORE: &str = "
    SELECT set_config('maintenance_work_mem', '256MB', false)
     WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB');
    SELECT set_config('client_connection_check_interval', '1s', false)
     WHERE version() LIKE '%linux%'";
const AFTER: &str = "RESET maintenance_work_mem; RESET client_connection_check_interval";

/// Builds it. Can be done again; an interrupted build leaves nothing.
pub(super) async fn build_key(
    connection: &mut Connection,
    migration: &str,
    table: &mut PlannedTable,
    interrupt: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let what = format!("building the key of {}", table.target_name.plain());
    let failed = |error: Error| Failure::stopped_by(&what, &error);
    let token = connection.cancel_token();
    connection.query(BEFORE).await.map_err(failed)?;
    let objects = ledger::load_objects(connection, migration).await.map_err(failed)?;
    let key = (objects.into_iter())
        .find(|o| o.object.kind == ObjectKind::Key && o.ordinal == table.ordinal);
    let sql = match &key {
        Some(key) => key.object.statements.join("; "),
        // Begun by a pghost that kept only the rows' part of a table's definition.
        None => add_key(&table.source, &table.key, &table.target_name),
    };
    {
        let mut building = pin!(connection.query(&sql));
        tokio::select! {
            built = &mut building => built.map(drop).map_err(failed)?,
            true = apply::stopped(interrupt) => {
                if let Some(token) = token {
                    token.cancel().await.map_err(failed)?;
                }
                // Ended, one way or the other, before anything else is asked.
                let _ = building.await;
                return Err(Failure::interrupted());
            }
        }
    }
    connection.query(AFTER).await.map_err(failed)?;
    if let Some(key) = &key {
        ledger::object_done(connection, migration, key).await.map_err(failed)?;
    }
    let made = load_table(connection, &table.target_name).await.map_err(failed)?;
    let made = made.ok_or_else(|| failed(Error::Result("the table is gone".into())))?;
    table.target_key = Some(target::fits(&table.source, &table.key, &made)?);
    table.target = Some(made);
    Ok(())
}
