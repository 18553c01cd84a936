//! A table's live workload: seeded writers with connections of their own.
//!
//! What they do is `script`'s; here it is sent, at a steady rate, and counted. Every
//! writer's statements follow from the seed. How those of several writers interleave does not:
//! what they leave behind is to be asked of the server.

use std::{ops::AddAssign, panic, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::script::{End, Kind, Script, Statement, Step};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    pg::{QualifiedName, SqlState},
};

/// How often writers take up work: seldom enough for the timer, often enough to be steady.
const TICK: Duration = Duration::from_millis(10);

/// How many ticks' work may be saved up while the server is slow. Without a limit it would
/// come as a burst later.
const TICKS_SAVED: f64 = 5.0;

/// What is written, and how fast.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// The server.
    pub server: Config,
    /// A table as [`super::orders::create`] makes it.
    pub table: QualifiedName,
    /// From which all statements follow.
    pub seed: u64,
    /// How many sessions write at the same time; at least one does.
    pub writers: u32,
    /// Of all writers together, if the server keeps up.
    pub statements_per_second: u32,
}

impl WorkloadOptions {
    /// Two writers with 1,500 statements a second, which leaves a machine of two cores most of
    /// its time.
    #[must_use]
    pub const fn new(server: Config, table: QualifiedName, seed: u64) -> Self {
        Self { server, table, seed, writers: 2, statements_per_second: 1500 }
    }
}

/// What was written. Rows are counted once their transaction has committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Statements sent, without those that begin and end transactions.
    pub statements: u64,
    /// Transactions that committed.
    pub transactions: u64,
    /// Transactions rolled back: on purpose, or by a deadlock or a key that was taken.
    pub rolled_back: u64,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Those of the updated whose key changed.
    pub moved: u64,
    /// Those of the updated that were given a value too big for the row.
    pub big: u64,
    /// Rows deleted.
    pub deleted: u64,
}

impl Counts {
    /// Rows inserted, updated and deleted.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    const fn add(&mut self, kind: Kind, rows: u64) {
        match kind {
            Kind::Insert => self.inserted += rows,
            Kind::Delete => self.deleted += rows,
            Kind::Update => self.updated += rows,
            Kind::Move => {
                self.updated += rows;
                self.moved += rows;
            }
            Kind::Big => {
                self.updated += rows;
                self.big += rows;
            }
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.statements += other.statements;
        self.transactions += other.transactions;
        self.rolled_back += other.rolled_back;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.moved += other.moved;
        self.big += other.big;
        self.deleted += other.deleted;
    }
}

/// Writers at work. Dropped, they end where they stand, in the middle of a transaction too.
#[derive(Debug)]
pub struct Workload {
    writers: JoinSet<Result<(), Error>>,
    stop: watch::Sender<bool>,
    counts: watch::Receiver<Counts>,
}

impl Workload {
    /// Connects the writers and sets them to work.
    ///
    /// Errors: a writer can't connect, or the table is not one of orders.
    pub async fn start(options: WorkloadOptions) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let (count, counts) = watch::channel(Counts::default());
        let writers = options.writers.max(1);
        let mut ready = Vec::new();
        for writer in 0..writers {
            let mut connection = Connection::connect(&options.server, SessionKind::Sql).await?;
            let highest = highest_key(&mut connection, &options.table).await?;
            let table = options.table.clone();
            ready.push(Writer {
                connection,
                script: Script::new(table, options.seed, (writer, writers), highest),
                per_tick: f64::from(options.statements_per_second) / f64::from(writers)
                    * TICK.as_secs_f64(),
                stopped: stopped.clone(),
                count: count.clone(),
            });
        }
        let mut tasks = JoinSet::new();
        for writer in ready {
            tasks.spawn(writer.run());
        }
        Ok(Self { writers: tasks, stop, counts })
    }

    /// What has been written so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until so many changes have been written, or no writer is left to write them.
    pub async fn reaches(&mut self, changes: u64) {
        let enough = |counts: &Counts| counts.changes() >= changes;
        // An error means that all writers have ended; `stop` tells why.
        let _ = self.counts.wait_for(enough).await;
    }

    /// Has the writers end their transactions, and waits until all have gone.
    ///
    /// Errors: the first failure of a writer, by which it had ended before.
    pub async fn stop(mut self) -> Result<Counts, Error> {
        self.stop.send_replace(true);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap_or_else(|panic| panic::resume_unwind(panic.into_panic()))?;
        }
        Ok(self.counts())
    }
}

async fn highest_key(connection: &mut Connection, table: &QualifiedName) -> Result<u64, Error> {
    let sql = format!("SELECT coalesce(max(id), 0) AS highest FROM {table}");
    connection.query(&sql).await?.row()?.get("highest")
}

/// One session that writes.
struct Writer {
    connection: Connection,
    script: Script,
    /// Statements.
    per_tick: f64,
    stopped: watch::Receiver<bool>,
    count: watch::Sender<Counts>,
}

impl Writer {
    async fn run(mut self) -> Result<(), Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = 0.0;
        while !*self.stopped.borrow() {
            ticks.tick().await;
            due = f64::min(due + self.per_tick, TICKS_SAVED * self.per_tick.max(1.0));
            while due >= 1.0 && !*self.stopped.borrow() {
                let step = self.script.step();
                // A transaction of many statements makes the following ticks idle.
                due -= f64::from(u32::try_from(step.statements.len()).unwrap_or(u32::MAX));
                let counts = self.take(&step).await?;
                self.count.send_modify(|sum| *sum += counts);
            }
        }
        self.connection.close().await;
        Ok(())
    }

    /// Runs one transaction. One that meets another writer's rows is rolled back, as an
    /// application would do before it tries again.
    async fn take(&mut self, step: &Step) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        match self.statements(step, &mut counts).await {
            Ok(()) if step.end != End::Rollback => {
                counts.transactions = 1;
                return Ok(counts);
            }
            Ok(()) => {}
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
        if self.connection.in_transaction() {
            self.connection.query("ROLLBACK").await?;
        }
        Ok(Counts { statements: counts.statements, rolled_back: 1, ..Counts::default() })
    }

    async fn statements(&mut self, step: &Step, counts: &mut Counts) -> Result<(), Error> {
        if step.end != End::Alone {
            self.connection.query("BEGIN").await?;
        }
        for Statement { sql, kind } in &step.statements {
            counts.statements += 1;
            let result = self.connection.query(sql).await?;
            counts.add(*kind, result.statements.iter().map(|s| s.affected).sum());
        }
        if step.end == End::Commit {
            self.connection.query("COMMIT").await?;
        }
        Ok(())
    }
}

/// Deadlocks (class 40, transaction rollback), and a key that another writer took first.
fn is_conflict(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code.class() == "40" || code == SqlState::UNIQUE_VIOLATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_key_and_a_big_value_are_updates_too() {
        let mut counts = Counts::default();
        counts.add(Kind::Move, 2);
        counts.add(Kind::Big, 3);
        counts.add(Kind::Insert, 1);
        counts.add(Kind::Delete, 1);
        let mut sum = counts;
        sum += counts;
        assert_eq!((sum.updated, sum.moved, sum.big), (10, 4, 6));
        assert_eq!(sum.changes(), 14);
    }
}
