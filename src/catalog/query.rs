//! The questions to the system catalogs.
//!
//! Sessions run with an empty search_path, so `format_type` and `pg_get_expr` give qualified
//! names that mean the same on another server.

use crate::{
    catalog::{
        digest,
        model::{BaseType, Column, Generated, Identity, Shape, Table, UniqueIndex},
        partition::{Partition, PartitionShape},
    },
    conn::{Connection, Error, QueryResult, Row},
    pg::{Ident, Oid, QualifiedName},
    pgoutput::ReplicaIdentity,
    sql::Operators,
};

const TABLE: &str = "
SELECT c.oid, c.relkind, c.relpersistence, c.relreplident,
       CASE WHEN c.relkind = 'p'
            THEN (SELECT CASE WHEN bool_and(l.reltuples >= 0 AND l.relpages > 0
                                            OR pg_relation_size(l.oid) = 0)
                              THEN sum(l.reltuples / nullif(l.relpages, 0) * pg_relation_size(l.oid)
                                       / current_setting('block_size')::bigint)::bigint END
                    FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid
                   WHERE t.isleaf)
            WHEN c.reltuples >= 0 AND c.relpages > 0
            THEN (c.reltuples / c.relpages * pg_relation_size(c.oid)
                  / current_setting('block_size')::bigint)::bigint END AS estimated_rows,
       CASE WHEN c.relkind = 'p'
            THEN (SELECT coalesce(sum(pg_table_size(relid)), 0)
                    FROM pg_partition_tree(c.oid) WHERE isleaf)
            ELSE pg_table_size(c.oid) END AS bytes,
       c.relhasrules OR EXISTS (SELECT FROM pg_trigger t
                WHERE (t.tgrelid = c.oid
                       OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
                  AND NOT t.tgisinternal) AS has_triggers,
       c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits i
                WHERE c.oid IN (i.inhrelid, i.inhparent) AND NOT c.relispartition) AS inherits,
       c.reltype AS row_type,
       coalesce((SELECT t.typarray FROM pg_type t WHERE t.oid = c.reltype), 0) AS row_array,
       pg_get_partkeydef(c.oid) AS partition_key, c.relfilenode::text AS file,
       (SELECT string_agg(format('%s %s %s %s', attnum, attisdropped, atttypid, atttypmod),
                          ',' ORDER BY attnum)
          FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0) AS columns,
       (SELECT string_agg(a.xmin::text, ',' ORDER BY attnum)
          FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0) AS column_writers
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2";

/// The type below a column's, and its modifier: domains are made of domains.
const BELOW: &str = "
        WITH RECURSIVE below (oid, modifier, depth) AS (
              SELECT a.atttypid, a.atttypmod, 0
               UNION ALL
              SELECT d.typbasetype, d.typtypmod, depth + 1
                FROM below JOIN pg_type d ON d.oid = below.oid AND d.typtype = 'd')
        SELECT oid, modifier FROM below ORDER BY depth DESC LIMIT 1";

