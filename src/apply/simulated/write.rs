//! What the entries of a fold ask of the target: the rules of `Sorted` in `writer`, row by row.

use super::{Row, mistake::Mistake};
use crate::apply::{ApplyTable, Cell, Entry, Fold, State};

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

/// A fold's statements but for the truncate, in the order in which they are executed.
pub(super) fn writes(
    at: usize,
    table: &ApplyTable,
    fold: &Fold,
    strict: bool,
    mistake: Option<Mistake>,
) -> Vec<Write> {
    let key = table.key_places();
    let [mut deletes, mut updates, mut upserts, mut inserts] = [const { Vec::new() }; 4];
    for entry in fold.entries() {
        let write = |kind| {
            let must_find = strict && matches!(kind, Kind::Delete | Kind::Update);
            Write { must_find, ..Write::new(at, kind, fold, entry) }
        };
        match entry.state {
            State::Gone if strict && !entry.existed => {}
            State::Gone => deletes.push(write(Kind::Delete)),
            State::Row if !strict => upserts.push(write(match mistake {
                Some(Mistake::ConflictDoesNothing) => Kind::InsertOrNothing,
                Some(Mistake::InsertUpdates) if !entry.existed => Kind::Update,
                _ => Kind::Upsert,
            })),
            State::Row if !entry.existed => inserts.push(write(Kind::Insert)),
            State::Row => updates.push(write(Kind::Update)),
            State::Patch | State::Fetch if mistake == Some(Mistake::UnchangedIsNull) => {
                let mut write = write(Kind::Upsert);
                for value in &mut write.values {
                    value.get_or_insert(None);
                }
                upserts.push(write);
            }
            State::Patch | State::Fetch => updates.push(write(Kind::Update)),
        }
    }
    // Nothing but the key: such a row is right as it is.
    updates.retain(|write| {
        let is_set = |(place, value): (usize, &Option<_>)| value.is_some() && !key.contains(&place);
        write.values.iter().enumerate().any(is_set)
    });
    [deletes, updates, upserts, inserts].concat()
}
