//! Folded changes as statements on a pipeline.
//!
//! | form | for | measured |
//! |---|---|---|
//! | COPY into a staging table, then one statement a kind | batches | `staged.rs` |
//! | VALUES with one parameter a value | a few rows, rows in mixed formats | here |
//!
//! In both forms every value travels as the bytes the source sent, text or binary, without a cast
//! and without being taken apart. VALUES have a power of two of rows, so a table needs few
//! statements and each is parsed once.

use std::collections::HashMap;

use super::{
    ApplyTable,
    fold::{Cell, Entry, Fold},
    staged::{SETS_MAX, STAGED_ROWS, Staging},
    work::{Queued, Target, Work, Written},
};
use crate::{
    conn::Pipeline,
    pg::{Oid, QualifiedName},
    sql::{delete_rows, insert_rows, move_row, truncate, update_rows, upsert_rows},
    wire::Format,
};

/// Bind counts its parameters in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// The most rows in a statement. Beyond it a statement gains nothing, and its plan and its
/// executor state only grow.
const ROWS_MAX: usize = 1024;

/// How many parameters the prepared statements of a lane may have in all. The server keeps each
/// statement with its plan, about 300 bytes a parameter (seen: 2.75 MB for 1024 rows of nine
/// columns), so this is some 100 MB. A table of nine columns needs 20,000 for each kind; only
/// updates with missing big values multiply, by the sets of columns that go missing together.
const PREPARED_PARAMETERS_MAX: usize = 350_000;

/// For messages, and for who asks what has failed.
pub(super) const TRUNCATE: &str = "TRUNCATE";

/// Which statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The tables that are emptied together.
    Truncate(Vec<QualifiedName>),
    Delete,
    /// The columns that are set, by their places.
    Update(Vec<usize>),
    Insert,
    Upsert,
    /// The columns that are set; always one row.
    Move(Vec<usize>),
}

/// What a fold is written by.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// What is known of the target.
    pub(super) target: Target,
    /// Only the entries of this lane of so many; those of a table whose keys can't be told apart
    /// by their bytes are all in one.
    pub(super) lane: (usize, usize),
}

impl How {
    pub(super) fn is_mine(self, table: &ApplyTable, fold: &Fold, entry: &Entry) -> bool {
        let (lane, lanes) = self.lane;
        match (lanes, table.keys_are_bytes) {
            (0 | 1, _) => true,
            (_, true) => fold.lane_of(entry, lanes) == lane,
            (_, false) => table.ordinal % lanes == lane,
        }
    }
}

/// Prepares statements as they are needed and queues them.
#[derive(Debug, Default)]
pub(super) struct Writer {
    prepared: HashMap<(usize, Kind, usize), String>,
    prepared_parameters: usize,
    made: u64,
    /// The values of the statement being bound; kept for its memory.
    cells: Vec<Cell>,
    /// `None` where no temporary table may be made.
    staging: Option<Staging>,
}

impl Writer {
    pub(super) fn new(may_stage: bool) -> Self {
        Self { staging: may_stage.then(Staging::default), ..Self::default() }
    }

    /// The transaction was ended.
    pub(super) fn ended(&mut self) {
        self.staging.iter_mut().for_each(Staging::emptied);
    }

    /// Queues the emptying of tables, which comes before all that is written to any of them.
    pub(super) fn truncate(
        &mut self,
        pipeline: &mut Pipeline,
        tables: &[(usize, &ApplyTable)],
        queued: &mut impl FnMut(Queued),
    ) {
        let Some(&first) = tables.first() else { return };
        let names = tables.iter().map(|(_, table)| table.target.clone()).collect();
        let kind = Kind::Truncate(names);
        let what = kind.name();
        let name = self.statement(pipeline, first, kind, 1);
        pipeline.execute(&name, std::iter::empty(), |_| {});
        queued(Queued::Written(Written { table: first.0, what, must_find: None, brings: false }));
    }

