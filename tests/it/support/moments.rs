//! Making things happen at a chosen moment of a run.
//!
//! Three moments can be chosen: an event (the listener is called in the run's own task, so what
//! it does is done before the run goes on), a page that is being written (a [`Gate`] in the
//! target holds it, with its rows read and the next page not yet begun), and the time between
//! two runs.

use std::{future::Future, pin::pin, time::Duration};

use pghost::{
    conn::Connection,
    migrate::{self, Event, Failure, MigrationSpec, PhaseName, TableReport, Then},
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use crate::support::{Database, assert_same, limit, migrate, nobody_reads, server, slot_of, spec};

/// How long something is waited for that must come: far longer than it can take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does something from within a listener, before the run goes on.
///
/// On a thread of its own: a `block_on` within a `block_on` parks the same thread-local parker, and
/// takes away the wakeups that are meant for the run.
pub(crate) fn now<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let handle = Handle::current();
    let aside = || {
        std::thread::scope(|scope| match scope.spawn(|| handle.block_on(work)).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    };
    tokio::task::block_in_place(aside)
}

/// Runs a migration and tells `on` each event.
pub(crate) async fn migrate_with(
    spec: &MigrationSpec,
    mut on: impl FnMut(&Event) + Send,
) -> Result<Vec<Event>, Failure> {
    let (_stay, interrupt) = watch::channel(false);
    let mut events = Vec::new();
    let listener = &mut |event: &Event| {
        on(event);
        events.push(event.clone());
    };
    let ended = limit::of(migrate::run(spec, interrupt, listener)).await;
    ended.unwrap_or_else(|| panic!("the run hangs after {:#?}", events.last()))?;
    Ok(events)
}

/// Waits until a query gives true.
pub(crate) async fn until(database: &Database, sql: &str) {
    let mut connection = database.connect().await;
    let looking = async {
        loop {
            let result = connection.query(sql).await.unwrap();
            if result.row().unwrap().values()[0].as_deref() == Some(b"t") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, looking).await.is_ok();
    assert!(in_time, "never came true: {sql}");
    connection.close().await;
}

/// Holds pghost where it writes a certain row to the target.
pub(crate) struct Gate {
    holder: Connection,
    database: Database,
    number: u32,
}

impl Gate {
    /// Lets nobody write a row of `table` for which `when` holds, a condition on its columns.
    ///
    /// A constraint does it: it is checked whatever `session_replication_role` says.
    pub(crate) async fn close(database: &Database, table: &str, number: u32, when: &str) -> Self {
        let when = when.replace("NEW.", "");
        let sql = format!(
            // The trial of a check bounds its waits, and goes by; nothing else of pghost's does.
            "CREATE OR REPLACE FUNCTION gate(number bigint) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                 IF current_setting('lock_timeout') = '0' THEN
                     PERFORM pg_advisory_xact_lock_shared(number);
                 END IF;
                 RETURN true;
             END $$;
             ALTER TABLE {table} ADD CONSTRAINT gate_{number}
                 CHECK (CASE WHEN {when} THEN public.gate({number}) ELSE true END)"
        );
        database.sql(&sql).await;
        let mut holder = database.connect().await;
        let lock = format!("SELECT pg_advisory_lock({number})");
        holder.query(&lock).await.unwrap();
        let database = database.clone();
        Self { holder, database, number }
    }

    /// Waits until somebody stands before it.
    pub(crate) async fn reached(&self) {
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
              WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted
                AND objid = {}",
            self.number
        );
        until(&self.database, &sql).await;
    }

    /// Lets everybody through.
    pub(crate) async fn open(mut self) {
        let unlock = format!("SELECT pg_advisory_unlock({})", self.number);
        self.holder.query(&unlock).await.unwrap();
        self.holder.close().await;
    }
}

/// Runs a migration beside a script that holds it somewhere. The script must come to its end: what
/// it waits for comes of the run.
pub(crate) async fn beside(
    spec: &MigrationSpec,
    on: impl FnMut(&Event) + Send,
    script: impl Future<Output = ()>,
) -> Result<Vec<Event>, Failure> {
    let (mut run, mut script) = (Box::pin(migrate_with(spec, on)), pin!(script));
    let ended = tokio::select! {
        ended = &mut run => ended,
        () = &mut script => return run.await,
    };
    // The run may end before the script hears that it has let it go.
    limit::within(&format!("the script of a run that has ended: {ended:?}"), script).await;
    ended
}

/// A migration that follows.
pub(crate) struct Following {
    stop: watch::Sender<bool>,
    /// Whether it has come to following, and why it has waited, each time.
    told: watch::Receiver<(bool, Vec<String>)>,
    /// How many of these were asked for.
    heard: usize,
    run: JoinHandle<Result<(), Failure>>,
}

impl Following {
    /// Waits until it follows.
    pub(crate) async fn start(spec: &MigrationSpec) -> Self {
        let spec = MigrationSpec { then: Then::Follow, ..spec.clone() };
        let (stop, interrupt) = watch::channel(false);
        let (tell, mut told) = watch::channel((false, Vec::new()));
        let run = tokio::spawn(async move {
            let mut listener = |event: &Event| {
                tell.send_modify(|(follows, waits)| {
                    *follows |= begins(event, PhaseName::Follow);
                    if let Event::Waiting { reason, .. } = event {
                        waits.push(reason.clone());
                    }
                });
            };
            migrate::run(&spec, interrupt, &mut listener).await
        });
        told.wait_for(|(follows, _)| *follows).await.unwrap();
        Self { stop, told, heard: 0, run }
    }

    /// Why it waits, once it does; then, once it does again.
    pub(crate) async fn waits(&mut self) -> String {
        let at = self.heard;
        self.heard += 1;
        self.told.wait_for(|(_, waits)| waits.len() > at).await.unwrap().1[at].clone()
    }

    /// Tells it to stop, and does not wait for it.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for it to end by itself, and gives why.
    pub(crate) async fn failed(self) -> Failure {
        let ended = tokio::time::timeout(PATIENCE, self.run).await.expect("it goes on and on");
        ended.unwrap().unwrap_err()
    }

    /// Tells it to stop; it must end well.
    pub(crate) async fn end(self) {
        self.stop();
        self.run.await.unwrap().unwrap();
    }
}

/// Checks that everything that was received is accounted for, and gives the first table's sums.
pub(crate) fn sums(events: &[Event]) -> (u64, TableReport) {
    let Some(Event::Finished { tables, changes_received, .. }) = events.last() else {
        panic!("not finished: {events:?}");
    };
    let of = |t: &TableReport| t.inserted + t.updated + t.deleted + t.truncated + t.skipped;
    let sum: u64 = tables.iter().map(of).sum();
    assert_eq!(*changes_received, sum, "{tables:?}");
    (sum, tables[0].clone())
}

/// Drops a migration's slot: there is a limit to them on a shared server.
pub(crate) async fn drop_slot(database: &Database, spec: &MigrationSpec) {
    let slot = slot_of(spec);
    nobody_reads(&database.config(), &slot).await;
    database.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

/// A table that is moved while it is changed.
pub(crate) struct Scenario<'a> {
    /// A word for the database's name.
    pub(crate) what: &'a str,
    /// Makes and fills `source`, and makes `target`.
    pub(crate) tables: &'a str,
    /// How the rows are ordered when they are compared.
    pub(crate) key: &'a str,
    /// Rows in a page.
    pub(crate) page_rows: u64,
    /// The row in whose page the backfill is held, a condition on `NEW`.
    pub(crate) gate: &'a str,
    /// Done while that page has been read and the next one has not.
    pub(crate) between_pages: &'a [&'a str],
    /// Done once the checkpoint has been taken, before the first change is applied.
    pub(crate) after_pages: &'a [&'a str],
    /// Each done before another run.
    pub(crate) afterwards: &'a [&'a str],
}

