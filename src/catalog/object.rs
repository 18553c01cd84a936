//! What a table has besides its rows, written as statements for the table that takes its place.
//!
//! The server gives definitions that name the source's table (`pg_get_indexdef` and its like).
//! No text is searched for that name, which a column or an index may contain too: the server is
//! also asked for the parts that stand before it, the definition must begin with exactly these,
//! and what is left is put behind the same parts for the target ([`after`]).

use std::collections::HashSet;

use super::{
    inherited::{root_of, with_inherited},
    model::{ExtraConstraint, ExtraGrant, ExtraIndex, ExtraStatistics, ExtraTrigger, Extras},
    not_null::not_null_objects,
};
use crate::{
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

/// What an object is. In this order they are made: what a later one needs is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// The key, built once the rows are there and before anything else.
    Key,
    /// An index without a constraint.
    Index,
    /// A primary key, unique or exclusion constraint besides the key.
    Unique,
    /// A CHECK constraint, not yet validated.
    Check,
    /// A foreign key to another table, not yet validated.
    ForeignKey,
    /// The validation of one of these.
    Validation,
    /// Extended statistics.
    Statistics,
    /// REPLICA IDENTITY and CLUSTER ON.
    Setting,
    /// The composite type of a typed table.
    OfType,
    /// GENERATED ALWAYS of an identity column that is not in the key.
    Identity,
    /// A trigger.
    Trigger,
    /// The firing of a trigger for changes that are applied, too.
    Firing,
    /// A policy of row security.
    Policy,
    /// Row security switched on.
    RowSecurity,
    /// Privileges of one role.
    Grant,
    /// A comment on the table, a column or the key.
    Comment,
    /// ANALYZE.
    Analyze,
    /// The owner that the table is given to; nothing of pghost's own follows.
    Owner,
}

impl ObjectKind {
    const ALL: [(Self, &str); 18] = [
        (Self::Key, "key"),
        (Self::Index, "index"),
        (Self::Unique, "unique constraint"),
        (Self::Check, "check constraint"),
        (Self::ForeignKey, "foreign key"),
        (Self::Validation, "validation of constraint"),
        (Self::Statistics, "statistics"),
        (Self::Setting, "setting"),
        (Self::OfType, "type"),
        (Self::Identity, "identity column"),
        (Self::Trigger, "trigger"),
        (Self::Firing, "firing of trigger"),
        (Self::Policy, "policy"),
        (Self::RowSecurity, "row security"),
        (Self::Grant, "grant"),
        (Self::Comment, "comment"),
        (Self::Analyze, "analyze"),
        (Self::Owner, "owner"),
    ];

    /// As the ledger spells it, and as people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The inverse.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}

/// What [`ObjectKind::Setting`] calls a table's replica identity.
const IDENTITY: &str = "replica identity";

/// Takes the statements out that give a partition its replica identity. Where that is the whole
/// table's key, they can be given together with it.
#[must_use]
pub fn take_identity(objects: &mut Vec<Object>) -> Vec<String> {
    let is_identity =
        |object: &mut Object| object.kind == ObjectKind::Setting && object.name == IDENTITY;
    objects.extract_if(.., is_identity).flat_map(|object| object.statements).collect()
}

/// One thing to be made on the target, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name on the source, for people.
    pub name: String,
    /// The statements that make it, in order.
    pub statements: Vec<String>,
}

/// What stands in a definition behind what it must begin with.
#[must_use]
pub(super) fn after<'a>(definition: &'a str, head: &str) -> Option<&'a str> {
    definition.strip_prefix(head)
}

/// Takes a foreign key's definition apart around the referenced table: what stands before it and
/// behind it. `columns` are the spellings its own columns can have.
#[must_use]
pub(super) fn split_reference(
    definition: &str,
    columns: &[&str],
    table: &str,
) -> Option<(String, String)> {
    columns.iter().find_map(|columns| {
        let head = format!("FOREIGN KEY ({columns}) REFERENCES ");
        let rest = definition.strip_prefix(&head)?.strip_prefix(table)?;
        rest.starts_with('(').then(|| (head, rest.to_owned()))
    })
}

/// The names of relations and statistics that are taken on the target.
#[derive(Clone, Debug, Default)]
pub struct Names {
    taken: HashSet<(Ident, String)>,
    /// What was chosen for what a table has on the source.
    chosen: Vec<(QualifiedName, String, QualifiedName)>,
}

impl Names {
    /// Notes a name.
    pub fn take(&mut self, schema: &Ident, name: String) {
        self.taken.insert((schema.clone(), name));
    }