    /// Queues the rows that a fold says of a table, deletes first: of two spellings of one key the
    /// one that goes must not take the one that stays with it. `queued` hears of each statement.
    pub(super) fn write(
        &mut self,
        pipeline: &mut Pipeline,
        (at, table): (usize, &ApplyTable),
        fold: &Fold,
        how: How,
        queued: &mut impl FnMut(Queued),
    ) {
        let exact = how.target == Target::Exact;
        let mine = fold.entries().iter().filter(|entry| how.is_mine(table, fold, entry));
        let staging = self.staging.as_mut().filter(|_| table.staged);
        if let (Some(staging), Some(format)) = (staging, fold.format()) {
            let work = Work::new(table, fold, mine.clone(), how.target);
            if work.len() >= STAGED_ROWS && work.updates.len() <= SETS_MAX {
                staging.write(pipeline, (at, table), (fold, format), &work, exact, queued);
                return;
            }
        }
        // A conflict costs more than it could save here.
        let target = if exact { Target::Exact } else { Target::Lax };
        let work = Work::new(table, fold, mine, target);
        for (kind, entries) in groups(&work) {
            let width = kind.parameters(table);
            let most = (PARAMETERS_MAX / width.max(1)).min(ROWS_MAX);
            for rows in powers_of_two(entries, most) {
                let name = self.statement(pipeline, (at, table), kind.clone(), rows.len());
                self.cells.clear();
                for entry in rows {
                    kind.values(fold, entry, &mut self.cells);
                }
                self.execute(pipeline, &name, fold);
                // Of a row that is all key, one that is there is left as it is.
                let brings = kind == Kind::Insert
                    || kind == Kind::Upsert && table.columns.len() > table.target_key.len();
                let finds = exact && matches!(kind, Kind::Delete | Kind::Update(_));
                let must_find = (brings || finds).then_some(rows.len() as u64);
                queued(Queued::Written(Written {
                    table: at,
                    what: kind.name(),
                    must_find,
                    brings,
                }));
            }
        }
    }

    /// Queues the move of one row of the target to another key, with all values that the row of
    /// `fold` has. Only for a target that is exact.
    pub(super) fn move_row(
        &mut self,
        pipeline: &mut Pipeline,
        (at, table): (usize, &ApplyTable),
        fold: &Fold,
        (old, new): (&Entry, &Entry),
        queued: &mut impl FnMut(Queued),
    ) {
        let row = fold.row(new);
        let set: Vec<_> = (0..row.len()).filter(|&i| row[i] != Cell::Unchanged).collect();
        let kind = Kind::Move(set.clone());
        let name = self.statement(pipeline, (at, table), kind.clone(), 1);
        self.cells.clear();
        self.cells.extend(fold.key(old));
        self.cells.extend(set.iter().map(|&i| row[i]));
        self.execute(pipeline, &name, fold);
        let what = kind.name();
        queued(Queued::Written(Written { table: at, what, must_find: Some(1), brings: false }));
    }

    /// Queues a statement with the gathered values.
    fn execute(&self, pipeline: &mut Pipeline, name: &str, fold: &Fold) {
        pipeline.execute(name, self.cells.iter().map(|c| format_of(*c)), |bind| {
            for cell in &self.cells {
                bind.value(fold.value(*cell));
            }
        });
    }

    /// The name of a statement, which is prepared if it is new.
    fn statement(
        &mut self,
        pipeline: &mut Pipeline,
        (at, table): (usize, &ApplyTable),
        kind: Kind,
        rows: usize,
    ) -> String {
        let wanted = (at, kind, rows);
        if let Some(name) = self.prepared.get(&wanted) {
            return name.clone();
        }
        let parameters = rows * wanted.1.parameters(table);
        if self.prepared_parameters + parameters > PREPARED_PARAMETERS_MAX {
            self.prepared.drain().for_each(|(_, name)| pipeline.forget(&name));
            self.prepared_parameters = 0;
        }
        self.prepared_parameters += parameters;
        self.made += 1;
        let name = format!("pghost_{}", self.made);
        let (sql, types) = wanted.1.text(table, rows);
        pipeline.prepare(&name, &sql, &types);
        self.prepared.insert(wanted, name.clone());
        name
    }
}

