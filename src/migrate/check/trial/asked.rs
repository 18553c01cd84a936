//! What a trial asks both catalogs before it begins, for all tables at once.

use crate::{
    conn::{Connection, Error, Row},
    pg::{Oid, QualifiedName},
    sql::quote_literal,
};

/// What the target allows.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    /// Whether the role may create schemas.
    pub(super) create: bool,
    /// The statement that lets it.
    pub(super) grant: String,
    /// Enabled event triggers that fire for what a trial does.
    pub(super) event_triggers: Option<String>,
    /// What makes names nobody else's.
    pub(super) random: String,
    /// `max_locks_per_transaction`, and how many locks all sessions can hold together.
    pub(super) locks: usize,
    pub(super) locks_of_all: usize,
}

const ALLOWED: &str = "
SELECT has_database_privilege(current_database(), 'CREATE') AS allowed,
       format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user) AS grants,
       (SELECT string_agg(evtname, ', ' ORDER BY evtname) FROM pg_event_trigger
         WHERE evtenabled IN ('O', 'A') AND evtevent <> 'login') AS triggers,
       to_hex((random() * 4294967295)::bigint) AS random,
       current_setting('max_locks_per_transaction')::integer AS locks,
       current_setting('max_locks_per_transaction')::integer
         * current_setting('max_connections')::integer AS locks_of_all";

pub(super) async fn allowed(target: &mut Connection) -> Result<Allowed, Error> {
    let result = target.query(ALLOWED).await?;
    let row = result.row()?;
    Ok(Allowed {
        create: row.get("allowed")?,
        grant: row.get("grants")?,
        event_triggers: row.get("triggers")?,
        random: row.get("random")?,
        locks: row.get("locks")?,
        locks_of_all: row.get("locks_of_all")?,
    })
}

/// A foreign key of the source.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// The table or partition that has it.
    pub(super) child: Oid,
    pub(super) name: String,
    /// What it refers to, on the source.
    pub(super) parent: QualifiedName,
    pub(super) child_name: QualifiedName,
    /// Whether all rows are said to fulfil it.
    pub(super) is_valid: bool,
    /// Whether its last column is a period.
    pub(super) is_period: bool,
    /// Its columns: of the child, of the parent, and the operator that compares them.
    pub(super) columns: Vec<[String; 4]>,
}

const REFERENCES: &str = "
SELECT con.conrelid AS child, con.conname AS name, rn.nspname AS schema, rc.relname AS table,
       cn.nspname AS child_schema, cc.relname AS child_table,
       coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false) AS period,
       con.convalidated AND coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true)
         AND NOT coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false)
         AND con.confmatchtype = 's' AS valid,
       (SELECT json_agg(json_build_array(ca.attname, pa.attname, opn.nspname, o.oprname)
                        ORDER BY k.n)
          FROM unnest(con.conkey, con.confkey, con.conpfeqop) WITH ORDINALITY k(c, p, o, n)
          JOIN pg_attribute ca ON ca.attrelid = con.conrelid AND ca.attnum = k.c
          JOIN pg_attribute pa ON pa.attrelid = con.confrelid AND pa.attnum = k.p
          JOIN pg_operator o ON o.oid = k.o
          JOIN pg_namespace opn ON opn.oid = o.oprnamespace) AS columns
  FROM pg_constraint con
  JOIN pg_class rc ON rc.oid = con.confrelid JOIN pg_namespace rn ON rn.oid = rc.relnamespace
  JOIN pg_class cc ON cc.oid = con.conrelid JOIN pg_namespace cn ON cn.oid = cc.relnamespace
 WHERE con.contype = 'f' AND con.conrelid = ANY ($1::oid[])
   AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = con.conparentid)
 ORDER BY con.conrelid, con.conname";

/// The foreign keys of these tables and partitions.
pub(super) async fn references(
    source: &mut Connection,
    oids: &str,
) -> Result<Vec<Reference>, Error> {
    let result = source.query_with(REFERENCES, &[Some(oids)]).await?;
    result.rows().iter().map(reference).collect()
}

