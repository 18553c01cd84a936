//! What a table was made of before columns were added: each number of its first columns as a shape.

use super::Shape;
use crate::{
    conn::{Connection, Error},
    pg::Oid,
};

/// As the shape of a whole table, for its first columns only; columns are added at the end, so a
/// table that got new ones still has its old shape among these.
const PREFIXES: &str = "
SELECT w.attnum AS n,
       (SELECT md5(string_agg(format('%s %s %s %s', attnum, attisdropped, atttypid, atttypmod),
                              ',' ORDER BY attnum))
          FROM pg_attribute a
         WHERE a.attrelid = w.attrelid AND attnum BETWEEN 1 AND w.attnum) AS columns,
       (SELECT md5(string_agg(a.xmin::text, ',' ORDER BY attnum))
          FROM pg_attribute a
         WHERE a.attrelid = w.attrelid AND attnum BETWEEN 1 AND w.attnum) AS column_writers,
       c.relfilenode::text AS file
  FROM pg_attribute w JOIN pg_class c ON c.oid = w.attrelid
 WHERE w.attrelid = $1::oid AND w.attnum > 0
 ORDER BY w.attnum";

/// The shapes of a table's first column, its first two, and so on.
pub async fn load_prefixes(source: &mut Connection, oid: Oid) -> Result<Vec<Shape>, Error> {
    let oid = oid.to_string();
    let result = source.query_with(PREFIXES, &[Some(&oid)]).await?;
    let shape = |row: &crate::conn::Row| {
        Ok(Shape {
            columns: row.get("columns")?,
            column_writers: row.get("column_writers")?,
            file: row.get("file")?,
            partitions: Vec::new(),
        })
    };
    result.rows().iter().map(shape).collect()
}
