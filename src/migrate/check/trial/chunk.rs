//! What a transaction of the trial is made of: its tables, what they refer to, and the steps. Pure.
//!
//! In this order: the tables, empty; sampled rows; what is made of rows, as indexes and CHECKs,
//! whose functions so run; the rows are taken away; and what would act on rows, as triggers and
//! foreign keys.

use bytes::BytesMut;

use super::{
    asked::Reference,
    steps::{Does, Step},
};
use crate::{
    catalog::{FORCE, Object, ObjectKind},
    migrate::{make_table::Recipe, plan::PlannedTable},
    pg::{Ident, QualifiedName},
};

/// A table of the migration that is tried.
#[derive(Debug)]
pub(super) struct Tried {
    /// With as many partitions as are tried.
    pub(super) table: PlannedTable,
    /// What it is called in the trial.
    pub(super) name: QualifiedName,
    /// How it is made; `None` for one that the target has.
    pub(super) recipe: Option<Recipe>,
    pub(super) references: Vec<Reference>,
    /// How many locks making it takes.
    pub(super) weight: usize,
}

/// A table that another one refers to, which is none of the chunk's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StandIn {
    /// The target has it: this name, that in the trial, and the keys that are referred to. It has
    /// nothing else of the table, whose expressions may be anybody's.
    Like(QualifiedName, QualifiedName, Vec<String>),
    /// Another chunk's.
    Tried(usize),
}

/// How many tables from `from` on are tried together: as many as one session may lock at least.
pub(super) fn length(tried: &[Tried], from: usize, locks: usize) -> usize {
    let mut sum = 0;
    let fits = tried.iter().skip(from).take_while(|tried| {
        sum += tried.weight;
        sum <= locks
    });
    fits.count().max(1)
}

/// How many locks a table takes: with its TOAST table and that one's index, its sequences and
/// indexes; and its partitions the same.
pub(super) fn weight(table: &PlannedTable, objects: &[Object]) -> usize {
    let is_index =
        |o: &&Object| matches!(o.kind, ObjectKind::Key | ObjectKind::Index | ObjectKind::Unique);
    let indexes = objects.iter().filter(is_index).count();
    let sequences = table.source.columns.iter().filter(|c| c.sequence.is_some()).count();
    sequences + (3 + indexes) * (1 + table.source.partitions.len())
}

/// Kinds that are made while the rows are there.
fn is_made_of_rows(kind: ObjectKind) -> bool {
    use ObjectKind::{Analyze, Check, Index, Key, Statistics, Unique, Validation};
    matches!(kind, Key | Index | Unique | Check | Validation | Statistics | Analyze)
}

#[derive(Default)]
struct Steps {
    list: Vec<Step>,
}

impl Steps {
    fn add(
        &mut self,
        ordinal: Option<usize>,
        does: Does,
        name: &str,
        statements: Vec<String>,
        needs: Vec<usize>,
    ) -> usize {
        let name = name.to_owned();
        self.list.push(Step { ordinal, does, name, statements, rows: None, needs });
        self.list.len() - 1
    }

    /// The statements that make a table; gives the step without which there is none.
    fn table(&mut self, tried: &Tried, recipe: &Recipe, first: usize) -> usize {
        let ordinal = Some(tried.table.ordinal);
        let mut last = first;
        let mut together = Vec::new();
        for statement in &recipe.statements {
            if !statement.may_fail {
                together.push(statement.sql.clone());
                continue;
            }
            if !together.is_empty() {
                let statements = std::mem::take(&mut together);
                last = self.add(ordinal, Does::Table, "", statements, vec![last]);
            }
            self.add(ordinal, Does::Setting, "", vec![statement.sql.clone()], vec![last]);
        }
        if !together.is_empty() {
            last = self.add(ordinal, Does::Table, "", together, vec![last]);
        }
        last
    }

    /// A table like one that the target has, to be written to.
    fn copy(&mut self, tried: &Tried, first: usize) -> usize {
        let (name, like) = (&tried.name, &tried.table.target_name);
        // Without defaults: no sequence of the target is touched.
        let mut statements = vec![format!(
            "CREATE TABLE {name} (LIKE {like} INCLUDING CONSTRAINTS INCLUDING GENERATED \
             INCLUDING INDEXES INCLUDING STORAGE)"
        )];
        let columns = tried.table.target.iter().flat_map(|target| &target.columns);
        for column in columns.filter(|c| c.not_null && c.generated.is_none()) {
            if !tried.table.source.stored_columns().any(|c| c.name == column.name) {
                let clause = format!("ALTER COLUMN {} DROP NOT NULL", column.name);
                statements.push(format!("ALTER TABLE {name} {clause}"));
            }
        }
        self.add(Some(tried.table.ordinal), Does::Copy, "", statements, vec![first])
    }