const COLUMNS: &str = "
SELECT a.attname, a.atttypid, a.atttypmod,
       format_type(a.atttypid, a.atttypmod) AS type_name, a.attnotnull,
       unproven.conname AS unproven,
       pg_get_expr(d.adbin, d.adrelid) AS expression, a.attidentity, a.attgenerated,
       CASE WHEN a.attcollation <> t.typcollation
            THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END AS collation,
       -- The locale is in colliculocale from 15 on and in colllocale from 17 on; 16 has rules.
       CASE WHEN NOT co.collisdeterministic
            THEN concat_ws(' ', co.collcollate, to_jsonb(co) ->> 'colliculocale',
                           to_jsonb(co) ->> 'colllocale', to_jsonb(co) ->> 'collicurules') END
            AS merges,
       b.oid AS base_oid, format_type(b.oid, b.modifier) AS base_name,
       bt.typtype = 'e' AS base_enum,
       CASE WHEN a.attcollation <> bt.typcollation
            THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END AS base_collation,
       sn.nspname AS sequence_schema, sc.relname AS sequence_name
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
 CROSS JOIN LATERAL ($below) b
  JOIN pg_type bt ON bt.oid = b.oid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  -- From 18 on NOT NULL is a constraint, and may be NOT VALID: attnotnull is set all the same.
  LEFT JOIN pg_constraint unproven ON unproven.conrelid = a.attrelid AND unproven.contype = 'n'
        AND NOT unproven.convalidated AND unproven.conkey[1] = a.attnum
  LEFT JOIN pg_collation co ON co.oid = a.attcollation
  LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
  -- deptype a: serial, or owned by hand; i: identity. Only sequences depend on a column in this
  -- way. There may be several; the column's own is the one that its values come from.
  LEFT JOIN LATERAL (
        SELECT p.objid FROM pg_depend p
         WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
           AND p.refobjsubid = a.attnum AND p.classid = 'pg_class'::regclass AND p.objsubid = 0
           AND p.deptype IN ('a', 'i')
           AND EXISTS (SELECT FROM pg_sequence q WHERE q.seqrelid = p.objid)
           AND (p.deptype = 'i' OR EXISTS (
                SELECT FROM pg_depend n WHERE n.classid = 'pg_attrdef'::regclass AND n.objid = d.oid
                   AND n.refclassid = 'pg_class'::regclass AND n.refobjid = p.objid))
         ORDER BY p.deptype = 'i' DESC, p.objid LIMIT 1) p ON true
  LEFT JOIN pg_class sc ON sc.oid = p.objid
  LEFT JOIN pg_namespace sn ON sn.oid = sc.relnamespace
 WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum";

/// One row for each key column of each unique index. Operators are looked up by strategy in
/// the index's own operator class; strategies of B-trees:
/// <https://www.postgresql.org/docs/current/btree.html#BTREE-BEHAVIOR>.
///
/// `usual` is the operator class that the server would take for the column: the type's own, or one
/// of a type that it is the same bytes as (text's for varchar), of which the preferred type's goes
/// first. That an operator class is some type's default does not make it this one's:
/// `bpchar_ops` can index text, and takes `'a'` and `'a '` for one.
const UNIQUE_INDEXES: &str = "
SELECT ic.relname AS index_name, i.indisprimary, i.indisreplident, i.indimmediate,
       i.indisvalid AND i.indisready AS valid, i.indpred IS NOT NULL AS partial,
       i.indexprs IS NOT NULL AS expressions, a.attname,
       am.amname = 'btree' AND oc.oid = usual.oid AND i.indoption[k.n - 1] = 0
         AND i.indcollation[k.n - 1] = coalesce(a.attcollation, 0) AS default_order,
       eq.oid = usual.equal
         AND (i.indcollation[k.n - 1] = coalesce(a.attcollation, 0)
              OR coalesce(ico.collisdeterministic, true)) AS tells_apart,
       (SELECT n.nspname FROM pg_namespace n WHERE n.oid = eq.oprnamespace) AS operator_schema,
       eq.oprname AS equal, gt.oprname AS greater, lt.oprname AS less_than,
       le.oprname AS less_or_equal, ge.oprname AS greater_or_equal
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_am am ON am.oid = ic.relam
 CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k(n)
  JOIN pg_opclass oc ON oc.oid = i.indclass[k.n - 1]
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1]
        AND a.attnum > 0
  LEFT JOIN pg_operator eq ON eq.oid = (SELECT amopopr FROM pg_amop
        WHERE amopfamily = oc.opcfamily AND amopstrategy = 3
          AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype)
  LEFT JOIN pg_operator gt ON gt.oid = (SELECT amopopr FROM pg_amop
        WHERE amopfamily = oc.opcfamily AND amopstrategy = 5
          AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype)
  LEFT JOIN pg_operator lt ON lt.oid = (SELECT amopopr FROM pg_amop
        WHERE amopfamily = oc.opcfamily AND amopstrategy = 1
          AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype)
  LEFT JOIN pg_operator ge ON ge.oid = (SELECT amopopr FROM pg_amop
        WHERE amopfamily = oc.opcfamily AND amopstrategy = 4
          AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype)
  LEFT JOIN pg_operator le ON le.oid = (SELECT amopopr FROM pg_amop
        WHERE amopfamily = oc.opcfamily AND amopstrategy = 2
          AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype)
  LEFT JOIN pg_collation ico ON ico.oid = i.indcollation[k.n - 1]
  LEFT JOIN LATERAL ($below) b ON true
  LEFT JOIN LATERAL (
        SELECT d.oid, (SELECT amopopr FROM pg_amop
                WHERE amopfamily = d.opcfamily AND amopstrategy = 3
                  AND amoplefttype = d.opcintype AND amoprighttype = d.opcintype) AS equal
          FROM pg_opclass d
          JOIN pg_type t ON t.oid = d.opcintype
          -- Joined, since EXISTS may be hashed, and the hash is then kept for the next column.
          LEFT JOIN pg_cast c ON c.castsource = b.oid AND c.casttarget = d.opcintype
                AND c.castmethod = 'b' AND c.castcontext = 'i'
         WHERE d.opcmethod = oc.opcmethod AND d.opcdefault
           AND (d.opcintype = b.oid OR t.typtype = 'p' AND d.opcintype = oc.opcintype
                OR c.oid IS NOT NULL)
         ORDER BY d.opcintype = b.oid DESC, t.typispreferred DESC, d.oid = oc.oid DESC LIMIT 1
       ) usual ON true
 WHERE i.indrelid = $1::oid AND i.indisunique
 ORDER BY i.indisprimary DESC, ic.relname, k.n";

