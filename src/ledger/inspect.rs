//! Whether the ledger is pghost's own, before anything is read from it or written to it.
//!
//! Whoever may create a schema can have one called like the ledger's, with views, triggers,
//! defaults and the like, whose code would run with the rights of whoever reads or writes it; and
//! statements that the ledger keeps are executed. So one query looks at the catalog alone, calls
//! nothing but what is in `pg_catalog`, and evaluates nothing of what it looks at; what it finds is
//! [`super::integrity`]'s to judge. Only the schema's owner could change it afterwards, by dropping
//! and making again, and that is one who could do so without it.

use super::{
    integrity::{Access, Fact, Present, Unfit, has_version, judge, no_danger},
    layout::TABLES,
    name::LedgerSchema,
};
use crate::{
    catalog::ME,
    conn::{Connection, Error, Row},
    sql::quote_literal,
};

/// All that there is of the ledger. A role is no stranger (`ours`) if it is a superuser or the one
/// that has logged in, or, where code that runs here can't do anything on the server, one that the
/// session's role is a member of.
const QUERY: &str = "
WITH me AS ($me),
known AS (
    SELECT o.oid, o.rolname::text AS name,
           o.rolsuper OR o.oid = me.session
               OR NOT me.is_powerful AND pg_catalog.pg_has_role(me.current, o.oid, 'MEMBER')
               AS ours,
           CASE WHEN me.is_powerful THEN 'powerful ' ELSE 'role ' END || me.role AS us
      FROM pg_catalog.pg_roles o CROSS JOIN me),
s AS (
    SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = $schema),
r AS (
    SELECT c.* FROM pg_catalog.pg_class c JOIN s ON c.relnamespace = s.oid
     WHERE c.relname IN ($names)),
granted AS (
    SELECT oid, relname, relowner, relacl AS acl FROM r
    UNION ALL SELECT r.oid, r.relname, r.relowner, a.attacl
      FROM r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attacl IS NOT NULL)
SELECT 'acts as' AS kind, '' AS relation, o.name, o.us AS detail, 0 AS number
  FROM me JOIN known o ON o.oid = me.current WHERE NOT o.ours
UNION ALL
SELECT 'schema', '', o.name,
       CASE WHEN o.ours THEN 'ours' ELSE o.us END, 0
  FROM s JOIN known o ON o.oid = s.nspowner
UNION ALL
SELECT 'may create', '', coalesce(o.name, 'everybody'), '', 0
  FROM s CROSS JOIN LATERAL pg_catalog.aclexplode(s.nspacl) g
  LEFT JOIN known o ON o.oid = g.grantee
 WHERE g.privilege_type = 'CREATE' AND g.grantee <> s.nspowner AND o.ours IS NOT TRUE
UNION ALL
SELECT 'relation', '', relname, '', 0 FROM r
UNION ALL
SELECT 'kind', relname, '', CASE
           WHEN relkind = 'v' THEN 'a view' WHEN relkind = 'm' THEN 'a materialized view'
           WHEN relkind = 'f' THEN 'a foreign table' WHEN relkind = 'p' THEN 'a partitioned table'
           WHEN relkind <> 'r' THEN 'something else' WHEN relispartition THEN 'a partition'
           ELSE 'one that is not permanent' END, 0
  FROM r WHERE relkind <> 'r' OR relpersistence <> 'p' OR relispartition
UNION ALL
SELECT 'owner', r.relname, o.name, o.us, 0
  FROM r JOIN known o ON o.oid = r.relowner WHERE NOT o.ours
UNION ALL
SELECT 'may write', g.relname, coalesce(o.name, 'everybody'),
       pg_catalog.string_agg(DISTINCT e.privilege_type, ', '), 0
  FROM granted g CROSS JOIN LATERAL pg_catalog.aclexplode(g.acl) e
  LEFT JOIN known o ON o.oid = e.grantee
 WHERE e.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER')
   AND e.grantee <> g.relowner AND o.ours IS NOT TRUE
 GROUP BY g.relname, o.name
UNION ALL
SELECT 'trigger', r.relname, t.tgname, '', 0
  FROM r JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', r.relname, w.rulename, '', 0
  FROM r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid
UNION ALL
SELECT 'policy', r.relname, p.polname, '', 0
  FROM r JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
UNION ALL
SELECT 'row security', relname, '', '', 0 FROM r WHERE relrowsecurity OR relforcerowsecurity
UNION ALL
SELECT 'inheritance', r.relname, c.relname, '', 0
  FROM r JOIN pg_catalog.pg_inherits i ON r.oid IN (i.inhrelid, i.inhparent)
  JOIN pg_catalog.pg_class c ON c.oid IN (i.inhrelid, i.inhparent) AND c.oid <> r.oid
