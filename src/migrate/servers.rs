//! The sessions of a run, and what every run needs of both servers.

use std::{pin::Pin, time::Duration};

use super::{
    Failure, MigrationSpec,
    check::{At, Findings, Side},
};
use crate::{
    config::Config,
    conn::{CancelToken, Connection, Error, SessionKind},
    pg::{Ident, ServerVersion, SqlState},
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
    /// Whether they are only asked: names are not taken then, which a run may want meanwhile.
    pub(super) asks_only: bool,
}

impl Servers {
    /// Opens those sessions again that were not needed for weeks and have not outlived them. They
    /// are not there to be told of that before somebody asks them.
    pub(super) async fn open_again(&mut self, spec: &MigrationSpec) -> Result<(), Error> {
        for (session, config, kind) in [
            (&mut self.source, &spec.source, SessionKind::Source),
            (&mut self.target, &spec.target, SessionKind::Sql),
        ] {
            if session.query("SELECT 1").await.is_err() {
                *session = Connection::connect(config, kind).await?;
            }
        }
        Ok(())
    }
}

/// Connects to both sides.
pub(super) async fn connect(
    spec: &MigrationSpec,
    findings: &mut Findings,
) -> Result<Servers, Failure> {
    let servers = look(spec, findings).await?;
    findings.refused()?;
    servers.ok_or_else(|| Failure::refused("a server can't be asked anything", "try again"))
}

/// Connects to both sides, and looks at what every run needs of them. `None` where one of them
/// can't be asked anything.
pub(super) async fn look(
    spec: &MigrationSpec,
    findings: &mut Findings,
) -> Result<Option<Servers>, Failure> {
    let source = reach(At::source("connection"), &spec.source, findings).await?;
    let target = reach(At::target("connection"), &spec.target, findings).await?;
    let (Some(mut source), Some(target)) = (source, target) else {
        return Ok(None);
    };
    check_encodings(&source, &target, findings);
    let who = check_source(&spec.source, &mut source, findings).await?;
    let found = replicate(&spec.source, &mut source, &who).await;
    let found = findings.take(At::source("replication"), found)?;
    let (walsender, identity) = match found {
        Some((walsender, identity)) => (Some(walsender), identity),
        None => (None, who),
    };
    let asks_only = findings.is_for_check();
    Ok(Some(Servers { source, walsender, target, identity, asks_only }))
}

/// Opens the ordinary session on a server that is not too old.
async fn reach(
    at: At<'_>,
    config: &Config,
    findings: &mut Findings,
) -> Result<Option<Connection>, Failure> {
    let side = at.server().as_str();
    let failed = |error: Error| Failure::refused_by(&format!("connecting to the {side}"), &error);
    let kind = if at.server() == Side::Source { SessionKind::Source } else { SessionKind::Sql };
    let connected = Connection::connect(config, kind).await.map_err(failed);
    let Some(connection) = findings.take(at, connected)? else {
        return Ok(None);
    };
    let at = At::new(at.server(), "version");
    let version = connection.server_version().map_err(|e| Failure::refused_by(side, &e));
    let Some(version) = findings.take(at, version)? else {
        return Ok(None);
    };
    if version < ServerVersion::OLDEST {
        let failure = Failure::refused(
            format!("the {side} runs Postgres {version}; pghost works with 14 and later"),
            "upgrade it, or move the table by other means",
        );
        findings.refuse(at, failure);
        return Ok(None);
    }
    findings.ok(at, format!("the {side} runs Postgres {version}"));
    Ok(Some(connection))
}