    /// Takes the name that something has on the source, or one like it if that is taken: with the
    /// target table's name for the source's in front, and a number if need be.
    pub(super) fn choose(
        &mut self,
        wanted: &str,
        source: &QualifiedName,
        target: &QualifiedName,
    ) -> Ident {
        let table = target.name.as_str();
        let like = match wanted.strip_prefix(source.name.as_str()) {
            Some(rest) => format!("{table}{rest}"),
            None => format!("{table}_{wanted}"),
        };
        let numbered = (1..).map(|n| cut(&like, &n.to_string()));
        let mut candidates = [wanted.to_owned(), cut(&like, "")].into_iter().chain(numbered);
        loop {
            let Some(name) = candidates.next() else { continue };
            if self.taken.insert((target.schema.clone(), name.clone())) {
                let name = Ident::new(name);
                let full = QualifiedName { schema: target.schema.clone(), name: name.clone() };
                self.chosen.push((source.clone(), wanted.to_owned(), full));
                return name;
            }
        }
    }

    /// Takes a name for a partition, in the same way; `source` and `target` are the root.
    pub fn partition(
        &mut self,
        partition: &QualifiedName,
        schema: &Ident,
        (source, target): (&QualifiedName, &QualifiedName),
    ) -> QualifiedName {
        let target = QualifiedName { schema: schema.clone(), name: target.name.clone() };
        let name = self.choose(partition.name.as_str(), source, &target);
        QualifiedName { name, ..target }
    }

    /// What was chosen for something that a table has.
    pub(super) fn chosen(&self, source: &QualifiedName, wanted: &str) -> Option<&QualifiedName> {
        let found = |(of, was, _): &&(_, String, _)| of == source && was == wanted;
        self.chosen.iter().find(found).map(|(.., name)| name)
    }

    /// What a table could not call as it is called on the source: both names.
    pub fn changed<'a>(
        &'a self,
        source: &'a QualifiedName,
    ) -> impl Iterator<Item = (&'a str, &'a QualifiedName)> {
        let of_table = self.chosen.iter().filter(move |(of, ..)| of == source);
        let both = of_table.map(|(_, was, now)| (was.as_str(), now));
        both.filter(|(was, now)| *was != now.name.as_str())
    }
}

const EXCLUDE: &str = "EXCLUDE";

/// A constraint's definition with storage parameters, of which `pg_get_constraintdef` says nothing:
/// of a partitioned table's they can't be set later. That of an exclusion constraint has them.
fn with_options(definition: &str, options: Option<&str>) -> String {
    let Some(options) = options.filter(|_| !definition.starts_with(EXCLUDE)) else {
        return definition.to_owned();
    };
    let ends = [" DEFERRABLE INITIALLY DEFERRED", " DEFERRABLE"];
    let end = ends.into_iter().find(|end| definition.ends_with(end)).unwrap_or_default();
    let rest = definition.strip_suffix(end).unwrap_or(definition);
    format!("{rest} WITH ({options}){end}")
}

/// A name of at most 63 bytes with this end.
fn cut(name: &str, end: &str) -> String {
    let most = 63 - end.len();
    format!("{}{end}", &name[..name.floor_char_boundary(most)])
}

/// A table that is moved, and what was chosen for it so far.
#[derive(Debug)]
struct Plan<'a> {
    source: &'a QualifiedName,
    target: &'a QualifiedName,
    objects: Vec<Object>,
}

impl Plan<'_> {
    fn add(&mut self, kind: ObjectKind, name: impl Into<String>, statements: Vec<String>) {
        self.objects.push(Object { kind, name: name.into(), statements });
    }
}

