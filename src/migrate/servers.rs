//! The sessions of a run, and what every run needs of both servers.

use std::{pin::Pin, time::Duration};

use super::{Failure, MigrationSpec};
use crate::{
    conn::{CancelToken, Connection, Error, SessionKind},
    pg::{Ident, ServerVersion},
    replication::{SystemIdentity, identify_system},
};

/// The sessions of a run.
#[derive(Debug)]
pub(super) struct Servers {
    /// Ordinary SQL on the source.
    pub(super) source: Connection,
    /// A walsender of the source, until the slot is made.
    pub(super) walsender: Option<Connection>,
    /// Ordinary SQL on the target; holds the migration's lock.
    pub(super) target: Connection,
    /// Who the source is.
    pub(super) identity: SystemIdentity,
}

/// Connects to both sides.
pub(super) async fn connect(spec: &MigrationSpec) -> Result<Servers, Failure> {
    let at_source = |error: Error| Failure::refused_by("connecting to the source", &error);
    let at_target = |error: Error| Failure::refused_by("connecting to the target", &error);
    let source = Connection::connect(&spec.source, SessionKind::Sql).await.map_err(at_source)?;
    let target = Connection::connect(&spec.target, SessionKind::Sql).await.map_err(at_target)?;
    for (side, connection) in [("source", &source), ("target", &target)] {
        let version = connection.server_version().map_err(|e| Failure::refused_by(side, &e))?;
        if version < ServerVersion::OLDEST {
            return Err(Failure::refused(
                format!("the {side} runs Postgres {version}; pghost works with 14 and later"),
                "upgrade it, or move the table by other means",
            ));
        }
    }
    check_encodings(&source, &target)?;
    let mut source = source;
    check_source(&mut source).await?;
    let replication = |error: Error| {
        let failure = Failure::refused_by("opening a replication connection to the source", &error);
        Failure {
            hint: format!(
                "ALTER ROLE {} REPLICATION, and see that max_wal_senders is not used up",
                Ident::new(&spec.source.user)
            ),
            ..failure
        }
    };
    let mut walsender =
        Connection::connect(&spec.source, SessionKind::Replication).await.map_err(replication)?;
    let identity = identify_system(&mut walsender).await.map_err(replication)?;
    Ok(Servers { source, walsender: Some(walsender), target, identity })
}

/// Without an encoding a database holds any bytes, and a client that asks for UTF-8 gets them
/// unchecked. They would be taken for text, or refused, by the other side.
fn check_encodings(source: &Connection, target: &Connection) -> Result<(), Failure> {
    for (side, connection) in [("source", source), ("target", target)] {
        if connection.parameter("server_encoding") == Some("SQL_ASCII") {
            return Err(Failure::refused(
                format!("the {side} database has the encoding SQL_ASCII: its text has none"),
                "move the table into or out of a database with an encoding, such as UTF8",
            ));
        }
    }
    Ok(())
}

/// What every run needs of a source.
async fn check_source(source: &mut Connection) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let sql = "SELECT current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS standby";
    let result = source.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    if row.get::<bool>("standby").map_err(failed)? {
        return Err(Failure::refused("the source is a standby", "name its primary as the source"));
    }
    let wal_level: String = row.get("wal_level").map_err(failed)?;
    if wal_level != "logical" {
        return Err(Failure::refused(
            format!("the source's wal_level is {wal_level}, and logical is needed"),
            "ALTER SYSTEM SET wal_level = logical, and restart the source",
        ));
    }
    Ok(())
}

/// How soon a request to cancel is made again.
pub(super) const CANCEL_AGAIN: Duration = Duration::from_millis(200);

/// Cancels what a session is doing, and waits until it has ended, one way or the other. A request
/// that comes before the statement does nothing: then another one follows.
pub(super) async fn cancel(
    token: Option<&CancelToken>,
    mut work: Pin<&mut impl Future>,
) -> Result<(), Error> {
    loop {
        if let Some(token) = token {
            token.cancel().await?;
        }
        if tokio::time::timeout(CANCEL_AGAIN, work.as_mut()).await.is_ok() {
            return Ok(());
        }
    }
}