impl Kind {
    /// For messages.
    const fn name(&self) -> &'static str {
        match self {
            Self::Truncate(_) => TRUNCATE,
            Self::Delete => "DELETE",
            Self::Update(_) => "UPDATE",
            Self::Insert => "INSERT",
            Self::Upsert => "INSERT .. ON CONFLICT DO UPDATE",
            Self::Move(_) => "update of the key",
        }
    }

    /// Appends a row's parameters.
    fn values(&self, fold: &Fold, entry: &Entry, cells: &mut Vec<Cell>) {
        match self {
            Self::Truncate(_) => {}
            Self::Delete => cells.extend(fold.key(entry)),
            Self::Update(set) | Self::Move(set) => {
                let row = fold.row(entry);
                cells.extend(fold.key(entry));
                cells.extend(set.iter().map(|&i| row[i]));
            }
            Self::Insert | Self::Upsert => cells.extend_from_slice(fold.row(entry)),
        }
    }

    /// How many parameters a row takes.
    fn parameters(&self, table: &ApplyTable) -> usize {
        match self {
            // None; but it takes memory on the server as others do.
            Self::Truncate(tables) => tables.len(),
            Self::Delete => table.target_key.len(),
            Self::Update(set) | Self::Move(set) => table.target_key.len() + set.len(),
            Self::Insert | Self::Upsert => table.columns.len(),
        }
    }

    /// The statement and its parameters' types, row by row.
    fn text(&self, table: &ApplyTable, rows: usize) -> (String, Vec<Oid>) {
        let (target, key) = (&table.target, &table.target_key);
        let all = table.column_names();
        let names = |set: &[usize]| set.iter().map(|&i| all[i].clone()).collect::<Vec<_>>();
        let of = |set: &[usize]| set.iter().map(|&i| table.columns[i].target_type).collect();
        let keyed = |set: &[usize]| -> Vec<Oid> { [of(&table.key_places()), of(set)].concat() };
        let (sql, types): (_, Vec<Oid>) = match self {
            Self::Truncate(tables) => (truncate(tables), Vec::new()),
            Self::Delete => (delete_rows(target, key, rows), of(&table.key_places())),
            Self::Update(set) => (update_rows(target, key, &names(set), rows), keyed(set)),
            Self::Move(set) => (move_row(target, &all, key, &names(set)), keyed(set)),
            Self::Insert | Self::Upsert => {
                let types = table.columns.iter().map(|c| c.target_type).collect();
                match self {
                    Self::Insert => (insert_rows(target, &all, rows), types),
                    _ => (upsert_rows(target, &all, key, rows), types),
                }
            }
        };
        (sql, types.repeat(rows))
    }
}

/// The rows by their statements, in the order in which they are written.
fn groups(work: &Work) -> impl Iterator<Item = (Kind, &[Entry])> {
    let updates = work.updates.iter().map(|(set, rows)| (Kind::Update(set.clone()), &rows[..]));
    std::iter::once((Kind::Delete, work.deletes.as_slice()))
        .chain(updates)
        .chain([(Kind::Upsert, work.upserts.as_slice()), (Kind::Insert, &work.inserts)])
}

/// Cuts a list into pieces whose lengths are powers of two, the largest first.
fn powers_of_two<T>(list: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let largest = 1 << most.max(1).ilog2();
    let mut rest = list;
    std::iter::from_fn(move || {
        let size = rest.len().checked_ilog2().map(|bits| (1 << bits).min(largest))?;
        let (head, tail) = rest.split_at(size);
        rest = tail;
        Some(head)
    })
}

/// How a value is bound: as it came.
pub(super) const fn format_of(cell: Cell) -> Format {
    match cell {
        Cell::Binary(_) => Format::Binary,
        Cell::Null | Cell::Unchanged | Cell::Text(_) => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_into_powers_of_two() {
        let cut =
            |n: usize, most| powers_of_two(&vec![(); n], most).map(<[()]>::len).collect::<Vec<_>>();
        assert_eq!(cut(0, 8), Vec::<usize>::new());
        assert_eq!(cut(1, 8), [1]);
        assert_eq!(cut(13, 100), [8, 4, 1]);
        assert_eq!(cut(20, 9), [8, 8, 4]);
        assert_eq!(cut(3, 1), [1, 1, 1]);
    }
}
