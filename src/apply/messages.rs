//! The messages of the stream, folded table by table.
//!
//! Pure: messages go in, folds and positions come out; sockets and the clock are the driver's.

use std::collections::{BTreeSet, HashMap};

use super::{ApplyError, ApplyTable, Fold, Folded};
use crate::{
    ledger::{Accountant, Position, TableCounts},
    pg::{Ident, Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{Delete, Insert, Message, Relation, Truncate, Update},
};

/// What a message asks of the driver beyond being folded.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    /// Nothing.
    Nothing,
    /// An update moved a row to another key and left a big value out: see
    /// [`Folded::KeepsValue`]. Nothing of it was folded.
    Moved {
        /// The table.
        table: usize,
        /// The message.
        update: Update<'a>,
    },
}

/// A relation of the stream that is a table of the migration.
#[derive(Debug)]
struct Known {
    table: usize,
    /// Where its values go.
    columns: Vec<Option<usize>>,
}

/// Where a change is folded.
struct Place<'a> {
    table: usize,
    fold: &'a mut Fold,
    columns: &'a [Option<usize>],
}

/// The folds of all tables, and what they amount to.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) tables: Vec<ApplyTable>,
    pub(super) folds: Vec<Fold>,
    /// What the source's relations are to us; `None` for a table that is not part of the
    /// migration.
    relations: HashMap<Oid, Option<Known>>,
    pub(super) accountant: Accountant,
    counts: Vec<TableCounts>,
    skipped: u64,
    received: u64,
    /// When the last complete transaction was committed on the source.
    pub(super) committed_at: Option<PgTimestamp>,
    /// Columns of tables that are left out from now on, to be told.
    pub(super) left_out: Vec<(usize, Vec<Ident>)>,
    /// Tables that the stream has described since it was last asked what they rest on.
    pub(super) described: BTreeSet<usize>,
    /// The transactions that the folds hold changes of.
    xids: Vec<Xid>,
    /// What was complete before the first of them.
    pub(super) since: Lsn,
}

impl Inbox {
    pub(super) fn new(tables: Vec<ApplyTable>, from: Lsn) -> Self {
        Self {
            folds: tables.iter().map(ApplyTable::fold).collect(),
            counts: vec![TableCounts::default(); tables.len()],
            tables,
            relations: HashMap::new(),
            accountant: Accountant::new(from),
            skipped: 0,
            received: 0,
            committed_at: None,
            left_out: Vec::new(),
            described: BTreeSet::new(),
            xids: Vec::new(),
            since: from,
        }
    }

    /// How many keys the folds hold.
    pub(super) fn len(&self) -> usize {
        self.folds.iter().map(Fold::len).sum()
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.folds.iter().all(Fold::is_empty)
    }

    /// How much memory the folds take.
    pub(super) fn bytes(&self) -> usize {
        self.folds.iter().map(Fold::bytes).sum()
    }

