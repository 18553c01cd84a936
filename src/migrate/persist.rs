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
    Event, Exit, Failure, Listener, MigrationSpec,
    desk::Desk,
    patience::Patience,
    run::at_ledger,
    run::begin,
    verdict::{Sign, Verdict},
    watch::{blocked::BlockWatch, slot::SlotWatch},
};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{self, Access, Ledger, MigrationName},
};

/// How long a server may take to let us in, where the settings don't say: one that takes
/// connections and does not answer is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long noting an error may take: the person is waiting to read it.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);

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
    let (name, entered, trouble) = (None, None, None);
    let mut attempt = Attempt { spec: &spec, desk: &desk, started, name, entered, trouble };
    let ended = attempt.repeat(&mut patience, &mut interrupt).await;
    if let (Err(failure), Some(name)) = (&ended, &attempt.name)
        && is_to_note(failure)
    {
        Box::pin(note(&spec.target, name, failure)).await;
    }
    ended
}

/// Whether the ledger is to know of it: not that somebody has stopped the run, and nothing if the
/// ledger may not be this migration's.
fn is_to_note(failure: &Failure) -> bool {
    let sign = failure.rule.map(|rule| rule.sign);
    *failure != Failure::interrupted()
        && !matches!(sign, Some(Sign::OtherServer | Sign::Ledger | Sign::AtFirst))
}

/// Leaves in the ledger how the run has ended, if the target can be reached.
async fn note(target: &Config, name: &MigrationName, failure: &Failure) {
    let noting = async {
        let mut connection = Connection::connect(target, SessionKind::Sql).await?;
        if let Err(unfit) = ledger::inspect(&mut connection, &name.ledger, Access::Write).await? {
            return Err(Error::Result(unfit.to_string()));
        }
        Ledger::of(&mut connection, name).note_failure(&failure.message, &failure.hint).await?;
        connection.close().await;
        Ok::<_, Error>(())
    };
    match tokio::time::timeout(NOTE_TIMEOUT, noting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!("the ledger does not know of this error: {error}"),
        Err(_) => tracing::info!("the ledger does not know of this error: no answer in time"),
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
        "{}; for {} s it was tried again, and got no further (--wait-for-server)",
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
    /// The migration's name, once the ledger has it.
    name: Option<MigrationName>,
    /// When this attempt had both servers, and all was as it must be.
    entered: Option<Instant>,
    /// Since when it is in trouble, if it ever was.
    trouble: Option<Instant>,
}

impl Attempt<'_, '_> {
    /// One attempt after the other, until one comes to its end or there is no use in another.
    async fn repeat(
        &mut self,
        patience: &mut Patience,
        interrupt: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let (spec, desk) = (self.spec, self.desk);
        loop {
            let Err(failure) = Box::pin(self.go(interrupt.clone())).await else {
                return Ok(());
            };
            let has_begun = self.entered.is_some() || self.trouble.is_some();
            if failure.exit == Exit::Refused && !has_begun {
                return Err(failure);
            }
            let failure = failure.in_mid_run();
            if failure.verdict != Verdict::Retry {
                return Err(failure);
            }
            let now = Instant::now();
            let headway = desk.headway(now, spec.wait_for_server);
            let Some(pause) = patience.failed(now, headway, fastrand::f64()) else {
                return Err(given_up(failure, patience.waited(now)));
            };
            desk.tell(&Event::Waiting {
                reason: failure.message.clone(),
                waited_seconds: pause.waited.as_secs_f64(),
                limit_seconds: spec.wait_for_server.as_secs_f64(),
                next_try_seconds: pause.pause.as_secs_f64(),
            });
            self.trouble = now.checked_sub(pause.waited);
            tokio::select! {
                () = tokio::time::sleep(pause.pause) => {}
                Ok(_) = interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted()),
            }
        }
    }

    async fn go(&mut self, interrupt: watch::Receiver<bool>) -> Result<(), Failure> {
        self.entered = None;
        let is_first = self.trouble.is_none();
        let mut journey = begin(self.spec, interrupt, self.desk, is_first).await?;
        let name = journey.migration().name.clone();
        if self.name.is_none() {
            let forgotten = Ledger::of(&mut journey.servers.target, &name).forget_failure().await;
            forgotten.map_err(|error| at_ledger(&error))?;
        }
        // Whom it waits for is a matter of comfort: a source that says no is not asked again.
        let _ = ledger::join_readers(&mut journey.servers.source, &name).await;
        self.name = Some(name.clone());
        let now = Instant::now();
        self.entered = Some(now);
        if let Some(since) = self.trouble {
            let waited_seconds = (now - since).as_secs_f64();
            self.desk.tell(&Event::Resumed { waited_seconds });
        }
        let watch = SlotWatch::new(&self.spec.source, journey.migration(), self.desk);
        let blocks = BlockWatch { spec: self.spec, migration: name, desk: self.desk };
        tokio::select! {
            ended = journey.go(self.started) => ended,
            never = blocks.watch() => match never {},
            // Dropping the journey closes its connections, and the servers roll back.
            failure = watch.watch(is_first) => Err(failure),
        }
    }
}
