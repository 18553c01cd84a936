//! A target: rows and a ledger. Transactions commit one after the other; a crash undoes the last
//! ones, but none before one that was made durable.

use std::{collections::BTreeMap, rc::Rc};

use fastrand::Rng;

use super::{
    Failure, Outcome, Row, State,
    write::{Kind, Write},
};
use crate::{
    ledger::{Position, TableCounts},
    pg::Lsn,
};

/// A page: its table and its place in the key's order.
pub(super) type PageId = (usize, usize);

/// What the ledger knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The pages that are on the target, each with its position on the source.
    pub(super) pages: BTreeMap<PageId, Lsn>,
    pub(super) checkpoint: Option<Lsn>,
    pub(super) applied: Lsn,
    pub(super) counts: Vec<TableCounts>,
    pub(super) skipped: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) tables: State,
    pub(super) ledger: Ledger,
    /// What there was before each transaction that a crash may undo.
    undo: Vec<(State, Ledger)>,
}

impl Target {
    pub(super) fn new(tables: usize) -> Self {
        Self {
            tables: vec![BTreeMap::new(); tables],
            ledger: Ledger { counts: vec![TableCounts::default(); tables], ..Ledger::default() },
            undo: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.undo.push((self.tables.clone(), self.ledger.clone()));
    }

    /// Undoes the last transaction.
    pub(super) fn roll_back(&mut self) {
        if let Some((tables, ledger)) = self.undo.pop() {
            (self.tables, self.ledger) = (tables, ledger);
        }
    }

    /// All that was committed stays.
    pub(super) fn make_durable(&mut self) {
        self.undo.clear();
    }

    /// Loses some of what is not durable.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.usize(..=self.undo.len());
        while self.undo.len() > kept {
            self.roll_back();
        }
        self.make_durable();
    }

    /// COPY of a page's rows: a key that is there already is an error.
    pub(super) fn copy(&mut self, table: usize, rows: &[(String, Rc<Row>)]) -> Outcome<()> {
        for (key, row) in rows {
            if self.tables[table].insert(key.clone(), row.clone()).is_some() {
                return Err(Failure::Refused(format!("COPY: {key} is there already")));
            }
        }
        Ok(())
    }

    pub(super) fn count(&mut self, position: &Position) {
        self.ledger.skipped += position.skipped;
        for (table, counts) in &position.tables {
            self.ledger.counts[*table].add(counts);
        }
    }

    /// Executes a statement.
    pub(super) fn execute(&mut self, write: &Write) -> Outcome<()> {
        let rows = &mut self.tables[write.table];
        let refused = |why: &str| Err(Failure::Refused(format!("{write:?} {why}")));
        let found = rows.contains_key(&write.key);
        if write.must_find && !found {
            return refused("found nothing");
        }
        match write.kind {
            Kind::Truncate => rows.clear(),
            Kind::Delete => drop(rows.remove(&write.key)),
            Kind::Update => {
                if let Some(row) = rows.get_mut(&write.key) {
                    write.set(Rc::make_mut(row));
                }
            }
            Kind::Insert if found => {
                return Err(Failure::Conflict(format!("{write:?} conflicts")));
            }
            Kind::InsertOrNothing if found => {}
            Kind::Insert | Kind::InsertOrNothing | Kind::Upsert => {
                if write.values.contains(&None) {
                    return refused("lacks a value");
                }
                let row = write.values.iter().map(|value| value.clone().flatten()).collect();
                rows.insert(write.key.clone(), Rc::new(row));
            }
            Kind::Move => {
                let Some(mut row) = rows.remove(&write.key) else { return Ok(()) };
                write.set(Rc::make_mut(&mut row));
                let to = row[0].clone().unwrap_or_default();
                if rows.insert(to, row).is_some() && write.must_find {
                    return refused("conflicts");
                }
            }
        }
        Ok(())
    }
}
