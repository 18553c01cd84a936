//! Where the migrations that a target knows of stand, as their ledger has it. Changes nothing.

use serde::Serialize;

use super::Failure;
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{self, Migration},
};

/// Where a migration stands.
#[derive(Clone, Debug, Serialize)]
pub struct MigrationStatus {
    /// Its name.
    pub name: String,
    /// `prepare`, `backfill`, `catch_up` or `done`.
    pub phase: &'static str,
    /// Whether a pghost is at it just now.
    pub running: bool,
    /// Its slot on the source.
    pub slot: String,
    /// The publication it reads.
    pub publication: String,
    /// The checkpoint, once there is one.
    pub checkpoint_lsn: Option<String>,
    /// Everything that was committed on the source before this is on the target.
    pub applied_lsn: Option<String>,
    /// Its tables.
    pub tables: Vec<TableStatus>,
}

/// Where one of its tables stands.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// On the source.
    pub source: String,
    /// On the target.
    pub target: String,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// Whether that is all of them.
    pub backfilled: bool,
    /// Changes received and applied since.
    pub inserted: u64,
    /// The same.
    pub updated: u64,
    /// The same.
    pub deleted: u64,
    /// The same.
    pub truncated: u64,
}

/// Every migration known to the target, or the one of that name.
///
/// Errors: the target can't be reached or read, or has no migration of that name.
pub async fn status(target: &Config, name: Option<&str>) -> Result<Vec<MigrationStatus>, Failure> {
    let failed = |error: Error| Failure::refused_by("reading the ledger on the target", &error);
    let mut connection = Connection::connect(target, SessionKind::Sql)
        .await
        .map_err(|error| Failure::refused_by("connecting to the target", &error))?;
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => ledger::names(&mut connection).await.map_err(failed)?,
    };
    let mut all = Vec::new();
    for name in names {
        let Some(migration) = ledger::load(&mut connection, &name).await.map_err(failed)? else {
            return Err(Failure::refused(
                format!("the target knows no migration called {name}"),
                "leave --name out to see all it knows",
            ));
        };
        all.push(of(&mut connection, migration).await.map_err(failed)?);
    }
    connection.close().await;
    Ok(all)
}

async fn of(target: &mut Connection, migration: Migration) -> Result<MigrationStatus, Error> {
    let copied = ledger::rows_copied(target, &migration.name).await?;
    let running = ledger::is_running(target, &migration.name).await?;
    let tables = migration.tables.iter().map(|table| TableStatus {
        source: table.source.plain(),
        target: table.target.plain(),
        rows_copied: copied.get(&table.ordinal).copied().unwrap_or(0),
        backfilled: table.backfilled,
        inserted: table.counts.inserted,
        updated: table.counts.updated,
        deleted: table.counts.deleted,
        truncated: table.counts.truncated,
    });
    Ok(MigrationStatus {
        phase: migration.phase.as_str(),
        running,
        checkpoint_lsn: migration.checkpoint.map(|lsn| lsn.to_string()),
        applied_lsn: migration.applied.map(|lsn| lsn.to_string()),
        tables: tables.collect(),
        name: migration.name,
        slot: migration.slot,
        publication: migration.publication,
    })
}
