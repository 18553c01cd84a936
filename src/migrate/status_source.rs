//! What the source says of migrations that a target knows of: how far behind they are, whether
//! their slots are well, how many rows there are to copy. Changes nothing.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::watch::slot_view::{Known, why_lost};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{Migration, Phase},
    pg::{Lsn, Oid},
    replication::{Slot, find_slot},
};

/// How long the source may take to let us in, where the settings don't say, and to answer: what the
/// target knows is waiting to be read.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the source says of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Why it says nothing.
    pub error: Option<String>,
    /// How much log the source has written that is not on the target yet; not of what was handed
    /// over.
    pub lag_bytes: Option<u64>,
    /// Its slot, if there is one of that name.
    pub slot: Option<SlotStatus>,
    /// Why the migration can't go on from the slot.
    pub lost: Option<String>,
}

/// How a slot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotStatus {
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Whether somebody reads it just now.
    pub active: bool,
    /// How much log the source keeps for it.
    pub retained_bytes: Option<u64>,
    /// How much more may be written before it may be lost; `null` without a limit.
    pub safe_bytes: Option<u64>,
}

/// A source that can be asked, or why it can't.
pub(super) struct Asked {
    connection: Result<Connection, String>,
}

impl Asked {
    pub(super) async fn connect(source: &Config) -> Self {
        let mut source = source.clone();
        source.connect_timeout.get_or_insert(ANSWER_TIMEOUT);
        let connected = Connection::connect(&source, SessionKind::Source).await;
        Self { connection: connected.map_err(|error| error.to_string()) }
    }

    /// What it says of a migration, and how many rows each of its tables has by estimate.
    pub(super) async fn of(&mut self, migration: &Migration) -> (SourceStatus, Vec<Option<u64>>) {
        let connection = match &mut self.connection {
            Ok(connection) => connection,
            Err(error) => return silent(error),
        };
        let what = match timeout(ANSWER_TIMEOUT, look(connection, migration)).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                let seconds = ANSWER_TIMEOUT.as_secs();
                let what = Error::Silent { seconds }.to_string();
                // Nor is it waited for at the next migration.
                self.connection = Err(what.clone());
                what
            }
        };
        silent(&what)
    }

    pub(super) async fn close(self) {
        if let Ok(connection) = self.connection {
            connection.close().await;
        }
    }
}

fn silent(error: &str) -> (SourceStatus, Vec<Option<u64>>) {
    (SourceStatus { error: Some(error.to_owned()), ..SourceStatus::default() }, Vec::new())
}

async fn look(
    source: &mut Connection,
    migration: &Migration,
) -> Result<(SourceStatus, Vec<Option<u64>>), Error> {
    let sql = "SELECT system_identifier::text AS system_id, current_database() AS database
                 FROM pg_control_system()";
    let result = source.query(sql).await?;
    let row = result.row()?;
    let (system_id, database): (String, String) = (row.get("system_id")?, row.get("database")?);
    let of = &migration.source;
    if system_id != of.system_id || database != of.database {
        return Ok(silent(&format!(
            "it is not this migration's, which is the database {} of the system {}",
            of.database, of.system_id
        )));
    }
    let slot = find_slot(source, &migration.slot).await?;
    let mut rows = Vec::new();
    for table in &migration.tables {
        rows.push(estimated_rows(source, table.source_oid).await?);
    }
    Ok((status(migration, slot.as_ref()), rows))
}

fn status(migration: &Migration, slot: Option<&Slot>) -> SourceStatus {
    // It is not compared with the target's position: a run moves both meanwhile.
    let known = Known { applied: None, seen: migration.seen() };
    let lost = match migration.phase {
        Phase::Prepare | Phase::Handoff | Phase::HandedOff => None,
        _ => why_lost(&migration.slot, slot, &migration.source.database, known),
    };
    let bytes = |from: Option<Lsn>| {
        let end = slot.and_then(|slot| slot.wal_end)?;
        from.map(|from| end.bytes_since(from))
    };
    let applies = migration.phase < Phase::Handoff;
    SourceStatus {
        error: None,
        lag_bytes: bytes(migration.applied.filter(|_| applies)),
        slot: slot.map(|slot| SlotStatus {
            wal_status: slot.wal_status.clone(),
            active: slot.active_pid.is_some(),
            retained_bytes: bytes(slot.restart_lsn),
            safe_bytes: slot.safe_wal_size.map(|size| u64::try_from(size).unwrap_or(0)),
        }),
        lost,
    }
}

/// The planner's estimate; `None` if there is none, as of partitioned tables before ANALYZE.
async fn estimated_rows(source: &mut Connection, table: Oid) -> Result<Option<u64>, Error> {
    let sql = "SELECT reltuples::bigint AS rows FROM pg_class WHERE oid = $1 AND reltuples > 0";
    let result = source.query_with(sql, &[Some(&table.0.to_string())]).await?;
    result.rows().first().map(|row| row.get("rows")).transpose()
}