fn reference(row: &Row) -> Result<Reference, Error> {
    let name = |schema, table| -> Result<QualifiedName, Error> {
        Ok(QualifiedName::new(row.get::<String>(schema)?, row.get::<String>(table)?))
    };
    let columns: Option<String> = row.get("columns")?;
    let columns = columns.unwrap_or_else(|| "[]".into());
    Ok(Reference {
        child: row.get("child")?,
        name: row.get("name")?,
        parent: name("schema", "table")?,
        child_name: name("child_schema", "child_table")?,
        is_valid: row.get("valid")?,
        is_period: row.get("period")?,
        columns: serde_json::from_str(&columns)
            .map_err(|error| Error::Result(format!("the columns of a foreign key: {error}")))?,
    })
}

/// A table of the target that is only referred to.
#[derive(Clone, Debug)]
pub(super) struct Referred {
    pub(super) name: QualifiedName,
    /// Whether there is one, whether we may see its columns, and whether we may refer to it.
    pub(super) exists: bool,
    pub(super) may_read: bool,
    pub(super) may_refer: bool,
    /// The columns of each unique index that a foreign key can refer to.
    pub(super) unique: Vec<Vec<String>>,
    /// The statement that lets us.
    pub(super) grant: String,
}

/// What the target says of tables.
pub(super) async fn referred(
    target: &mut Connection,
    names: &[QualifiedName],
) -> Result<Vec<Referred>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<_> = (names.iter().enumerate())
        .map(|(n, name)| {
            let (schema, table) = (name.schema.as_str(), name.name.as_str());
            format!("({n}, {}, {})", quote_literal(schema), quote_literal(table))
        })
        .collect();
    let sql = format!(
        "SELECT c.oid IS NOT NULL AS exists,
                coalesce(has_schema_privilege(s.oid, 'USAGE')
                         AND has_table_privilege(c.oid, 'SELECT'), false) AS may_read,
                coalesce(has_schema_privilege(s.oid, 'USAGE')
                         AND has_any_column_privilege(c.oid, 'REFERENCES'), false) AS may_refer,
                (SELECT coalesce(json_agg(k.columns), '[]')
                   FROM pg_index i
                  CROSS JOIN LATERAL (
                        SELECT json_agg(a.attname ORDER BY u.n) AS columns
                          FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1])
                               WITH ORDINALITY u(attnum, n)
                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum) k
                  WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                    AND i.indpred IS NULL AND i.indexprs IS NULL) AS keys,
                format('GRANT USAGE ON SCHEMA %1$I TO %3$I; GRANT REFERENCES ON %1$I.%2$I TO %3$I',
                       v.schema, v.name, current_user) AS grants
           FROM (VALUES {}) v(n, schema, name)
           LEFT JOIN pg_namespace s ON s.nspname = v.schema
           LEFT JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = v.name
          ORDER BY v.n",
        values.join(", ")
    );
    let result = target.query(&sql).await?;
    (names.iter().zip(result.rows()))
        .map(|(name, row)| {
            let keys: String = row.get("keys")?;
            Ok(Referred {
                name: name.clone(),
                exists: row.get("exists")?,
                may_read: row.get("may_read")?,
                may_refer: row.get("may_refer")?,
                unique: serde_json::from_str(&keys)
                    .map_err(|error| Error::Result(format!("the indexes of a table: {error}")))?,
                grant: row.get("grants")?,
            })
        })
        .collect()
}

