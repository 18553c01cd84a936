//! `pghost demo`: the whole journey, on two throwaway servers and with a live workload.
//!
//! ```text
//!   servers    two of them, on unix sockets only
//!   orders     the table, filled by the source from its keys
//!   workload   writes to it all the while; what, is told by script
//!   tour       migrates, stops the workload, migrates what is left, compares
//!   report     what came of it
//! ```
//!
//! Nothing here knows how a table is moved: it asks `migrate`, as the command line does, and
//! looks at the result from outside. Nothing of it is left on the machine afterwards, whichever
//! way it ends. The workload and its table serve the tests too.

pub mod orders;
mod report;
mod script;
mod servers;
mod tour;
pub mod workload;

use std::io::{ErrorKind, Write};

use tokio::sync::watch;

use crate::migrate::{Exit, Failure, Listener, Verdict};

/// What a demo can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The rows of the table before anybody writes to it.
    pub rows: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: 1_000_000 }
    }
}

/// Gives the demo. `interrupt` turns true when it is to stop; `listener` is told the events of
/// its migrations and what happens around them; the report goes to `out`.
///
/// Errors: there is no Postgres to start (then the hint says what to type), something failed on
/// the way, or the two sides are not equal in the end. The servers are gone in any case.
pub async fn run(
    options: Options,
    interrupt: watch::Receiver<bool>,
    listener: &mut dyn Listener,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let servers = servers::start(listener).await?;
    let ended = tour::give(&servers, options.rows, interrupt, listener).await;
    servers.remove().await;
    let report = ended.map_err(of_the_demo)?;
    match writeln!(out, "{report}").and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(stopped(format!("the report can't be written: {error}"))),
        Ok(()) => {}
    }
    if report.comparison.is_equal() {
        Ok(())
    } else {
        Err(stopped("the source and the target are not equal".into()))
    }
}

const GONE: &str = "both throwaway servers are stopped and removed; no other server was touched";

/// What failed within the tour, told from outside: there is nothing to go on with.
fn of_the_demo(failure: Failure) -> Failure {
    let hint = if failure == Failure::interrupted() {
        "run `pghost demo` again; it begins anew"
    } else {
        "run `pghost demo` again; it begins anew. If it ends like this again, report it"
    };
    Failure { state: GONE.into(), hint: hint.into(), ..failure }
}

fn stopped(message: String) -> Failure {
    Failure {
        exit: Exit::Stopped,
        verdict: Verdict::Stop,
        rule: None,
        sqlstate: None,
        message,
        state: GONE.into(),
        hint: "this is a fault of pghost: report it, with what was printed above".into(),
    }
}
