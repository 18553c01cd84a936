//! The questions to the source about what a table has besides its columns and rows.
//!
//! `quote_ident` and `pg_get_*` spell names alike, so what a definition begins with can be put
//! together here and taken off it letter by letter; see [`super::object`].

use super::{
    inherited::load_inherited,
    model::{
        ExtraConstraint, ExtraGrant, ExtraIndex, ExtraStatistics, ExtraTrigger, Extras, FORCE,
    },
    not_null::load_not_nulls,
    object::{Names, after, split_reference},
    sequence::load_sequences,
};
use crate::{
    conn::{Connection, Error, Row},
    pg::{Ident, Oid, QualifiedName},
};

const TABLE: &str = "
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS spelled,
       c.relreplident = 'f' AS identity_full, c.relkind = 'p' AS partitioned,
       c.relrowsecurity, c.relforcerowsecurity,
       CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type,
       (SELECT quote_ident(amname) FROM pg_am a WHERE a.oid = c.relam AND amname <> 'heap')
         AS access_method
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";

const INDEXES: &str = "
SELECT ic.relname AS name, quote_ident(ic.relname) AS spelled, i.indisunique,
       pg_get_indexdef(i.indexrelid) AS definition, pg_get_constraintdef(con.oid) AS con,
       (SELECT string_agg(format('%I = %L', split_part(o, '=', 1),
                                 substr(o, strpos(o, '=') + 1)), ', ')
          FROM unnest(ic.reloptions) o) AS options,
       (SELECT string_agg(format('ALTER COLUMN %s SET STATISTICS %s', attnum, attstattarget), ', '
                          ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = i.indexrelid AND attstattarget >= 0) AS targets,
       obj_description(i.indexrelid, 'pg_class') AS comment,
       obj_description(con.oid, 'pg_constraint') AS con_comment,
       i.indisclustered, i.indisreplident, coalesce(s.spcname, '') AS tablespace
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  LEFT JOIN pg_tablespace s ON s.oid = ic.reltablespace
  LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid
        AND con.contype IN ('p', 'u', 'x')
 WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indisready
   AND NOT ($2::boolean AND EXISTS (
       SELECT FROM pg_partition_ancestors(i.indexrelid) a(relid)
         JOIN pg_index r ON r.indexrelid = a.relid
        WHERE a.relid <> i.indexrelid AND r.indisvalid))
 ORDER BY ic.relname";

/// Of a foreign key to a partitioned table there is one line for each partition; only the first is
/// one that was declared.
const CONSTRAINTS: &str = "
SELECT con.conname, pg_get_constraintdef(con.oid) AS definition, con.convalidated,
       obj_description(con.oid, 'pg_constraint') AS comment,
       rn.nspname AS referenced_schema, rc.relname AS referenced_name,
       quote_ident(rn.nspname) || '.' || quote_ident(rc.relname) AS referenced,
       k.columns, k.columns_period
  FROM pg_constraint con
  LEFT JOIN pg_class rc ON rc.oid = con.confrelid
  LEFT JOIN pg_namespace rn ON rn.oid = rc.relnamespace
 CROSS JOIN LATERAL (
       SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS columns,
              string_agg(CASE WHEN u.n = cardinality(con.conkey) THEN 'PERIOD ' ELSE '' END
                         || quote_ident(a.attname), ', ' ORDER BY u.n) AS columns_period
         FROM unnest(con.conkey) WITH ORDINALITY u(attnum, n)
         JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = u.attnum) k
 WHERE con.conrelid = $1::oid AND con.contype IN ('c', 'f')
   AND NOT EXISTS (SELECT FROM pg_constraint p
                    WHERE p.oid = con.conparentid AND p.conrelid = con.conrelid)
   AND NOT ($2::boolean AND (con.conparentid <> 0 OR con.contype = 'c' AND con.coninhcount > 0))
 ORDER BY con.conname";

const STATISTICS: &str = "
SELECT n.nspname AS schema, s.stxname,
       quote_ident(n.nspname) || '.' || quote_ident(s.stxname) AS spelled,
       pg_get_statisticsobjdef(s.oid) AS definition,
       nullif(s.stxstattarget, -1) AS target, obj_description(s.oid, 'pg_statistic_ext') AS comment
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
 WHERE s.stxrelid = $1::oid ORDER BY s.stxname";

/// The bits of `tgtype`, in the order in which `pg_get_triggerdef` names the events.
const TRIGGERS: &str = "
SELECT t.tgname, quote_ident(t.tgname) AS spelled, pg_get_triggerdef(t.oid) AS definition,
       t.tgconstraint <> 0 AS is_constraint, t.tgenabled,
       CASE WHEN (t.tgtype & 2) > 0 THEN 'BEFORE' WHEN (t.tgtype & 64) > 0 THEN 'INSTEAD OF'
            ELSE 'AFTER' END || ' ' || concat_ws(' OR ',
           CASE WHEN (t.tgtype & 4) > 0 THEN 'INSERT' END,
           CASE WHEN (t.tgtype & 8) > 0 THEN 'DELETE' END,
           CASE WHEN (t.tgtype & 16) > 0 THEN 'UPDATE' || coalesce(' OF ' || (
               SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n)
                 FROM unnest(t.tgattr::int2[]) WITH ORDINALITY u(attnum, n)
                 JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = u.attnum), '') END,
           CASE WHEN (t.tgtype & 32) > 0 THEN 'TRUNCATE' END) AS events,
       obj_description(t.oid, 'pg_trigger') AS comment
  FROM pg_trigger t WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal
   AND NOT ($2::boolean AND t.tgparentid <> 0)
   -- Those of pghost itself guard the source; see `migrate::check::unmade`.
   AND NOT ($pghosts) ORDER BY t.tgname";

