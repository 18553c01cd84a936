//! Many rows at once: COPY into a staging table, and one statement for each thing to be done.
//!
//! COPY takes a value for the price of its receive function and a few bytes of protocol, whatever
//! its type (`unnest` of arrays would flatten columns that are arrays themselves), and the
//! statements read rows that the server holds already: they are prepared once, whatever the
//! number of rows. Rows that can't be there yet go straight into the table, also by COPY.
//!
//! Nothing waits for a reply: COPY and its data travel in the pipeline like anything else.
//!
//! A staging table has limits of its own: a row has one column more there, its types need USAGE, an
//! event trigger may forbid it. What it refuses is no error yet: the table's changes go without it
//! from then on ([`super::run`]).

use std::collections::HashMap;

use super::{
    ApplyTable,
    fold::{Entry, Fold},
    work::{Queued, Work, Written},
};
use crate::{
    conn::Pipeline,
    sql::{Stage, copy_page_in},
    wire::{Format, Writer as Bytes, Writing},
};

/// From how many rows on staging pays: below it a single statement with parameters costs less
/// than three statements.
pub(super) const STAGED_ROWS: usize = 32;

/// How many different sets of columns the updates of a batch may set: each is a statement that
/// looks at all staged rows.
pub(super) const SETS_MAX: usize = 8;

/// The size of a CopyData message: see `conn::copy_in`.
const COPY_DATA_BYTES: usize = 32 * 1024;

/// What is to be done with a staged row. Updates come last, numbered by the columns they set.
const DELETE: usize = 0;
const UPSERT: usize = 1;
const UPDATE: usize = 2;

/// Which statement of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Empty,
    Copy(Format),
    CopyIntoTable(Format),
    Delete,
    Update(Vec<usize>, usize),
    Upsert,
}

/// The staging tables of a session and the statements that use them.
#[derive(Debug, Default)]
pub(super) struct Staging {
    tables: HashMap<usize, Staged>,
}

#[derive(Debug)]
struct Staged {
    stage: Stage,
    prepared: HashMap<Kind, String>,
    /// Whether this transaction has staged rows already.
    used: bool,
}

impl Staging {
    /// A commit has emptied the tables.
    pub(super) fn emptied(&mut self) {
        self.tables.values_mut().for_each(|table| table.used = false);
    }

    /// Queues what is to be done to a table, in the order of [`super::writer`].
    pub(super) fn write(
        &mut self,
        pipeline: &mut Pipeline,
        (at, table): (usize, &ApplyTable),
        (fold, format): (&Fold, Format),
        work: &Work,
        exact: bool,
        queued: &mut impl FnMut(Queued),
    ) {
        let staged =
            self.tables.entry(at).or_insert_with(|| Staged::new(at, table, pipeline, queued));
        let mut statements = Statements { staged, pipeline, at, table, queued };
        if work.len() > work.inserts.len() {
            statements.stage(fold, format, work);
            if !work.deletes.is_empty() {
                statements.run(Kind::Delete, work.deletes.len(), exact);
            }
            for (number, (set, entries)) in work.updates.iter().enumerate() {
                statements.run(Kind::Update(set.clone(), UPDATE + number), entries.len(), exact);
            }
            if !work.upserts.is_empty() {
                statements.run(Kind::Upsert, work.upserts.len(), exact);
            }
        }
        if !work.inserts.is_empty() {
            statements.insert(fold, format, &work.inserts);
        }
    }
}

impl Staged {
    fn new(
        at: usize,
        table: &ApplyTable,
        pipeline: &mut Pipeline,
        queued: &mut impl FnMut(Queued),
    ) -> Self {
        let columns: Vec<_> =
            table.columns.iter().map(|c| (c.name.clone(), c.below_domain.clone())).collect();
        let stage = Stage::new(at, &table.target, &columns);
        let name = format!("pghost_stage_{at}");
        pipeline.prepare(&name, &stage.create(), &[]);
        pipeline.execute(&name, std::iter::empty(), |_| {});
        queued(Queued::Stage(at));
        Self { stage, prepared: HashMap::new(), used: false }
    }
}

/// The statements of one table's batch on their way into the pipeline.
struct Statements<'a, F> {
    staged: &'a mut Staged,
    pipeline: &'a mut Pipeline,
    at: usize,
    table: &'a ApplyTable,
    queued: &'a mut F,
}

