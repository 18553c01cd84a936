//! Lanes that commit whenever they like: `Lanes` and `Lane` of the real thing.

use std::collections::VecDeque;

use super::{
    Outcome, check,
    mistake::Mistake,
    world::World,
    write::{Write, key_of, shown, writes},
};
use crate::{
    apply::{ApplyTable, Entry, Fold, work::Target as Known},
    ledger::Position,
    pg::Lsn,
};

/// How many transactions a lane may have on their way.
const TRANSACTIONS_MAX: usize = 4;

/// A position on its way into the ledger.
#[derive(Clone, Debug)]
struct Carried {
    position: Position,
    durable: bool,
    /// Whether the target is exactly what the source was.
    exact: bool,
}

/// A transaction of a lane.
#[derive(Debug)]
struct Transaction {
    writes: Vec<Write>,
    /// The batch that its rows are of; with a position none.
    batch: Option<u64>,
    carried: Option<Carried>,
}

#[derive(Debug, Default)]
struct Lane {
    open: Option<Vec<Write>>,
    queue: VecDeque<Transaction>,
}

impl Lane {
    fn has_committed(&self, batch: u64) -> bool {
        !self.queue.iter().any(|transaction| transaction.batch.is_some_and(|of| of <= batch))
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.open.is_none()
    }

    fn end(&mut self, batch: Option<u64>, carried: Option<Carried>) {
        let writes = self.open.take().unwrap_or_default();
        self.queue.push_back(Transaction { writes, batch, carried });
    }
}

#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    waiting: VecDeque<(u64, Carried)>,
    batch: u64,
    strict: bool,
    barrier: bool,
}

impl Lanes {
    pub(super) fn new(lanes: usize, strict: bool) -> Self {
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { lanes, waiting: VecDeque::new(), batch: 0, strict, barrier: false }
    }

    pub(super) fn be_strict(&mut self) {
        self.strict = true;
        self.barrier = true;
    }

    pub(super) const fn is_strict(&self) -> bool {
        self.strict
    }

    pub(super) fn is_spread(&self, world: &World) -> bool {
        !self.strict || world.makes(Mistake::LanesAfterCheckpoint) && self.lanes.len() > 1
    }

    pub(super) fn can_take(&mut self, world: &World) -> bool {
        self.barrier &= self.is_spread(world) && !self.is_idle();
        !self.barrier && self.lanes.iter().all(|lane| lane.queue.len() < TRANSACTIONS_MAX)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.lanes.iter().all(Lane::is_idle)
    }

    pub(super) fn is_open(&self) -> bool {
        self.lanes.iter().any(|lane| lane.open.is_some())
    }

