//! The beginning of the stream.

use std::time::{Duration, Instant};

use super::{Apply, ApplyError};
use crate::{
    conn::{Connection, Error, SessionKind},
    pg::{Ident, SqlState},
    replication::{
        self, DurableLsn, ReplicationStream, StreamOptions, SystemIdentity, identify_system,
    },
};

/// How long a slot may be in use by somebody else. A walsender notices a closed socket as soon as
/// it writes, which it does at the latest half a `wal_sender_timeout` (60 s) after the last word.
const SLOT_PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Starts streaming. A walsender that served a run which was killed may hold the slot until it
/// notices.
pub(super) async fn open_stream(
    apply: &Apply,
    from: DurableLsn,
) -> Result<ReplicationStream, ApplyError> {
    let options = StreamOptions {
        binary: apply.binary,
        // Asked for because pghost marks the checkpoint with one: from 15 on an empty transaction
        // sends nothing, and an idle source would never be seen to pass the checkpoint.
        messages: true,
        ..StreamOptions::plain(vec![Ident::new(&apply.publication)])
    };
    let started = Instant::now();
    loop {
        let connected = Connection::connect(&apply.source, SessionKind::Replication).await;
        let mut walsender = connected.map_err(ApplyError::Stream)?;
        let elsewhere = why_elsewhere(&mut walsender, &apply.identity).await;
        if let Some(what) = elsewhere.map_err(ApplyError::Stream)? {
            return Err(ApplyError::Elsewhere { what });
        }
        match replication::start(walsender, &apply.slot, &options, from).await {
            Err(error)
                if error.sqlstate() == Some(SqlState::OBJECT_IN_USE)
                    && started.elapsed() < SLOT_PATIENCE.min(apply.stall) =>
            {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            started => {
                let mut stream = started.map_err(ApplyError::Stream)?;
                stream.feedback().give_up_after(apply.stall);
                return Ok(stream);
            }
        }
    }
}

/// Why a server is not the one that has the slot, if it isn't: that it is not there says nothing
/// then.
async fn why_elsewhere(
    walsender: &mut Connection,
    wanted: &SystemIdentity,
) -> Result<Option<&'static str>, Error> {
    let found = identify_system(walsender).await?;
    if found.system_id != wanted.system_id {
        return Ok(Some("belongs to another cluster"));
    }
    let standby = walsender.query("SELECT pg_is_in_recovery() AS standby").await?;
    if standby.row()?.get("standby")? {
        return Ok(Some("is a standby of the source"));
    }
    Ok((found.timeline != wanted.timeline).then_some("is on another timeline: it was promoted"))
}
