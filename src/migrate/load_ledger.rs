//! The ledger as a run begins with it: whole and of this version, or told apart from that.

use std::time::Duration;

use tokio::sync::watch;

use super::{Event, Failure, Listener, servers::Servers, verdict::Sign};
use crate::{
    conn::{Connection, Error},
    ledger::{self, Migration},
    pg::SqlState,
};

/// Loads the migration, if it is there.
///
/// Errors: only a part of the ledger is there, or it is another version's.
pub(super) async fn load(
    target: &mut Connection,
    name: &str,
) -> Result<Option<Migration>, Failure> {
    let damaged = |what: &str| {
        let message = format!("the ledger of the migration {name} can't be used: {what}");
        Failure::seen(Sign::Ledger, message)
    };
    let failed = |error: Error| match error {
        Error::Result(what) => damaged(&what),
        error if is_missing(&error) => damaged(&error.to_string()),
        error => Failure::refused_by("reading the ledger on the target", &error),
    };
    let found = ledger::load(target, name).await.map_err(failed)?;
    match ledger::what_is_missing(target, name, found.is_some()).await.map_err(failed)? {
        Some(what) => Err(damaged(&what)),
        None => Ok(found),
    }
}

/// Whether a table or column is not there.
fn is_missing(error: &Error) -> bool {
    let code = error.sqlstate();
    code.is_some_and(|c| c.class() == "42" && c != SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Waits until nothing of an earlier run is in the target's hands any more: what a killed run had
/// sent may still be committed, and must be before anything is read from the ledger.
pub(super) async fn no_writers_left(
    servers: &mut Servers,
    name: &str,
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking for an earlier run's writers", &error);
    let mut told = false;
    loop {
        let writers = ledger::writers(&mut servers.target, name).await.map_err(failed)?;
        if writers.is_empty() {
            return Ok(());
        }
        if !told {
            told = true;
            let message = format!(
                "waiting for an earlier run's sessions on the target to end: pids {writers:?} \
                 (pg_terminate_backend ends them at once)"
            );
            listener.on(&Event::Notice { message });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            Ok(_) = interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted_early()),
        }
    }
}

/// How often an earlier run's writers are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
