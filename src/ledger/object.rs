//! What is to be made on the target besides rows, and what of it is there.

use super::{
    handle::Ledger,
    store::{exists, json_list, one_row, sql_list},
};
use crate::{
    catalog::{Object, ObjectKind},
    conn::{Error, Row},
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

impl Ledger<'_> {
    /// Notes a table's objects. Meant for the transaction that makes the table.
    pub async fn add_objects(&mut self, ordinal: usize, objects: &[Object]) -> Result<(), Error> {
        for (position, object) in objects.iter().enumerate() {
            let sql = format!(
                "INSERT INTO {}.object (migration, ordinal, position, kind, name, statements)
                 VALUES ({}, {ordinal}, {position}, {}, {}, {})",
                self.migration.ledger,
                quote_literal(self.migration.as_str()),
                quote_literal(object.kind.as_str()),
                quote_literal(&object.name),
                sql_list(&object.statements)
            );
            one_row(self.session, &sql).await?;
        }
        Ok(())
    }

    /// A migration's objects in the order in which they are made; none where the migration was
    /// begun by a pghost that did not make any.
    pub async fn load_objects(&mut self) -> Result<Vec<ObjectRecord>, Error> {
        if !exists(self.session, &self.migration.ledger, "object").await? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT ordinal, position, kind, name, to_json(statements) AS statements, done, skipped
               FROM {}.object WHERE migration = {}",
            self.migration.ledger,
            quote_literal(self.migration.as_str())
        );
        let result = self.session.query(&sql).await?;
        let mut objects: Vec<_> =
            result.rows().iter().map(read_object).collect::<Result<_, _>>()?;
        objects.sort_by_key(|o| (o.object.kind, o.ordinal, o.position));
        Ok(objects)
    }

    /// Notes that an object is there. Meant for the transaction that makes it.
    ///
    /// Errors: its line is gone, or says so already.
    pub async fn object_done(&mut self, object: &ObjectRecord) -> Result<(), Error> {
        self.set(object, "done = true").await
    }

    /// Notes that an object was not made, and why.
    pub async fn object_skipped(&mut self, object: &ObjectRecord, why: &str) -> Result<(), Error> {
        self.set(object, &format!("skipped = {}", quote_literal(why))).await
    }

    /// Whether an object is the validation of a constraint that was not made.
    pub async fn constraint_is_skipped(&mut self, object: &ObjectRecord) -> Result<bool, Error> {
        if object.object.kind != ObjectKind::Validation {
            return Ok(false);
        }
        let kinds =
            [ObjectKind::Check, ObjectKind::ForeignKey].map(|kind| quote_literal(kind.as_str()));
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {}.object
              WHERE migration = {} AND ordinal = {} AND name = {} AND kind IN ({})
                AND skipped IS NOT NULL) AS found",
            self.migration.ledger,
            quote_literal(self.migration.as_str()),
            object.ordinal,
            quote_literal(&object.object.name),
            kinds.join(", ")
        );
        self.session.query(&sql).await?.row()?.get("found")
    }

    async fn set(&mut self, object: &ObjectRecord, set: &str) -> Result<(), Error> {
        let sql = format!(
            "UPDATE {}.object SET {set}
              WHERE migration = {} AND ordinal = {} AND position = {} AND NOT done",
            self.migration.ledger,
            quote_literal(self.migration.as_str()),
            object.ordinal,
            object.position
        );
        one_row(self.session, &sql).await
    }
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
