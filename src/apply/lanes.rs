//! Several connections to the target, and the position that all of them have passed.
//!
//! ```text
//!   batch ──┬─ lane 0   BEGIN; rows of its keys; COMMIT     ..     BEGIN; position; COMMIT
//!           ├─ lane 1   BEGIN; rows of its keys; COMMIT              ^ once every lane has
//!           └─ lane 2   BEGIN; rows of its keys; COMMIT ─────────────┘ committed its rows
//! ```
//!
//! Up to the checkpoint a key is always in the same lane, so its changes stay in order; between
//! keys there is no order to keep, since nothing but the key is unique then. A lane that ran ahead
//! of the stored position when a run ended is in the state of a page that was read later: the
//! changes up to there come again and end in the same state.
//!
//! Nothing is known to be committed before every statement is known to have found its rows: rows
//! that something on the target has kept away are behind no position, and come again.
//!
//! After the checkpoint rows and position are one transaction of lane 0, whose COMMIT waits for
//! what its statements have found. What concerns all keys, a TRUNCATE, or two keys at once, a row
//! that moves on the target, waits until every lane is idle, and every lane waits for it.
//!
//! A COMMIT does not wait for the disk, but for those that make a position durable; each of those
//! makes all durable that was committed before it.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, task::Poll};

use super::{
    ApplyError, ApplyTable, Fold,
    fold::Entry,
    lane::{Carried, Committed, Lane},
    work::Target,
    writer::How,
};
use crate::{ledger::Position, pg::Lsn, replication::DurableLsn};

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Positions that wait for their batch to be committed by every lane.
    waiting: VecDeque<(u64, Carried)>,
    batch: u64,
    strict: bool,
    /// Nothing more until every lane is idle.
    barrier: bool,
}

impl Lanes {
    /// At least one; the first carries the positions.
    pub(super) const fn new(lanes: Vec<Lane>) -> Self {
        Self { lanes, waiting: VecDeque::new(), batch: 0, strict: false, barrier: false }
    }

    /// From now on the target is exact. Several lanes must be idle then.
    pub(super) const fn be_strict(&mut self) {
        self.strict = true;
    }

    pub(super) const fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether rows are committed before their position: by several lanes, or by one.
    pub(super) const fn is_spread(&self) -> bool {
        !self.strict
    }

    /// Whether more may be queued.
    pub(super) fn can_take(&mut self) -> bool {
        self.barrier &= self.is_spread() && !self.is_idle();
        !self.barrier && self.lanes.iter().all(Lane::can_take)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.lanes.iter().all(Lane::is_idle)
    }

    /// Whether a transaction was begun whose position is still to come.
    pub(super) fn is_open(&self) -> bool {
        self.lanes.iter().any(Lane::is_open)
    }

    /// Whether a COMMIT is on its way, or waits to be.
    pub(super) fn has_commits(&self) -> bool {
        !self.waiting.is_empty() || self.lanes.iter().any(Lane::has_commits)
    }

    /// The last position that was committed, durable or not.
    pub(super) fn committed(&self) -> Lsn {
        self.lanes.first().map_or(Lsn::INVALID, Lane::committed)
    }

    /// Queues the folded changes of some tables. `position`: what was complete before them.
    pub(super) fn write(&mut self, tables: &[ApplyTable], folds: &[Fold], position: Lsn) {
        let lanes = if self.is_spread() && !folds.iter().any(Fold::truncated) {
            self.lanes.len()
        } else {
            // All of it in the first one; the others wait for it.
            self.barrier |= self.is_spread();
            1
        };
        let all = || tables.iter().enumerate().zip(folds);
        let emptied: Vec<_> =
            all().filter(|(_, fold)| fold.truncated()).map(|(table, _)| table).collect();
        if let Some(first) = self.lanes.first_mut() {
            first.truncate(&emptied);
        }
        for ((at, table), fold) in all().filter(|(_, fold)| !fold.entries().is_empty()) {
            let target = match self.strict {
                true => Target::Exact,
                false if position > table.pages_until => Target::LaxAfterPages,
                false => Target::Lax,
            };
            for (number, lane) in self.lanes.iter_mut().take(lanes).enumerate() {
                lane.write(at, table, fold, How { target, lane: (number, lanes) });
            }
        }
        if self.is_spread() {
            self.commit_rows();
        }
    }

    /// Queues the move of a row of the target to another key.
    pub(super) fn move_row(
        &mut self,
        at: usize,
        table: &ApplyTable,
        fold: &Fold,
        entries: (&Entry, &Entry),
    ) {
        if let Some(lane) = self.lanes.first_mut() {
            lane.move_row(at, table, fold, entries);
        }
        if self.is_spread() {
            self.barrier = true;
            self.commit_rows();
        }
    }

    /// Ends the transactions whose rows no position covers yet.
    pub(super) fn commit_rows(&mut self) {
        self.batch += 1;
        for lane in &mut self.lanes {
            lane.commit_rows(self.batch);
        }
    }

    /// Stores a position once all that it covers is committed, or with it.
    pub(super) fn commit(&mut self, position: Position, durable: bool) {
        let carried = Carried { position, durable };
        if self.is_spread() {
            self.waiting.push_back((self.batch, carried));
            self.release();
        } else if let Some(lane) = self.lanes.first_mut() {
            lane.commit(carried, true);
        }
    }

    /// Queues the positions that every lane has passed.
    fn release(&mut self) {
        let Self { lanes, waiting, .. } = self;
        while let Some((_, carried)) =
            waiting.pop_front_if(|(batch, _)| lanes.iter().all(|lane| lane.has_committed(*batch)))
            && let Some(first) = lanes.first_mut()
        {
            first.commit(carried, false);
        }
    }

    /// The next position that became durable. Sends what is queued. May be dropped at any await
    /// without losing anything; waits for ever when nothing is on its way.
    ///
    /// Errors: a statement failed, or found other rows than it must. Nothing behind it in its
    /// lane is or will be committed, and no position that covers it.
    pub(super) async fn durable(
        &mut self,
        tables: &[ApplyTable],
    ) -> Result<Option<DurableLsn>, ApplyError> {
        let committed = self.next(tables).await?;
        self.release();
        Ok(match committed {
            Committed::Durable(durable) => Some(durable),
            Committed::Rows | Committed::Position => None,
        })
    }

    /// What the first lane that has something to tell tells.
    async fn next(&mut self, tables: &[ApplyTable]) -> Result<Committed, ApplyError> {
        let mut busy: Vec<_> = (self.lanes.iter_mut().filter(|lane| !lane.is_idle()))
            .map(|lane| Box::pin(lane.next(tables)))
            .collect();
        poll_fn(|context| {
            for lane in &mut busy {
                if let Poll::Ready(committed) = Pin::new(lane).poll(context) {
                    return Poll::Ready(committed);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Ends the sessions. Open transactions are rolled back.
    pub(super) async fn close(self) {
        for lane in self.lanes {
            lane.close().await;
        }
    }
}
