//! What a table that is to be made needs on the target and does not find there: types, collations,
//! and the functions and sequences of its columns' defaults.

use super::finding::{At, Findings};
use crate::{
    catalog::{Column, Table},
    conn::{Connection, Error, Row},
    migrate::{Failure, TableSpec},
    pg::{Oid, QualifiedName},
    sql::quote_literal,
};

/// Something that a column needs.
struct Need {
    /// `type`, `collation`, `function` or `sequence`.
    kind: &'static str,
    /// As the source spells it, qualified.
    name: String,
    column: String,
    /// The statement that makes it, once it is known to be missing.
    type_oid: Option<Oid>,
}

/// What defaults and generated columns call. Built-in functions are not listed; the sequence of a
/// serial column is made with the table.
const DEFAULTS: &str = "
SELECT a.attname AS column, d.refclassid = 'pg_proc'::regclass AS is_function,
       CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid::regprocedure::text
            ELSE d.refobjid::regclass::text END AS name
  FROM pg_attrdef f
  JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
 WHERE f.adrelid = $1::oid AND d.deptype = 'n'
   AND (d.refclassid = 'pg_proc'::regclass
        OR d.refclassid = 'pg_class'::regclass AND d.refobjid <> f.adrelid
           AND NOT EXISTS (SELECT FROM pg_depend o
                            WHERE o.classid = 'pg_class'::regclass AND o.objid = d.refobjid
                              AND o.refclassid = 'pg_class'::regclass AND o.refobjid = f.adrelid
                              AND o.deptype IN ('a', 'i')))
 ORDER BY a.attnum, name";

/// How a type is made, or the type of an array's elements.
const TYPE: &str = "
SELECT e.typtype, format_type(e.oid, NULL) AS name, x.extname::text AS extension,
       quote_ident(xn.nspname) AS extension_schema,
       (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
          FROM pg_enum WHERE enumtypid = e.oid) AS labels,
       (SELECT string_agg(quote_ident(attname) || ' ' || format_type(atttypid, atttypmod), ', '
                          ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = e.typrelid AND attnum > 0 AND NOT attisdropped)
         AS fields
  FROM pg_type t
  JOIN pg_type e ON e.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.typelem
                                 ELSE t.oid END
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = e.oid
        AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension x ON x.oid = d.refobjid
  LEFT JOIN pg_namespace xn ON xn.oid = x.extnamespace
 WHERE t.oid = $1::oid";

/// A table's name is its row type's as well: no other type has it. The type of an array that has it
/// gives way (`moveArrayTypeName` in `pg_type.c`).
pub(super) async fn name_is_free(
    target: &mut Connection,
    name: &QualifiedName,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = "SELECT format_type(t.oid, NULL) AS type
                 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                WHERE n.nspname = $1 AND t.typname = $2
                  AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)";
    let parameters = [Some(name.schema.as_str()), Some(name.name.as_str())];
    let result = target.query_with(sql, &parameters).await.map_err(failed)?;
    let Some(row) = result.rows().first() else { return Ok(()) };
    let other: String = row.get("type").map_err(failed)?;
    Err(Failure::refused(
        format!("the target has a type {other}, so no table can be called {}", name.plain()),
        format!(
            "ALTER TYPE {other} RENAME TO .. on the target, or give the table another name there"
        ),
    ))
}

/// Looks for everything that `table` of the source needs.
pub(super) async fn look(
    (source, target): (&mut Connection, &mut Connection),
    table: &Table,
    moved: &[TableSpec],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking for what the table needs", &error);
    let mut needs: Vec<Need> = table.columns.iter().flat_map(of_column).collect();
    let oid = table.oid.to_string();
    let result = source.query_with(DEFAULTS, &[Some(&oid)]).await.map_err(failed)?;
    for row in result.rows() {
        let is_function: bool = row.get("is_function").map_err(failed)?;
        needs.push(Need {
            kind: if is_function { "function" } else { "sequence" },
            name: row.get("name").map_err(failed)?,
            column: row.get("column").map_err(failed)?,
            type_oid: None,
        });
    }
    let there = are_there(target, &needs).await.map_err(failed)?;
    let at = At::target("missing").of(&table.name);
    let mut all_there = true;
    for (need, _) in needs.iter().zip(there).filter(|(_, there)| !there) {
        let row_type = match need.type_oid {
            Some(oid) => table_of_rows(source, oid).await.map_err(failed)?,
            None => None,
        };
        // Its table is made before this one.
        let comes = |t: &TableSpec| row_type.as_ref() == Some(&t.source) && t.source == t.target;
        if moved.iter().any(comes) {
            continue;
        }
        all_there = false;
        let hint = match need.type_oid {
            Some(_) if row_type.is_some() => row_type_hint(row_type.as_ref(), moved),
            Some(oid) => make_type(source, oid).await.map_err(failed)?,
            None => match need.kind {
                "function" => format!(
                    "make it on the target as SELECT pg_get_functiondef({}::regprocedure) on the \
                     source shows it",
                    quote_literal(&need.name)
                ),
                kind => format!("CREATE {} {} on the target", kind.to_uppercase(), need.name),
            },
        };
        let failure = Failure::refused(
            format!(
                "the target has no {} {}, which the column {} of {} needs",
                need.kind,
                need.name,
                need.column,
                table.name.plain()
            ),
            hint,
        );
        findings.refuse(at, failure);
    }
    if all_there {
        findings.ok(at, format!("the target has all types that {} needs", table.name.plain()));
    }
    Ok(())
}