/// Extensions that the definitions of tables and partitions use.
const EXTENSIONS: &str = "
WITH t AS (SELECT unnest($1::oid[]) AS oid),
     parts (rel, classid, objid) AS (
        SELECT oid, 'pg_class'::regclass, oid FROM t
         UNION ALL
        SELECT indrelid, 'pg_class'::regclass, indexrelid FROM pg_index JOIN t ON indrelid = t.oid
         UNION ALL
        SELECT conrelid, 'pg_constraint'::regclass, c.oid
          FROM pg_constraint c JOIN t ON conrelid = t.oid
         UNION ALL
        SELECT polrelid, 'pg_policy'::regclass, p.oid FROM pg_policy p JOIN t ON polrelid = t.oid
         UNION ALL
        SELECT tgrelid, 'pg_trigger'::regclass, g.oid FROM pg_trigger g JOIN t ON tgrelid = t.oid
         UNION ALL
        SELECT adrelid, 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN t ON adrelid = t.oid
         UNION ALL
        SELECT stxrelid, 'pg_statistic_ext'::regclass, s.oid
          FROM pg_statistic_ext s JOIN t ON stxrelid = t.oid)
SELECT DISTINCT p.rel, x.extname AS name, quote_ident(x.extname) AS spelled,
       quote_ident(n.nspname) AS schema
  FROM parts p
  JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
  JOIN pg_depend e ON e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'
        AND e.refclassid = 'pg_extension'::regclass
  JOIN pg_extension x ON x.oid = e.refobjid
  JOIN pg_namespace n ON n.oid = x.extnamespace
 ORDER BY p.rel, name";

/// For each table or partition, the statements that bring it the extensions that it uses and that
/// the target has not, or elsewhere.
pub(super) async fn extensions(
    (source, target): (&mut Connection, &mut Connection),
    oids: &str,
) -> Result<Vec<(Oid, String)>, Error> {
    let used = source.query_with(EXTENSIONS, &[Some(oids)]).await?;
    if used.rows().is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT extname AS name, quote_ident(nspname) AS schema
                 FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace";
    let there = target.query(sql).await?;
    let there: Vec<(String, String)> = (there.rows().iter())
        .map(|row| Ok((row.get("name")?, row.get("schema")?)))
        .collect::<Result<_, Error>>()?;
    let mut statements = Vec::new();
    for row in used.rows() {
        let (name, schema): (String, String) = (row.get("name")?, row.get("schema")?);
        let spelled: String = row.get("spelled")?;
        match there.iter().find(|(other, _)| *other == name) {
            Some((_, other)) if *other == schema => continue,
            Some(_) => statements
                .push((row.get("rel")?, format!("ALTER EXTENSION {spelled} SET SCHEMA {schema}"))),
            None => statements
                .push((row.get("rel")?, format!("CREATE EXTENSION {spelled} SCHEMA {schema}"))),
        }
    }
    Ok(statements)
}

/// The tables that a policy of one of these looks at besides its own.
pub(super) async fn policies_see(
    source: &mut Connection,
    oids: &str,
    policy: &str,
) -> Result<Vec<QualifiedName>, Error> {
    let sql = "SELECT DISTINCT n.nspname AS schema, c.relname AS name
                 FROM pg_policy p
                 JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> p.polrelid
                 JOIN pg_class c ON c.oid = d.refobjid
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE p.polrelid = ANY ($1::oid[]) AND p.polname = $2";
    let result = source.query_with(sql, &[Some(oids), Some(policy)]).await?;
    (result.rows().iter())
        .map(|row| Ok(QualifiedName::new(row.get::<String>("schema")?, row.get::<String>("name")?)))
        .collect()
}

/// A column whose NOT NULL is not valid: its table may have rows with NULLs.
#[derive(Clone, Debug)]
pub(super) struct Nullable {
    pub(super) table: Oid,
    pub(super) column: String,
}

/// These columns of tables; there are none before 18.
pub(super) async fn nullable(source: &mut Connection, oids: &str) -> Result<Vec<Nullable>, Error> {
    let sql = "SELECT DISTINCT c.conrelid AS \"table\", a.attname AS \"column\"
                 FROM pg_constraint c
                 JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
                WHERE c.contype = 'n' AND NOT c.convalidated AND c.conrelid = ANY ($1::oid[])";
    let result = source.query_with(sql, &[Some(oids)]).await?;
    (result.rows().iter())
        .map(|row| Ok(Nullable { table: row.get("table")?, column: row.get("column")? }))
        .collect()
}