/// Whether a trigger `t` is one of pghost's: by its name, or by a function that lives with a
/// ledger.
pub const PGHOSTS_TRIGGER: &str = "t.tgname LIKE 'pghost\\_%' OR EXISTS (
       SELECT FROM pg_proc p JOIN pg_class m ON m.relnamespace = p.pronamespace
        WHERE p.oid = t.tgfoid AND m.relname = 'migration'
          AND EXISTS (SELECT FROM pg_class g
                       WHERE g.relnamespace = p.pronamespace AND g.relname = 'page'))
       OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE p.oid = t.tgfoid AND n.nspname = 'pghost')";

const POLICIES: &str = "
SELECT p.polname, obj_description(p.oid, 'pg_policy') AS comment,
       CASE WHEN p.polpermissive THEN 'AS PERMISSIVE' ELSE 'AS RESTRICTIVE' END || ' FOR '
         || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                          WHEN 'd' THEN 'DELETE' ELSE 'ALL' END
         || ' TO ' || (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC'
                                              ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
                         FROM unnest(p.polroles) r)
         || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
         || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') AS rest
  FROM pg_policy p WHERE p.polrelid = $1::oid ORDER BY p.polname";

const GRANTS: &str = "
SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
         AS role, x.privilege_type, x.is_grantable, g.attname
  FROM pg_class c
 CROSS JOIN LATERAL (
       SELECT c.relacl AS acl, NULL::name AS attname, 0 AS attnum
        UNION ALL
       SELECT a.attacl, a.attname, a.attnum FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) g
 CROSS JOIN LATERAL aclexplode(g.acl) x
 WHERE c.oid = $1::oid AND x.grantee <> c.relowner
 ORDER BY 1, g.attnum, x.privilege_type";

const COMMENTS: &str = "
SELECT a.attname, d.description
  FROM pg_description d
  LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
        AND d.objsubid > 0
 WHERE d.classoid = 'pg_class'::regclass AND d.objoid = $1::oid
   AND a.attisdropped IS NOT TRUE
 ORDER BY d.objsubid";

/// Clauses of ALTER TABLE, each by itself: another release may not know one of them.
const SETTINGS: &str = "
WITH c AS (SELECT * FROM pg_class WHERE oid = $1::oid),
     a AS (SELECT a.*, t.typstorage FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped)
SELECT format('ALTER COLUMN %I SET STORAGE %s', attname, CASE attstorage WHEN 'p' THEN 'PLAIN'
              WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END) AS clause
  FROM a WHERE attstorage <> typstorage
 UNION ALL
