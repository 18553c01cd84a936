//! One connection to the target, and the transactions that are on their way through it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    ApplyError, ApplyTable, Fold,
    fold::Entry,
    writer::{Writer, Written},
};
use crate::{
    conn::{Connection, Pipeline},
    ledger::{self, Position, PositionWriter},
    pg::Lsn,
    replication::DurableLsn,
};

/// How many transactions may be on their way: enough that the target never waits for us over a
/// network, and few enough that what is in memory stays a handful of batches.
const TRANSACTIONS_MAX: usize = 4;

/// How soon after one Sync the next one is worth sending, when nothing is on its way. The server
/// tells its statistics, and so autovacuum, what was done only at a Sync.
const SYNC_AT_THE_SOONEST: Duration = Duration::from_secs(1);
/// How late at most.
const SYNC_AT_THE_LATEST: Duration = Duration::from_secs(30);

/// Rows are found by the key's index and by nothing else. Statistics of a table that was just
/// filled say that it is empty, and a plan made by them would scan all of it.
pub(super) const ROWS_BY_THEIR_KEY: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
     SET enable_mergejoin = off; SET max_parallel_workers_per_gather = 0; SET jit = off";

/// What an outstanding reply is for.
#[derive(Debug)]
enum Outstanding {
    /// BEGIN, a count of the ledger, or a Sync.
    Own,
    /// The ledger's position, which must find its line.
    Position,
    /// Rows.
    Written(Written),
    /// The COMMIT that carries this position.
    Commit(Position),
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    pipeline: Pipeline,
    writer: Writer,
    positions: PositionWriter,
    outstanding: VecDeque<Outstanding>,
    commits: usize,
    open: bool,
    /// A position that waits until the statements before it have found what they must.
    held: Option<Position>,
    committed: Lsn,
    strict: bool,
    /// When the last Sync was queued.
    synced: Instant,
}

impl Lane {
    /// Sets a connection up for applying. `committed` is what the ledger holds.
    pub(super) async fn new(
        mut connection: Connection,
        migration: &str,
        committed: Lsn,
    ) -> Result<Self, crate::conn::Error> {
        ledger::prepare_writer(&mut connection, migration).await?;
        connection.query(ROWS_BY_THEIR_KEY).await?;
        connection.query("SET synchronous_commit = on").await?;
        let mut pipeline = Pipeline::new(connection)?;
        let positions = PositionWriter::new(&mut pipeline, migration);
        Ok(Self {
            pipeline,
            writer: Writer::default(),
            positions,
            outstanding: VecDeque::new(),
            commits: 0,
            open: false,
            held: None,
            committed,
            strict: false,
            synced: Instant::now(),
        })
    }

    /// From now on the target is exact.
    pub(super) const fn be_strict(&mut self) {
        self.strict = true;
    }

    pub(super) const fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether more may be queued.
    pub(super) fn can_take(&mut self) -> bool {
        // Under a load that never pauses, the lane is drained now and then for a Sync.
        let is_overdue = self.synced.elapsed() > SYNC_AT_THE_LATEST && !self.outstanding.is_empty();
        self.held.is_none()
            && self.commits < TRANSACTIONS_MAX
            && self.pipeline.has_room()
            && (self.open || !is_overdue)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty() && self.held.is_none()
    }

    /// Whether a transaction was begun whose position is still to come.
    pub(super) const fn is_open(&self) -> bool {
        self.open && self.held.is_none()
    }

    /// Whether a COMMIT is on its way, or waits to be.
    pub(super) const fn has_commits(&self) -> bool {
        self.commits > 0 || self.held.is_some()
    }

    fn begin(&mut self) {
        if !self.open {
            self.open = true;
            self.positions.begin(&mut self.pipeline);
            self.outstanding.push_back(Outstanding::Own);
        }
    }

    /// Queues the folded changes of a table.
    pub(super) fn write(&mut self, at: usize, table: &ApplyTable, fold: &Fold) {
        self.begin();
        let Self { writer, pipeline, outstanding, strict, .. } = self;
        writer.write(pipeline, (at, table), fold, *strict, &mut |written| {
            outstanding.push_back(Outstanding::Written(written));
        });
    }

    /// Queues the move of a row of the target to another key.
    pub(super) fn move_row(
        &mut self,
        at: usize,
        table: &ApplyTable,
        fold: &Fold,
        entries: (&Entry, &Entry),
    ) {
        self.begin();
        let Self { writer, pipeline, outstanding, .. } = self;
        writer.move_row(pipeline, (at, table), fold, entries, &mut |written| {
            outstanding.push_back(Outstanding::Written(written));
        });
    }

    /// Ends the transaction with a position. While strict the COMMIT waits until every statement
    /// before it has found its rows.
    pub(super) fn commit(&mut self, position: Position) {
        self.begin();
        if self.strict {
            self.held = Some(position);
            self.pipeline.request_replies();
        } else {
            self.queue_commit(position);
        }
    }

    fn queue_commit(&mut self, position: Position) {
        self.positions.commit(&mut self.pipeline, &position);
        self.outstanding.push_back(Outstanding::Position);
        self.outstanding.extend(position.tables.iter().map(|_| Outstanding::Own));
        self.outstanding.push_back(Outstanding::Commit(position));
        self.pipeline.request_replies();
        self.commits += 1;
        self.open = false;
    }

    /// The next position that became durable. Sends what is queued. May be dropped at any await
    /// without losing anything; waits for ever when nothing is on its way.
    ///
    /// Errors: a statement failed, or found other rows than it must. Nothing behind it is or will
    /// be committed.
    pub(super) async fn durable(
        &mut self,
        tables: &[ApplyTable],
    ) -> Result<(DurableLsn, Position), ApplyError> {
        loop {
            if self.outstanding.is_empty()
                && let Some(position) = self.held.take()
            {
                self.queue_commit(position);
            }
            let after = self.committed;
            let found = self
                .pipeline
                .completed()
                .await
                .map_err(|error| ApplyError::Target { after, error })?;
            match self.outstanding.pop_front() {
                Some(Outstanding::Written(written)) => self.check(&written, found, tables)?,
                Some(Outstanding::Position) if found != 1 => {
                    return Err(ApplyError::PositionLost { after });
                }
                Some(Outstanding::Commit(position)) => {
                    self.commits -= 1;
                    self.committed = position.applied;
                    self.sync_if_due();
                    return Ok((self.positions.committed(&position), position));
                }
                Some(Outstanding::Own | Outstanding::Position) | None => {}
            }
        }
    }

    /// Queues a Sync where it can't void anything.
    fn sync_if_due(&mut self) {
        let is_quiet = self.outstanding.is_empty() && self.held.is_none() && !self.open;
        if is_quiet && self.synced.elapsed() > SYNC_AT_THE_SOONEST {
            self.synced = Instant::now();
            self.pipeline.sync();
            self.outstanding.push_back(Outstanding::Own);
        }
    }

    fn check(
        &self,
        written: &Written,
        found: u64,
        tables: &[ApplyTable],
    ) -> Result<(), ApplyError> {
        match written.must_find {
            Some(expected) if expected != found => Err(ApplyError::Diverged {
                table: tables.get(written.table).map_or_else(String::new, |t| t.target.plain()),
                after: self.committed,
                what: written.what,
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// Ends the session. An open transaction is rolled back.
    pub(super) async fn close(self) {
        if let Ok(connection) = self.pipeline.close().await {
            connection.close().await;
        }
    }
}
