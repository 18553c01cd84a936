//! A run of applying: the decisions of `Driver`, with lanes that commit whenever they like.

use std::collections::HashMap;

use super::{
    Failure, Outcome,
    lanes::Lanes,
    message::TEXT,
    mistake::Mistake,
    walsender::{Event, Walsender},
    world::World,
    write::{Write, key_of},
};
use crate::{
    apply::{
        ApplyColumn, ApplyError, ApplyTable, Fold, State,
        messages::{Ask, Inbox, key_bytes},
    },
    catalog::Foundation,
    pg::{Ident, Lsn, QualifiedName},
    pgoutput::{Decoder, Message, ProtoVersion, Streaming, Update},
    sql::KeyColumn,
};

/// A run of applying, lost when it crashes.
#[derive(Debug)]
pub(super) struct Applier {
    walsender: Walsender,
    decoder: Decoder,
    pub(super) inbox: Inbox,
    pub(super) lanes: Lanes,
    careful_until: Lsn,
    durable: Lsn,
    received: Lsn,
    /// As it was when the run began, and as it has been raised.
    known_checkpoint: Lsn,
    checkpoint: Lsn,
    /// As in `Driver`.
    fetched: HashMap<Vec<u8>, Option<Lsn>>,
    position_queued: Lsn,
    from: Lsn,
    pub(super) stop: Option<Lsn>,
    commit_lsn: Lsn,
    keepalive: Lsn,
    deleted: Vec<Write>,
}

fn tables(world: &World) -> Vec<ApplyTable> {
    let source = &world.source;
    let pages_until = |table: usize| {
        let pages = world.target.ledger.pages.iter().filter(|((of, _), _)| *of == table);
        pages.map(|(_, lsn)| *lsn).max().unwrap_or_default()
    };
    let key = KeyColumn::builtin("id", TEXT.0, "text");
    let column = |name: &&str| ApplyColumn {
        name: Ident::new(*name),
        source_type: TEXT,
        source_modifier: -1,
        target_type: TEXT,
        below_domain: None,
    };
    let computed = |table: &super::message::Table| {
        table.computed.then(|| Ident::new(super::message::COMPUTED)).into_iter().collect()
    };
    let table = |(ordinal, table): (usize, &super::message::Table)| ApplyTable {
        ordinal,
        source_oid: table.oid,
        source: QualifiedName::new("public", table.name),
        target: QualifiedName::new("public", table.name),
        foundation: Foundation::default(),
        ground: Foundation::default(),
        lock: String::new(),
        columns: super::COLUMNS.iter().map(column).collect(),
        source_key: vec![key.clone()],
        target_key: vec![key.clone()],
        replica_identity: table.identity(),
        left_out: computed(table),
        computed: computed(table),
        ignores_new: false,
        staged: true,
        keys_are_bytes: true,
        pages_until: pages_until(ordinal),
    };
    source.tables.iter().enumerate().take(source.migrated()).map(table).collect()
}

fn refused(error: &ApplyError) -> Failure {
    Failure::Refused(error.to_string())
}

impl Applier {
    /// Goes on from where the ledger says.
    pub(super) fn start(world: &mut World, careful_until: Lsn) -> Self {
        world.target.make_durable();
        let checkpoint = world.target.ledger.checkpoint.unwrap_or_default();
        let from = match world.mistake {
            Some(Mistake::SlotSaysWhere) => world.source.slot.confirmed,
            _ => world.target.ledger.applied,
        };
        let strict = from >= checkpoint || world.makes(Mistake::StrictTooSoon);
        let many = world.makes(Mistake::LanesAfterCheckpoint);
        Self {
            walsender: Walsender::start(&world.source, from),
            decoder: Decoder::new(ProtoVersion::V1, Streaming::Off),
            inbox: Inbox::new(tables(world), from),
            lanes: Lanes::new(if strict && !many { 1 } else { world.lanes }, strict),
            careful_until,
            durable: from,
            received: from,
            known_checkpoint: checkpoint,
            checkpoint,
            fetched: HashMap::new(),
            position_queued: from,
            from,
            stop: None,
            commit_lsn: Lsn::INVALID,
            keepalive: Lsn::INVALID,
            deleted: Vec::new(),
        }
    }

