//! Whether an existing target table can take the source's rows.

use super::Failure;
use crate::{
    catalog::{Column, Identity, Key, Table, key_statement, matching_key, unusable_keys},
    pg::Ident,
};

const DEFER: &str = "give --defer-indexes: all indexes but the key, unique and exclusion \
                     constraints and foreign keys are dropped first, and made again after the \
                     checkpoint";

/// Checks the target against the source and gives the key that it shares with it.
///
/// Errors: what stands in the way first, with the statement that mends it.
pub(super) fn fits(source: &Table, key: &Key, target: &Table) -> Result<Key, Failure> {
    first(obstacles(source, key, target, false)).and_then(|key| key.ok_or_else(gone))
}

/// The target's key, and all that stands in the way of the source's rows. `once_bare` of a target
/// that will go without its secondary indexes and constraints.
pub(super) fn obstacles(
    source: &Table,
    key: &Key,
    target: &Table,
    once_bare: bool,
) -> (Option<Key>, Vec<Failure>) {
    if let Some(failure) = why_no_table(target) {
        return (None, vec![failure]);
    }
    let mut failures = columns_in_the_way(source, key, target);
    let names: Vec<_> = key.columns.iter().map(|c| c.name.clone()).collect();
    let target_key = matching_key(target, &names);
    if target_key.is_none() {
        failures.push(no_key(target, &names));
    }
    failures.extend(what_interferes(target));
    if !once_bare {
        failures.extend(what_breaks_in_passing(target, target_key.as_ref()));
    }
    (target_key, failures)
}

fn no_key(target: &Table, names: &[Ident]) -> Failure {
    let columns: Vec<_> = names.iter().map(ToString::to_string).collect();
    let (name, columns) = (target.name.plain(), columns.join(", "));
    let unusable: Vec<_> = unusable_keys(target, names)
        .into_iter()
        .map(|(index, why)| format!("{index} ({why})"))
        .collect();
    let but = match unusable.as_slice() {
        [] => String::new(),
        list => format!(" that can serve; not {}", list.join(", ")),
    };
    Failure::refused(
        format!("the target {name} has no unique index on exactly ({columns}){but}"),
        key_statement(target, &columns),
    )
}

fn first<T>((found, failures): (T, Vec<Failure>)) -> Result<T, Failure> {
    failures.into_iter().next().map_or(Ok(found), Err)
}

fn gone() -> Failure {
    Failure::refused("the target has no key", "try again")
}

/// The same for a table that pghost has made, whose key is built once the rows are there: the key
/// if it is there already.
pub(super) fn fits_without_key(
    source: &Table,
    key: &Key,
    target: &Table,
) -> Result<Option<Key>, Failure> {
    if !target.unique_indexes.is_empty() {
        return fits(source, key, target).map(Some);
    }
    let mut failures: Vec<_> = why_no_table(target).into_iter().collect();
    failures.extend(columns_in_the_way(source, key, target));
    failures.extend(what_interferes(target));
    failures.extend(what_breaks_in_passing(target, None));
    first((None, failures))
}

fn why_no_table(target: &Table) -> Option<Failure> {
    if !['r', 'p'].contains(&target.kind) {
        return Some(Failure::refused(
            format!("the target {} is not a table", target.name.plain()),
            "name another target",
        ));
    }
    let foreign = target.partitions.iter().find(|p| !['r', 'p'].contains(&p.kind));
    if let Some(foreign) = foreign {
        return Some(Failure::refused(
            format!(
                "{}, a partition of the target {}, is a foreign table",
                foreign.name.plain(),
                target.name.plain()
            ),
            "detach it, or name another target",
        ));
    }
    does_not_last(target).map(|(what, mend)| Failure::refused(what, mend))
}

/// What would take the rows of a target away while the ledger, which is logged, goes on counting
/// them as copied; and what mends it. A crash of the server empties an unlogged table.
///
/// What is partitioned has no rows of its own: up to 17 it may be called unlogged, which means
/// nothing and can't be altered.
pub(super) fn does_not_last(target: &Table) -> Option<(String, String)> {
    let plain = target.name.plain();
    let own = (&target.name, target.kind, target.persistence, format!("the target {plain}"));
    let partitions = target.partitions.iter().map(|p| {
        let what = format!("{}, a partition of the target {plain},", p.name.plain());
        (&p.name, p.kind, p.persistence, what)
    });
    std::iter::once(own).chain(partitions).find_map(|(name, kind, persistence, what)| {
        match (kind, persistence) {
            (_, 'p') | ('p', 'u') => None,
            (_, 'u') => Some((
                format!("{what} is unlogged: a crash of the server would empty it"),
                format!("ALTER TABLE {name} SET LOGGED"),
            )),
            _ => Some((format!("{what} is a temporary table"), "name another target".into())),
        }
    })
}