impl Default for Scenario<'_> {
    fn default() -> Self {
        Self {
            what: "scenario",
            tables: "",
            key: "id",
            page_rows: 10,
            gate: "false",
            between_pages: &[],
            after_pages: &[],
            afterwards: &[],
        }
    }
}

impl Scenario<'_> {
    /// Plays it on one release, and panics unless both tables are equal at the end of each run
    /// whose changes all lie before it.
    pub(crate) async fn play(&self, binaries: &pghost::cluster::Binaries) -> Vec<Event> {
        let server = server(binaries);
        let db = Database::create(&server, self.what).await;
        db.sql(self.tables).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(self.page_rows);
        spec.copy_jobs = 1;
        let major = binaries.version.major();
        let mut first = true;
        let on = |event: &Event| {
            if let Event::Checkpoint { .. } = event
                && std::mem::take(&mut first)
            {
                self.after_pages.iter().for_each(|sql| {
                    now(db.sql(sql));
                });
            }
        };
        let mut events = if self.between_pages.is_empty() {
            migrate_with(&spec, on).await
        } else {
            let gate = Gate::close(&db, "target", 1, self.gate).await;
            let script = async {
                gate.reached().await;
                for sql in self.between_pages {
                    db.sql(sql).await;
                }
                gate.open().await;
            };
            beside(&spec, on, script).await
        }
        .unwrap_or_else(|failure| panic!("{major}, {}: {failure}", self.what));
        sums(&events);
        if !self.after_pages.is_empty() {
            events = self.again(&db, &spec, "what came after the pages").await;
        }
        assert_same((&db, "source"), (&db, "target"), self.key).await;
        for sql in self.afterwards {
            db.sql(sql).await;
            events = self.again(&db, &spec, sql).await;
        }
        drop_slot(&db, &spec).await;
        events
    }

    async fn again(&self, db: &Database, spec: &MigrationSpec, sql: &str) -> Vec<Event> {
        let major = db.server.version().major();
        let events = migrate(spec)
            .await
            .unwrap_or_else(|failure| panic!("{major}, {}, {sql}: {failure}", self.what));
        sums(&events);
        assert_same((db, "source"), (db, "target"), self.key).await;
        events
    }
}

/// Whether an event is the beginning of a phase.
pub(crate) fn begins(event: &Event, wanted: PhaseName) -> bool {
    matches!(event, Event::Phase { phase } if *phase == wanted)
}
