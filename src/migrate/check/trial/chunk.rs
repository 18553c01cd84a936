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
    catalog::{Column, FORCE, Object, ObjectKind},
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
    /// What one that the target has goes without for a while (`--defer-indexes`); `None` if it
    /// keeps what it has.
    pub(super) deferred: Option<Vec<Object>>,
    /// The partitions of one that the target has, by their places among them, with their names in
    /// the trial.
    pub(super) partitions: Vec<(usize, QualifiedName)>,
    pub(super) references: Vec<Reference>,
    /// How many locks making it takes.
    pub(super) weight: usize,
}

impl Tried {
    /// What is made once the rows are there.
    pub(super) fn objects(&self) -> &[Object] {
        let made = self.recipe.as_ref().map(|recipe| &recipe.objects);
        made.or(self.deferred.as_ref()).map_or(&[], Vec::as_slice)
    }
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
pub(super) fn weight(tried: &Tried) -> usize {
    let is_index =
        |o: &&Object| matches!(o.kind, ObjectKind::Key | ObjectKind::Index | ObjectKind::Unique);
    let indexes = tried.objects().iter().filter(is_index).count();
    let source = &tried.table.source;
    let sequences = source.columns.iter().filter(|c| c.sequence.is_some()).count();
    let partitions = match &tried.recipe {
        Some(_) => source.partitions.len(),
        // The target's own are locked, too, while they are copied.
        None => 2 * tried.partitions.len(),
    };
    sequences + (3 + indexes) * (1 + partitions)
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
        self.add(Some(tried.table.ordinal), Does::Copy, "", copy(tried), vec![first])
    }

    fn rows(&mut self, tried: &Tried, rows: &BytesMut, made: usize) -> Option<usize> {
        if rows.is_empty() {
            return None;
        }
        let columns: Vec<_> = tried.table.columns().iter().map(Ident::to_string).collect();
        let sql = format!("COPY {} ({}) FROM STDIN", tried.name, columns.join(", "));
        let at = self.add(Some(tried.table.ordinal), Does::Rows, "", vec![sql], vec![made]);
        self.list[at].rows = Some(rows.clone());
        if let Some(sql) = insert(tried) {
            self.add(Some(tried.table.ordinal), Does::Rows, "", vec![sql], vec![at]);
        }
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

/// Whether a column gets its values from a sequence, which a trial does not touch.
fn is_counted(column: &Column) -> bool {
    column.identity.is_some() || column.expression.as_ref().is_some_and(|e| e.contains("nextval("))
}

/// Writes a row once more, as changes are written: unlike COPY that minds what the domain of a
/// column says to which nothing is given. `None` where a sequence would have to give something.
fn insert(tried: &Tried) -> Option<String> {
    let target = tried.table.target.as_ref()?;
    let columns = tried.table.columns();
    if target.columns.iter().any(|c| is_counted(c) && !columns.contains(&c.name)) {
        return None;
    }
    let (name, columns) = (&tried.name, columns.iter().map(Ident::to_string));
    let columns = columns.collect::<Vec<_>>().join(", ");
    Some(format!(
        "INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} LIMIT 1 ON CONFLICT DO NOTHING"
    ))
}

/// The statements that make a table like one that the target has.
fn copy(tried: &Tried) -> Vec<String> {
    let Some(target) = &tried.table.target else { return Vec::new() };
    let given = |name: &Ident| tried.table.source.stored_columns().any(|c| c.name == *name);
    let own: Vec<_> =
        target.columns.iter().filter(|c| c.generated.is_none() && !given(&c.name)).collect();
    let others: Vec<_> = own.iter().filter(|c| c.not_null).map(|c| &c.name).collect();
    let like = |name: &QualifiedName, like: &QualifiedName, key: Option<&String>| {
        let indexes = if tried.deferred.is_some() { "" } else { " INCLUDING INDEXES" };
        let key = key.map(|key| format!(" PARTITION BY {key}")).unwrap_or_default();
        let make = format!(
            "CREATE TABLE {name} (LIKE {like} INCLUDING CONSTRAINTS INCLUDING GENERATED \
             INCLUDING STORAGE{indexes}){key}"
        );
        let nullable = (others.iter())
            .map(|column| format!("ALTER TABLE {name} ALTER COLUMN {column} DROP NOT NULL"));
        [make].into_iter().chain(nullable).collect::<Vec<_>>()
    };
    let divided = !tried.partitions.is_empty();
    let key = target.partition_key.as_ref().filter(|_| divided);
    let mut statements = like(&tried.name, &target.name, key);
    // Of what the source does not give: but no sequence of the target is touched.
    let defaults = own.iter().filter(|column| !is_counted(column));
    let defaults = defaults.filter_map(|c| Some((&c.name, c.expression.as_ref()?)));
    statements.extend(defaults.map(|(column, default)| {
        format!("ALTER TABLE {} ALTER COLUMN {column} SET DEFAULT {default}", tried.name)
    }));
    if let (Some(_), Some(key)) = (&tried.deferred, &tried.table.target_key) {
        let columns: Vec<_> = key.columns.iter().map(|c| c.name.to_string()).collect();
        let columns = columns.join(", ");
        statements.push(format!("ALTER TABLE {} ADD PRIMARY KEY ({columns})", tried.name));
    }
    let place = |oid| {
        let at = target.partitions.iter().position(|partition| partition.oid == oid)?;
        tried.partitions.iter().find(|(of, _)| *of == at).map(|(_, name)| name)
    };
    for (at, name) in &tried.partitions {
        let Some(partition) = target.partitions.get(*at) else { continue };
        let parent = place(partition.parent).unwrap_or(&tried.name);
        statements.extend(like(name, &partition.name, partition.key.as_ref()));
        let bound = &partition.bound;
        statements.push(format!("ALTER TABLE {parent} ATTACH PARTITION {name} {bound}"));
    }
    statements
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
        if let (false, Some(written)) = (tried.objects().is_empty(), written) {
            filled.push((&tried.name, written));
        }
        made.push((tried, at));
    }
    let mut objects: Vec<_> = (made.iter())
        .map(|(tried, at)| (*tried, *at, tried.objects()))
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
