//! Rows of the source that break what its own catalog says of them, or what the target asks.
//!
//! A foreign key that says it is valid need not be: triggers were off, or an index was corrupt. On
//! the target it is validated anew, when all rows are there. And NOT NULL of the target is asked
//! of the first page. What is looked at is bounded: all of a small table, some blocks of a large
//! one, in statements that end after three seconds.

use super::{
    asked::{Nullable, Reference},
    chunk::Tried,
    sample::{ask_in_short, percent},
};
use crate::{
    conn::{Connection, Error, Row},
    migrate::{
        Failure,
        check::finding::{At, Findings},
        grouped,
        plan::PlannedTable,
    },
    pg::{Ident, QualifiedName},
};

/// How many rows of a table are looked at.
const ROWS: u32 = 20_000;

/// Looks at some rows of every table. `nullable`: columns of the source whose NOT NULL is not
/// valid.
pub(super) async fn look(
    source: &mut Connection,
    tried: &[Tried],
    nullable: &[Nullable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    for tried in tried {
        let table = &tried.table;
        let valid = tried.references.iter().filter(|reference| reference.is_valid);
        for reference in valid.filter(|_| !tried.objects().is_empty()) {
            let at = At::source("foreign_key").of(&table.source.name);
            match ask(source, &orphan(table, reference), at, findings).await? {
                Some(rows) if !rows.is_empty() => {
                    findings.refuse(at, is_broken(tried, reference, &rows[0])?);
                }
                _ => {}
            }
        }
        let columns = may_be_null(table, nullable);
        if !columns.is_empty() {
            let at = At::both("not_null").of(&table.source.name);
            if let Some(rows) = ask(source, &nulls(table, &columns), at, findings).await? {
                judge_nulls(table, &columns, rows.first(), at, findings)?;
            }
        }
    }
    Ok(())
}

/// The statement's rows; `None`, and told, where the server would not, or not in time.
async fn ask(
    source: &mut Connection,
    sql: &str,
    at: At<'_>,
    findings: &mut Findings,
) -> Result<Option<Vec<Row>>, Failure> {
    match ask_in_short(source, sql).await {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if error.sqlstate().is_some() => {
            findings.ok(at, format!("its rows could not be looked at: {error}"));
            Ok(None)
        }
        Err(error) => Err(Failure::refused_by("looking at rows of the source", &error)),
    }
}

/// Some rows of a table: all, if they are few.
fn some(table: &PlannedTable, name: &QualifiedName, columns: &[Ident]) -> String {
    let columns: Vec<_> = columns.iter().map(Ident::to_string).collect();
    let sampled = percent(table, ROWS);
    let sampled = sampled.map(|percent| format!(" TABLESAMPLE SYSTEM ({percent})"));
    format!(
        "(SELECT {} FROM {name}{} LIMIT {ROWS}) AS c",
        columns.join(", "),
        sampled.unwrap_or_default()
    )
}

/// How many rows that is, for people.
fn how_many(table: &PlannedTable) -> String {
    match percent(table, ROWS) {
        None => "all rows were looked at".into(),
        Some(_) => format!("about {} rows were looked at", grouped(u64::from(ROWS))),
    }
}

/// Asks for a row that refers to none.
fn orphan(table: &PlannedTable, reference: &Reference) -> String {
    let own: Vec<_> = reference.columns.iter().map(|[child, ..]| Ident::new(child)).collect();
    let shown: Vec<_> = own.iter().map(|column| format!("c.{column}::text")).collect();
    let given: Vec<_> = own.iter().map(|column| format!("c.{column} IS NOT NULL")).collect();
    let same: Vec<_> = (reference.columns.iter())
        .map(|[child, parent, schema, operator]| {
            let (child, parent) = (Ident::new(child), Ident::new(parent));
            format!("p.{parent} OPERATOR({}.{operator}) c.{child}", Ident::new(schema))
        })
        .collect();
    format!(
        "SELECT concat_ws(', ', {}) AS example FROM {} WHERE {} AND NOT EXISTS (
             SELECT FROM {} AS p WHERE {}) LIMIT 1",
        shown.join(", "),
        some(table, &reference.child_name, &own),
        given.join(" AND "),
        reference.parent,
        same.join(" AND ")
    )
}

