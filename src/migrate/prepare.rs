//! Making what a new migration needs, and unmaking it if that fails.
//!
//! In this order: the ledger's lines (so that whatever follows is known to be ours), the target
//! tables, the publication, and the slot last: a slot made before its publication could never be
//! decoded, and making it may wait long for other transactions.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    Event, Failure, Listener, StepName,
    check::NewMigration,
    defer::{bring_back, put_away},
    failure::Exit,
    make_table::{Made, make_table},
    plan::{PlannedTable, order_of_making},
    publication::{self, create_publication},
    servers::{Servers, cancel},
};
use crate::{
    apply,
    catalog::Names,
    conn::{Connection, Error},
    ledger::{Ledger, Migration, Phase},
    pg::{Ident, Lsn},
    replication::{NewSlot, create_slot, drop_slot},
};

/// How long the making of a slot may take before a person is told what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes everything and gives the migration as it stands in the ledger.
///
/// Errors: nothing is left behind, unless the failure says so.
pub(super) async fn prepare(
    servers: &mut Servers,
    new: NewMigration,
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(Migration, Vec<PlannedTable>), Failure> {
    let mut migration = Migration {
        name: new.name,
        phase: Phase::Prepare,
        source: servers.identity.clone(),
        slot: new.slot,
        publication: new.publication,
        publication_made: new.makes_publication,
        publication_shape: None,
        slot_start: None,
        checkpoint: None,
        applied: None,
        skipped: 0,
        longest_snapshot_seconds: 0.0,
        backfill_seconds: 0.0,
        catch_up_seconds: 0.0,
        tables: new.tables.iter().map(PlannedTable::record).collect(),
    };
    Ledger::of(&mut servers.target, &migration.name)
        .begin(&migration)
        .await
        .map_err(|error| Failure::refused_by("making the ledger on the target", &error))?;
    listener.on(&Event::Step { step: StepName::LedgerMade, of: migration.name.to_string() });
    let mut tables = new.tables;
    match make(servers, &mut migration, (&mut tables, &new.made), interrupt, listener).await {
        Ok(()) => Ok((migration, tables)),
        Err(failure) => Err(match undo(servers, &migration).await {
            Ok(true) => failure,
            Ok(false) => Failure {
                exit: Exit::Stopped,
                state: "all was made, and the migration has begun".into(),
                hint: "give the same command again: it goes on from here".into(),
                ..failure
            },
            Err(error) => Failure {
                exit: Exit::Stopped,
                state: format!("undoing what had been made failed too: {error}"),
                hint:
                    "give the same command again: it goes on if all had been made, else it undoes \
                       the rest and starts again"
                        .into(),
                ..failure
            },
        }),
    }
}

async fn make(
    servers: &mut Servers,
    migration: &mut Migration,
    (tables, made): (&mut [PlannedTable], &Made),
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let moved: Vec<_> =
        tables.iter().map(|t| (t.source.name.clone(), t.target_name.clone())).collect();
    let mut names = Names::default();
    let order = order_of_making(tables.iter());
    // Those first that are to be made: while the others have their indexes, no name is taken twice.
    let (mut missing, mut existing): (Vec<_>, Vec<_>) =
        tables.iter_mut().partition(|table| table.target.is_none());
    missing.sort_by_key(|table| order.iter().position(|ordinal| *ordinal == table.ordinal));
    for table in &mut missing {
        make_table(servers, (&migration.name, made), table, (&moved, &mut names), listener).await?;
        let message = format!("made the table {} on the target", table.target_name.plain());
        listener.on(&Event::Notice { message });
        let of = table.target_name.plain();
        listener.on(&Event::Step { step: StepName::TableMade, of });
    }
    if made.defer_indexes && !existing.is_empty() {
        let dropped = put_away(&mut servers.target, &migration.name, &mut existing).await?;
        for names in dropped {
            let message = format!("dropped until the checkpoint is passed, of {names}");
            listener.on(&Event::Notice { message });
        }
    }
    if migration.publication_made {
        let sql = create_publication(&migration.publication, tables);
        servers
            .source
            .query(&sql)
            .await
            .map_err(|error| Failure::refused_by("making the publication", &error))?;
        let of = migration.publication.clone();
        listener.on(&Event::Step { step: StepName::PublicationMade, of });
    }
    let start = make_slot(servers, &migration.slot, interrupt, listener).await?;
    listener.on(&Event::Step { step: StepName::SlotMade, of: migration.slot.clone() });
    let shape = publication::shape(&mut servers.source, &migration.publication, tables)
        .await
        .map_err(|error| Failure::refused_by("looking at the publication", &error))?;
    Ledger::of(&mut servers.target, &migration.name)
        .start_backfill(start, &shape)
        .await
        .map_err(|error| Failure::refused_by("writing the ledger", &error))?;
    migration.publication_shape = Some(shape);
    migration.slot_start = Some(start);
    migration.applied = Some(start);
    migration.phase = Phase::Backfill;
    Ok(())
}

/// Makes the slot. It waits for every transaction that is open on the server, in any database.
async fn make_slot(
    servers: &mut Servers,
    slot: &str,
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<Lsn, Failure> {
    let Servers { source, walsender, .. } = servers;
    let Some(mut walsender) = walsender.take() else {
        return Err(Failure::refused("there is no walsender left to make the slot", "try again"));
    };
    let token = walsender.cancel_token();
    let failed = |error: Error| Failure::refused_by("making the replication slot", &error);
    let slot = NewSlot { name: slot, two_phase: false };
    let mut creating = std::pin::pin!(create_slot(&mut walsender, slot));
    let mut told = false;
    loop {
        tokio::select! {
            created = &mut creating => {
                return created.map(|slot| slot.consistent_point).map_err(failed);
            }
            true = apply::stopped(interrupt) => {
                // Only closing the connection would leave a slot once the wait is over.
                cancel(token.as_ref(), creating).await.map_err(failed)?;
                let undone = "what had been made is undone";
                return Err(Failure { state: undone.into(), ..Failure::interrupted() });
            }
            () = tokio::time::sleep(PATIENCE), if !told => {
                told = true;
                let message = who_is_in_the_way(source).await.map_err(failed)?;
                listener.on(&Event::Notice { message });
            }
        }
    }
}

async fn who_is_in_the_way(source: &mut Connection) -> Result<String, Error> {
    let sql = "SELECT string_agg(format('pid %s (%s, open for %s)', pid, usename,
                          date_trunc('second', now() - xact_start)), ', ') AS who
                 FROM pg_stat_activity WHERE backend_xid IS NOT NULL";
    let who = match Error::if_answered(source.query(sql).await)? {
        Ok(result) => result.row()?.get::<Option<String>>("who")?,
        Err(no) => Some(format!("of whom is not known ({no})")),
    };
    let who =
        who.unwrap_or_else(|| "prepared transactions or commits that wait for a standby".into());
    Ok(format!("the slot is waiting for open transactions to end: {who}"))
}

