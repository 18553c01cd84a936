//! What an earlier run has left in the target's hands: sessions that may still write.
//!
//! They are waited for, not ended: what a killed run had sent is work that is done, and whoever
//! they wait for may be right to hold them up. That has an end, and then it is told who they are.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Event, Failure, Listener, MigrationSpec, servers::Servers};
use crate::{
    conn::Error,
    ledger::{Ledger, MigrationName},
};

/// How often they are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long they are waited for even if servers are not (`--wait-for-server 0`): sessions of a run
/// that was killed a moment ago end by themselves.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Waits until nothing of an earlier run is in the target's hands any more: what a killed run had
/// sent may still be committed, and must be before anything is read from the ledger.
///
/// Errors: among others, it lasts longer than a server is waited for.
pub(super) async fn no_writers_left(
    spec: &MigrationSpec,
    servers: &mut Servers,
    name: &MigrationName,
    interrupt: &mut watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking for an earlier run's writers", &error);
    let limit = spec.wait_for_server.max(AT_LEAST);
    let since = Instant::now();
    let mut told = false;
    loop {
        let writers = Ledger::of(&mut servers.target, name).writers().await.map_err(failed)?;
        let Some(writers) = writers else { return Ok(()) };
        let waited = since.elapsed();
        if waited >= limit {
            return Err(Failure::still_written_to(&writers, waited));
        }
        if !told {
            told = true;
            let who = writers.told(
                "waiting for an earlier run's sessions on the target to end",
                &format!("the writers of {name}"),
            );
            let message = format!(
                "{who}; waiting at most {} s (pg_terminate_backend ends them at once)",
                limit.as_secs()
            );
            listener.on(&Event::Notice { message });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            Ok(_) = interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted_early()),
        }
    }
}
