//! Whether an existing target table can take the source's rows.

use super::Failure;
use crate::{
    catalog::{Column, Identity, Key, Table, matching_key},
    pg::Ident,
};

const DEFER: &str = "give --defer-indexes: all indexes but the key, unique and exclusion \
                     constraints and foreign keys are dropped first, and made again after the \
                     checkpoint";

/// Checks the target against the source and gives the key that it shares with it.
///
/// Errors: what stands in the way, one thing at a time, with the statement that mends it.
pub(super) fn fits(source: &Table, key: &Key, target: &Table) -> Result<Key, Failure> {
    let target_key = fits_once_bare(source, key, target)?;
    nothing_breaks_in_passing(target, Some(&target_key))?;
    Ok(target_key)
}

/// The same for a target that will go without its secondary indexes and constraints.
pub(super) fn fits_once_bare(source: &Table, key: &Key, target: &Table) -> Result<Key, Failure> {
    let name = target.name.plain();
    rows_fit(source, key, target)?;
    let names: Vec<_> = key.columns.iter().map(|c| c.name.clone()).collect();
    let target_key = matching_key(target, &names).ok_or_else(|| {
        let columns: Vec<_> = names.iter().map(ToString::to_string).collect();
        let columns = columns.join(", ");
        Failure::refused(
            format!("the target {name} has no unique index on exactly ({columns})"),
            format!("ALTER TABLE {} ADD PRIMARY KEY ({columns})", target.name),
        )
    })?;
    nothing_interferes(target)?;
    Ok(target_key)
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
    rows_fit(source, key, target)?;
    nothing_interferes(target)?;
    nothing_breaks_in_passing(target, None).map(|()| None)
}

fn rows_fit(source: &Table, key: &Key, target: &Table) -> Result<(), Failure> {
    if !['r', 'p'].contains(&target.kind) {
        return Err(Failure::refused(
            format!("the target {} is not a table", target.name.plain()),
            "name another target",
        ));
    }
    if let Some(foreign) = target.partitions.iter().find(|p| !['r', 'p'].contains(&p.kind)) {
        return Err(Failure::refused(
            format!(
                "{}, a partition of the target {}, is a foreign table",
                foreign.name.plain(),
                target.name.plain()
            ),
            "detach it, or name another target",
        ));
    }
    columns_fit(source, key, target)
}

fn columns_fit(source: &Table, key: &Key, target: &Table) -> Result<(), Failure> {
    let name = target.name.plain();
    for column in source.stored_columns() {
        let Some(other) = target.column(&column.name) else {
            return Err(Failure::refused(
                format!("the target {name} has no column {}", column.name),
                format!(
                    "ALTER TABLE {} ADD COLUMN {} {}",
                    target.name, column.name, column.type_name
                ),
            ));
        };
        let in_key = key.columns.iter().any(|k| k.name == column.name);
        column_fits(column, other, in_key, &name)?;
    }
    let needed = target.columns.iter().find(|column| {
        let given = source.stored_columns().any(|c| c.name == column.name);
        let filled = column.expression.is_some() || column.identity.is_some();
        !given && column.not_null && !filled
    });
    match needed {
        None => Ok(()),
        Some(column) => Err(Failure::refused(
            format!(
                "column {} of the target {name} is NOT NULL without a default, and the source has \
                 no such column",
                column.name
            ),
            "drop NOT NULL, or give it a default",
        )),
    }
}

/// Whether a column of the target (`name`) can take the source's values, as `other` on it.
fn column_fits(column: &Column, other: &Column, in_key: bool, name: &str) -> Result<(), Failure> {
    if other.generated.is_some() {
        return Err(Failure::refused(
            format!("column {} of the target {name} is generated", column.name),
            "make it an ordinary column, or generate it on the source too",
        ));
    }
    if other.type_name != column.type_name {
        return Err(Failure::refused(
            format!(
                "column {} is {} on the source and {} on the target {name}",
                column.name, column.type_name, other.type_name
            ),
            "give both the same type",
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
            format!("ALTER TABLE .. ALTER COLUMN {} SET GENERATED BY DEFAULT", column.name),
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

/// Only the rows that are moved get into the table, as they are.
fn nothing_interferes(target: &Table) -> Result<(), Failure> {
    let name = target.name.plain();
    if target.inherits {
        return Err(Failure::refused(
            format!("the target {name} inherits from another table or is inherited from"),
            "name another target",
        ));
    }
    if let Some(trigger) = target.always_triggers.first() {
        return Err(Failure::refused(
            format!(
                "the trigger or rule {trigger} of the target {name} is enabled ALWAYS or for \
                 REPLICA: it would fire on every row that is moved"
            ),
            format!("ALTER TABLE {} DISABLE TRIGGER \"{trigger}\" meanwhile", target.name),
        ));
    }
    Ok(())
}

/// Pages are read at different moments, so until the checkpoint the target as a whole was never
/// true at one time: only the key itself holds all the while.
fn nothing_breaks_in_passing(target: &Table, key: Option<&Key>) -> Result<(), Failure> {
    let name = target.name.plain();
    if let Some(index) =
        target.unique_indexes.iter().find(|i| key.is_none_or(|key| i.name != key.index))
    {
        return Err(Failure::refused(
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
        ));
    }
    if let Some(constraint) = target.foreign_or_exclusion.first() {
        return Err(Failure::refused(
            format!(
                "the target {name} has {constraint}, a constraint or an index that would be \
                 violated in passing"
            ),
            DEFER,
        ));
    }
    Ok(())
}