SELECT format('ALTER COLUMN %I SET COMPRESSION %s', attname,
              CASE attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END)
  FROM a WHERE attcompression IN ('p', 'l')
 UNION ALL
SELECT format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget)
  FROM a WHERE attstattarget >= 0
 UNION ALL
SELECT format('ALTER COLUMN %I SET (%I = %L)', attname, split_part(o, '=', 1),
              substr(o, strpos(o, '=') + 1))
  FROM a CROSS JOIN LATERAL unnest(a.attoptions) o
 UNION ALL
SELECT format('SET (%s%I = %L)', o.prefix, split_part(o.o, '=', 1),
              substr(o.o, strpos(o.o, '=') + 1))
  FROM c CROSS JOIN LATERAL (
       SELECT '' AS prefix, o FROM unnest(c.reloptions) o
        UNION ALL
       SELECT 'toast.', o FROM pg_class t CROSS JOIN LATERAL unnest(t.reloptions) o
        WHERE t.oid = c.reltoastrelid) o";

/// Names in a schema that an index or a statistics object can't have.
const NAMES: &str = "
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1
 UNION
SELECT s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
 WHERE n.nspname = $1";

/// Clauses of ALTER TABLE that give a new table the storage settings of this one.
pub async fn load_settings(connection: &mut Connection, oid: Oid) -> Result<Vec<String>, Error> {
    let oid = oid.to_string();
    let found = connection.query_with(SETTINGS, &[Some(&oid)]).await?;
    found.rows().iter().map(|row| row.get("clause")).collect()
}

/// Notes the names that are taken in a schema.
pub async fn load_names(
    connection: &mut Connection,
    schema: &Ident,
    names: &mut Names,
) -> Result<(), Error> {
    let found = connection.query_with(NAMES, &[Some(schema.as_str())]).await?;
    for row in found.rows() {
        names.take(schema, row.get("name")?);
    }
    Ok(())
}

/// Reads what a table has besides its columns and rows; of a partition, what it has besides what
/// comes with `root`.
///
/// Errors: the connection's, or a definition that does not look as 14 to 18 write it.
pub async fn load_extras(
    connection: &mut Connection,
    oid: Oid,
    root: Option<Oid>,
) -> Result<Extras, Error> {
    let oid = oid.to_string();
    let by_oid = [Some(oid.as_str())];
    let own = [Some(oid.as_str()), Some(if root.is_some() { "true" } else { "false" })];
    let found = connection.query_with(TABLE, &by_oid).await?;
    let table = found.row()?;
    let spelled: String = table.get("spelled")?;
    let mut extras = Extras {
        identity_full: table.get("identity_full")?,
        partitioned: table.get("partitioned")?,
        of_type: table.get("of_type")?,
        access_method: table.get("access_method")?,
        ..Extras::default()
    };
    if root.is_some() {
        extras.inherited = load_inherited(connection, &oid).await?;
    }
    extras.sequences = load_sequences(connection, &oid).await?;
    extras.not_nulls = load_not_nulls(connection, &oid).await?;
    for (flag, clause) in
        [("relrowsecurity", "ENABLE ROW LEVEL SECURITY"), ("relforcerowsecurity", FORCE)]
    {
        if table.get(flag)? {
            extras.row_security.push(clause);
        }
    }
    for row in connection.query_with(INDEXES, &own).await?.rows() {
        extras.indexes.push(index(row, &spelled)?);
    }
    for row in connection.query_with(CONSTRAINTS, &own).await?.rows() {
        extras.constraints.push(constraint(row)?);
    }
    for row in connection.query_with(STATISTICS, &by_oid).await?.rows() {
        extras.statistics.push(statistics(row, &spelled)?);
    }
    for row in
        connection.query_with(&TRIGGERS.replace("$pghosts", PGHOSTS_TRIGGER), &own).await?.rows()
    {
        extras.triggers.push(trigger(row, &spelled)?);
    }
    for row in connection.query_with(POLICIES, &by_oid).await?.rows() {
        let name = Ident::new(row.get::<String>("polname")?);
        extras.policies.push((name, row.get("rest")?, row.get("comment")?));
    }
    for row in connection.query_with(GRANTS, &by_oid).await?.rows() {
        extras.grants.push(ExtraGrant {
            role: row.get("role")?,
            privilege: row.get("privilege_type")?,
            column: row.get::<Option<String>>("attname")?.map(Ident::new),
            grantable: row.get("is_grantable")?,
        });
    }
    for row in connection.query_with(COMMENTS, &by_oid).await?.rows() {
        let column = row.get::<Option<String>>("attname")?.map(Ident::new);
        extras.comments.push((column, row.get("description")?));
    }
    Ok(extras)
}

