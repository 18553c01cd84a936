//! A source: transactions that overlap, a log, and what snapshots show of it.
//!
//! As in Postgres, a row or table that a transaction has changed is locked until that transaction
//! can be seen, which is later than its commit in the log; so each row's changes become visible in
//! the order of the log, and those of different rows need not. A commit is flushed before it can be
//! seen, or some time after it; a crash loses what was not flushed.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use fastrand::Rng;

use super::{
    COLUMNS, Row, State,
    message::{self, Table},
};
use crate::pg::{Lsn, Oid, Xid};

/// How many transactions are open at once.
const OPEN_MAX: usize = 3;

/// A change of one key.
#[derive(Clone, Debug)]
struct Effect {
    table: usize,
    key: String,
    before: Option<Rc<Row>>,
    after: Option<Rc<Row>>,
}

/// A message of the log.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) lsn: Lsn,
    /// The tables that it speaks of.
    pub(super) tables: Vec<usize>,
    pub(super) payload: Vec<u8>,
}

/// A transaction that runs, or that waits to be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    pub(super) xid: Xid,
    pub(super) commit_lsn: Lsn,
    pub(super) end_lsn: Lsn,
    pub(super) records: Vec<Record>,
    effects: Vec<Effect>,
    rows: BTreeSet<(usize, String)>,
    tables: BTreeSet<usize>,
}

/// The states that a key had, each with the number of commits that there were by then.
type Versions = Vec<(usize, Option<Rc<Row>>)>;

#[derive(Debug)]
pub(super) struct Source {
    pub(super) tables: Vec<Table>,
    keys: usize,
    /// How likely a commit is to wait before it can be seen, or before it is flushed, in percent.
    hides: u8,
    shows: u8,
    asynchronous: u8,
    /// How likely a transaction is to end rather than go on.
    ends: u8,
    rng: Rng,
    work: State,
    pub(super) visible: State,
    open: Vec<Transaction>,
    /// Commits that can't be seen yet, by their place in the log.
    hidden: Vec<usize>,
    pub(super) log: Vec<Transaction>,
    /// The state after so many commits.
    pub(super) states: Vec<State>,
    pub(super) versions: BTreeMap<(usize, String), Versions>,
    pub(super) insert: Lsn,
    pub(super) flushed: Lsn,
    pub(super) publication: Lsn,
    pub(super) slot: Slot,
    next_xid: u32,
    next_value: usize,
}

/// The slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) start: Lsn,
    /// What was acknowledged, and how much of that outlives a crash.
    pub(super) confirmed: Lsn,
    pub(super) saved: Lsn,
}

