//! Columns whose values speak of objects of the server: what they name on the target is that one's.
//!
//! The values of `regclass` and its like travel as names, which the target looks up when they are
//! written: it may have none of that name (the trial or a page meets it), or another thing. The
//! values of `oid` travel as numbers, which mean something else there, or nothing.

use super::finding::{At, Findings};
use crate::{
    catalog::Table,
    conn::{Connection, Error},
    migrate::Failure,
};

/// Columns of such types, of their arrays, of domains over them and of what they are parts of.
const COLUMNS: &str = "
WITH RECURSIVE used (attnum, attname, oid) AS (
      SELECT a.attnum, a.attname, a.atttypid FROM pg_attribute a
       WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
       UNION
      SELECT u.attnum, u.attname, below.oid
        FROM used u
        JOIN pg_type t ON t.oid = u.oid
       CROSS JOIN LATERAL (
             SELECT t.typelem UNION ALL SELECT t.typbasetype
              UNION ALL
             SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
              UNION ALL
             SELECT a.atttypid FROM pg_attribute a
              WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
             ) below (oid)
       WHERE below.oid <> 0)
SELECT string_agg(DISTINCT attname::text, ', ') FILTER (WHERE oid = ANY (ARRAY['regproc',
           'regprocedure', 'regoper', 'regoperator', 'regclass', 'regtype', 'regrole',
           'regnamespace', 'regconfig', 'regdictionary', 'regcollation']::regtype[])) AS names,
       string_agg(DISTINCT attname::text, ', ') FILTER (WHERE oid = 'oid'::regtype) AS numbers
  FROM used";

/// Warns of such columns of a table.
pub(super) async fn look(
    source: &mut Connection,
    table: &Table,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let oid = table.oid.to_string();
    let found = source.query_with(COLUMNS, &[Some(&oid)]).await.map_err(failed)?;
    let row = found.row().map_err(failed)?;
    let at = At::both("types").of(&table.name);
    let plain = table.name.plain();
    if let Some(columns) = row.get::<Option<String>>("names").map_err(failed)? {
        findings.warn(
            at,
            format!(
                "values of {plain} name objects of the server, by their names ({columns}): on the \
                 target they are what is called so there, and one that is not there stops the run"
            ),
            "make what they name on the target before, of the same names",
        );
    }
    if let Some(columns) = row.get::<Option<String>>("numbers").map_err(failed)? {
        findings.warn(
            at,
            format!(
                "values of {plain} are numbers of objects of the server, or of large objects \
                 ({columns}): they are moved as numbers, and on the target mean others, or none"
            ),
            "keep names (regclass) instead; large objects are not moved: see to them otherwise",
        );
    }
    Ok(())
}
