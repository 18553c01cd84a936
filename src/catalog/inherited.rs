//! Indexes of partitions that belong to one of a table above them.
//!
//! The server makes them together with that one, by names of its choice. What each has of its own
//! (a name, storage parameters, comments) is given to it then.

use super::{
    model::{Extras, InheritedIndex},
    object::{Names, Object, ObjectKind, comment_on},
};
use crate::{
    conn::{Connection, Error},
    pg::QualifiedName,
    sql::quote_literal,
};

/// The topmost index of those that are valid: with it the others are made. The parameters of one
/// that is partitioned itself can't be altered.
const INHERITED: &str = "
SELECT top.schema, top.\"table\", top.name AS root, ic.relname AS name,
       i.indisreplident, i.indisclustered,
       (SELECT string_agg(format('%I = %L', split_part(o, '=', 1),
                                 substr(o, strpos(o, '=') + 1)), ', ')
          FROM unnest(ic.reloptions) o WHERE ic.relkind = 'i') AS options,
       (SELECT string_agg(quote_ident(split_part(o, '=', 1)), ', ')
          FROM unnest(top.reloptions) o
         WHERE ic.relkind = 'i' AND NOT EXISTS (SELECT FROM unnest(ic.reloptions) own
                            WHERE split_part(own, '=', 1) = split_part(o, '=', 1))) AS reset,
       (SELECT string_agg(format('ALTER COLUMN %s SET STATISTICS %s', attnum, attstattarget), ', '
                          ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = i.indexrelid AND attstattarget >= 0) AS targets,
       obj_description(i.indexrelid, 'pg_class') AS comment,
       obj_description(con.oid, 'pg_constraint') AS con_comment
  FROM pg_index i
  JOIN pg_class ic ON ic.oid = i.indexrelid AND ic.relispartition
  LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid
        AND con.contype IN ('p', 'u', 'x')
 CROSS JOIN LATERAL (
       SELECT n.nspname AS schema, t.relname AS \"table\", rc.relname AS name, rc.reloptions
         FROM pg_partition_ancestors(i.indexrelid) WITH ORDINALITY a(relid, level)
         JOIN pg_index r ON r.indexrelid = a.relid AND r.indisvalid
         JOIN pg_class rc ON rc.oid = r.indexrelid
         JOIN pg_class t ON t.oid = r.indrelid
         JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE a.relid <> i.indexrelid
        ORDER BY a.level DESC LIMIT 1) top
 WHERE i.indrelid = $1::oid AND i.indisvalid ORDER BY ic.relname";

/// Reads the indexes of a partition that belong to one of a table above it.
pub(super) async fn load_inherited(
    connection: &mut Connection,
    oid: &str,
) -> Result<Vec<InheritedIndex>, Error> {
    let mut all = Vec::new();
    for row in connection.query_with(INHERITED, &[Some(oid)]).await?.rows() {
        let table = QualifiedName::new(row.get::<String>("schema")?, row.get::<String>("table")?);
        all.push(InheritedIndex {
            root_table: Some(table),
            root: row.get("root")?,
            name: row.get("name")?,
            options: row.get("options")?,
            reset: row.get("reset")?,
            targets: row.get("targets")?,
            comment: row.get("comment")?,
            constraint_comment: row.get("con_comment")?,
            replica_identity: row.get("indisreplident")?,
            clustered: row.get("indisclustered")?,
        });
    }
    Ok(all)
}

/// A partition with its names on both sides.
pub type NamedPartition<'a> = (&'a Extras, &'a QualifiedName, &'a QualifiedName);

/// What the indexes of these partitions have of their own. The objects of the partitions and of
/// their root have been planned, so that their names are known.
///
/// One object for all names, or a table of a thousand partitions would be made in thousands of
/// transactions.
#[must_use]
pub fn inherited_objects(partitions: &[NamedPartition<'_>], names: &mut Names) -> Vec<Object> {
    let (mut renames, mut objects) = (Vec::new(), Vec::new());
    for (extras, source, target) in partitions {
        for index in &extras.inherited {
            let Some(root) = root_of(index, names) else { continue };
            let name = names.choose(&index.name, source, target);
            let texts = [target.to_string(), root.to_string(), name.as_str().to_owned()];
            let texts = texts.map(|text| quote_literal(&text));
            renames.push(format!("({})", texts.join(", ")));
            let own = own(index, target, &QualifiedName { schema: target.schema.clone(), name });
            if !own.is_empty() {
                let name = format!("index {}", index.name);
                objects.push(Object { kind: ObjectKind::Setting, name, statements: own });
            }
        }
    }
    if !renames.is_empty() {
        let name = "names of partitions' indexes".to_owned();
        let statements = vec![rename(&renames)];
        objects.insert(0, Object { kind: ObjectKind::Setting, name, statements });
    }
    objects
}

/// The index on the target that a partition's is made with.
pub(super) fn root_of(index: &InheritedIndex, names: &Names) -> Option<QualifiedName> {
    names.chosen(index.root_table.as_ref()?, &index.root).cloned()
}

/// What an index has besides its name.
fn own(index: &InheritedIndex, table: &QualifiedName, name: &QualifiedName) -> Vec<String> {
    let mut statements = Vec::new();
    let clauses = [
        index.reset.as_ref().map(|options| format!("RESET ({options})")),
        index.options.as_ref().map(|options| format!("SET ({options})")),
        index.targets.clone(),
    ];
    statements
        .extend(clauses.into_iter().flatten().map(|clause| format!("ALTER INDEX {name} {clause}")));
    statements.extend(comment_on(&format!("INDEX {name}"), index.comment.as_ref()));
    let constraint = format!("CONSTRAINT {} ON {table}", name.name);
    statements.extend(comment_on(&constraint, index.constraint_comment.as_ref()));
    statements
}

/// Renames each to what it is to be called. In two steps, since two of them may have exchanged
/// their names.
fn rename(wanted: &[String]) -> String {
    let body = format!(
        "DECLARE r record; BEGIN
         FOR step IN 1..2 LOOP
             FOR r IN SELECT i.indexrelid::regclass AS index, v.name, i.indexrelid::text AS oid
                 FROM (VALUES {}) v(relation, root, name)
                 JOIN pg_index i ON i.indrelid = to_regclass(v.relation)
                 JOIN pg_class c ON c.oid = i.indexrelid
                WHERE c.relname <> v.name AND EXISTS (
                      SELECT FROM pg_partition_ancestors(i.indexrelid) a(relid)
                       WHERE a.relid = to_regclass(v.root))
             LOOP
                 EXECUTE format('ALTER INDEX %s RENAME TO %I', r.index,
                     CASE step WHEN 1 THEN 'pghost renames ' || r.oid ELSE r.name END);
             END LOOP;
         END LOOP; END",
        wanted.join(", ")
    );
    format!("DO {}", quote_literal(&body))
}

/// ALTER TABLE with the index of a partition that belongs to one of a table above it: it may not
/// have its name yet.
pub(super) fn with_inherited(
    partition: &QualifiedName,
    clause: &str,
    root: &QualifiedName,
) -> String {
    let table = quote_literal(&partition.to_string());
    let body = format!(
        "BEGIN EXECUTE (SELECT format('ALTER TABLE %s {clause} %I', {table}, c.relname)
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE i.indrelid = {table}::regclass AND EXISTS (
                 SELECT FROM pg_partition_ancestors(i.indexrelid) a(relid)
                  WHERE a.relid = {}::regclass)); END",
        quote_literal(&root.to_string())
    );
    format!("DO {}", quote_literal(&body))
}