fn strange(definition: &str) -> Error {
    Error::Result(format!("the source gives a definition that is not understood: {definition}"))
}

fn index(row: &Row, table: &str) -> Result<ExtraIndex, Error> {
    let definition: String = row.get("definition")?;
    let unique: bool = row.get("indisunique")?;
    let kind = if unique { "UNIQUE INDEX" } else { "INDEX" };
    let spelled: String = row.get("spelled")?;
    // Of a partitioned table's the server speaks without those of the partitions.
    let using = ["", "ONLY "].iter().find_map(|only| {
        after(&definition, &format!("CREATE {kind} {spelled} ON {only}{table} USING "))
    });
    let using = using.ok_or_else(|| strange(&definition))?;
    Ok(ExtraIndex {
        name: row.get("name")?,
        unique,
        using: using.to_owned(),
        constraint: row.get("con")?,
        options: row.get("options")?,
        tablespace: Some(row.get("tablespace")?),
        targets: row.get("targets")?,
        comment: row.get("comment")?,
        constraint_comment: row.get("con_comment")?,
        clustered: row.get("indisclustered")?,
        replica_identity: row.get("indisreplident")?,
    })
}

fn constraint(row: &Row) -> Result<ExtraConstraint, Error> {
    let definition: String = row.get("definition")?;
    let (head, reference) = match row.get::<Option<String>>("referenced")? {
        None => (definition, None),
        Some(spelled) => {
            let columns: [String; 2] = [row.get("columns")?, row.get("columns_period")?];
            let columns = [columns[0].as_str(), columns[1].as_str()];
            let (head, rest) = split_reference(&definition, &columns, &spelled)
                .ok_or_else(|| strange(&definition))?;
            let referenced = QualifiedName::new(
                row.get::<String>("referenced_schema")?,
                row.get::<String>("referenced_name")?,
            );
            (head, Some((referenced, rest)))
        }
    };
    Ok(ExtraConstraint {
        name: Ident::new(row.get::<String>("conname")?),
        head,
        reference,
        validated: row.get("convalidated")?,
        comment: row.get("comment")?,
    })
}

fn statistics(row: &Row, table: &str) -> Result<ExtraStatistics, Error> {
    let definition: String = row.get("definition")?;
    let head = format!("CREATE STATISTICS {}", row.get::<String>("spelled")?);
    let of = after(&definition, &head)
        .and_then(|rest| rest.strip_suffix(table)?.strip_suffix(" FROM "))
        .ok_or_else(|| strange(&definition))?;
    Ok(ExtraStatistics {
        schema: row.get("schema")?,
        name: row.get("stxname")?,
        of: of.to_owned(),
        target: row.get("target")?,
        comment: row.get("comment")?,
    })
}

fn trigger(row: &Row, table: &str) -> Result<ExtraTrigger, Error> {
    let definition: String = row.get("definition")?;
    let constraint: bool = row.get("is_constraint")?;
    let events: String = row.get("events")?;
    let head = format!(
        "CREATE {}TRIGGER {} {events} ON {table} ",
        if constraint { "CONSTRAINT " } else { "" },
        row.get::<String>("spelled")?
    );
    let rest = after(&definition, &head).ok_or_else(|| strange(&definition))?;
    Ok(ExtraTrigger {
        name: Ident::new(row.get::<String>("tgname")?),
        constraint,
        events,
        rest: rest.to_owned(),
        enabled: row.get("tgenabled")?,
        comment: row.get("comment")?,
    })
}
