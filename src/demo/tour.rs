//! The demo's way: fill, write, migrate, stop writing, migrate the rest, compare.

use std::time::Instant;

use tokio::sync::watch;

use super::{
    orders,
    report::{Outcome, Report},
    servers::Servers,
    workload::{Workload, WorkloadOptions},
};
use crate::{
    backfill::Paging,
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::LedgerSchema,
    migrate::{
        self, Event, Exit, Failure, Listener, MigrationSpec, TableSpec, Then, Trust, Verdict,
    },
    pg::QualifiedName,
    verify::{self, Comparison},
};

/// Any number; the same every time, so that two demos write the same.
const SEED: u64 = 0x67_686f_7374;

/// Changes written before the migration begins, and after its first run: some for the first
/// pages to find, some for the second run to bring.
const CHANGES_AROUND: u64 = 500;

/// Gives the tour. The servers are left as they are at its end.
pub(super) async fn give(
    servers: &Servers,
    rows: u64,
    interrupt: watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut tour = Tour {
        source: servers.source()?,
        target: servers.target()?,
        table: QualifiedName::new("public", "orders"),
        interrupt,
        listener: Recorder { listener, finished: None },
    };
    tour.make_table(rows).await?;

    tour.say("writing to it from two sessions, until the migration is through");
    let options = WorkloadOptions::new(tour.source.clone(), tour.table.clone(), SEED);
    let mut workload = Workload::start(options)
        .await
        .map_err(|error| failed("starting the live workload", &error))?;
    let writing = Instant::now();
    tour.more_changes(&mut workload).await?;
    let first = tour.migrate().await?;
    tour.more_changes(&mut workload).await?;
    let written =
        workload.stop().await.map_err(|error| failed("writing the live workload", &error))?;
    let seconds_written = writing.elapsed().as_secs_f64();

    tour.say("the workload has stopped; bringing what it wrote last");
    let last = tour.migrate().await?;
    let comparison = tour.compare().await?;
    Ok(Report {
        version: servers.version(),
        written,
        seconds_written,
        first,
        last,
        comparison,
        seconds: began.elapsed().as_secs_f64(),
    })
}

struct Tour<'a> {
    source: Config,
    target: Config,
    table: QualifiedName,
    interrupt: watch::Receiver<bool>,
    listener: Recorder<'a>,
}

impl Tour<'_> {
    fn say(&mut self, message: impl Into<String>) {
        let message = message.into();
        self.listener.on(&Event::Notice { message });
    }

    async fn make_table(&mut self, rows: u64) -> Result<(), Failure> {
        self.say(format!("filling {} with {rows} rows", self.table.plain()));
        let sql = orders::create(&self.table, rows);
        let (config, interrupt) = (self.source.clone(), self.interrupt.clone());
        let making = async {
            let mut source = Connection::connect(&config, SessionKind::Sql).await?;
            source.query(&sql).await?;
            source.close().await;
            Ok(())
        };
        unless_interrupted(interrupt, making)
            .await?
            .map_err(|error| failed("making the table", &error))
    }

    /// Lets the workload write for a moment.
    async fn more_changes(&mut self, workload: &mut Workload) -> Result<(), Failure> {
        let enough = workload.counts().changes() + CHANGES_AROUND;
        unless_interrupted(self.interrupt.clone(), workload.reaches(enough)).await
    }

    /// Migrates the table, or goes on with that, to the end.
    async fn migrate(&mut self) -> Result<Outcome, Failure> {
        let spec = MigrationSpec {
            source: self.source.clone(),
            target: self.target.clone(),
            tables: vec![TableSpec { source: self.table.clone(), target: self.table.clone() }],
            name: None,
            publication: None,
            slot: None,
            ledger: LedgerSchema::default(),
            paging: Paging::Auto,
            page_rows: None,
            copy_from: None,
            // One session is enough to keep two cores busy with both servers.
            copy_jobs: 1,
            apply_jobs: 1,
            defer_indexes: false,
            target_owner: None,
            target_tablespace: None,
            trial: true,
            verify: false,
            then: Then::Stop,
            handoff: migrate::HandoffSpec::default(),
            wait_for_server: MigrationSpec::WAIT_FOR_SERVER,
            stall: MigrationSpec::STALL,
            ignore_new_columns: false,
            trust: Trust::default(),
        };
        migrate::run(&spec, self.interrupt.clone(), &mut self.listener).await?;
        self.listener.finished.take().ok_or_else(|| broken("the migration came to no end".into()))
    }

    async fn compare(&mut self) -> Result<Comparison, Failure> {
        self.say("comparing all rows of both sides");
        let (table, columns) = (&self.table, orders::columns());
        let comparing = async {
            let mut source = Connection::connect(&self.source, SessionKind::Sql).await?;
            let mut target = Connection::connect(&self.target, SessionKind::Sql).await?;
            let found = verify::compare(&mut source, table, &mut target, table, &columns).await?;
            source.close().await;
            target.close().await;
            Ok(found)
        };
        unless_interrupted(self.interrupt.clone(), comparing)
            .await?
            .map_err(|error| failed("comparing both sides", &error))
    }
}

/// Does something unless told to stop. It is dropped then, and connections with it.
async fn unless_interrupted<T>(
    mut interrupt: watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => Ok(done),
        // Only a stop is taken; where nobody is left to give one, the work goes on.
        Ok(_) = interrupt.wait_for(|stop| *stop) => Err(Failure::interrupted()),
    }
}

fn failed(what: &str, error: &Error) -> Failure {
    Failure { sqlstate: error.sqlstate(), ..broken(format!("{what}: {error}")) }
}

/// A failure whose state and hint are the demo's.
fn broken(message: String) -> Failure {
    Failure {
        exit: Exit::Stopped,
        verdict: Verdict::Stop,
        rule: None,
        sqlstate: None,
        message,
        state: String::new(),
        hint: String::new(),
    }
}

/// Passes everything on, and remembers how the last migration ended.
struct Recorder<'a> {
    listener: &'a mut dyn Listener,
    finished: Option<Outcome>,
}

impl Listener for Recorder<'_> {
    fn on(&mut self, event: &Event) {
        if let Some(outcome) = Outcome::of(event) {
            self.finished = Some(outcome);
        }
        self.listener.on(event);
    }
}
