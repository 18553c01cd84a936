//! One connection to the target, and the transactions that are on their way through it.
//!
//! What is told of several lanes together is [`super::lanes`]'s.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    ApplyError, ApplyTable, Fold,
    error::TARGET,
    fold::Entry,
    look::Looks,
    work::{Queued, Written},
    writer::{How, TRUNCATE, Writer},
};
use crate::{
    catalog::Foundation,
    conn::{Connection, Pipeline},
    ledger::{Ledger, MigrationName, Position, PositionWriter},
    pg::{Lsn, SqlState},
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

/// Whether temporary tables may be made.
const MAY_STAGE: &str =
    "SELECT has_database_privilege(current_database(), 'TEMPORARY') AS may_stage";

/// What an outstanding reply is for.
#[derive(Debug)]
enum Outstanding {
    /// BEGIN, the search path, a count of the ledger, or a Sync.
    Own,
    /// The staging table of this table: it is made, emptied or filled.
    Stage(usize),
    /// A look at this table, or the lock that goes before it.
    Look(usize),
    /// The ledger's position, which fails unless it finds its line.
    Position,
    /// Rows.
    Written(Written),
    /// The COMMIT of the rows of a batch.
    Rows,
    /// The COMMIT that carries this position.
    Commit(Carried),
}

impl From<Queued> for Outstanding {
    fn from(queued: Queued) -> Self {
        match queued {
            Queued::Stage(table) => Self::Stage(table),
            Queued::Written(written) => Self::Written(written),
        }
    }
}

/// A position on its way.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) position: Position,
    /// Whether its COMMIT makes it durable.
    pub(super) durable: bool,
}

/// What a lane has brought about.
#[derive(Debug)]
pub(super) enum Committed {
    /// Rows that no position covers yet.
    Rows,
    /// A position, which a crash of the target may still undo with its rows.
    Position,
    /// A position that stays.
    Durable(DurableLsn),
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    pipeline: Pipeline,
    writer: Writer,
    looks: Looks,
    positions: PositionWriter,
    outstanding: VecDeque<Outstanding>,
    /// The batches whose rows are not known to be committed, oldest first.
    batches: VecDeque<u64>,
    commits: usize,
    open: bool,
    /// A position that waits until the statements before it have found what they must.
    held: Option<Carried>,
    committed: Lsn,
    /// When the last Sync was queued.
    synced: Instant,
}

impl Lane {
    /// Sets a connection up for applying. `committed` is what the ledger holds.
    pub(super) async fn new(
        mut connection: Connection,
        migration: &MigrationName,
        committed: Lsn,
    ) -> Result<Self, crate::conn::Error> {
        Ledger::of(&mut connection, migration).prepare_writer().await?;
        connection.query(ROWS_BY_THEIR_KEY).await?;
        connection
            .query("SET synchronous_commit = off; SET plan_cache_mode = force_generic_plan")
            .await?;
        let may_stage = connection.query(MAY_STAGE).await?.row()?.get("may_stage")?;
        let mut pipeline = Pipeline::new(connection)?;
        let positions = PositionWriter::new(&mut pipeline, migration, committed);
        Ok(Self {
            pipeline,
            writer: Writer::new(may_stage),
            looks: Looks::default(),
            positions,
            outstanding: VecDeque::new(),
            batches: VecDeque::new(),
            commits: 0,
            open: false,
            held: None,
            committed,
            synced: Instant::now(),
        })
    }

