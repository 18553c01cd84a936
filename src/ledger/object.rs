//! What is to be made on the target besides rows, and what of it is there.

use super::{
    name::MigrationName,
    store::{exists, json_list, one_row, sql_list},
};
use crate::{
    catalog::{Object, ObjectKind},
    conn::{Connection, Error, Row},
    sql::quote_literal,
};

/// One object of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// The table's place in the migration.
    pub ordinal: usize,
    /// Its place among the table's objects.
    pub position: usize,
    /// What it is.
    pub object: Object,
    /// Whether it is there.
    pub done: bool,
    /// Why it was not made and will not be.
    pub skipped: Option<String>,
}

/// Notes a table's objects. Meant for the transaction that makes the table.
pub async fn add_objects(
    target: &mut Connection,
    migration: &MigrationName,
    ordinal: usize,
    objects: &[Object],
) -> Result<(), Error> {
    for (position, object) in objects.iter().enumerate() {
        let sql = format!(
            "INSERT INTO {}.object (migration, ordinal, position, kind, name, statements)
             VALUES ({}, {ordinal}, {position}, {}, {}, {})",
            migration.ledger,
            quote_literal(migration.as_str()),
            quote_literal(object.kind.as_str()),
            quote_literal(&object.name),
            sql_list(&object.statements)
        );
        one_row(target, &sql).await?;
    }
    Ok(())
}

/// A migration's objects in the order in which they are made; none where the migration was begun
/// by a pghost that did not make any.
pub async fn load_objects(
    target: &mut Connection,
    migration: &MigrationName,
) -> Result<Vec<ObjectRecord>, Error> {
    if !exists(target, &migration.ledger, "object").await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT ordinal, position, kind, name, to_json(statements) AS statements, done, skipped
           FROM {}.object WHERE migration = {}",
        migration.ledger,
        quote_literal(migration.as_str())
    );
    let result = target.query(&sql).await?;
    let mut objects: Vec<_> = result.rows().iter().map(read_object).collect::<Result<_, _>>()?;
    objects.sort_by_key(|o| (o.object.kind, o.ordinal, o.position));
    Ok(objects)
}

fn read_object(row: &Row) -> Result<ObjectRecord, Error> {
    let kind: String = row.get("kind")?;
    Ok(ObjectRecord {
        ordinal: row.get("ordinal")?,
        position: row.get("position")?,
        object: Object {
            kind: ObjectKind::parse(&kind).ok_or_else(|| {
                Error::Result(format!("the ledger has an unknown kind of object, {kind:?}"))
            })?,
            name: row.get("name")?,
            statements: json_list(&row.get::<String>("statements")?)?,
        },
        done: row.get("done")?,
        skipped: row.get("skipped")?,
    })
}

/// Notes that an object is there. Meant for the transaction that makes it.
///
/// Errors: its line is gone, or says so already.
pub async fn object_done(
    target: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
) -> Result<(), Error> {
    set(target, migration, object, "done = true").await
}

/// Notes that an object was not made, and why.
pub async fn object_skipped(
    target: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
    why: &str,
) -> Result<(), Error> {
    set(target, migration, object, &format!("skipped = {}", quote_literal(why))).await
}

/// Whether an object is the validation of a constraint that was not made.
pub async fn constraint_is_skipped(
    target: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
) -> Result<bool, Error> {
    if object.object.kind != ObjectKind::Validation {
        return Ok(false);
    }
    let kinds =
        [ObjectKind::Check, ObjectKind::ForeignKey].map(|kind| quote_literal(kind.as_str()));
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {}.object
          WHERE migration = {} AND ordinal = {} AND name = {} AND kind IN ({})
            AND skipped IS NOT NULL) AS found",
        migration.ledger,
        quote_literal(migration.as_str()),
        object.ordinal,
        quote_literal(&object.object.name),
        kinds.join(", ")
    );
    target.query(&sql).await?.row()?.get("found")
}

async fn set(
    target: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
    set: &str,
) -> Result<(), Error> {
    let sql = format!(
        "UPDATE {}.object SET {set}
          WHERE migration = {} AND ordinal = {} AND position = {} AND NOT done",
        migration.ledger,
        quote_literal(migration.as_str()),
        object.ordinal,
        object.position
    );
    one_row(target, &sql).await
}