/// Its own and its partitions', those that foreign keys consist of included.
const ALWAYS_TRIGGERS: &str = "
WITH tree AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::oid))
SELECT tgname AS name FROM pg_trigger JOIN tree ON tgrelid = tree.oid
 WHERE tgenabled IN ('A', 'R')
 UNION
SELECT rulename FROM pg_rewrite JOIN tree ON ev_class = tree.oid WHERE ev_enabled IN ('A', 'R')";

/// Of the partitions only what they have for themselves.
const FOREIGN_OR_EXCLUSION: &str = "
SELECT conname FROM pg_constraint WHERE conrelid = $1::oid AND contype IN ('f', 'x')
 UNION ALL
SELECT conname || ' of ' || relid FROM pg_constraint JOIN pg_partition_tree($1::oid)
       ON conrelid = relid AND level > 0
 WHERE contype IN ('f', 'x') AND conparentid = 0
 UNION ALL
SELECT c.relname || ' of ' || relid FROM pg_index i JOIN pg_partition_tree($1::oid)
       ON i.indrelid = relid AND level > 0
  JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indisunique AND NOT i.indisexclusion AND NOT c.relispartition
 ORDER BY conname";

/// Each after what it is a partition of.
const PARTITIONS: &str = "
SELECT c.oid, n.nspname, c.relname, t.parentrelid::oid AS parent, c.relkind, c.relpersistence,
       coalesce(pg_get_expr(c.relpartbound, c.oid), '') AS bound,
       pg_get_partkeydef(c.oid) AS key, c.relreplident, c.relfilenode::bigint AS file,
       c.xmin::text AS writer, h.xmin::text AS attached_by,
       (SELECT string_agg(a.xmin::text, ',' ORDER BY attnum)
          FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0) AS column_writers,
       (SELECT ic.relname FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
         WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                           WHEN 'i' THEN i.indisreplident END) AS identity_index,
       (SELECT coalesce(json_object_agg(rc.relname, ic.relname), '{}')
          FROM pg_index i
          JOIN pg_class ic ON ic.oid = i.indexrelid AND ic.relispartition
         CROSS JOIN LATERAL pg_partition_ancestors(i.indexrelid) a(relid)
          JOIN pg_index r ON r.indexrelid = a.relid AND r.indrelid = $1::oid
          JOIN pg_class rc ON rc.oid = r.indexrelid
         WHERE i.indrelid = c.oid) AS indexes
  FROM pg_partition_tree($1::oid) t
  JOIN pg_class c ON c.oid = t.relid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_inherits h ON h.inhrelid = c.oid
 WHERE t.level > 0
 ORDER BY t.level, n.nspname, c.relname";

