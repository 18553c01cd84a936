//! A run of applying: the decisions of `Driver`, with lanes that commit whenever they like.

use std::collections::{HashMap, VecDeque};

use super::{
    Failure, Outcome, check,
    message::TEXT,
    mistake::Mistake,
    source::Source,
    walsender::{Event, Walsender},
    world::World,
    write::{Write, key_of, writes},
};
use crate::{
    apply::{
        ApplyColumn, ApplyError, ApplyTable, State,
        messages::{Ask, Inbox, key_bytes},
    },
    ledger::Position,
    pg::{Ident, Lsn, QualifiedName},
    pgoutput::{Decoder, Message, ProtoVersion, Streaming, Update},
    sql::{KeyColumn, Operators},
};

/// How much a lane may have before it.
const WORK_MAX: usize = 4;

/// A transaction of a lane.
#[derive(Debug)]
struct Work {
    batch: u64,
    writes: Vec<Write>,
    /// What it brings the ledger to, where rows and position are one transaction.
    position: Option<Stored>,
}

/// A position on its way into the ledger.
#[derive(Clone, Debug)]
struct Stored {
    position: Position,
    /// Whether the target is exactly what the source was.
    exact: bool,
}

/// A run of applying, lost when it crashes.
#[derive(Debug)]
pub(super) struct Applier {
    walsender: Walsender,
    decoder: Decoder,
    pub(super) inbox: Inbox,
    lanes: Vec<VecDeque<Work>>,
    /// Statements of the transaction whose position is still to come.
    open: Vec<Write>,
    /// Positions that wait for all lanes, each with its batch.
    positions: VecDeque<(u64, Stored)>,
    batch: u64,
    pub(super) strict: bool,
    /// As it was when the run began, and as it has been raised.
    known_checkpoint: Lsn,
    checkpoint: Lsn,
    /// As in `Driver`.
    fetched: HashMap<Vec<u8>, Option<Lsn>>,
    position_queued: Lsn,
    from: Lsn,
    commit_lsn: Lsn,
    keepalive: Lsn,
    deleted: Vec<Write>,
}

fn tables(source: &Source) -> Vec<ApplyTable> {
    let key = KeyColumn {
        name: Ident::new("id"),
        type_name: "text".into(),
        operators: Operators::builtin(),
    };
    let column = |name: &&str| ApplyColumn {
        name: Ident::new(*name),
        source_type: TEXT,
        source_modifier: -1,
        target_type: TEXT,
    };
    let table = |(ordinal, table): (usize, &super::message::Table)| ApplyTable {
        ordinal,
        source_oid: table.oid,
        source: QualifiedName::new("public", table.name),
        target: QualifiedName::new("public", table.name),
        columns: super::COLUMNS.iter().map(column).collect(),
        source_key: vec![key.clone()],
        target_key: vec![key.clone()],
        replica_identity: table.identity(),
        left_out: Vec::new(),
    };
    source.tables.iter().enumerate().take(source.migrated()).map(table).collect()
}

fn refused(error: &ApplyError) -> Failure {
    Failure::Refused(error.to_string())
}

impl Applier {
    /// Goes on from where the ledger says.
    pub(super) fn start(world: &World) -> Self {
        let checkpoint = world.target.ledger.checkpoint.unwrap_or_default();
        let from = match world.mistake {
            Some(Mistake::SlotSaysWhere) => world.source.slot.confirmed,
            _ => world.target.ledger.applied,
        };
        Self {
            walsender: Walsender::start(&world.source, from),
            decoder: Decoder::new(ProtoVersion::V1, Streaming::Off),
            inbox: Inbox::new(tables(&world.source), from),
            lanes: (0..world.lanes).map(|_| VecDeque::new()).collect(),
            open: Vec::new(),
            positions: VecDeque::new(),
            batch: 1,
            strict: from >= checkpoint || world.makes(Mistake::StrictTooSoon),
            known_checkpoint: checkpoint,
            checkpoint,
            fetched: HashMap::new(),
            position_queued: from,
            from,
            commit_lsn: Lsn::INVALID,
            keepalive: Lsn::INVALID,
            deleted: Vec::new(),
        }
    }

    /// Takes what comes next.
    pub(super) fn receive(&mut self, world: &mut World) -> Outcome<()> {
        match self.walsender.event(&world.source, &mut world.rng)? {
            Event::Keepalive(wal_end) => {
                self.inbox.accountant.keepalive(wal_end);
                self.keepalive = self.keepalive.max(wal_end);
                self.pass_checkpoint(world)?;
            }
            Event::Message(at, payload) => self.change(world, at, &payload)?,
        }
        if world.makes(Mistake::ReceivedAcknowledged) {
            world.source.slot.confirmed = self.inbox.accountant.complete();
        }
        Ok(())
    }

