//! Many changes of one table folded into one image per key: the last write wins, column by
//! column where a big value is missing.
//!
//! Pure. Values are copied once, out of the received bytes into one buffer; keys are compared as
//! the bytes the server sent, which is exact for what the log says: a row keeps its key's bytes
//! until an update of the key, and that comes with the old key. (Two spellings of equal keys, such
//! as numerics 1.0 and 1.00, are two entries; at most one of them is left standing, and deletes
//! are written first.)
//!
//! The rules are those of the table in [`super`]'s documentation; "unchanged" is a big value
//! that the log leaves out because the update did not touch it.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    pgoutput::{OldTuple, Tuple, TupleValue},
    wire::Format,
};

/// One value of a folded row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// Whatever the row has.
    Unchanged,
    /// Bytes of the buffer, as text.
    Text(Span),
    /// Bytes of the buffer, in binary.
    Binary(Span),
}

/// A place in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    len: u32,
}

/// What is to become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The row, whole.
    Row,
    /// Some columns of a row that is there; the others stay.
    Patch,
    /// No row.
    Gone,
    /// A row that came to this key with a big value that the log does not hold: to be fetched
    /// from the source.
    Fetch,
}

/// One key's end state.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What is to become of it.
    pub state: State,
    /// Whether the source had a row of this key before the first change folded here.
    pub existed: bool,
    row: usize,
}

/// What folding a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// It is folded in.
    Done,
    /// The row takes another key and keeps a big value that is nowhere in the stream. Nothing
    /// was folded: the caller decides between [`Fold::fetch_moved`] and moving the target's row.
    KeepsValue,
}

/// The folded changes of one table.
#[derive(Debug)]
pub struct Fold {
    width: usize,
    /// Places of the key's columns in a row.
    key: Vec<usize>,
    buffer: Vec<u8>,
    cells: Vec<Cell>,
    entries: Vec<Entry>,
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    truncated: bool,
    /// Whether any value came as text, and whether any came in binary.
    text: bool,
    binary: bool,
}

impl Fold {
    /// For rows of `width` columns, of which those at `key` tell rows apart.
    #[must_use]
    pub fn new(width: usize, key: Vec<usize>) -> Self {
        Self {
            width,
            key,
            buffer: Vec::new(),
            cells: Vec::new(),
            entries: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            truncated: false,
            text: false,
            binary: false,
        }
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.truncated
    }

