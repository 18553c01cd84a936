//! Pages read from a hot standby of the source, which spares the source all but the changes.
//!
//! What a page may show is what the standby has *replayed*; what it has only received does not
//! count. Everything that was committed before the slot began must be among it, because the slot
//! will not bring it. The checkpoint needs no care: it is taken on the source, after the last
//! page, and no standby is ahead of that.

use std::time::Duration;

use super::{Event, Failure, Listener};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    pg::Lsn,
    replication::SystemIdentity,
};

/// How often the standby is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Makes sure that it is a standby of this source.
pub(super) async fn check(config: &Config, source: &SystemIdentity) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the standby (--copy-from)", &error);
    let mut standby = Connection::connect(config, SessionKind::Source).await.map_err(failed)?;
    let sql = "SELECT pg_is_in_recovery() AS standby, current_database() AS database,
                      (SELECT system_identifier::text FROM pg_control_system()) AS system_id";
    let result = standby.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let (system_id, database): (String, String) =
        (row.get("system_id").map_err(failed)?, row.get("database").map_err(failed)?);
    let refused = |what: String| {
        let hint = "name a hot standby of the source, with the same database, by --copy-from";
        Err(Failure::refused(what, hint))
    };
    if system_id != source.system_id {
        return refused("the server of --copy-from is no standby of the source".into());
    }
    if !row.get::<bool>("standby").map_err(failed)? {
        return refused("the server of --copy-from is not a standby (any more)".into());
    }
    if database != source.database {
        return refused(format!(
            "--copy-from names the database {database}, and the source is {}",
            source.database
        ));
    }
    standby.close().await;
    Ok(())
}

/// Waits until the standby shows everything that the slot will not bring.
pub(super) async fn caught_up(
    config: &Config,
    slot_start: Lsn,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::stopped_by("waiting for the standby", &error);
    let mut standby = Connection::connect(config, SessionKind::Source).await.map_err(failed)?;
    let mut told = false;
    loop {
        // NULL before the first record. Whether it is a standby still, every session that reads
        // pages asks for itself.
        let sql = "SELECT pg_last_wal_replay_lsn() AS replayed";
        let result = standby.query(sql).await.map_err(failed)?;
        let replayed: Option<Lsn> =
            result.row().and_then(|row| row.get("replayed")).map_err(failed)?;
        if replayed.is_some_and(|replayed| replayed >= slot_start) {
            standby.close().await;
            return Ok(());
        }
        if !told {
            told = true;
            let message = format!(
                "waiting for the standby to replay the log up to {slot_start}, where the slot \
                 begins; it is at {}",
                replayed.unwrap_or_default()
            );
            listener.on(&Event::Notice { message });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