    fn change(&mut self, world: &mut World, at: Lsn, payload: &[u8]) -> Outcome<()> {
        let decoded = self.decoder.decode(payload);
        let message = decoded.map_err(|error| Failure::Refused(error.to_string()))?;
        world.note(|| format!("  {at} {message:?}"));
        let bounds = matches!(message, Message::Begin(_) | Message::Commit(_));
        let Some(message) = self.mistaken(world, at, message) else { return Ok(()) };
        let ask = self.inbox.take(at, message).map_err(|error| refused(&error))?;
        if let Ask::Moved { table, update } = ask {
            self.moved(world, table, update)?;
        }
        if bounds {
            self.pass_checkpoint(world)?;
        }
        Ok(())
    }

    /// The message as a mistake takes it, `None` if it is taken for nothing.
    fn mistaken<'m>(&mut self, world: &World, at: Lsn, m: Message<'m>) -> Option<Message<'m>> {
        if let Message::Begin(begin) = m {
            self.commit_lsn = begin.final_lsn;
        }
        let (relation, tuple) = match m {
            Message::Insert(insert) => (insert.relation, insert.new),
            Message::Update(update) => (update.relation, update.new),
            Message::Delete(delete) => (delete.relation, delete.old.tuple()),
            Message::Truncate(_) => {
                let skips = world.makes(Mistake::TruncateSkipped) && !self.strict;
                return (!skips).then_some(m);
            }
            _ => return Some(m),
        };
        let Some(table) = world.source.tables.iter().position(|table| table.oid == relation) else {
            return Some(m);
        };
        let place = world.source.tables[table].order().position(|column| column == 0);
        let key = place.and_then(|place| tuple.values().nth(place)?.bytes());
        let key = key.map(|key| String::from_utf8_lossy(key).into_owned());
        match (world.mistake, m) {
            (Some(Mistake::ChangesBeforePositionSkipped), _) if at < self.from => None,
            (Some(Mistake::PagePositionSkips), _) => {
                let page = key.and_then(|key| super::run::page_of(world, table, &key));
                let is_later = page.is_some_and(|page| self.commit_lsn < page);
                (!is_later).then_some(m)
            }
            (Some(Mistake::OldKeyForgotten), Message::Update(update)) if key.is_some() => {
                Some(Message::Update(Update { old: None, ..update }))
            }
            (Some(Mistake::DeletesLast), Message::Delete(_)) if table < world.source.migrated() => {
                self.deleted.extend(key.map(|key| Write::delete(table, key)));
                Some(m)
            }
            _ => Some(m),
        }
    }

    /// `Driver::moved`.
    fn moved(&mut self, world: &mut World, table: usize, update: Update<'_>) -> Outcome<()> {
        let alone = self.inbox.moved_alone(table, update);
        let [old, new] = alone.entries() else {
            return Err(Failure::Refused("an update of the key without the old key".into()));
        };
        let keys = [old, new].map(|entry| key_bytes(table, &alone, entry));
        let passed = self.inbox.accountant.has_passed(self.known_checkpoint);
        let ahead = keys.iter().any(|key| self.is_ahead(key))
            && !world.makes(Mistake::FetchedTakenForExact);
        let trusts = world.makes(Mistake::MovedFromTarget);
        if self.strict || passed && !ahead || trusts {
            self.write_folds(world)?;
            world.seen.moved += 1;
            world.seen.moved_lax += usize::from(!self.strict);
            let mut write = Write::move_row(table, &alone, (old, new));
            write.must_find = !trusts;
            let waits = !world.makes(Mistake::MoveDoesNotWait);
            self.alone(world, write, waits)?;
        } else {
            let [_, new] = keys;
            self.fetched.insert(new, None);
            self.inbox.fetch_moved(table, update);
        }
        Ok(())
    }

    /// `Driver::is_ahead`.
    fn is_ahead(&self, key: &[u8]) -> bool {
        match self.fetched.get(key) {
            None => false,
            Some(None) => true,
            Some(Some(fetched)) => !self.inbox.accountant.has_passed(*fetched),
        }
    }

    /// `Driver::pass_checkpoint`. Several lanes pass it together.
    fn pass_checkpoint(&mut self, world: &mut World) -> Outcome<()> {
        if self.strict || !self.inbox.accountant.has_passed(self.checkpoint) {
            return Ok(());
        }
        self.write_folds(world)?;
        if !self.inbox.accountant.has_passed(self.checkpoint) {
            return Ok(());
        }
        self.inbox.accountant.reach(self.checkpoint);
        self.commit(world, true)?;
        if self.is_split(world) && !world.makes(Mistake::LanesPassApart) {
            self.drain(world)?;
        }
        world.note(|| format!("strict from {}", self.checkpoint));
        self.strict = true;
        self.fetched.clear();
        Ok(())
    }

    /// Hands over what is folded, as a whole or as a part of a transaction.
    pub(super) fn hand_over(&mut self, world: &mut World) -> Outcome<()> {
        self.write_folds(world)?;
        if self.inbox.accountant.in_transaction() {
            world.seen.parts += 1;
            return Ok(());
        }
        self.commit(world, self.strict)
    }

    /// Whether several lanes share what is written.
    fn is_split(&self, world: &World) -> bool {
        let several = !self.strict || world.makes(Mistake::LanesAfterCheckpoint);
        several && self.lanes.len() > 1
    }

    /// `Driver::write_folds`.
    fn write_folds(&mut self, world: &mut World) -> Outcome<()> {
        self.fetch_waiting(world)?;
        for at in 0..self.inbox.tables.len() {
            let fold = &self.inbox.folds[at];
            let all = writes(at, &self.inbox.tables[at], fold, self.strict, world.mistake);
            if fold.truncated() {
                world.seen.truncates += 1;
                let waits = !world.makes(Mistake::TruncateDoesNotWait);
                self.alone(world, Write::truncate(at), waits)?;
            }
            self.write(world, all)?;
        }
        let deleted = std::mem::take(&mut self.deleted);
        self.write(world, deleted)?;
        self.inbox.clear();
        Ok(())
    }

    /// Writes something that must find all that was written before, and be found by all that
    /// comes after.
    fn alone(&mut self, world: &mut World, write: Write, waits: bool) -> Outcome<()> {
        if !self.is_split(world) {
            self.open.push(write);
            return Ok(());
        }
        if waits {
            self.drain(world)?;
        }
        self.write(world, vec![write])?;
        if waits { self.drain(world) } else { Ok(()) }
    }

    /// Gives statements to the lanes, by their keys.
    fn write(&mut self, world: &mut World, all: Vec<Write>) -> Outcome<()> {
        if !self.is_split(world) {
            self.open.extend(all);
            return Ok(());
        }
        let mut shares = vec![Vec::new(); self.lanes.len()];
        for write in all {
            let by_key = write.key.bytes().map(usize::from).sum::<usize>();
            let by_batch = usize::try_from(self.batch).unwrap_or_default();
            let by = if world.makes(Mistake::LanesByBatch) { by_batch } else { by_key };
            shares[by % self.lanes.len()].push(write);
        }
        for (lane, writes) in shares.into_iter().enumerate().filter(|(_, w)| !w.is_empty()) {
            while self.lanes[lane].len() >= WORK_MAX {
                self.commit_lane(world, lane)?;
            }
            self.lanes[lane].push_back(Work { batch: self.batch, writes, position: None });
        }
        Ok(())
    }

    /// `Driver::commit`.
    fn commit(&mut self, world: &mut World, exact: bool) -> Outcome<()> {
        let mut position = self.inbox.position();
        if world.makes(Mistake::KeepaliveInTransaction) {
            position.applied = position.applied.max(self.keepalive);
        }
        if world.makes(Mistake::CountsApart) {
            world.target.count(&position);
        }
        self.position_queued = position.applied;
        let stored = Stored { position, exact };
        if world.makes(Mistake::PositionBeforeRows) {
            Self::store(world, &Stored { exact: false, ..stored.clone() })?;
        }
        let batch = self.batch;
        self.batch += 1;
        if self.is_split(world) {
            self.positions.push_back((batch, stored));
            return Ok(());
        }
        let writes = std::mem::take(&mut self.open);
        self.lanes[0].push_back(Work { batch, writes, position: Some(stored) });
        while self.lanes[0].len() >= WORK_MAX {
            self.commit_lane(world, 0)?;
        }
        Ok(())
    }

    /// A lane commits its next transaction.
    fn commit_lane(&mut self, world: &mut World, lane: usize) -> Outcome<()> {
        let Some(work) = self.lanes[lane].pop_front() else { return Ok(()) };
        world.note(|| format!("lane {lane} batch {}: {}", work.batch, shown(&work.writes)));
        for write in &work.writes {
            world.target.execute(write)?;
        }
        match work.position {
            Some(stored) => Self::store(world, &stored),
            None => Ok(()),
        }
    }

    /// Some lane commits, or a position is stored that all have passed.
    pub(super) fn advance(&mut self, world: &mut World) -> Outcome<()> {
        let lane = world.rng.usize(..=self.lanes.len());
        if lane < self.lanes.len() {
            return self.commit_lane(world, lane);
        }
        self.store_passed(world)
    }

    fn store_passed(&mut self, world: &mut World) -> Outcome<()> {
        let Some((batch, stored)) = self.positions.front().cloned() else { return Ok(()) };
        let mut passed = self.lanes.iter().map(|lane| lane.iter().all(|work| work.batch > batch));
        let stores = if world.makes(Mistake::FirstLaneDecides) {
            passed.any(|passed| passed)
        } else {
            passed.all(|passed| passed)
        };
        if stores {
            self.positions.pop_front();
            // Lanes may be ahead, and then the target is not at any position.
            let exact = stored.exact && self.lanes.iter().all(VecDeque::is_empty);
            Self::store(world, &Stored { exact, ..stored })?;
        }
        Ok(())
    }

    /// Waits for all lanes.
    pub(super) fn drain(&mut self, world: &mut World) -> Outcome<()> {
        for lane in 0..self.lanes.len() {
            while !self.lanes[lane].is_empty() {
                self.commit_lane(world, lane)?;
            }
        }
        while !self.positions.is_empty() {
            self.store_passed(world)?;
        }
        Ok(())
    }

    /// Whether everything before this has come.
    pub(super) fn has_taken(&self, lsn: Lsn) -> bool {
        self.inbox.accountant.complete() >= lsn && !self.inbox.accountant.in_transaction()
    }

    /// Whether lanes may have committed more than the position says.
    pub(super) fn is_ahead_of_position(&self) -> bool {
        !self.positions.is_empty()
    }

    fn store(world: &mut World, stored: &Stored) -> Outcome<()> {
        let position = &stored.position;
        world.note(|| format!("position {}", position.applied));
        if position.applied < world.target.ledger.applied {
            return Err(Failure::Refused("the position goes backwards".into()));
        }
        world.target.ledger.applied = position.applied;
        if !world.makes(Mistake::CountsApart) {
            world.target.count(position);
        }
        if stored.exact {
            world.seen.exact += 1;
            world.unwritten.clear();
            return check::equal(world, position.applied);
        }
        check::not_older(world, position.applied)
    }

    /// `Driver::fetch_waiting`.
    fn fetch_waiting(&mut self, world: &mut World) -> Outcome<()> {
        let is_waiting =
            |fold: &crate::apply::Fold, at: &usize| fold.entries()[*at].state == State::Fetch;
        let waiting: Vec<_> = (self.inbox.folds.iter())
            .map(|fold| (0..fold.len()).filter(|at| is_waiting(fold, at)).collect::<Vec<_>>())
            .collect();
        if waiting.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if self.strict {
            return Err(Failure::Refused("an insert without one of its values".into()));
        }
        if !world.makes(Mistake::FetchedTooSoon) {
            world.source.show_all(self.inbox.xids());
        }
        let mut keys = Vec::new();
        for (table, entries) in waiting.into_iter().enumerate() {
            for at in entries {
                let fold = &mut self.inbox.folds[table];
                let entry = fold.entries()[at];
                keys.push(key_bytes(table, fold, &entry));
                world.source.unlock_tables();
                let key = key_of(fold, &entry);
                let row = world.source.visible[table].get(&key).cloned();
                world.note(|| format!("fetched {table} {key}: {row:?}"));
                world.seen.fetched += 1;
                if row.is_none() {
                    world.seen.fetched_none += 1;
                    world.unwritten.insert((table, key));
                }
                fold.fetched(
                    at,
                    row.as_ref().map(|r| r.iter().map(|v| v.as_ref().map(String::as_bytes))),
                );
                while world.chance(40) {
                    world.source.step();
                }
            }
        }
        let checkpoint = world.source.take_checkpoint();
        if !world.makes(Mistake::CheckpointStays) {
            world.seen.raised += 1;
            world.note(|| format!("checkpoint raised to {checkpoint}"));
            self.checkpoint = self.checkpoint.max(checkpoint);
            if !world.makes(Mistake::CheckpointRaisedInMemory) {
                let raised = world.target.ledger.checkpoint.max(Some(checkpoint));
                world.target.ledger.checkpoint = raised;
            }
        }
        self.fetched.extend(keys.into_iter().map(|key| (key, Some(checkpoint))));
        Ok(())
    }
}

fn shown(writes: &[Write]) -> String {
    let one = |write: &Write| {
        let value = |value: &Option<Option<String>>| match value {
            None => "?".to_owned(),
            Some(value) => value.clone().unwrap_or_else(|| "-".into()),
        };
        let values: Vec<_> = write.values.iter().map(value).collect();
        format!("{:?} {} {} ({})", write.kind, write.table, write.key, values.join(" "))
    };
    writes.iter().map(one).collect::<Vec<_>>().join("; ")
}