/// Everything to be made on the target for a table.
///
/// `key` is the index behind the key, `moved` the names on both sides of the tables that are
/// moved together, `major` the target's release.
#[must_use]
pub fn objects(
    extras: &Extras,
    (source, target): (&QualifiedName, &QualifiedName),
    key: &str,
    moved: &[(QualifiedName, QualifiedName)],
    names: &mut Names,
    major: u32,
) -> Vec<Object> {
    let mut plan = Plan { source, target, objects: Vec::new() };
    let (keys, others): (Vec<_>, Vec<_>) = extras.indexes.iter().partition(|i| i.name == key);
    for index in keys.into_iter().chain(others) {
        plan.index(index, index.name == key, names);
    }
    for constraint in &extras.constraints {
        plan.constraint(constraint, moved, extras.partitioned);
    }
    for statistics in &extras.statistics {
        plan.statistics(statistics, names);
    }
    if extras.identity_full {
        let sql = format!("ALTER TABLE {target} REPLICA IDENTITY FULL");
        match plan.objects.iter_mut().find(|object| object.kind == ObjectKind::Key) {
            Some(key) => key.statements.push(sql),
            None => plan.add(ObjectKind::Setting, IDENTITY, vec![sql]),
        }
    }
    for trigger in &extras.triggers {
        plan.trigger(trigger);
    }
    for (name, rest, comment) in &extras.policies {
        let mut statements = vec![format!("CREATE POLICY {name} ON {target} {rest}")];
        statements.extend(comment_on(&format!("POLICY {name} ON {target}"), comment.as_ref()));
        plan.add(ObjectKind::Policy, name.as_str(), statements);
    }
    for clause in &extras.row_security {
        let sql = format!("ALTER TABLE {target} {clause}");
        plan.add(ObjectKind::RowSecurity, source.plain(), vec![sql]);
    }
    // Nothing like MAINTAIN exists before 17.
    let known = |grant: &&ExtraGrant| major >= 17 || grant.privilege != "MAINTAIN";
    let grants: Vec<_> = extras.grants.iter().filter(known).cloned().collect();
    plan.objects.extend(grants_on(&format!("TABLE {target}"), &grants));
    plan.objects.extend(not_null_objects(&extras.not_nulls, target, major));
    if let Some(of_type) = &extras.of_type {
        let sql = format!("ALTER TABLE {target} OF {of_type}");
        plan.add(ObjectKind::OfType, of_type, vec![sql]);
    }
    for (column, comment) in &extras.comments {
        let (what, name) = match column {
            None => (format!("TABLE {target}"), source.plain()),
            Some(column) => (format!("COLUMN {target}.{column}"), column.as_str().to_owned()),
        };
        plan.add(ObjectKind::Comment, name, comment_on(&what, Some(comment)));
    }
    plan.add(ObjectKind::Analyze, source.plain(), vec![format!("ANALYZE {target}")]);
    plan.objects
}

/// Everything to be made for a partition besides what comes with its root, whose own objects have
/// been planned.
#[must_use]
pub fn partition_objects(
    extras: &Extras,
    (source, target): (&QualifiedName, &QualifiedName),
    moved: &[(QualifiedName, QualifiedName)],
    names: &mut Names,
    major: u32,
) -> Vec<Object> {
    let mut all = objects(extras, (source, target), "", moved, names, major);
    // The root's ANALYZE is that of its partitions.
    all.retain(|object| object.kind != ObjectKind::Analyze);
    for index in &extras.inherited {
        let Some(of_root) = root_of(index, names) else {
            continue;
        };
        let clauses = [
            (index.replica_identity, IDENTITY, "REPLICA IDENTITY USING INDEX"),
            (index.clustered, "cluster", "CLUSTER ON"),
        ];
        for (_, what, clause) in clauses.into_iter().filter(|(is_set, ..)| *is_set) {
            let statements = vec![with_inherited(target, clause, &of_root)];
            all.push(Object { kind: ObjectKind::Setting, name: what.into(), statements });
        }
    }
    all
}