impl Source {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let count = rng.u32(2..=3);
        let table = |number: u32| Table {
            oid: Oid(100 + number),
            // The last one is published and not migrated.
            name: if number + 1 == count { "other" } else { ["a", "b"][number as usize] },
            full: rng.u8(..5) == 0,
            long_keys: rng.u8(..4) == 0,
            computed: rng.bool(),
        };
        let tables: Vec<_> = (0..count).map(table).collect();
        let empty: State = tables.iter().map(|_| BTreeMap::new()).collect();
        Self {
            keys: rng.usize(2..=7),
            hides: [0, 50, 90][rng.usize(..3)],
            shows: [4, 12][rng.usize(..2)],
            asynchronous: [0, 50, 95][rng.usize(..3)],
            ends: [6, 20][rng.usize(..2)],
            rng: rng.fork(),
            work: empty.clone(),
            visible: empty.clone(),
            open: Vec::new(),
            hidden: Vec::new(),
            log: Vec::new(),
            states: vec![empty],
            versions: BTreeMap::new(),
            insert: Lsn(1000),
            flushed: Lsn(1000),
            publication: Lsn::INVALID,
            slot: Slot::default(),
            next_xid: 700,
            next_value: 0,
            tables,
        }
    }

    /// The tables that are migrated.
    pub(super) fn migrated(&self) -> usize {
        self.tables.len() - 1
    }

    /// The state that everything committed before `lsn` amounts to, by the number of commits.
    pub(super) fn commits_before(&self, lsn: Lsn) -> usize {
        self.log.partition_point(|transaction| transaction.commit_lsn < lsn)
    }

    /// Something happens.
    pub(super) fn step(&mut self) {
        match self.rng.u8(..100) {
            0..12 if !self.hidden.is_empty() && self.rng.u8(..12) < self.shows => {
                let at = self.rng.usize(..self.hidden.len());
                self.show(self.hidden[at]);
            }
            0..15 => self.flushed = self.insert,
            15..30 if self.open.len() < OPEN_MAX => self.begin(),
            30.. if !self.open.is_empty() && self.rng.u8(..70) < self.ends => {
                let at = self.rng.usize(..self.open.len());
                self.end(at);
            }
            _ if self.open.is_empty() => self.begin(),
            _ => {
                let at = self.rng.usize(..self.open.len());
                self.change(at);
            }
        }
    }

    fn advance(&mut self) -> Lsn {
        let at = self.insert;
        self.insert.0 += self.rng.u64(4..40);
        at
    }

    fn begin(&mut self) {
        self.next_xid += 1;
        self.open.push(Transaction { xid: Xid(self.next_xid), ..Transaction::default() });
        self.change(self.open.len() - 1);
    }

    fn end(&mut self, at: usize) {
        let mut transaction = self.open.remove(at);
        if self.rng.u8(..100) < 8 {
            for effect in transaction.effects.iter().rev() {
                put(&mut self.work, effect.table, &effect.key, effect.before.clone());
            }
            return;
        }
        transaction.commit_lsn = self.advance();
        transaction.end_lsn = self.insert;
        let number = self.log.len();
        let mut state = self.states[number].clone();
        for effect in &transaction.effects {
            put(&mut state, effect.table, &effect.key, effect.after.clone());
            let versions = self.versions.entry((effect.table, effect.key.clone())).or_default();
            versions.push((number + 1, effect.after.clone()));
        }
        self.states.push(state);
        self.log.push(transaction);
        self.hidden.push(number);
        if self.rng.u8(..100) >= self.asynchronous {
            self.flushed = self.insert;
        }
        if self.rng.u8(..100) >= self.hides {
            self.show(number);
        }
    }

    /// A commit can be seen from now on.
    fn show(&mut self, number: usize) {
        self.hidden.retain(|hidden| *hidden != number);
        for effect in &self.log[number].effects {
            put(&mut self.visible, effect.table, &effect.key, effect.after.clone());
        }
    }

    /// Waits until these transactions can be seen.
    pub(super) fn show_all(&mut self, xids: &[Xid]) {
        for number in self.hidden.clone() {
            if xids.contains(&self.log[number].xid) {
                self.show(number);
            }
        }
    }

    /// Waits until no transaction holds a table for itself.
    pub(super) fn unlock_tables(&mut self) {
        while let Some(at) = self.open.iter().position(|open| !open.tables.is_empty()) {
            self.end(at);
        }
        for number in self.hidden.clone() {
            if !self.log[number].tables.is_empty() {
                self.show(number);
            }
        }
    }

    /// All that is open ends and can be seen.
    pub(super) fn settle(&mut self) {
        while !self.open.is_empty() {
            self.end(0);
        }
        for number in self.hidden.clone() {
            self.show(number);
        }
        self.flushed = self.insert;
    }

    pub(super) fn make_publication(&mut self) {
        self.publication = self.advance();
        self.flushed = self.insert;
    }

    /// Makes the slot, which waits for everything that is open.
    pub(super) fn make_slot(&mut self) {
        self.settle();
        let start = self.insert;
        self.slot = Slot { start, confirmed: start, saved: start };
    }

    /// The insert position, and a mark behind it, whose commit flushes the log.
    pub(super) fn take_checkpoint(&mut self) -> Lsn {
        let position = self.insert;
        self.next_xid += 1;
        let lsn = self.advance();
        let record = Record { lsn, tables: Vec::new(), payload: message::mark(lsn) };
        let commit_lsn = self.advance();
        self.log.push(Transaction {
            xid: Xid(self.next_xid),
            commit_lsn,
            end_lsn: self.insert,
            records: vec![record],
            ..Transaction::default()
        });
        self.states.push(self.states[self.states.len() - 1].clone());
        self.flushed = self.insert;
        position
    }

    /// Loses what is not flushed. What is, can be seen afterwards.
    pub(super) fn crash(&mut self) {
        self.open.clear();
        self.hidden.clear();
        self.log.retain(|transaction| transaction.end_lsn <= self.flushed);
        let commits = self.log.len();
        self.states.truncate(commits + 1);
        for versions in self.versions.values_mut() {
            versions.retain(|(number, _)| *number <= commits);
        }
        self.work = self.states[commits].clone();
        self.visible = self.work.clone();
        self.insert = self.flushed;
        self.slot.confirmed = self.slot.saved;
    }

    /// Whether a transaction other than that at `at` holds the table for itself.
    pub(super) fn is_locked(&self, at: Option<usize>, table: usize) -> bool {
        self.holders(at).any(|holder| holder.tables.contains(&table))
    }

    fn holders(&self, but: Option<usize>) -> impl Iterator<Item = &Transaction> {
        let open = self.open.iter().enumerate();
        let others = open.filter(move |(at, _)| Some(*at) != but).map(|(_, open)| open);
        others.chain(self.hidden.iter().map(|&number| &self.log[number]))
    }

    fn is_free(&self, at: usize, table: usize, key: &String) -> bool {
        let of_key = |held: &(usize, String)| held.0 == table && held.1 == *key;
        !self.holders(Some(at)).any(|holder| holder.rows.iter().any(of_key))
    }

    fn write(&mut self, at: usize, table: usize, key: &str, after: Option<Row>) {
        let after = after.map(Rc::new);
        let before = put(&mut self.work, table, key, after.clone());
        let open = &mut self.open[at];
        open.rows.insert((table, key.to_owned()));
        open.effects.push(Effect { table, key: key.to_owned(), before, after });
    }

    fn record(&mut self, at: usize, tables: Vec<usize>, payload: Vec<u8>) {
        let lsn = self.advance();
        self.open[at].records.push(Record { lsn, tables, payload });
    }

    /// An open transaction changes something, if nobody is in its way.
    fn change(&mut self, at: usize) {
        let table = self.rng.usize(..self.tables.len());
        let of = self.tables[table].clone();
        let key = of.key(self.rng.usize(..self.keys));
        if self.is_locked(Some(at), table) || !self.is_free(at, table, &key) {
            return;
        }
        let kind = self.rng.u8(..100);
        if kind < 4 {
            return self.truncate(at, table);
        }
        let Some(before) = self.work[table].get(&key).cloned() else {
            let row = self.new_row(&key);
            self.record(at, vec![table], of.insert(&row));
            return self.write(at, table, &key, Some(row));
        };
        match kind {
            4..32 => {
                self.record(at, vec![table], of.delete(&before));
                self.write(at, table, &key, None);
            }
            32..62 => {
                let mut after = before.as_ref().clone();
                self.touch(&mut after);
                self.record(at, vec![table], of.update(&before, &after));
                self.write(at, table, &key, Some(after));
            }
            _ => {
                let to = of.key(self.rng.usize(..self.keys));
                if self.work[table].contains_key(&to) || !self.is_free(at, table, &to) {
                    return;
                }
                let mut after = before.as_ref().clone();
                after[0] = Some(to.clone());
                self.touch(&mut after);
                self.record(at, vec![table], of.update(&before, &after));
                self.write(at, table, &key, None);
                self.write(at, table, &to, Some(after));
            }
        }
    }

    fn truncate(&mut self, at: usize, first: usize) {
        let second = (first + 1) % self.tables.len();
        let mut tables = vec![first];
        tables.extend(self.rng.bool().then_some(second));
        let held = |table: usize| {
            let mut holders = self.holders(Some(at));
            holders.any(|h| h.tables.contains(&table) || h.rows.iter().any(|(t, _)| *t == table))
        };
        tables.retain(|table| !held(*table));
        if tables.is_empty() {
            return;
        }
        let oids: Vec<_> = tables.iter().map(|table| self.tables[*table].oid).collect();
        self.record(at, tables.clone(), message::truncate(&oids));
        for table in tables {
            self.open[at].tables.insert(table);
            for key in self.work[table].keys().cloned().collect::<Vec<_>>() {
                self.write(at, table, &key, None);
            }
        }
    }

    fn new_row(&mut self, key: &str) -> Row {
        let mut row = vec![Some(key.to_owned())];
        row.extend((1..COLUMNS.len()).map(|column| self.value(column)));
        row
    }

    /// New values for some of the columns, perhaps for none.
    fn touch(&mut self, row: &mut Row) {
        for (column, value) in row.iter_mut().enumerate().skip(1) {
            if self.rng.u8(..if column == 1 { 2 } else { 4 }) == 0 {
                *value = self.value(column);
            }
        }
    }

    /// A value that there was never before, so that one that is out of place is noticed.
    fn value(&mut self, column: usize) -> Option<String> {
        self.next_value += 1;
        let number = self.next_value;
        match self.rng.u8(..10) {
            0 => None,
            2.. if column > 1 => Some(format!("B{number}")),
            _ => Some(format!("s{number}")),
        }
    }
}

/// Makes a row what it is to be, and gives what it was.
fn put(state: &mut State, table: usize, key: &str, row: Option<Rc<Row>>) -> Option<Rc<Row>> {
    match row {
        Some(row) => state[table].insert(key.to_owned(), row),
        None => state[table].remove(key),
    }
}