/// Unmakes what a migration that never got to copying has made. Can be done again. `false` if it
/// did get there, and only the answer to that was lost: nothing is unmade then.
pub(super) async fn undo(servers: &mut Servers, migration: &Migration) -> Result<bool, Error> {
    // The ledger first: without it nobody knows whether the slot is needed.
    let stored = Ledger::of(&mut servers.target, &migration.name).load().await?;
    if stored.as_ref().is_some_and(|stored| stored.phase > Phase::Prepare) {
        return Ok(false);
    }
    drop_slot(&mut servers.source, &migration.slot).await?;
    if migration.publication_made {
        let sql = format!("DROP PUBLICATION IF EXISTS {}", Ident::new(&migration.publication));
        servers.source.query(&sql).await?;
    }
    // As the ledger has it: a table that was not made in the end is not ours.
    if let Some(stored) = stored {
        // At once: one may have a column of another one's row type.
        let made = stored.tables.iter().filter(|table| table.target_made);
        let made: Vec<_> = made.map(|table| table.target.to_string()).collect();
        if !made.is_empty() {
            let sql = format!("DROP TABLE IF EXISTS {}", made.join(", "));
            servers.target.query(&sql).await?;
        }
        for table in stored.tables.iter().filter(|table| !table.target_made) {
            bring_back(&mut servers.target, &migration.name, table).await?;
        }
        Ledger::of(&mut servers.target, &migration.name).forget().await?;
    }
    Ok(true)
}