/// What the table of this object id is called; `None` if it is gone.
pub async fn name_of_table(
    connection: &mut Connection,
    oid: Oid,
) -> Result<Option<QualifiedName>, Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";
    let result = connection.query_with(sql, &[Some(&oid.to_string())]).await?;
    let Some(row) = result.rows().first() else { return Ok(None) };
    let (schema, name): (String, String) = (row.get("nspname")?, row.get("relname")?);
    Ok(Some(QualifiedName::new(schema, name)))
}

/// Reads a table's definition; `None` if there is no relation of that name.
///
/// Errors: the connection's, or a catalog that does not look like 14 to 18's.
pub async fn load_table(
    connection: &mut Connection,
    name: &QualifiedName,
) -> Result<Option<Table>, Error> {
    let parameters = [Some(name.schema.as_str()), Some(name.name.as_str())];
    let found = connection.query_with(TABLE, &parameters).await?;
    let Some(row) = found.rows().first() else {
        return Ok(None);
    };
    let oid: Oid = row.get("oid")?;
    let by_oid = oid.to_string();
    let by_oid = [Some(by_oid.as_str())];
    let columns = connection.query_with(&COLUMNS.replace("$below", BELOW), &by_oid).await?;
    let indexes = connection.query_with(&UNIQUE_INDEXES.replace("$below", BELOW), &by_oid).await?;
    let always = connection.query_with(ALWAYS_TRIGGERS, &by_oid).await?;
    let constraints = connection.query_with(FOREIGN_OR_EXCLUSION, &by_oid).await?;
    let partitions = connection.query_with(PARTITIONS, &by_oid).await?;
    let partitions: Vec<_> = partitions.rows().iter().map(partition).collect::<Result<_, _>>()?;
    Ok(Some(Table {
        release: connection.server_version()?,
        oid,
        name: name.clone(),
        kind: row.get("relkind")?,
        persistence: row.get("relpersistence")?,
        replica_identity: replica_identity(row)?,
        columns: columns.rows().iter().map(column).collect::<Result<_, _>>()?,
        unique_indexes: unique_indexes(indexes.rows())?,
        estimated_rows: row.get("estimated_rows")?,
        bytes: row.get("bytes")?,
        has_triggers: row.get("has_triggers")?,
        foreign_or_exclusion: names(&constraints, "conname")?,
        always_triggers: names(&always, "name")?,
        inherits: row.get("inherits")?,
        row_types: [row.get("row_type")?, row.get("row_array")?],
        shape: Shape {
            columns: digest::of_list(row.get::<Option<String>>("columns")?.as_deref()),
            column_writers: digest::of_list(
                row.get::<Option<String>>("column_writers")?.as_deref(),
            ),
            file: row.get("file")?,
            partitions: partitions.iter().map(|p: &Partition| p.shape.clone()).collect(),
        },
        partition_key: row.get("partition_key")?,
        partitions,
    }))
}

fn replica_identity(row: &Row) -> Result<ReplicaIdentity, Error> {
    Ok(match row.get::<char>("relreplident")? {
        'd' => ReplicaIdentity::Default,
        'n' => ReplicaIdentity::Nothing,
        'f' => ReplicaIdentity::Full,
        'i' => ReplicaIdentity::Index,
        other => return Err(Error::Result(format!("relreplident holds {other:?}"))),
    })
}

fn partition(row: &Row) -> Result<Partition, Error> {
    let oid: Oid = row.get("oid")?;
    let name = QualifiedName::new(row.get::<String>("nspname")?, row.get::<String>("relname")?);
    let indexes: String = row.get("indexes")?;
    Ok(Partition {
        oid,
        parent: row.get("parent")?,
        kind: row.get("relkind")?,
        persistence: row.get("relpersistence")?,
        bound: row.get("bound")?,
        key: row.get("key")?,
        replica_identity: replica_identity(row)?,
        identity_index: row.get("identity_index")?,
        indexes: serde_json::from_str(&indexes)
            .map_err(|error| Error::Result(format!("the indexes of {}: {error}", name.plain())))?,
        shape: PartitionShape {
            name: name.plain(),
            oid_and_file: (oid.0, row.get("file")?),
            writer: row.get("writer")?,
            attached_by: row.get("attached_by")?,
            column_writers: digest::short_of_list(
                row.get::<Option<String>>("column_writers")?.as_deref(),
            ),
        },
        name,
    })
}

