//! The key of a table that pghost has made, built once its rows are there.
//!
//! Pages need no key on the target: each is committed with its line in the ledger, so none is
//! written twice, and within a page the source's key holds. Changes do need it, so it is there
//! before the first of them.

use std::pin::pin;

use tokio::sync::watch;

use super::{
    Failure, Listener,
    plan::PlannedTable,
    servers::cancel,
    target,
    verdict::Sign,
    watch::index::{Building, TELL_AGAIN, how_far},
};
use crate::{
    apply,
    catalog::{ObjectKind, add_key, load_table},
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{Gap, Ledger, MigrationName},
    pg::QualifiedName,
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
    migration: &MigrationName,
    table: &mut PlannedTable,
    config: &Config,
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let what = format!("building the key of {}", table.target_name.plain());
    let failed = |error: Error| Failure::stopped_by(&what, &error);
    let token = connection.cancel_token();
    connection.query(BEFORE).await.map_err(failed)?;
    let objects = Ledger::of(connection, migration).load_objects().await.map_err(failed)?;
    let key = (objects.into_iter())
        .find(|o| o.object.kind == ObjectKind::Key && o.ordinal == table.ordinal);
    let statements = match &key {
        Some(key) => key.object.statements.clone(),
        // Begun by a pghost that kept only the rows' part of a table's definition.
        None => vec![add_key(&table.source, &table.key, &table.target_name)],
    };
    let key_name = key.as_ref().map_or("key", |key| key.object.name.as_str());
    let what_builds = [Building {
        pid: connection.process_id(),
        table: table.target_name.plain(),
        index: key_name.to_owned(),
    }];
    {
        let mut building = pin!(at_once(connection, migration, table.ordinal, &statements));
        tokio::select! {
            built = &mut building => match built.map_err(failed)? {
                None => {}
                Some(gap) => return Err(has_gap(&table.source.name, &gap)),
            },
            () = tell(config, &what_builds, listener) => {}
            true = apply::stopped(interrupt) => {
                cancel(token.as_ref(), building).await.map_err(failed)?;
                return Err(Failure::interrupted());
            }
        }
    }
    listener.on(&what_builds[0].done());
    connection.query(AFTER).await.map_err(failed)?;
    if let Some(key) = &key {
        Ledger::of(connection, migration).object_done(key).await.map_err(failed)?;
    }
    let made = load_table(connection, &table.target_name).await.map_err(failed)?;
    let made = made.ok_or_else(|| failed(Error::Result("the table is gone".into())))?;
    table.target_key = Some(target::fits(&table.source, &table.key, &made)?);
    table.target = Some(made);
    Ok(())
}

/// Builds it in a transaction, if the pages chain on which it rests; else gives where they do not.
async fn at_once(
    connection: &mut Connection,
    migration: &MigrationName,
    ordinal: usize,
    statements: &[String],
) -> Result<Option<Gap>, Error> {
    connection.query("BEGIN").await?;
    match build(connection, migration, ordinal, statements).await {
        Ok(None) => connection.query("COMMIT").await.map(|_| None),
        not_built => {
            if connection.in_transaction() {
                connection.query("ROLLBACK").await?;
            }
            not_built
        }
    }
}

async fn build(
    connection: &mut Connection,
    migration: &MigrationName,
    ordinal: usize,
    statements: &[String],
) -> Result<Option<Gap>, Error> {
    if let Some(gap) = Ledger::of(connection, migration).find_gap(ordinal).await? {
        return Ok(Some(gap));
    }
    for sql in statements {
        connection.query_single(sql).await?;
    }
    Ok(None)
}

/// The pages that the ledger has of a table are not all of them.
pub(super) fn has_gap(table: &QualifiedName, gap: &Gap) -> Failure {
    let message = format!("{} is not whole: its pages in the ledger {gap}", table.plain());
    Failure::met(Sign::Gap, message)
}

/// Tells how far it is, by a session of its own, until it is dropped. Trouble with that must not
/// end a build of hours.
async fn tell(config: &Config, building: &[Building], listener: &mut dyn Listener) {
    let telling = async {
        tokio::time::sleep(TELL_AGAIN).await;
        let mut beside = Connection::connect(config, SessionKind::Sql).await?;
        loop {
            let events = how_far(&mut beside, building).await?;
            events.iter().for_each(|event| listener.on(event));
            tokio::time::sleep(TELL_AGAIN).await;
        }
    };
    let ended: Result<(), Error> = telling.await;
    tracing::warn!("how far the key is can't be told: {ended:?}");
    std::future::pending().await
}
