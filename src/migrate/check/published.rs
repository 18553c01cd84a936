//! Whether publications of the target let its rows be updated and deleted.
//!
//! A table that is published must tell its changed rows apart by a replica identity, and the
//! publication's list of columns and its filter must fit that; else the server refuses every UPDATE
//! and DELETE. A target that feeds somebody else (`FOR ALL TABLES`) takes the pages, and none of
//! the changes. What the server would say is asked by EXPLAIN, which looks at a statement's target
//! as an execution does, and goes no further.

use super::finding::{At, Findings};
use crate::{
    catalog::{Identity, Key, Table},
    conn::{Connection, Error},
    migrate::Failure,
    pg::{Ident, SqlState},
};

/// Looks at a target that is there; `key` is its key, if it has one that serves.
pub(super) async fn look(
    target: &mut Connection,
    (source, table): (&Table, &Table),
    key: Option<&Key>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let name = &table.name;
    let in_key = |name: &Ident| key.is_some_and(|key| key.columns.iter().any(|k| k.name == *name));
    let mut set = source
        .stored_columns()
        .filter_map(|column| table.column(&column.name))
        .filter(|column| column.generated.is_none() && column.identity != Some(Identity::Always))
        .filter(|column| !in_key(&column.name));
    let mut sql = format!("EXPLAIN DELETE FROM {name}");
    if let Some(column) = set.next() {
        sql += &format!("; EXPLAIN UPDATE {name} SET {0} = {0}", column.name);
    }
    let Err(error) = target.query(&sql).await else { return Ok(()) };
    let code = error.sqlstate();
    if code.is_none() {
        return Err(failed(error));
    }
    let at = At::target("publication").of(&source.name);
    let what = format!("a publication of the target keeps changes out of {}", name.plain());
    let hint = match (code, key) {
        (Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), Some(key)) => format!(
            "ALTER TABLE {name} REPLICA IDENTITY USING INDEX {} on the target",
            Ident::new(&key.index)
        ),
        (Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), None) => {
            format!("ALTER TABLE {name} REPLICA IDENTITY FULL on the target")
        }
        (Some(SqlState::INVALID_COLUMN_REFERENCE), _) => format!(
            "take {name} out of that publication meanwhile (ALTER PUBLICATION .. DROP TABLE; \
             pg_publication_tables tells of which), or let its columns and its filter fit the \
             replica identity"
        ),
        // Of rights and the like others tell.
        _ => return Ok(()),
    };
    findings.refuse(at, Failure { hint, ..Failure::refused_by(&what, &error) });
    Ok(())
}