fn names(result: &QueryResult, column: &str) -> Result<Vec<String>, Error> {
    result.rows().iter().map(|row| row.get(column)).collect()
}

/// Whether a schema exists.
pub async fn schema_exists(connection: &mut Connection, schema: &Ident) -> Result<bool, Error> {
    let sql = "SELECT count(*) > 0 AS found FROM pg_namespace WHERE nspname = $1";
    connection.query_with(sql, &[Some(schema.as_str())]).await?.row()?.get("found")
}

fn column(row: &Row) -> Result<Column, Error> {
    let sequence = match row.get::<Option<String>>("sequence_name")? {
        None => None,
        Some(name) => Some(QualifiedName::new(row.get::<String>("sequence_schema")?, name)),
    };
    let unproven = row.get::<Option<String>>("unproven")?.map(Ident::new);
    Ok(Column {
        name: Ident::new(row.get::<String>("attname")?),
        type_oid: row.get("atttypid")?,
        type_modifier: row.get("atttypmod")?,
        type_name: row.get("type_name")?,
        base: BaseType {
            oid: row.get("base_oid")?,
            name: row.get("base_name")?,
            collation: row.get("base_collation")?,
            is_enum: row.get("base_enum")?,
        },
        not_null: row.get("attnotnull")? && unproven.is_none(),
        unproven,
        expression: row.get("expression")?,
        identity: match row.get::<String>("attidentity")?.as_str() {
            "a" => Some(Identity::Always),
            "d" => Some(Identity::ByDefault),
            _ => None,
        },
        generated: match row.get::<String>("attgenerated")?.as_str() {
            "s" => Some(Generated::Stored),
            "v" => Some(Generated::Virtual),
            _ => None,
        },
        collation: row.get("collation")?,
        merges: row.get("merges")?,
        sequence,
    })
}

fn unique_indexes(rows: &[Row]) -> Result<Vec<UniqueIndex>, Error> {
    let mut indexes: Vec<UniqueIndex> = Vec::new();
    for row in rows {
        let name: String = row.get("index_name")?;
        if indexes.last().is_none_or(|last| last.name != name) {
            indexes.push(UniqueIndex {
                name,
                primary: row.get("indisprimary")?,
                replica_identity: row.get("indisreplident")?,
                immediate: row.get("indimmediate")?,
                valid: row.get("valid")?,
                partial: row.get("partial")?,
                expressions: row.get("expressions")?,
                default_order: true,
                tells_apart: true,
                columns: Vec::new(),
                operators: Vec::new(),
            });
        }
        let Some(index) = indexes.last_mut() else {
            continue;
        };
        index.default_order &= row.get::<Option<bool>>("default_order")?.unwrap_or(false);
        index.tells_apart &= row.get::<Option<bool>>("tells_apart")?.unwrap_or(false);
        if let Some(column) = row.get::<Option<String>>("attname")? {
            index.columns.push(Ident::new(column));
        }
        match operators(row)? {
            Some(operators) => index.operators.push(operators),
            // Not a B-tree's operator class: nothing to page or compare by.
            None => index.default_order = false,
        }
    }
    Ok(indexes)
}

/// The operators of one key column; `None` if its operator class is not a B-tree's.
fn operators(row: &Row) -> Result<Option<Operators>, Error> {
    let Some(schema) = row.get::<Option<String>>("operator_schema")? else {
        return Ok(None);
    };
    let found = |column| row.get::<Option<String>>(column);
    Ok(Some(Operators {
        schema: Ident::new(schema),
        equal: found("equal")?.unwrap_or_default(),
        greater: found("greater")?.unwrap_or_default(),
        greater_or_equal: found("greater_or_equal")?.unwrap_or_default(),
        less_than: found("less_than")?.unwrap_or_default(),
        less_or_equal: found("less_or_equal")?.unwrap_or_default(),
    })
    .filter(Operators::is_complete))
}