fn of_column(column: &Column) -> impl Iterator<Item = Need> {
    let need = |kind, name: &String, type_oid| Need {
        kind,
        name: name.clone(),
        column: column.name.as_str().to_owned(),
        type_oid,
    };
    let of_type = need("type", &column.type_name, Some(column.type_oid));
    let collation = column.collation.as_ref().map(|name| need("collation", name, None));
    [of_type].into_iter().chain(collation)
}

/// Whether each of them is there.
async fn are_there(target: &mut Connection, needs: &[Need]) -> Result<Vec<bool>, Error> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<_> = (needs.iter())
        .map(|need| {
            let function = match need.kind {
                "type" => "to_regtype",
                "collation" => "to_regcollation",
                "function" => "to_regprocedure",
                _ => "to_regclass",
            };
            format!("{function}({}) IS NOT NULL", quote_literal(&need.name))
        })
        .collect();
    let sql = format!("SELECT there FROM unnest(ARRAY[{}]) AS there", asked.join(", "));
    let result = target.query(&sql).await?;
    result.rows().iter().map(|row| row.get("there")).collect()
}

/// The table whose rows are of this type, or of that of its elements.
async fn table_of_rows(source: &mut Connection, oid: Oid) -> Result<Option<QualifiedName>, Error> {
    let sql = "SELECT n.nspname, c.relname
                 FROM pg_type t
                 JOIN pg_type e ON e.oid IN (t.oid, t.typelem) AND e.typtype = 'c'
                 JOIN pg_class c ON c.oid = e.typrelid AND c.relkind IN ('r', 'p')
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE t.oid = $1::oid";
    let result = source.query_with(sql, &[Some(&oid.to_string())]).await?;
    let Some(row) = result.rows().first() else { return Ok(None) };
    Ok(Some(QualifiedName::new(row.get::<String>("nspname")?, row.get::<String>("relname")?)))
}

/// What to do about a table whose rows are the type of a column.
fn row_type_hint(of: Option<&QualifiedName>, moved: &[TableSpec]) -> String {
    let plain = of.map(QualifiedName::plain).unwrap_or_default();
    let is_moved = moved.iter().any(|table| Some(&table.source) == of);
    match is_moved {
        true => format!("it is the type of the rows of {plain}: let that keep its name"),
        false => format!(
            "it is the type of the rows of the table {plain}: move that too (--table {plain}), or \
             make it on the target"
        ),
    }
}

/// The statement that makes a type of the source on the target, as far as the catalog tells.
async fn make_type(source: &mut Connection, oid: Oid) -> Result<String, Error> {
    let oid = oid.to_string();
    let result = source.query_with(TYPE, &[Some(&oid)]).await?;
    statement(result.row()?)
}

fn statement(row: &Row) -> Result<String, Error> {
    let name: String = row.get("name")?;
    let text = |column| row.get::<Option<String>>(column).map(Option::unwrap_or_default);
    if let Some(extension) = row.get::<Option<String>>("extension")? {
        let schema = text("extension_schema")?;
        let extension = crate::pg::Ident::new(extension);
        return Ok(format!("CREATE EXTENSION {extension} SCHEMA {schema} on the target"));
    }
    Ok(match row.get::<char>("typtype")? {
        'e' => format!("CREATE TYPE {name} AS ENUM ({}) on the target", text("labels")?),
        'c' => format!("CREATE TYPE {name} AS ({}) on the target", text("fields")?),
        _ => format!("make {name} on the target as it is on the source"),
    })
}
