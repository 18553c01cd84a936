//! What a table was made of before columns were added: each number of its first columns as a shape.

use super::{Shape, digest::Digest};
use crate::{
    conn::{Connection, Error, Row},
    pg::Oid,
};

/// As the shape of a whole table, for its first columns only; columns are added at the end, so a
/// table that got new ones still has its old shape among these.
const PREFIXES: &str = "
SELECT format('%s %s %s %s', attnum, attisdropped, atttypid, atttypmod) AS column,
       a.xmin::text AS writer, c.relfilenode::text AS file
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attrelid = $1::oid AND attnum > 0
 ORDER BY attnum";

/// The shapes of a table's first column, its first two, and so on.
pub async fn load_prefixes(source: &mut Connection, oid: Oid) -> Result<Vec<Shape>, Error> {
    let oid = oid.to_string();
    let result = source.query_with(PREFIXES, &[Some(&oid)]).await?;
    let (mut columns, mut writers) = (Digest::default(), Digest::default());
    let shape = |row: &Row| {
        columns.add(&row.get::<String>("column")?);
        writers.add(&row.get::<String>("writer")?);
        Ok(Shape {
            columns: columns.so_far(),
            column_writers: writers.so_far(),
            file: row.get("file")?,
            partitions: Vec::new(),
        })
    };
    result.rows().iter().map(shape).collect()
}