fn columns_in_the_way(source: &Table, key: &Key, target: &Table) -> Vec<Failure> {
    let name = target.name.plain();
    let mut failures = Vec::new();
    for column in source.stored_columns() {
        let Some(other) = target.column(&column.name) else {
            failures.push(Failure::refused(
                format!("the target {name} has no column {}", column.name),
                format!(
                    "ALTER TABLE {} ADD COLUMN {} {}",
                    target.name, column.name, column.type_name
                ),
            ));
            continue;
        };
        let in_key = key.columns.iter().any(|k| k.name == column.name);
        failures.extend(column_fits(column, other, in_key, target).err());
    }
    let needed = target.columns.iter().filter(|column| {
        let given = source.stored_columns().any(|c| c.name == column.name);
        let filled = column.expression.is_some() || column.identity.is_some();
        !given && column.not_null && !filled
    });
    failures.extend(needed.map(|column| {
        Failure::refused(
            format!(
                "column {} of the target {name} is NOT NULL without a default, and the source has \
                 no such column",
                column.name
            ),
            format!(
                "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL, or give it a default",
                target.name, column.name
            ),
        )
    }));
    failures
}

/// Whether a column of the target can take the source's values, as `other` on it.
fn column_fits(
    column: &Column,
    other: &Column,
    in_key: bool,
    target: &Table,
) -> Result<(), Failure> {
    let name = target.name.plain();
    if other.generated.is_some() {
        return Err(Failure::refused(
            format!("column {} of the target {name} is generated", column.name),
            format!(
                "ALTER TABLE {} ALTER COLUMN {} DROP EXPRESSION, or generate it on the source too",
                target.name, column.name
            ),
        ));
    }
    if other.type_name != column.type_name {
        return Err(Failure::refused(
            format!(
                "column {} is {} on the source and {} on the target {name}",
                column.name, column.type_name, other.type_name
            ),
            format!(
                "ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING {1}::{2}",
                target.name, column.name, column.type_name
            ),
        ));
    }
    if in_key && !tells_apart_no_less(other, column) {
        return Err(Failure::refused(
            format!(
                "the collation of the key column {} of the target {name} takes different \
                 strings for one, which the source's does not: rows would be lost",
                column.name
            ),
            "give it a collation with the source's locale and rules, or any that is deterministic",
        ));
    }
    // A row's key is only ever inserted, never set.
    if other.identity == Some(Identity::Always) && !in_key {
        return Err(Failure::refused(
            format!(
                "column {} of the target {name} is GENERATED ALWAYS AS IDENTITY, so updates \
                 can't set it",
                column.name
            ),
            format!(
                "ALTER TABLE {} ALTER COLUMN {} SET GENERATED BY DEFAULT",
                target.name, column.name
            ),
        ));
    }
    Ok(())
}

/// Whether a column takes no two strings for one that the other one's collation tells apart.
///
/// Locales in ICU's old notation (`@colStrength=secondary`) are spelled anew from 16 on, so that
/// they can't be compared across releases; there the collation's name has to do.
fn tells_apart_no_less(this: &Column, other: &Column) -> bool {
    match (&this.merges, &other.merges) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(these), Some(those)) => {
            let old_notation = these.contains('@') || those.contains('@');
            these == those || (old_notation && this.collation == other.collation)
        }
    }
}

/// Only the rows that are moved may get into the table, as they are.
fn what_interferes(target: &Table) -> Vec<Failure> {
    let name = target.name.plain();
    let mut failures = Vec::new();
    if target.inherits {
        failures.push(Failure::refused(
            format!("the target {name} inherits from another table or is inherited from"),
            "name another target",
        ));
    }
    failures.extend(target.always_triggers.iter().map(|trigger| {
        Failure::refused(
            format!(
                "the trigger or rule {trigger} of the target {name} is enabled ALWAYS or for \
                 REPLICA: it would fire on every row that is moved"
            ),
            format!(
                "ALTER TABLE {} DISABLE TRIGGER {} meanwhile",
                target.name,
                Ident::new(trigger)
            ),
        )
    }));
    failures
}

/// Pages are read at different moments, so until the checkpoint the target as a whole was never
/// true at one time: only the key itself holds all the while.
fn what_breaks_in_passing(target: &Table, key: Option<&Key>) -> Vec<Failure> {
    let name = target.name.plain();
    let unique = target.unique_indexes.iter().filter(|i| key.is_none_or(|key| i.name != key.index));
    let mut failures: Vec<_> = unique
        .map(|index| {
            Failure::refused(
                format!(
                    "the target {name} has another unique index, {}; pages are read at different \
                     moments, so it would be violated in passing",
                    index.name
                ),
                match index.valid {
                    true => DEFER.to_owned(),
                    false => format!(
                        "DROP INDEX {}.{}: it is not valid",
                        target.name.schema,
                        Ident::new(&index.name)
                    ),
                },
            )
        })
        .collect();
    failures.extend(target.foreign_or_exclusion.iter().map(|constraint| {
        Failure::refused(
            format!(
                "the target {name} has {constraint}, a constraint or an index that would be \
                 violated in passing"
            ),
            DEFER,
        )
    }));
    failures
}