    /// Whether more may be queued.
    pub(super) fn can_take(&self) -> bool {
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

    /// Whether a transaction was begun whose end is still to come.
    pub(super) const fn is_open(&self) -> bool {
        self.open && self.held.is_none()
    }

    /// Whether a COMMIT is on its way, or waits to be.
    pub(super) const fn has_commits(&self) -> bool {
        self.commits > 0 || self.held.is_some()
    }

    /// Whether the rows of every batch up to this one are committed.
    pub(super) fn has_committed(&self, batch: u64) -> bool {
        self.batches.front().is_none_or(|oldest| *oldest > batch)
    }

    /// The last position that this lane has committed.
    pub(super) const fn committed(&self) -> Lsn {
        self.committed
    }

    fn begin(&mut self) {
        if !self.open {
            self.open = true;
            self.positions.begin(&mut self.pipeline);
            self.outstanding.push_back(Outstanding::Own);
        }
    }

    /// What writing to tables has run may have set the search path, in this transaction or in one
    /// before. The statements that write need none: they name the schema of everything.
    fn path_again(&mut self) {
        self.positions.path_again(&mut self.pipeline);
        self.outstanding.push_back(Outstanding::Own);
    }

    /// Queues a look at a table, the first time that it is written to.
    fn look(&mut self, at: usize, table: &ApplyTable) {
        if self.looks.is_due(at) {
            self.path_again();
        }
        let queued = self.looks.look(&mut self.pipeline, at, table);
        self.outstanding.extend((0..queued).map(|_| Outstanding::Look(at)));
    }

    /// Queues the emptying of tables, which comes before all that is written to any of them.
    pub(super) fn truncate(&mut self, tables: &[(usize, &ApplyTable)]) {
        if tables.is_empty() {
            return;
        }
        self.begin();
        tables.iter().for_each(|(at, table)| self.look(*at, table));
        let Self { writer, pipeline, outstanding, .. } = self;
        writer.truncate(pipeline, tables, &mut |queued| outstanding.push_back(queued.into()));
    }

    /// Queues the folded changes of a table.
    pub(super) fn write(&mut self, at: usize, table: &ApplyTable, fold: &Fold, how: How) {
        self.begin();
        if fold.entries().iter().any(|entry| how.is_mine(table, fold, entry)) {
            self.look(at, table);
        }
        let Self { writer, pipeline, outstanding, .. } = self;
        writer.write(pipeline, (at, table), fold, how, &mut |queued| {
            outstanding.push_back(queued.into());
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
        self.look(at, table);
        let Self { writer, pipeline, outstanding, .. } = self;
        writer.move_row(pipeline, (at, table), fold, entries, &mut |queued| {
            outstanding.push_back(queued.into());
        });
    }

    /// Ends the transaction, if one is open, without a position.
    pub(super) fn commit_rows(&mut self, batch: u64) {
        if self.open {
            self.positions.commit_rows(&mut self.pipeline);
            self.outstanding.push_back(Outstanding::Rows);
            self.batches.push_back(batch);
            self.ended();
        }
    }

    /// Ends the transaction, or one of its own, with a position. `checked`: the COMMIT waits until
    /// every statement before it has found its rows.
    pub(super) fn commit(&mut self, carried: Carried, checked: bool) {
        self.begin();
        if checked {
            self.held = Some(carried);
            self.pipeline.request_replies();
        } else {
            self.queue_commit(carried);
        }
    }

    fn queue_commit(&mut self, carried: Carried) {
        self.path_again();
        if carried.durable {
            self.positions.make_durable(&mut self.pipeline);
            self.outstanding.push_back(Outstanding::Own);
        }
        self.positions.commit(&mut self.pipeline, &carried.position);
        self.outstanding.push_back(Outstanding::Position);
        self.outstanding.extend(carried.position.tables.iter().map(|_| Outstanding::Own));
        self.outstanding.push_back(Outstanding::Commit(carried));
        self.ended();
    }

    fn ended(&mut self) {
        self.pipeline.request_replies();
        self.commits += 1;
        self.open = false;
        self.writer.ended();
        self.looks.ended();
    }

    /// The next thing that was committed. Sends what is queued. May be dropped at any await
    /// without losing anything; waits for ever when nothing is on its way.
    ///
    /// Errors: a statement failed, or found other rows than it must. Nothing behind it is or will
    /// be committed.
    pub(super) async fn next(&mut self, tables: &[ApplyTable]) -> Result<Committed, ApplyError> {
        loop {
            if self.outstanding.is_empty()
                && let Some(carried) = self.held.take()
            {
                self.queue_commit(carried);
            }
            let after = self.committed;
            let found = self.pipeline.completed().await.map_err(|error| {
                let is_position = matches!(self.outstanding.front(), Some(Outstanding::Position));
                if is_position && PositionWriter::is_lost(&error) {
                    return ApplyError::PositionLost { after };
                }
                let table = error.sqlstate().and_then(|_| self.table_in_hand(tables));
                let place = table.map_or_else(|| TARGET.into(), |t| format!("{TARGET}'s {t}"));
                match self.outstanding.front() {
                    Some(Outstanding::Look(_)) if Foundation::fails(&error) => {
                        ApplyError::Reshaped { place, after }
                    }
                    Some(Outstanding::Stage(table)) if is_refusal(&error) => {
                        ApplyError::NotStaged { table: *table, place, after, error }
                    }
                    Some(Outstanding::Written(Written { what: TRUNCATE, .. }))
                        if error.sqlstate() == Some(SqlState::FEATURE_NOT_SUPPORTED) =>
                    {
                        ApplyError::Bound { place, after, error }
                    }
                    _ => ApplyError::Target { place, after, error },
                }
            })?;
            match self.outstanding.pop_front() {
                Some(Outstanding::Written(written)) => self.check(&written, found, tables)?,
                Some(Outstanding::Rows) => {
                    self.commits -= 1;
                    self.batches.pop_front();
                    self.sync_if_due();
                    return Ok(Committed::Rows);
                }
                Some(Outstanding::Commit(Carried { position, durable })) => {
                    self.commits -= 1;
                    self.committed = position.applied;
                    self.sync_if_due();
                    return Ok(if durable {
                        Committed::Durable(self.positions.committed(&position))
                    } else {
                        Committed::Position
                    });
                }
                Some(
                    Outstanding::Own
                    | Outstanding::Stage(_)
                    | Outstanding::Look(_)
                    | Outstanding::Position,
                )
                | None => {}
            }
        }
    }

    /// The table whose changes the oldest statement without a reply brings, if it brings any.
    fn table_in_hand(&self, tables: &[ApplyTable]) -> Option<String> {
        use Outstanding::{Look, Own, Stage, Written};
        let brings = |o: &&Outstanding| matches!(o, Own | Stage(_) | Look(_) | Written(_));
        let table = self.outstanding.iter().take_while(brings).find_map(|o| match o {
            Written(written) => tables.get(written.table),
            Stage(table) | Look(table) => tables.get(*table),
            _ => None,
        });
        table.map(|table| table.target.plain())
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
        let Some(expected) = written.must_find.filter(|expected| *expected != found) else {
            return Ok(());
        };
        let table = tables.get(written.table).map_or_else(String::new, |t| t.target.plain());
        let (after, what) = (self.committed, written.what);
        Err(match written.brings {
            true => ApplyError::KeptAway { table, after, what, expected, found },
            false => ApplyError::Diverged { table, after, what, expected, found },
        })
    }

    /// Ends the session. An open transaction is rolled back.
    pub(super) async fn close(self) {
        if let Ok(connection) = self.pipeline.close().await {
            connection.close().await;
        }
    }
}

/// Whether a server has refused what it was asked for, and not merely failed to do it: features,
/// values, constraints, rights and names, limits, what event triggers raise.
fn is_refusal(error: &crate::conn::Error) -> bool {
    let classes = ["0A", "22", "23", "42", "54", "P0"];
    error.sqlstate().is_some_and(|code| classes.contains(&code.class()))
}
