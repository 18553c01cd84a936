//! The statements that a fold's work comes to, row by row.

use super::{Row, mistake::Mistake};
use crate::apply::{
    ApplyTable, Cell, Entry, Fold,
    work::{Target as Known, Work},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Truncate,
    Delete,
    Update,
    Upsert,
    Insert,
    Move,
    /// Only by mistake.
    InsertOrNothing,
}

/// A statement for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) table: usize,
    pub(super) kind: Kind,
    pub(super) key: String,
    /// By column; `None` for what stays.
    pub(super) values: Vec<Option<Option<String>>>,
    /// Whether finding nothing is an error.
    pub(super) must_find: bool,
}

impl Write {
    /// Sets the columns of a row.
    pub(super) fn set(&self, row: &mut Row) {
        for (value, new) in row.iter_mut().zip(&self.values) {
            if let Some(new) = new {
                value.clone_from(new);
            }
        }
    }

    pub(super) fn truncate(table: usize) -> Self {
        let (kind, key, values) = (Kind::Truncate, String::new(), Vec::new());
        Self { table, kind, key, values, must_find: false }
    }

    /// A delete that may find nothing.
    pub(super) fn delete(table: usize, key: String) -> Self {
        Self { table, kind: Kind::Delete, key, values: Vec::new(), must_find: false }
    }

    fn new(table: usize, kind: Kind, fold: &Fold, entry: &Entry) -> Self {
        let value = |cell: &Cell| match cell {
            Cell::Unchanged => None,
            cell => Some(fold.value(*cell).map(text)),
        };
        let values = fold.row(entry).iter().map(value).collect();
        Self { table, kind, key: key_of(fold, entry), values, must_find: false }
    }

    /// The move of the target's row from one key to another.
    pub(super) fn move_row(table: usize, fold: &Fold, (old, new): (&Entry, &Entry)) -> Self {
        let key = key_of(fold, old);
        Self { key, must_find: true, ..Self::new(table, Kind::Move, fold, new) }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn key_of(fold: &Fold, entry: &Entry) -> String {
    fold.key(entry).filter_map(|cell| fold.value(cell)).map(text).collect()
}

/// The statements of some entries, in the order in which they are executed.
pub(super) fn writes<'e>(
    (at, table): (usize, &ApplyTable),
    fold: &Fold,
    entries: impl Iterator<Item = &'e Entry>,
    known: Known,
    mistake: Option<Mistake>,
) -> Vec<Write> {
    let work = Work::new(table, fold, entries, known);
    let row = |kind, entry: &Entry| Write::new(at, kind, fold, entry);
    let exact = known == Known::Exact;
    let mut all = Vec::new();
    for entry in &work.deletes {
        all.push(Write { must_find: exact, ..row(Kind::Delete, entry) });
    }
    for entry in work.updates.iter().flat_map(|(_, entries)| entries) {
        let mut write = Write { must_find: exact, ..row(Kind::Update, entry) };
        if mistake == Some(Mistake::UnchangedIsNull) {
            write.kind = Kind::Upsert;
            for value in &mut write.values {
                value.get_or_insert(None);
            }
        }
        all.push(write);
    }
    for entry in &work.upserts {
        all.push(row(
            match mistake {
                Some(Mistake::ConflictDoesNothing) => Kind::InsertOrNothing,
                Some(Mistake::InsertUpdates) if !entry.existed => Kind::Update,
                _ => Kind::Upsert,
            },
            entry,
        ));
    }
    let insert = match mistake {
        Some(Mistake::ConflictDoesNothing) if !exact => Kind::InsertOrNothing,
        _ => Kind::Insert,
    };
    all.extend(work.inserts.iter().map(|entry| row(insert, entry)));
    all
}

/// For a person.
pub(super) fn shown(writes: &[Write]) -> String {
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