    /// How many keys are touched.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// How much memory the values take, those that were overwritten included.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.buffer.len() + self.cells.len() * size_of::<Cell>()
    }

    /// Whether the table is to be emptied first.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.cells.clear();
        self.entries.clear();
        self.index.clear();
        (self.truncated, self.text, self.binary) = (false, false, false);
    }

    /// Everything before is void; what comes later is folded on top.
    pub fn truncate(&mut self) {
        self.clear();
        self.truncated = true;
    }

    /// A new row. `columns` gives each value of the tuple its place, `None` for one that does not
    /// travel.
    pub fn insert(&mut self, new: Tuple<'_>, columns: &[Option<usize>]) {
        let row = self.push(new, columns);
        // A row filter can turn an update into an insert that leaves a big value out; then the
        // value is nowhere in the stream, as after a move.
        let state = if self.has_unchanged(row) { State::Fetch } else { State::Row };
        self.set(row, state, false);
    }

    /// A changed row, with its old key or its whole old image where the log has them.
    #[must_use]
    pub fn update(
        &mut self,
        old: Option<OldTuple<'_>>,
        new: Tuple<'_>,
        columns: &[Option<usize>],
    ) -> Folded {
        let row = self.push(new, columns);
        let Some(old) = old else {
            return self.keep_key(row);
        };
        let old_row = match old {
            OldTuple::Key(tuple) => {
                let old_row = self.push(tuple, columns);
                // A key that is stored out of line comes as the old key although it did not
                // change; the new tuple then leaves it out.
                for place in self.key.clone() {
                    self.fill(row, old_row, place);
                }
                old_row
            }
            OldTuple::Full(tuple) => {
                let old_row = self.push(tuple, columns);
                for place in 0..self.width {
                    self.fill(row, old_row, place);
                }
                old_row
            }
        };
        if self.same_key(row, old_row) {
            self.cells.truncate(old_row);
            return self.keep_key(row);
        }
        // What this fold knows of the row under its old key is exact: it is the log's own.
        if let Some(entry) = self.find(old_row).map(|i| self.entries[i])
            && matches!(entry.state, State::Row | State::Patch)
        {
            for place in 0..self.width {
                self.fill(row, entry.row, place);
            }
        }
        if self.has_unchanged(row) {
            self.cells.truncate(row);
            return Folded::KeepsValue;
        }
        // In this order: setting may move the last row.
        self.set(old_row, State::Gone, true);
        self.set(row, State::Row, false);
        Folded::Done
    }

    /// Folds an update for which [`Fold::update`] answered [`Folded::KeepsValue`]: no row under
    /// the old key, and one to be fetched under the new key.
    pub fn fetch_moved(&mut self, old: OldTuple<'_>, new: Tuple<'_>, columns: &[Option<usize>]) {
        let (OldTuple::Key(tuple) | OldTuple::Full(tuple)) = old;
        let old_row = self.push(tuple, columns);
        let row = self.push(new, columns);
        for place in self.key.clone() {
            self.fill(row, old_row, place);
        }
        self.set(old_row, State::Gone, true);
        self.set(row, State::Fetch, false);
    }

    /// A row that is no more.
    pub fn delete(&mut self, old: OldTuple<'_>, columns: &[Option<usize>]) {
        let (OldTuple::Key(tuple) | OldTuple::Full(tuple)) = old;
        let row = self.push(tuple, columns);
        self.set(row, State::Gone, true);
    }

    /// An update that leaves the key as it is.
    fn keep_key(&mut self, row: usize) -> Folded {
        let unchanged = self.has_unchanged(row);
        let Some(at) = self.find(row) else {
            let state = if unchanged { State::Patch } else { State::Row };
            self.set(row, state, true);
            return Folded::Done;
        };
        let entry = self.entries[at];
        if matches!(entry.state, State::Row | State::Patch) {
            for place in 0..self.width {
                self.fill(row, entry.row, place);
            }
        }
        let state = match entry.state {
            _ if !self.has_unchanged(row) => State::Row,
            State::Patch => State::Patch,
            // A row that was to be fetched still is. An update of a row that this fold has seen
            // deleted can't be; the source's own row settles it.
            State::Row | State::Fetch | State::Gone => State::Fetch,
        };
        self.set(row, state, true);
        Folded::Done
    }

    /// Copies a tuple's values to the end of the rows.
    fn push(&mut self, tuple: Tuple<'_>, columns: &[Option<usize>]) -> usize {
        let row = self.cells.len();
        self.cells.resize(row + self.width, Cell::Null);
        for (value, place) in tuple.values().zip(columns) {
            let Some(place) = *place else { continue };
            self.cells[row + place] = match value {
                TupleValue::Null => Cell::Null,
                TupleValue::Unchanged => Cell::Unchanged,
                TupleValue::Text(bytes) => {
                    self.text = true;
                    Cell::Text(self.store(bytes))
                }
                TupleValue::Binary(bytes) => {
                    self.binary = true;
                    Cell::Binary(self.store(bytes))
                }
            };
        }
        row
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        // A value came in a frame, whose length is an i32.
        Span { start, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    /// Gives `row` the value of `from` where it has none of its own.
    fn fill(&mut self, row: usize, from: usize, place: usize) {
        if self.cells[row + place] == Cell::Unchanged {
            self.cells[row + place] = self.cells[from + place];
        }
    }

    fn has_unchanged(&self, row: usize) -> bool {
        self.cells[row..row + self.width].contains(&Cell::Unchanged)
    }

    fn same_key(&self, a: usize, b: usize) -> bool {
        self.key
            .iter()
            .all(|&place| self.value(self.cells[a + place]) == self.value(self.cells[b + place]))
    }

    fn hash(&self, row: usize) -> u64 {
        Self::hash_key(&self.hasher, &self.key, &self.cells, &self.buffer, row)
    }

    fn hash_key(
        hasher: &DefaultHashBuilder,
        key: &[usize],
        cells: &[Cell],
        buffer: &[u8],
        row: usize,
    ) -> u64 {
        let mut hash = hasher.build_hasher();
        for &place in key {
            let bytes = bytes_of(buffer, cells[row + place]).unwrap_or_default();
            hash.write_usize(bytes.len());
            hash.write(bytes);
        }
        hash.finish()
    }

    fn find(&self, row: usize) -> Option<usize> {
        let same = |&at: &usize| self.same_key(self.entries[at].row, row);
        self.index.find(self.hash(row), same).copied()
    }

    /// Makes `row` the image of its key.
    fn set(&mut self, row: usize, state: State, existed: bool) {
        if let Some(at) = self.find(row) {
            self.entries[at].row = row;
            self.entries[at].state = state;
            return;
        }
        let at = self.entries.len();
        self.entries.push(Entry { state, existed, row });
        let hash = self.hash(row);
        let Self { hasher, key, cells, buffer, entries, index, .. } = self;
        index.insert_unique(hash, at, |&at| {
            Self::hash_key(hasher, key, cells, buffer, entries[at].row)
        });
    }

    /// How all of its values came; `None` if some came as text and some in binary.
    #[must_use]
    pub const fn format(&self) -> Option<Format> {
        match (self.text, self.binary) {
            (true, true) => None,
            (_, false) => Some(Format::Text),
            (false, true) => Some(Format::Binary),
        }
    }

    /// Which of `lanes` an entry belongs to: as long as this fold lives, each key to the same one.
    #[must_use]
    pub fn lane_of(&self, entry: &Entry, lanes: usize) -> usize {
        // The index uses the lowest and the highest bits.
        usize::try_from((self.hash(entry.row) >> 24) % lanes.max(1) as u64).unwrap_or(0)
    }

    /// The keys' end states, in the order in which they were first touched.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An entry's values; of a key that is gone only the key's own mean something.
    #[must_use]
    pub fn row(&self, entry: &Entry) -> &[Cell] {
        &self.cells[entry.row..entry.row + self.width]
    }

    /// The values of an entry's key.
    pub fn key(&self, entry: &Entry) -> impl ExactSizeIterator<Item = Cell> + Clone {
        self.key.iter().map(|&place| self.cells[entry.row + place])
    }

    /// The bytes of a value, `None` for NULL.
    #[must_use]
    pub fn value(&self, cell: Cell) -> Option<&[u8]> {
        bytes_of(&self.buffer, cell)
    }

    /// Puts what the source has under the key of a [`State::Fetch`] entry: the whole row as text,
    /// or, if it has none, nothing to be written (a later change explains it).
    pub fn fetched<'v>(
        &mut self,
        at: usize,
        values: Option<impl Iterator<Item = Option<&'v [u8]>>>,
    ) {
        let Some(values) = values else {
            self.entries[at].state = State::Patch;
            let row = self.entries[at].row;
            let key = self.key.clone();
            for place in (0..self.width).filter(|place| !key.contains(place)) {
                self.cells[row + place] = Cell::Unchanged;
            }
            return;
        };
        let row = self.entries[at].row;
        self.text = true;
        for (place, value) in values.enumerate().take(self.width) {
            self.cells[row + place] = match value {
                None => Cell::Null,
                Some(bytes) => Cell::Text(self.store(bytes)),
            };
        }
        self.entries[at].state = State::Row;
    }
}

fn bytes_of(buffer: &[u8], cell: Cell) -> Option<&[u8]> {
    match cell {
        Cell::Text(span) | Cell::Binary(span) => {
            buffer.get(span.start..span.start + span.len as usize)
        }
        Cell::Null | Cell::Unchanged => None,
    }
}

#[cfg(test)]
mod tests;