    fn rows(&mut self, tried: &Tried, rows: &BytesMut, made: usize) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        let columns: Vec<_> = tried.table.columns().iter().map(Ident::to_string).collect();
        let sql = format!("COPY {} ({}) FROM STDIN", tried.name, columns.join(", "));
        let at = self.add(Some(tried.table.ordinal), Does::Rows, "", vec![sql], vec![made]);
        self.list[at].rows = Some(rows.clone());
        Some(at)
    }

    fn object(&mut self, ordinal: usize, object: &Object, made: usize, more: Option<usize>) {
        let mut needs = vec![made];
        needs.extend(more);
        // Without the object of the same name there is nothing to validate or set.
        let of = match object.kind {
            ObjectKind::Validation => Some(ObjectKind::Check),
            _ => None,
        };
        needs.extend(self.list.iter().rposition(|step| {
            step.ordinal == Some(ordinal)
                && step.name == object.name
                && of.is_some_and(|kind| step.does == Does::Object(kind))
        }));
        let does = Does::Object(object.kind);
        self.add(Some(ordinal), does, &object.name, object.statements.clone(), needs);
    }
}

/// Objects of a table that are tried: not what a run leaves out anyhow, nor what says of rows that
/// a sample can't tell.
fn is_tried(object: &Object, all: &[Object]) -> bool {
    match object.kind {
        ObjectKind::Firing | ObjectKind::Identity => false,
        ObjectKind::RowSecurity => !object.statements.iter().any(|sql| sql.ends_with(FORCE)),
        // Of a foreign key: whether the rows fulfil it is asked on the source.
        ObjectKind::Validation => {
            let is_check = |o: &Object| o.kind == ObjectKind::Check && o.name == object.name;
            all.iter().any(is_check)
        }
        _ => true,
    }
}

/// The steps of a chunk. `schemas` make what stands for the target's schemas, `rows` are of the
/// tables in their order.
pub(super) fn steps(
    schemas: Vec<String>,
    (all, chunk): (&[Tried], &[Tried]),
    stand_ins: &[StandIn],
    rows: &[BytesMut],
    is_untried: impl Fn(&Tried, &Object) -> bool,
) -> Vec<Step> {
    let mut steps = Steps::default();
    let first = steps.add(None, Does::Schemas, "", schemas, Vec::new());
    for stand_in in stand_ins {
        let statements = match stand_in {
            StandIn::Like(like, name, keys) => {
                let keys: String = keys.iter().map(|key| format!(", {key}")).collect();
                vec![format!("CREATE TABLE {name} (LIKE {like}{keys})")]
            }
            StandIn::Tried(at) => all.get(*at).map(with_its_keys).unwrap_or_default(),
        };
        steps.add(None, Does::StandIn, "", statements, vec![first]);
    }
    let mut filled = Vec::new();
    let mut made = Vec::new();
    for (tried, rows) in chunk.iter().zip(rows) {
        let at = match &tried.recipe {
            Some(recipe) => steps.table(tried, recipe, first),
            None => steps.copy(tried, first),
        };
        let written = steps.rows(tried, rows, at);
        if let (Some(_), Some(written)) = (&tried.recipe, written) {
            filled.push((&tried.name, written));
        }
        made.push((tried, at));
    }
    let mut objects: Vec<_> = (made.iter())
        .filter_map(|(tried, at)| Some((*tried, *at, &tried.recipe.as_ref()?.objects)))
        .flat_map(|(tried, at, all)| {
            all.iter().filter(|o| is_tried(o, all)).map(move |object| (tried, at, object))
        })
        .filter(|(tried, _, object)| !is_untried(tried, object))
        .collect();
    // As a run makes them.
    objects.sort_by_key(|(_, _, object)| object.kind);
    let (of_rows, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|(_, _, object)| is_made_of_rows(object.kind));
    for (tried, at, object) in of_rows {
        steps.object(tried.table.ordinal, object, at, None);
    }
    for (name, written) in filled {
        let sql = vec![format!("TRUNCATE {name}")];
        steps.add(None, Does::Empties, "", sql, vec![written]);
    }
    for (tried, at, object) in others {
        steps.object(tried.table.ordinal, object, at, None);
    }
    steps.list
}

/// A table of another chunk, as far as it can be referred to.
fn with_its_keys(tried: &Tried) -> Vec<String> {
    let Some(recipe) = &tried.recipe else {
        let (name, like) = (&tried.name, &tried.table.target_name);
        return vec![format!("CREATE TABLE {name} (LIKE {like} INCLUDING INDEXES)")];
    };
    let made = recipe.statements.iter().filter(|statement| !statement.may_fail);
    let keys = recipe
        .objects
        .iter()
        .filter(|object| matches!(object.kind, ObjectKind::Key | ObjectKind::Unique));
    made.map(|statement| statement.sql.clone())
        .chain(keys.flat_map(|object| object.statements.clone()))
        .collect()
}