    /// Whether lanes may have committed more than the position says.
    pub(super) fn is_ahead(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn write(
        &mut self,
        world: &mut World,
        tables: &[ApplyTable],
        folds: &[Fold],
        position: Lsn,
    ) {
        let spread = self.is_spread(world);
        let truncates = folds.iter().any(Fold::truncated);
        let lanes = if spread && (!truncates || world.makes(Mistake::TruncateDoesNotWait)) {
            self.lanes.len()
        } else {
            self.barrier |= spread;
            1
        };
        let by_batch = world.makes(Mistake::LanesByBatch).then_some(self.batch);
        // Together, and before any row: in the real thing they are one statement.
        for (at, _) in folds.iter().enumerate().filter(|(_, fold)| fold.truncated()) {
            world.seen.truncates += 1;
            self.lanes[0].open.get_or_insert_default().push(Write::truncate(at));
        }
        for (at, (table, fold)) in tables.iter().zip(folds).enumerate() {
            if fold.entries().is_empty() {
                continue;
            }
            let known = match self.strict {
                true => Known::Exact,
                false if position > table.pages_until => Known::LaxAfterPages,
                false => Known::Lax,
            };
            for (number, lane) in self.lanes.iter_mut().take(lanes).enumerate() {
                let open = lane.open.get_or_insert_default();
                let is_mine = |entry: &&Entry| match by_batch {
                    Some(batch) => batch % lanes as u64 == number as u64,
                    None => lane_of(fold, entry, lanes) == number,
                };
                let mine = fold.entries().iter().filter(is_mine);
                open.extend(writes((at, table), fold, mine, known, world.mistake));
            }
        }
        if spread {
            self.commit_rows();
        }
    }

    pub(super) fn move_row(&mut self, world: &World, write: Write) {
        self.lanes[0].open.get_or_insert_default().push(write);
        if self.is_spread(world) {
            self.barrier = !world.makes(Mistake::MoveDoesNotWait);
            self.commit_rows();
        }
    }

    pub(super) fn commit_rows(&mut self) {
        self.batch += 1;
        for lane in &mut self.lanes {
            if lane.open.is_some() {
                lane.end(Some(self.batch), None);
            }
        }
    }

    pub(super) fn commit(
        &mut self,
        world: &mut World,
        position: Position,
        [durable, exact]: [bool; 2],
    ) {
        let carried = Carried { position, durable, exact };
        if self.is_spread(world) {
            self.waiting.push_back((self.batch, carried));
            self.release(world);
        } else {
            self.lanes[0].end(None, Some(carried));
        }
    }

    fn release(&mut self, world: &World) {
        let Self { lanes, waiting, .. } = self;
        let hasty = world.makes(Mistake::FirstLaneDecides);
        while let Some((_, carried)) = waiting
            .pop_front_if(|(batch, _)| hasty || lanes.iter().all(|lane| lane.has_committed(*batch)))
            && let Some(first) = lanes.first_mut()
        {
            first.end(None, Some(carried));
        }
    }

    /// A lane commits its next transaction. Gives a position that became durable.
    pub(super) fn advance(&mut self, world: &mut World, lane: usize) -> Outcome<Option<Lsn>> {
        let Some(transaction) = self.lanes[lane].queue.front() else { return Ok(None) };
        let durable = transaction.carried.as_ref().is_some_and(|carried| carried.durable);
        world.note(|| format!("lane {lane} commits {}", shown(&transaction.writes)));
        world.target.begin();
        for write in &transaction.writes {
            if let Err(failure) = world.target.execute(write) {
                world.target.roll_back();
                return Err(failure);
            }
        }
        let transaction = self.lanes[lane].queue.pop_front();
        let carried = transaction.and_then(|transaction| transaction.carried);
        // Lanes may be ahead, and then the target is not at any position.
        let alone = self.is_idle();
        let applied = carried.as_ref().map(|carried| carried.position.applied);
        if let Some(carried) = carried {
            store(world, carried, alone)?;
        }
        if durable {
            world.target.make_durable();
        }
        self.release(world);
        Ok(applied.filter(|_| durable))
    }

    /// Any lane that has something to do commits it.
    pub(super) fn advance_any(&mut self, world: &mut World) -> Outcome<Option<Lsn>> {
        let busy: Vec<_> =
            (0..self.lanes.len()).filter(|at| !self.lanes[*at].queue.is_empty()).collect();
        match world.rng.choice(busy) {
            Some(lane) => self.advance(world, lane),
            None => Ok(None),
        }
    }

    /// The target has crashed, and no lane will commit anything more.
    pub(super) fn are_gone(&mut self) {
        self.lanes.clear();
        self.waiting.clear();
    }

    /// The run is over: what was sent may still be committed, or not.
    pub(super) fn abandon(&mut self, world: &mut World) -> Outcome<()> {
        for lane in 0..self.lanes.len() {
            self.lanes[lane].open = None;
            let most = self.lanes[lane].queue.len();
            for _ in 0..world.rng.usize(..=most) {
                match self.advance(world, lane) {
                    // The others have it already, or nobody does.
                    Err(super::Failure::Conflict(_)) => break,
                    other => other?,
                };
            }
        }
        Ok(())
    }
}

/// `Fold::lane_of`, but the same for a key whenever it is asked.
fn lane_of(fold: &Fold, entry: &Entry, lanes: usize) -> usize {
    key_of(fold, entry).bytes().map(usize::from).sum::<usize>() % lanes
}

fn store(world: &mut World, carried: Carried, alone: bool) -> Outcome<()> {
    let position = &carried.position;
    world.note(|| format!("position {}", position.applied));
    let stored = world.makes(Mistake::PositionBeforeRows);
    if !stored && position.applied < world.target.ledger.applied {
        return Err(super::Failure::Refused("the position goes backwards".into()));
    }
    world.target.ledger.applied = world.target.ledger.applied.max(position.applied);
    if !world.makes(Mistake::CountsApart) {
        world.target.count(position);
    }
    if carried.exact && alone {
        world.seen.exact += 1;
        world.unwritten.clear();
        return check::equal(world, position.applied);
    }
    check::not_older(world, position.applied)
}