impl<F: FnMut(Queued)> Statements<'_, F> {
    /// The name of a statement, which is prepared if it is new.
    fn statement(&mut self, kind: Kind) -> String {
        let (table, staged) = (self.table, &mut *self.staged);
        if let Some(name) = staged.prepared.get(&kind) {
            return name.clone();
        }
        let name = format!("pghost_staged_{}_{}", self.at, staged.prepared.len());
        let (stage, key, all) = (&staged.stage, &table.target_key, table.column_names());
        let sql = match &kind {
            Kind::Empty => stage.empty(),
            Kind::Copy(format) => stage.copy(*format),
            Kind::CopyIntoTable(format) => copy_page_in(&table.target, &all, *format),
            Kind::Delete => stage.delete(key, DELETE),
            Kind::Update(set, doing) => {
                let set: Vec<_> = set.iter().map(|&i| all[i].clone()).collect();
                stage.update(key, &set, *doing)
            }
            Kind::Upsert => stage.upsert(key, UPSERT),
        };
        self.pipeline.prepare(&name, &sql, &[]);
        staged.prepared.insert(kind, name.clone());
        name
    }

    /// Brings the rows, each with what is to be done with it.
    fn stage(&mut self, fold: &Fold, format: Format, work: &Work) {
        if std::mem::replace(&mut self.staged.used, true) {
            let empty = self.statement(Kind::Empty);
            self.pipeline.execute(&empty, std::iter::empty(), |_| {});
            (self.queued)(Queued::Stage(self.at));
        }
        let key = self.table.key_places();
        let copy = self.statement(Kind::Copy(format));
        let deletes = work.deletes.iter().map(|entry| (Some(DELETE), entry));
        let updates = work.updates.iter().enumerate().flat_map(|(number, (_, entries))| {
            entries.iter().map(move |entry| (Some(UPDATE + number), entry))
        });
        let upserts = work.upserts.iter().map(|entry| (Some(UPSERT), entry));
        let rows = deletes.chain(updates).chain(upserts);
        self.pipeline.copy(&copy, |bytes| copy_rows(bytes, format, fold, &key, rows));
        (self.queued)(Queued::Stage(self.at));
    }

    fn insert(&mut self, fold: &Fold, format: Format, entries: &[Entry]) {
        let copy = self.statement(Kind::CopyIntoTable(format));
        let rows = entries.iter().map(|entry| (None, entry));
        self.pipeline.copy(&copy, |bytes| copy_rows(bytes, format, fold, &[], rows));
        let must_find = Some(entries.len() as u64);
        let (table, what, brings) = (self.at, "COPY", true);
        (self.queued)(Queued::Written(Written { table, what, must_find, brings }));
    }

    fn run(&mut self, kind: Kind, rows: usize, exact: bool) {
        // Of a row that is all key, one that is there is left as it is.
        let brings = kind == Kind::Upsert && self.table.columns.len() > self.table.target_key.len();
        let what = match kind {
            Kind::Delete => "DELETE",
            Kind::Update(..) => "UPDATE",
            _ => "INSERT .. ON CONFLICT DO UPDATE",
        };
        let name = self.statement(kind);
        self.pipeline.execute(&name, std::iter::empty(), |_| {});
        let must_find = (brings || exact).then_some(rows as u64);
        (self.queued)(Queued::Written(Written { table: self.at, what, must_find, brings }));
    }
}

/// Writes rows as the data of a COPY: each with what is to be done with it, if that is told, and
/// of a row that is to be deleted only the key.
fn copy_rows<'e>(
    bytes: &mut Bytes,
    format: Format,
    fold: &Fold,
    key: &[usize],
    mut rows: impl Iterator<Item = (Option<usize>, &'e Entry)>,
) {
    let (mut has_begun, mut has_ended) = (false, false);
    while !has_ended {
        let mut message = bytes.message(b'd');
        if format == Format::Binary && !std::mem::replace(&mut has_begun, true) {
            message.copy_binary().header();
        }
        while message.len() < COPY_DATA_BYTES {
            let Some((doing, entry)) = rows.next() else {
                has_ended = true;
                if format == Format::Binary {
                    message.copy_binary().trailer();
                }
                break;
            };
            let is_sent = |place: usize| doing != Some(DELETE) || key.contains(&place);
            let cells = fold.row(entry).iter().enumerate();
            let values = cells.map(|(i, cell)| fold.value(*cell).filter(|_| is_sent(i)));
            copy_row(&mut message, format, doing, values);
        }
        message.finish();
    }
}

fn copy_row<'v>(
    message: &mut Writing<'_>,
    format: Format,
    doing: Option<usize>,
    values: impl Iterator<Item = Option<&'v [u8]>>,
) {
    // At most `UPDATE + SETS_MAX`.
    let doing = doing.map(|number| i16::try_from(number).unwrap_or(i16::MAX));
    match format {
        Format::Binary => {
            let mut copy = message.copy_binary();
            let mut row = copy.row();
            if let Some(number) = doing {
                row.field(Some(&number.to_be_bytes()));
            }
            values.for_each(|value| {
                row.field(value);
            });
            row.end_row();
        }
        Format::Text => {
            let mut row = message.text_row();
            if let Some(number) = doing {
                row.field(Some(number.to_string().as_bytes()));
            }
            values.for_each(|value| {
                row.field(value);
            });
            row.end_row();
        }
    }
}
