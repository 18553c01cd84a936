//! NOT NULL constraints, which are objects with names, comments and states of their own from 18 on.

use super::{
    model::ExtraNotNull,
    object::{Object, ObjectKind, comment_on},
};
use crate::{
    conn::{Connection, Error},
    pg::{Ident, QualifiedName},
};

/// Before 18 there are no such constraints.
const NOT_NULLS: &str = "
SELECT con.conname, a.attname, con.connoinherit, con.convalidated,
       obj_description(con.oid, 'pg_constraint') AS comment
  FROM pg_constraint con
  JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = con.conkey[1]
 WHERE con.conrelid = $1::oid AND con.contype = 'n' ORDER BY a.attnum";

/// The first release that has them.
const SINCE: u32 = 18;

/// Reads a table's NOT NULL constraints.
pub(super) async fn load_not_nulls(
    connection: &mut Connection,
    oid: &str,
) -> Result<Vec<ExtraNotNull>, Error> {
    let found = connection.query_with(NOT_NULLS, &[Some(oid)]).await?;
    let mut all = Vec::new();
    for row in found.rows() {
        all.push(ExtraNotNull {
            name: Ident::new(row.get::<String>("conname")?),
            column: Ident::new(row.get::<String>("attname")?),
            no_inherit: row.get("connoinherit")?,
            validated: row.get("convalidated")?,
            comment: row.get("comment")?,
        });
    }
    Ok(all)
}

/// What a column's definition says of NOT NULL on a target of the release `major`.
///
/// One that is not validated comes later: rows that are there may violate it.
pub(super) fn in_definition(
    column: &Ident,
    not_null: bool,
    constraints: &[ExtraNotNull],
    major: u32,
) -> String {
    match constraints.iter().find(|constraint| constraint.column == *column) {
        Some(constraint) if !constraint.validated => String::new(),
        Some(constraint) if major >= SINCE => format!(" {}", named(constraint, " NOT NULL")),
        _ if not_null => " NOT NULL".to_owned(),
        _ => String::new(),
    }
}

/// What is made once all rows are there.
pub(super) fn not_null_objects(
    constraints: &[ExtraNotNull],
    target: &QualifiedName,
    major: u32,
) -> Vec<Object> {
    let mut objects = Vec::new();
    for constraint in constraints.iter().filter(|_| major >= SINCE) {
        let ExtraNotNull { name, column, validated, comment, .. } = constraint;
        let comment = comment_on(&format!("CONSTRAINT {name} ON {target}"), comment.as_ref());
        let of = name.as_str().to_owned();
        if !validated {
            let definition = named(constraint, &format!(" NOT NULL {column}"));
            let mut statements = vec![format!("ALTER TABLE {target} ADD {definition} NOT VALID")];
            statements.extend(comment);
            objects.push(Object { kind: ObjectKind::Check, name: of, statements });
        } else if !comment.is_empty() {
            objects.push(Object { kind: ObjectKind::Comment, name: of, statements: comment });
        }
    }
    objects
}

fn named(constraint: &ExtraNotNull, what: &str) -> String {
    let no_inherit = if constraint.no_inherit { " NO INHERIT" } else { "" };
    format!("CONSTRAINT {}{what}{no_inherit}", constraint.name)
}