    /// Takes what comes next.
    pub(super) fn receive(&mut self, world: &mut World) -> Outcome<()> {
        match self.walsender.event(&world.source, &mut world.rng)? {
            Event::Keepalive(wal_end) => {
                self.received = self.received.max(wal_end);
                self.inbox.accountant.keepalive(wal_end);
                self.keepalive = self.keepalive.max(wal_end);
                self.pass_checkpoint(world)?;
            }
            Event::Message(at, payload) => {
                self.received = self.received.max(at);
                self.change(world, at, &payload)?;
            }
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
        let careful = self.lanes.is_strict() && self.is_careful();
        let by_itself = careful && !self.inbox.is_empty();
        let ends_part = bounds && self.lanes.is_open() && !careful;
        if by_itself || ends_part && !self.inbox.accountant.in_transaction() {
            self.hand_over(world)?;
        }
        Ok(())
    }

    /// Up to where to be careful after a conflict: what has come, and the whole of a transaction of
    /// which something has.
    pub(super) fn conflicts_until(&self, world: &World) -> Lsn {
        if world.makes(Mistake::CarefulUpToReceived) {
            return self.received;
        }
        self.received.max(self.inbox.accountant.taken())
    }

    /// `Driver::is_careful`.
    fn is_careful(&self) -> bool {
        self.careful_until > self.inbox.accountant.complete()
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
                let skips = world.makes(Mistake::TruncateSkipped) && !self.lanes.is_strict();
                return (!skips).then_some(m);
            }
            _ => return Some(m),
        };
        let Some(table) = world.source.tables.iter().position(|table| table.oid == relation) else {
            return Some(m);
        };
        let place = world.source.tables[table].order().position(|column| column == Some(0));
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
        if self.lanes.is_strict() || passed && !ahead || trusts {
            self.write_folds(world)?;
            world.seen.moved += 1;
            world.seen.moved_lax += u64::from(!self.lanes.is_strict());
            let mut write = Write::move_row(table, &alone, (old, new));
            write.must_find = !trusts;
            if !world.makes(Mistake::MoveDoesNotWait) {
                self.wait_if_spread(world)?;
            }
            self.lanes.move_row(world, write);
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

    /// `Driver::pass_checkpoint`.
    fn pass_checkpoint(&mut self, world: &mut World) -> Outcome<()> {
        let mut due = self.stop.map(|stop| stop.max(self.checkpoint));
        due = due.filter(|_| self.lanes.is_strict());
        if !self.lanes.is_strict() && self.inbox.accountant.has_passed(self.checkpoint) {
            self.write_folds(world)?;
            due = Some(self.checkpoint);
        }
        let Some(position) = due.filter(|lsn| self.inbox.accountant.has_passed(*lsn)) else {
            return Ok(());
        };
        if self.lanes.is_strict() && self.position_queued >= position {
            return Ok(());
        }
        self.inbox.accountant.reach(position);
        self.write_folds(world)?;
        self.commit(world, [true, true]);
        if !self.lanes.is_strict() {
            if !world.makes(Mistake::LanesPassApart) {
                self.wait_if_spread(world)?;
            }
            world.note(|| format!("strict from {position}"));
            self.lanes.be_strict();
            self.fetched.clear();
        }
        Ok(())
    }

    /// `Driver::is_stopping`.
    pub(super) fn is_stopping(&self) -> bool {
        let stop = self.stop.map(|stop| stop.max(self.checkpoint));
        self.lanes.is_strict() && stop.is_some_and(|stop| self.position_queued >= stop)
    }

    /// `Driver::hand_over`.
    pub(super) fn hand_over(&mut self, world: &mut World) -> Outcome<()> {
        self.write_folds(world)?;
        if !self.inbox.accountant.in_transaction() {
            let durable = world.chance(50);
            self.commit(world, [durable, self.lanes.is_strict()]);
        } else if !self.lanes.is_strict() {
            world.seen.parts += 1;
            self.lanes.commit_rows();
        }
        Ok(())
    }

    /// `Driver::write_folds`.
    fn write_folds(&mut self, world: &mut World) -> Outcome<()> {
        while !self.lanes.can_take(world) {
            self.advance(world)?;
        }
        self.fetch_waiting(world)?;
        let truncates = self.inbox.folds.iter().any(Fold::truncated);
        if truncates && !world.makes(Mistake::TruncateDoesNotWait) {
            self.wait_if_spread(world)?;
        }
        if !self.inbox.is_empty() {
            let from = if self.is_careful() { Lsn::INVALID } else { self.inbox.since };
            self.lanes.write(world, &self.inbox.tables, &self.inbox.folds, from);
        }
        for write in std::mem::take(&mut self.deleted) {
            self.lanes.move_row(world, write);
        }
        self.inbox.clear();
        Ok(())
    }

    fn wait_if_spread(&mut self, world: &mut World) -> Outcome<()> {
        while self.lanes.is_spread(world) && !self.lanes.is_idle() {
            self.advance(world)?;
        }
        Ok(())
    }

    /// `Driver::commit`.
    fn commit(&mut self, world: &mut World, durable_exact: [bool; 2]) {
        let mut position = self.inbox.position();
        if world.makes(Mistake::KeepaliveInTransaction) {
            position.applied = position.applied.max(self.keepalive);
        }
        if world.makes(Mistake::CountsApart) {
            world.target.count(&position);
        }
        if world.makes(Mistake::PositionBeforeRows) {
            world.target.ledger.applied = position.applied;
        }
        self.position_queued = position.applied;
        self.lanes.commit(world, position, durable_exact);
    }

    /// A lane commits something.
    pub(super) fn advance(&mut self, world: &mut World) -> Outcome<()> {
        if let Some(durable) = self.lanes.advance_any(world)? {
            self.durable = self.durable.max(durable);
        }
        Ok(())
    }

    /// Waits for all lanes.
    pub(super) fn drain(&mut self, world: &mut World) -> Outcome<()> {
        while !self.lanes.is_idle() {
            self.advance(world)?;
        }
        Ok(())
    }

    /// Tells the slot what is durable.
    pub(super) fn acknowledge(&self, world: &mut World) {
        let applied = match world.mistake {
            Some(Mistake::ReceivedAcknowledged) => self.inbox.accountant.complete(),
            Some(Mistake::CommittedAcknowledged) => world.target.ledger.applied,
            _ => self.durable,
        };
        world.source.slot.confirmed = world.source.slot.confirmed.max(applied);
    }

    /// Whether the target may have more than the position says.
    pub(super) fn is_in_the_middle(&self) -> bool {
        let part = self.inbox.accountant.in_transaction();
        !self.lanes.is_strict() && (part || self.lanes.is_ahead())
    }

    /// Whether everything before this has come.
    pub(super) fn has_taken(&self, lsn: Lsn) -> bool {
        self.inbox.accountant.complete() >= lsn && !self.inbox.accountant.in_transaction()
    }

    /// `Driver::fetch_waiting`.
    fn fetch_waiting(&mut self, world: &mut World) -> Outcome<()> {
        let is_waiting = |fold: &Fold, at: &usize| fold.entries()[*at].state == State::Fetch;
        let waiting: Vec<_> = (self.inbox.folds.iter())
            .map(|fold| (0..fold.len()).filter(|at| is_waiting(fold, at)).collect::<Vec<_>>())
            .collect();
        if waiting.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if self.lanes.is_strict() {
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
                // That is a transaction of its own, and a durable one.
                world.target.make_durable();
            }
        }
        self.fetched.extend(keys.into_iter().map(|key| (key, Some(checkpoint))));
        Ok(())
    }
}
