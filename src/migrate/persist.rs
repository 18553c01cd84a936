//! A run that outlives its servers' restarts.
//!
//! ```text
//!   attempt ── begin ── phases ──> done
//!      ^         a fault that passes: every connection is dropped
//!      └── pause <──────┘
//! ```
//!
//! An attempt is what a run would be without this: it connects, checks that everything is still
//! what it belongs to, and takes the journey up where the ledger says it is. That is safe after a
//! crash of pghost itself, and so it is after any fault. What is a fault that passes is `verdict`'s
//! to say, and for how long is `patience`'s.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{
    Event, Exit, Failure, Listener, MigrationSpec, desk::Desk, patience::Patience, run::begin,
    verdict::Verdict, watch_slot::SlotWatch,
};

/// How long a server may take to let us in, where the settings don't say: one that takes
/// connections and does not answer is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a migration, or takes it up where it stopped, to what the spec asks for. `interrupt`
/// turns true when it is to stop. Once it has begun, it waits for servers that are away.
///
/// Errors: tell the exit code, what happened, what state things are in and what to do next.
pub async fn run(
    spec: &MigrationSpec,
    mut interrupt: watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let spec = in_bounded_time(spec);
    let desk = Desk::new(listener);
    let mut patience = Patience::new(spec.wait_for_server);
    let started = Instant::now();
    let mut attempt = Attempt { spec: &spec, desk: &desk, started, entered: None, trouble: None };
    loop {
        let Err(failure) = Box::pin(attempt.go(interrupt.clone())).await else {
            return Ok(());
        };
        let has_begun = attempt.entered.is_some() || attempt.trouble.is_some();
        if failure.exit == Exit::Refused && !has_begun {
            return Err(failure);
        }
        let failure = failure.in_mid_run();
        if failure.verdict != Verdict::Retry {
            return Err(failure);
        }
        let now = Instant::now();
        // An idle source gives nothing to move with; having stood for long is as good.
        let stood = attempt.entered.is_some_and(|since| now - since >= spec.wait_for_server);
        let well = desk.has_moved() || stood;
        let Some(pause) = patience.failed(now, well, fastrand::f64()) else {
            return Err(given_up(failure, patience.waited(now)));
        };
        desk.tell(&Event::Waiting {
            reason: failure.message.clone(),
            waited_seconds: pause.waited.as_secs_f64(),
            limit_seconds: spec.wait_for_server.as_secs_f64(),
            next_try_seconds: pause.pause.as_secs_f64(),
        });
        attempt.trouble = now.checked_sub(pause.waited);
        tokio::select! {
            () = tokio::time::sleep(pause.pause) => {}
            Ok(_) = interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted()),
        }
    }
}

/// The same with a limit to how long connecting may take.
pub(super) fn in_bounded_time(spec: &MigrationSpec) -> MigrationSpec {
    let mut spec = spec.clone();
    let servers = [Some(&mut spec.source), Some(&mut spec.target), spec.copy_from.as_mut()];
    for server in servers.into_iter().flatten() {
        server.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    }
    spec
}

fn given_up(failure: Failure, waited: Duration) -> Failure {
    if waited.is_zero() {
        return failure;
    }
    let message = format!(
        "{}; it was waited for, for {} s (--wait-for-server)",
        failure.message,
        waited.as_secs()
    );
    Failure { message, ..failure }
}

/// One attempt after the other.
struct Attempt<'a, 'l> {
    spec: &'a MigrationSpec,
    desk: &'a Desk<'l>,
    started: Instant,
    /// When this attempt had both servers, and all was as it must be.
    entered: Option<Instant>,
    /// Since when it is in trouble, if it ever was.
    trouble: Option<Instant>,
}

impl Attempt<'_, '_> {
    async fn go(&mut self, interrupt: watch::Receiver<bool>) -> Result<(), Failure> {
        self.entered = None;
        let is_first = self.trouble.is_none();
        let journey = begin(self.spec, interrupt, self.desk, is_first).await?;
        let now = Instant::now();
        self.entered = Some(now);
        if let Some(since) = self.trouble {
            let waited_seconds = (now - since).as_secs_f64();
            self.desk.tell(&Event::Resumed { waited_seconds });
        }
        let watch = SlotWatch::new(&self.spec.source, journey.migration(), self.desk);
        tokio::select! {
            ended = journey.go(self.started) => ended,
            // Dropping the journey closes its connections, and the servers roll back.
            failure = watch.watch(is_first) => Err(failure),
        }
    }
}