/// Opens the replication connection that makes the slot. `who`: who the other session talks to.
async fn replicate(
    config: &Config,
    source: &mut Connection,
    who: &SystemIdentity,
) -> Result<(Connection, SystemIdentity), Failure> {
    let opening = async {
        let mut walsender = Connection::connect(config, SessionKind::Replication).await?;
        let identity = identify_system(&mut walsender).await?;
        Ok((walsender, identity))
    };
    let error: Error = match opening.await {
        Ok((_, identity)) if identity.system_id != who.system_id => {
            return Err(Failure::refused(
                "the replication connection reached another server than the ordinary one",
                "name exactly one host in --source",
            ));
        }
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let failure = Failure::refused_by("opening a replication connection to the source", &error);
    let role = Ident::new(&config.user);
    let mut hint = match error.sqlstate() {
        Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
            format!("ALTER ROLE {role} REPLICATION on the source")
        }
        Some(_) => {
            format!("ALTER ROLE {role} REPLICATION, and see that max_wal_senders is not used up")
        }
        // No server has answered.
        None => failure.hint.clone(),
    };
    let full = error.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS);
    let sql = "SELECT current_setting('max_wal_senders') AS most";
    if full && let Ok(most) = source.query(sql).await.and_then(|r| r.row()?.get::<u32>("most")) {
        hint = format!(
            "end one of the sessions of pg_stat_replication, or ALTER SYSTEM SET max_wal_senders \
             = {}, and restart the source",
            most + 2
        );
    }
    Err(Failure { hint, ..failure })
}

/// Without an encoding a database holds any bytes, and a client that asks for UTF-8 gets them
/// unchecked. They would be taken for text, or refused, by the other side.
fn check_encodings(source: &Connection, target: &Connection, findings: &mut Findings) {
    let encoding = |connection: &Connection| {
        connection.parameter("server_encoding").unwrap_or_default().to_owned()
    };
    let (from, to) = (encoding(source), encoding(target));
    for (side, encoding) in [(Side::Source, &from), (Side::Target, &to)] {
        if encoding == "SQL_ASCII" {
            let failure = Failure::refused(
                format!(
                    "the {} database has the encoding SQL_ASCII: its text has none",
                    side.as_str()
                ),
                "move the table into or out of a database with an encoding, such as UTF8",
            );
            findings.refuse(At::new(side, "encoding"), failure);
        }
    }
    let at = At::both("encoding");
    if from == to {
        findings.ok(at, format!("both databases have the encoding {from}"));
    } else if to == "UTF8" {
        let message = format!("text is converted from {from} to UTF8, which has a place for all");
        findings.ok(at, message);
    } else {
        findings.warn(
            at,
            format!(
                "text is converted from {from} to {to}: a row with a letter that {to} does not \
                 have would stop the run"
            ),
            "use a target database with ENCODING 'UTF8', unless no such letter is there",
        );
    }
}

/// What every run needs of a source. Gives who it is; only a walsender knows the timeline, which is
/// not compared before something was made.
async fn check_source(
    config: &Config,
    source: &mut Connection,
    findings: &mut Findings,
) -> Result<SystemIdentity, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    // Each session is asked for the system, or one server's positions might be held against
    // another's log: a source that does not tell it can't be moved from.
    let sql = "SELECT current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS standby,
                      system_identifier::text AS system_id, current_database() AS database
                 FROM pg_control_system()";
    let result = source.query(sql).await.map_err(|error| {
        let forbidden = error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE);
        let failure = failed(error);
        let role = Ident::new(&config.user);
        match forbidden {
            true => Failure {
                hint: format!(
                    "GRANT EXECUTE ON FUNCTION pg_control_system() TO {role} on the source: its \
                     sessions are known by it"
                ),
                ..failure
            },
            false => failure,
        }
    })?;
    let row = result.row().map_err(failed)?;
    if row.get::<bool>("standby").map_err(failed)? {
        let hint = "name its primary as the source; of several hosts \
                    target_session_attrs=read-write finds it";
        // Of several hosts the primary may be away, and come back.
        let failure = Failure::busy("the source is a standby", hint);
        findings.refuse(At::source("recovery"), failure);
    }
    let wal_level: String = row.get("wal_level").map_err(failed)?;
    let at = At::source("wal_level");
    if wal_level == "logical" {
        findings.ok(at, "wal_level is logical");
    } else {
        let failure = Failure::refused(
            format!("the source's wal_level is {wal_level}, and logical is needed"),
            "ALTER SYSTEM SET wal_level = logical, and restart the source",
        );
        findings.refuse(at, failure);
    }
    Ok(SystemIdentity {
        system_id: row.get("system_id").map_err(failed)?,
        timeline: 0,
        database: row.get("database").map_err(failed)?,
    })
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