impl Plan<'_> {
    fn index(&mut self, index: &ExtraIndex, is_key: bool, names: &mut Names) {
        let target = self.target;
        let name = names.choose(&index.name, self.source, target);
        let qualified = format!("{}.{name}", target.schema);
        let unique = if index.unique { "UNIQUE " } else { "" };
        // Only for the transaction that makes it.
        let tablespace = index.tablespace.as_ref();
        let tablespace =
            tablespace.map(|t| format!("SET LOCAL default_tablespace = {}", quote_literal(t)));
        let mut statements: Vec<_> = tablespace.into_iter().collect();
        statements.push(match &index.constraint {
            Some(definition) => {
                let definition = with_options(definition, index.options.as_deref());
                format!("ALTER TABLE {target} ADD CONSTRAINT {name} {definition}")
            }
            None => format!("CREATE {unique}INDEX {name} ON {target} USING {}", index.using),
        });
        let mut more = Vec::new();
        if let Some(targets) = &index.targets {
            more.push(format!("ALTER INDEX {qualified} {targets}"));
        }
        more.extend(comment_on(&format!("INDEX {qualified}"), index.comment.as_ref()));
        let constraint = format!("CONSTRAINT {name} ON {target}");
        more.extend(comment_on(&constraint, index.constraint_comment.as_ref()));
        let kind = match &index.constraint {
            _ if is_key => ObjectKind::Key,
            Some(_) => ObjectKind::Unique,
            None => ObjectKind::Index,
        };
        let identity = format!("ALTER TABLE {target} REPLICA IDENTITY USING INDEX {name}");
        if is_key {
            // The key is built by itself, long before the rest. Together with it, since a
            // publication of the target would refuse every update and delete of the catch-up.
            if index.replica_identity {
                statements.push(identity);
            }
            self.add(kind, &index.name, statements);
            if !more.is_empty() {
                self.add(ObjectKind::Comment, &index.name, more);
            }
        } else {
            statements.append(&mut more);
            self.add(kind, &index.name, statements);
            if index.replica_identity {
                self.add(ObjectKind::Setting, IDENTITY, vec![identity]);
            }
        }
        if index.clustered {
            let sql = format!("ALTER TABLE {target} CLUSTER ON {name}");
            self.add(ObjectKind::Setting, "cluster", vec![sql]);
        }
    }

    /// Added without a look at the rows, which are looked at in a transaction of its own: that one
    /// locks nobody out.
    fn constraint(
        &mut self,
        constraint: &ExtraConstraint,
        moved: &[(QualifiedName, QualifiedName)],
        partitioned: bool,
    ) {
        let (target, name) = (self.target, &constraint.name);
        let (kind, mut definition) = match &constraint.reference {
            None => (ObjectKind::Check, constraint.head.clone()),
            Some((referenced, rest)) => {
                let moved = moved.iter().find(|(source, _)| source == referenced);
                let referenced = moved.map_or(referenced, |(_, target)| target);
                (ObjectKind::ForeignKey, format!("{}{referenced}{rest}", constraint.head))
            }
        };
        let enforced = !definition.ends_with(" NOT ENFORCED");
        // Before 18 no foreign key of a partitioned table can wait for its validation.
        let at_once = kind == ObjectKind::ForeignKey && partitioned;
        if enforced && !at_once && !definition.ends_with(" NOT VALID") {
            definition += " NOT VALID";
        }
        let mut statements =
            vec![format!("ALTER TABLE {target} ADD CONSTRAINT {name} {definition}")];
        let what = format!("CONSTRAINT {name} ON {target}");
        statements.extend(comment_on(&what, constraint.comment.as_ref()));
        self.add(kind, name.as_str(), statements);
        if enforced && !at_once && constraint.validated {
            let sql = format!("ALTER TABLE {target} VALIDATE CONSTRAINT {name}");
            self.add(ObjectKind::Validation, name.as_str(), vec![sql]);
        }
    }

    fn statistics(&mut self, statistics: &ExtraStatistics, names: &mut Names) {
        // They go where the table goes, or stay in a schema of their own.
        let own = statistics.schema != self.source.schema.as_str();
        let (schema, table) = (Ident::new(&statistics.schema), self.target.name.clone());
        let beside = QualifiedName { schema, name: table };
        let target = if own { &beside } else { self.target };
        let name = names.choose(&statistics.name, self.source, target);
        let name = QualifiedName { schema: target.schema.clone(), name };
        let mut statements =
            vec![format!("CREATE STATISTICS {name}{} FROM {}", statistics.of, self.target)];
        if let Some(target) = statistics.target {
            statements.push(format!("ALTER STATISTICS {name} SET STATISTICS {target}"));
        }
        let comment = statistics.comment.as_ref();
        statements.extend(comment_on(&format!("STATISTICS {name}"), comment));
        self.add(ObjectKind::Statistics, &statistics.name, statements);
    }

    fn trigger(&mut self, trigger: &ExtraTrigger) {
        let (target, name) = (self.target, &trigger.name);
        let constraint = if trigger.constraint { "CONSTRAINT " } else { "" };
        let mut statements = vec![format!(
            "CREATE {constraint}TRIGGER {name} {} ON {target} {}",
            trigger.events, trigger.rest
        )];
        if "DAR".contains(trigger.enabled) {
            statements.push(format!("ALTER TABLE {target} DISABLE TRIGGER {name}"));
        }
        let comment = trigger.comment.as_ref();
        statements.extend(comment_on(&format!("TRIGGER {name} ON {target}"), comment));
        self.add(ObjectKind::Trigger, name.as_str(), statements);
        // These fire for applied changes too, whose work the source's trigger has done already.
        for (state, enable) in [('A', "ALWAYS"), ('R', "REPLICA")] {
            if trigger.enabled == state {
                let sql = format!("ALTER TABLE {target} ENABLE {enable} TRIGGER {name}");
                self.add(ObjectKind::Firing, name.as_str(), vec![sql]);
            }
        }
    }
}

/// One object for each role: the target may not have it.
pub(super) fn grants_on(what: &str, grants: &[ExtraGrant]) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for grant in grants {
        let column = grant.column.as_ref().map(|c| format!(" ({c})")).unwrap_or_default();
        let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
        let sql = format!("GRANT {}{column} ON {what} TO {}{option}", grant.privilege, grant.role);
        match objects.iter_mut().find(|object| object.name == grant.role) {
            Some(object) => object.statements.push(sql),
            None => {
                let (kind, name) = (ObjectKind::Grant, grant.role.clone());
                objects.push(Object { kind, name, statements: vec![sql] });
            }
        }
    }
    objects
}

pub(super) fn comment_on(what: &str, comment: Option<&String>) -> Vec<String> {
    let statement = |text: &String| format!("COMMENT ON {what} IS {}", quote_literal(text));
    comment.map(statement).into_iter().collect()
}

#[cfg(test)]
mod tests;