    /// How many changes were received in this run.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Takes one message.
    pub(super) fn take<'a>(
        &mut self,
        at: Lsn,
        message: Message<'a>,
    ) -> Result<Ask<'a>, ApplyError> {
        match message {
            Message::Begin(begin) => {
                self.accountant.begin(begin.final_lsn);
                self.xids.push(begin.xid);
            }
            Message::Commit(commit) => {
                self.accountant.commit(commit.end_lsn);
                self.committed_at = Some(commit.commit_time);
            }
            Message::Relation(relation) => self.relation(at, &relation)?,
            Message::Insert(insert) => self.insert(at, insert)?,
            Message::Update(update) => return self.update(at, update),
            Message::Delete(delete) => self.delete(at, delete)?,
            Message::Truncate(truncate) => self.truncate(at, truncate)?,
            // Types are known from the catalogs, an origin changes nothing, and a logical message
            // is not a row. An abort takes back what was streamed: without streaming, nothing.
            Message::Type(_)
            | Message::Origin(_)
            | Message::Logical(_)
            | Message::StreamAbort(_) => {}
            other => {
                let what = format!("a {:?} message, which was not asked for", other.kind());
                return Err(ApplyError::OutOfPlace { at, what });
            }
        }
        Ok(Ask::Nothing)
    }

    fn relation(&mut self, at: Lsn, relation: &Relation<'_>) -> Result<(), ApplyError> {
        let found = self.tables.iter().position(|table| {
            table.source.schema.as_str() == relation.namespace
                && table.source.name.as_str() == relation.name
        });
        let known = self.tables.iter().position(|table| table.source_oid == relation.oid);
        let changed = |table: &ApplyTable, difference: String| ApplyError::TableChanged {
            table: table.source.plain(),
            at,
            difference,
        };
        let entry = match (found, known) {
            (Some(by_name), Some(by_oid)) if by_name == by_oid => {
                let new = self.tables[by_name].leave_out_new(relation);
                let table = &self.tables[by_name];
                let columns = table.mapping(relation).map_err(|d| changed(table, d))?;
                if !new.is_empty() {
                    self.left_out.push((by_name, new));
                }
                self.described.insert(by_name);
                Some(Known { table: by_name, columns })
            }
            (None, None) => None,
            (Some(table), _) => {
                let table = &self.tables[table];
                return Err(changed(table, "it is another table of the same name now".into()));
            }
            (None, Some(table)) => {
                let table = &self.tables[table];
                let now = format!("it is called {}.{} now", relation.namespace, relation.name);
                return Err(changed(table, now));
            }
        };
        self.relations.insert(relation.oid, entry);
        Ok(())
    }

    /// Where a change of `relation` is folded; that of another table is counted as skipped.
    fn place(&mut self, at: Lsn, relation: Oid) -> Result<Option<Place<'_>>, ApplyError> {
        self.received += 1;
        match self.relations.get(&relation) {
            Some(Some(Known { table, columns })) => {
                Ok(Some(Place { table: *table, fold: &mut self.folds[*table], columns }))
            }
            Some(None) => {
                self.skipped += 1;
                Ok(None)
            }
            None => Err(ApplyError::OutOfPlace {
                at,
                what: format!("a change of relation {relation}, which was not described"),
            }),
        }
    }

    fn insert(&mut self, at: Lsn, insert: Insert<'_>) -> Result<(), ApplyError> {
        if let Some(Place { table, fold, columns }) = self.place(at, insert.relation)? {
            fold.insert(insert.new, columns);
            self.counts[table].inserted += 1;
        }
        Ok(())
    }

    fn update<'a>(&mut self, at: Lsn, update: Update<'a>) -> Result<Ask<'a>, ApplyError> {
        let Some(Place { table, fold, columns }) = self.place(at, update.relation)? else {
            return Ok(Ask::Nothing);
        };
        let folded = fold.update(update.old, update.new, columns);
        self.counts[table].updated += 1;
        Ok(match folded {
            Folded::Done => Ask::Nothing,
            Folded::KeepsValue => Ask::Moved { table, update },
        })
    }

    fn delete(&mut self, at: Lsn, delete: Delete<'_>) -> Result<(), ApplyError> {
        if let Some(Place { table, fold, columns }) = self.place(at, delete.relation)? {
            fold.delete(delete.old, columns);
            self.counts[table].deleted += 1;
        }
        Ok(())
    }

    fn truncate(&mut self, at: Lsn, truncate: Truncate<'_>) -> Result<(), ApplyError> {
        for relation in truncate.relations() {
            if let Some(Place { table, fold, .. }) = self.place(at, relation)? {
                fold.truncate();
                self.counts[table].truncated += 1;
            }
        }
        Ok(())
    }

    /// Folds a moved row as one to be fetched.
    pub(super) fn fetch_moved(&mut self, table: usize, update: Update<'_>) {
        if let (Some(old), Some(Some(known))) = (update.old, self.relations.get(&update.relation)) {
            self.folds[table].fetch_moved(old, update.new, &known.columns);
        }
    }

    /// The same row in a fold of its own: the entry of its old key, then that of its new key.
    pub(super) fn moved_alone(&self, table: usize, update: Update<'_>) -> Fold {
        let mut alone = self.tables[table].fold();
        if let (Some(old), Some(Some(known))) = (update.old, self.relations.get(&update.relation)) {
            alone.fetch_moved(old, update.new, &known.columns);
        }
        alone
    }

    /// The transactions whose changes are folded.
    pub(super) fn xids(&self) -> &[Xid] {
        &self.xids
    }

    /// The folds were handed over: they start anew. The open transaction goes on.
    pub(super) fn clear(&mut self) {
        self.folds.iter_mut().for_each(Fold::clear);
        self.since = self.accountant.complete();
        let open = self.xids.last().copied().filter(|_| self.accountant.in_transaction());
        self.xids.clear();
        self.xids.extend(open);
    }

    /// Everything taken so far as a position, once it is all handed over; what comes later is
    /// counted anew.
    pub(super) fn position(&mut self) -> Position {
        let tables = (self.tables.iter().zip(&mut self.counts))
            .map(|(table, counts)| (table.ordinal, std::mem::take(counts)))
            .filter(|(_, counts)| counts.total() > 0)
            .collect();
        Position {
            applied: self.accountant.complete(),
            skipped: std::mem::take(&mut self.skipped),
            tables,
        }
    }
}

/// A key of a table as bytes that no other key has.
pub(super) fn key_bytes(table: usize, fold: &Fold, entry: &super::fold::Entry) -> Vec<u8> {
    let mut bytes = table.to_be_bytes().to_vec();
    for cell in fold.key(entry) {
        let value = fold.value(cell).unwrap_or_default();
        bytes.extend(value.len().to_be_bytes());
        bytes.extend(value);
    }
    bytes
}