UNION ALL
SELECT 'index', r.relname, c.relname, '', 0
  FROM r JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conindid = i.indexrelid AND k.contype = 'p' AND k.conrelid = r.oid)
UNION ALL
SELECT 'statistics', r.relname, e.stxname, '', 0
  FROM r JOIN pg_catalog.pg_statistic_ext e ON e.stxrelid = r.oid
UNION ALL
SELECT CASE WHEN k.contype IN ('p', 'f') THEN 'constraint' ELSE 'check' END,
       r.relname, k.conname,
       CASE WHEN k.contype NOT IN ('p', 'f') THEN '' ELSE k.contype::text || '(' || (
           SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY c.n)
             FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY c(number, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.number)
       || ')'
       || CASE WHEN k.contype <> 'f' THEN '' ELSE ' -> ' || coalesce(
              (SELECT t.relname::text FROM r t WHERE t.oid = k.confrelid), '?') || '(' || (
           SELECT pg_catalog.string_agg(a.attname, ', ' ORDER BY c.n)
             FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY c(number, n)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.number)
           || ') ' || k.confdeltype::text || k.confupdtype::text END
       || CASE WHEN k.condeferrable THEN ' deferrable' ELSE '' END END, 0
  FROM r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid
 WHERE k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'referred to', r.relname, k.conrelid::pg_catalog.regclass::text, '', 0
  FROM r JOIN pg_catalog.pg_constraint k ON k.confrelid = r.oid
 WHERE k.contype = 'f' AND k.conrelid NOT IN (SELECT oid FROM r)
UNION ALL
SELECT 'column', r.relname, a.attname,
       CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE n.nspname || '.' END
       || pg_catalog.format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE other' ELSE '' END
       || CASE WHEN a.attidentity <> '' THEN ' IDENTITY' ELSE '' END
       || CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END
       || coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, a.attnum
  FROM r JOIN pg_catalog.pg_attribute a
    ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
ORDER BY kind, relation, number, name";

/// Looks at the ledger; no ledger at all is fine.
///
/// Errors: the look itself has failed.
pub async fn inspect(
    target: &mut Connection,
    ledger: &LedgerSchema,
    access: Access,
) -> Result<Result<(), Unfit>, Error> {
    if access == Access::Read {
        forbid_views(target).await?;
    }
    Ok(look(target, ledger, access).await?.map(drop))
}

/// The same for whoever is about to make what is missing.
pub(super) async fn look(
    target: &mut Connection,
    ledger: &LedgerSchema,
    access: Access,
) -> Result<Result<Present, Unfit>, Error> {
    let found = target.query(&query(ledger)).await?;
    let facts: Vec<Fact> = found.rows().iter().map(fact).collect::<Result<_, _>>()?;
    if let Err(unfit) = no_danger(&facts, ledger, access) {
        return Ok(Err(unfit));
    }
    // A plain table that nobody's code hangs on can be read, whatever else it has.
    let version = match has_version(&facts) {
        true => {
            let sql = format!("SELECT max(ledger_version) AS version FROM {ledger}.migration");
            target.query(&sql).await?.row()?.get("version")?
        }
        false => None,
    };
    Ok(judge(&facts, ledger, version))
}

/// Whoever owns what an ordinary role reads could put a view in its place just after the look.
/// Where the server can refuse those, it does (14.13, 15.8, 16.4, and 17 on).
async fn forbid_views(target: &mut Connection) -> Result<(), Error> {
    let sql = "SELECT pg_catalog.set_config(name, 'view,foreign-table', false)
                 FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";
    match target.query(sql).await {
        // A server that hides its settings can't be told; the look itself still holds.
        Err(error) if error.sqlstate().is_none() => Err(error),
        _ => Ok(()),
    }
}

fn fact(row: &Row) -> Result<Fact, Error> {
    Ok(Fact {
        kind: row.get("kind")?,
        relation: row.get("relation")?,
        name: row.get("name")?,
        detail: row.get("detail")?,
    })
}

fn query(ledger: &LedgerSchema) -> String {
    let names: Vec<_> = TABLES.iter().map(|table| quote_literal(table.name)).collect();
    // The schema last: it may be called like anything.
    let query = QUERY.replace("$me", ME).replace("$names", &names.join(", "));
    query.replace("$schema", &quote_literal(ledger.as_str()))
}