fn failed(error: Error) -> Failure {
    Failure::refused_by("looking at rows of the source", &error)
}

fn is_broken(tried: &Tried, reference: &Reference, row: &Row) -> Result<Failure, Failure> {
    let example: String = row.get("example").map_err(failed)?;
    let columns: Vec<_> = reference.columns.iter().map(|[child, ..]| child.as_str()).collect();
    let (name, child) = (Ident::new(&reference.name), &reference.child_name);
    let (source, target) = (&tried.table.source.name, &tried.table.target_name);
    let parent = reference.parent.plain();
    let row = format!("refers to none of {parent}: ({}) = ({example})", columns.join(", "));
    if tried.deferred.is_some() {
        return Ok(Failure::refused(
            format!(
                "the source's {} has a row that {row}; the foreign key {} of the target {} could \
                 not be validated again once all rows are there",
                source.plain(),
                reference.name,
                target.plain()
            ),
            format!(
                "mend the rows on the source; or ALTER TABLE {target} DROP CONSTRAINT {name} on \
                 the target"
            ),
        ));
    }
    Ok(Failure::refused(
        format!(
            "the foreign key {} of {} says on the source that it is valid, and a row is there \
             that {row}; it could not be validated on the target once all rows are there",
            reference.name,
            source.plain()
        ),
        format!(
            "mend the rows on the source; or drop {name} of {child} there and add it again NOT \
             VALID, which is how the target gets it then"
        ),
    ))
}

/// Columns that are NOT NULL on the target and may hold NULLs on the source.
fn may_be_null(table: &PlannedTable, nullable: &[Nullable]) -> Vec<Ident> {
    let is_not_valid = |name: &Ident| {
        nullable.iter().any(|n| n.table == table.source.oid && n.column == name.as_str())
    };
    (table.source.stored_columns())
        .filter(|column| match &table.target {
            // It gets what the source has: NOT NULL that is not valid comes after the rows.
            None => false,
            Some(target) => {
                let asks = target.column(&column.name).is_some_and(|c| c.not_null);
                asks && (!column.not_null || is_not_valid(&column.name))
            }
        })
        .map(|column| column.name.clone())
        .collect()
}

fn nulls(table: &PlannedTable, columns: &[Ident]) -> String {
    let flags: Vec<_> = (columns.iter())
        .map(|column| format!("coalesce(bool_or(c.{column} IS NULL), false) AS {column}"))
        .collect();
    format!("SELECT {} FROM {}", flags.join(", "), some(table, &table.source.name, columns))
}

fn judge_nulls(
    table: &PlannedTable,
    columns: &[Ident],
    row: Option<&Row>,
    at: At<'_>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (source, target) = (table.source.name.plain(), &table.target_name);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for column in columns {
        let has = row.map_or(Ok(false), |row| row.get::<bool>(column.as_str())).map_err(failed)?;
        if has { with.push(column) } else { without.push(column) }
    }
    let names = |columns: &[&Ident]| {
        columns.iter().map(|column| column.as_str()).collect::<Vec<_>>().join(", ")
    };
    for column in &with {
        findings.refuse(
            at,
            Failure::refused(
                format!(
                    "{source} has rows where {column} is NULL, and it is NOT NULL on the target {}",
                    target.plain()
                ),
                format!("ALTER TABLE {target} ALTER COLUMN {column} DROP NOT NULL"),
            ),
        );
    }
    if !without.is_empty() {
        findings.warn(
            at,
            format!(
                "{} of {source} may be NULL, and is NOT NULL on the target {}: {}, and none \
                 has a NULL there; one that comes would stop the run",
                names(&without),
                target.plain(),
                how_many(table)
            ),
            "let both sides have it NOT NULL, or neither",
        );
    }
    Ok(())
}
