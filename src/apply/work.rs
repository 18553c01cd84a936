//! What a fold asks of a table: its entries by the statement that writes them.
//!
//! Pure. How the statements look is [`super::writer`]'s and [`super::staged`]'s.

use super::{
    ApplyTable,
    fold::{Cell, Entry, Fold, State},
};

/// How much is known of what the target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Anything between what the log says and what a page has brought.
    Lax,
    /// The same; but every page of the table was read before these changes were made, so a row
    /// that they insert is not there yet. Visibility can lag behind the log
    /// (`docs/how-it-works.md`, hole 2), so a conflict is no surprise and must be mended.
    LaxAfterPages,
    /// What the source held at the position, and nothing else.
    Exact,
}

/// A fold's entries, or those of one lane, by what is to be done with them.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) deletes: Vec<Entry>,
    /// By the columns that are set.
    pub(super) updates: Vec<(Vec<usize>, Vec<Entry>)>,
    pub(super) upserts: Vec<Entry>,
    pub(super) inserts: Vec<Entry>,
}

impl Work {
    pub(super) fn new<'e>(
        table: &ApplyTable,
        fold: &Fold,
        entries: impl Iterator<Item = &'e Entry>,
        target: Target,
    ) -> Self {
        let key = table.key_places();
        let rest: Vec<_> = (0..table.columns.len()).filter(|place| !key.contains(place)).collect();
        let exact = target == Target::Exact;
        let mut work = Self::default();
        let mut whole = Vec::new();
        for entry in entries {
            match entry.state {
                // A row that came and went between two batches was never here. Unless a page has
                // brought it.
                State::Gone if exact && !entry.existed => {}
                State::Gone => work.deletes.push(*entry),
                State::Row if !entry.existed && target != Target::Lax => work.inserts.push(*entry),
                State::Row if !exact => work.upserts.push(*entry),
                State::Row => whole.push(*entry),
                // What was to be fetched has been by now: the driver does it before it writes.
                State::Patch | State::Fetch => {
                    let row = fold.row(entry);
                    let set = rest.iter().copied().filter(|&i| row[i] != Cell::Unchanged);
                    work.update(set.collect(), *entry);
                }
            }
        }
        if !whole.is_empty() {
            work.updates.push((rest, whole));
        }
        // Nothing but the key, or nothing that changed: such a row is right as it is.
        work.updates.retain(|(set, _)| !set.is_empty());
        work
    }

    fn update(&mut self, set: Vec<usize>, entry: Entry) {
        match self.updates.iter_mut().find(|(known, _)| *known == set) {
            Some((_, entries)) => entries.push(entry),
            None => self.updates.push((set, vec![entry])),
        }
    }

    /// How many rows it writes.
    pub(super) fn len(&self) -> usize {
        let updates: usize = self.updates.iter().map(|(_, entries)| entries.len()).sum();
        self.deletes.len() + updates + self.upserts.len() + self.inserts.len()
    }
}

/// A statement that was queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// One that has to do with the staging table of this table, and with no row of its own.
    Stage(usize),
    /// One that writes rows.
    Written(Written),
}

/// A statement that writes rows, as the lane watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The table's place among those of the run.
    pub(super) table: usize,
    /// For messages.
    pub(super) what: &'static str,
    /// How many rows it must find or bring, if that is known.
    pub(super) must_find: Option<u64>,
    /// Whether it brings them: where fewer come something on the target keeps rows away.
    pub(super) brings: bool,
}
