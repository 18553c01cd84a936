//! The statements by which two servers' rows are compared: what rows amount to, which they are,
//! and what single rows are made of.
//!
//! A row becomes text as a composite value, in which NULL is nothing, an empty string is `""`
//! and commas within values are quoted, so neither can be taken for the other, nor a value for
//! its neighbour's: <https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX>.
//! That text may not exceed 1 GB, by which a row with more in it is an error.
//!
//! The hash is the server's own for text, 64 bits of it: made for hash tables and partitions, it is
//! as good as nothing beside the making of the text, where a digest takes as long again. Nobody
//! who wants two rows to collide is kept from it, only chance is, to one in 2^64 for each row that
//! differs. It has been the same on every release since 11 but not on machines of another byte
//! order (<https://www.postgresql.org/docs/current/ddl-partitioning.html> has why partitions by
//! hash can't move between these), so both sides are asked first ([`hash_of_a_text`]); where they
//! don't agree, or their databases have different encodings, it is the first 64 bits of SHA-256 of
//! the text in UTF-8. MD5 is not to be had everywhere: under FIPS `md5()` is an error. Hashes are
//! added rather than xor-ed, or rows that stand there twice would vanish; `sum(bigint)` is a
//! numeric and can't overflow.

use super::{
    KeyColumn, KeyValues, Rows, columns_of_t,
    rows::{between, numbered},
    write::{FETCH_NUMBER, same_key},
};
use crate::pg::{Ident, QualifiedName};

/// How a row is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Hashing<'a> {
    /// Its columns, in this order.
    pub columns: &'a [Ident],
    /// Whether the hash is to be that of the text's UTF-8, which is the same everywhere: where the
    /// two databases have different encodings the same text is different bytes, and machines of
    /// different byte order hash the same bytes differently.
    pub portable: bool,
}

impl Hashing<'_> {
    /// The hash of a row of `t`, a bigint.
    fn of_row(&self) -> String {
        self.of(&columns_of_t(self.columns))
    }

    /// The hash of a list of values.
    fn of(&self, values: &str) -> String {
        match self.portable {
            true => format!(
                "('x' || encode(substr(sha256(convert_to(ROW({values})::text, 'UTF8')), 1, 8), \
                 'hex'))::bit(64)::bigint"
            ),
            false => of_text(&format!("ROW({values})::text")),
        }
    }
}

/// The server's own hash of a text. A column's collation would be its sort order's hash.
fn of_text(text: &str) -> String {
    format!("hashtextextended({text} COLLATE pg_catalog.\"C\", 0)")
}

/// Asks for the hash of a text that is longer than what the function takes at a time. Two servers
/// hash alike where they give the same.
#[must_use]
pub fn hash_of_a_text() -> String {
    format!("SELECT {} AS hash", of_text("'pghost compares the rows of two servers'"))
}

/// What rows amount to, whatever their order: `row_count` and `hash`.
#[must_use]
pub fn fingerprint(
    table: &QualifiedName,
    key: &[KeyColumn],
    rows: Rows<'_>,
    hashing: Hashing<'_>,
) -> String {
    format!(
        "SELECT count(*) AS row_count, coalesce(sum({}), 0) AS hash{}",
        hashing.of_row(),
        rows.from(table, key)
    )
}

/// Each row's hash and key, the key's columns last.
#[must_use]
pub fn list_rows(
    table: &QualifiedName,
    key: &[KeyColumn],
    rows: Rows<'_>,
    hashing: Hashing<'_>,
) -> String {
    let names = columns_of_t(key.iter().map(|c| &c.name));
    format!("SELECT {}, {names}{}", hashing.of_row(), rows.from(table, key))
}

/// The keys of at most so many rows after `lower`, in the order of `walk`, which has the key's
/// columns in the order of an index. Its operators are named, or the order were the types' own, and
/// "after" another one's.
#[must_use]
pub fn list_keys(
    table: &QualifiedName,
    key: &[KeyColumn],
    walk: &[KeyColumn],
    lower: Option<&KeyValues>,
    rows: u64,
) -> String {
    let names = columns_of_t(key.iter().map(|c| &c.name));
    let order = |c: &KeyColumn| {
        format!("{} USING {}", c.comparable(&format!("t.{}", c.name)), c.operators.less_than())
    };
    let order: Vec<_> = walk.iter().map(order).collect();
    let (order, from) = (order.join(", "), between(walk, lower, None));
    format!("SELECT {names} FROM {table} AS t{from} ORDER BY {order} LIMIT {rows}")
}

/// What single rows are made of: for each key its number, the version of its row, and the hash of
/// each column; all but the number NULL where there is no such row.
///
/// A row that was written anew has another version, even if it has the same values again. It may
/// have another one without being written (VACUUM FULL); that tells nothing.
#[must_use]
pub fn look_at_rows(
    table: &QualifiedName,
    key: &[KeyColumn],
    keys: &[Vec<String>],
    hashing: Hashing<'_>,
) -> String {
    let hash = |name: &Ident| format!(", {}", hashing.of(&format!("t.{name}")));
    let hashes: String = hashing.columns.iter().map(hash).collect();
    format!(
        "SELECT v.{}, t.tableoid::text || ' ' || t.ctid::text || ' ' || t.xmin::text{hashes} \
         FROM {} LEFT JOIN {table} AS t ON {}",
        Ident::new(FETCH_NUMBER),
        numbered(key, keys),
        same_key(key)
    )
}

/// Some values of a row, if they are not longer than so many bytes together.
#[must_use]
pub fn values_of_row(
    table: &QualifiedName,
    key: &[KeyColumn],
    values: &[String],
    columns: &[Ident],
    most_bytes: u64,
) -> String {
    let columns = columns_of_t(columns);
    format!(
        "SELECT {columns}{} AND octet_length(ROW({columns})::text) <= {most_bytes}",
        Rows::Keyed(&[values.to_vec()]).from(table, key)
    )
}

/// The hashes of values as a server writes them that has read them as values of its own types.
/// Parameters: the values.
#[must_use]
pub fn respelled(types: &[String], hashing: Hashing<'_>) -> String {
    let hash = |(i, name): (usize, &String)| hashing.of(&format!("${}::{name}", i + 1));
    let hashes: Vec<_> = types.iter().enumerate().map(hash).collect();
    format!("SELECT {}", hashes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rows<'_> = Rows::Between(None, None);

    fn key() -> Vec<KeyColumn> {
        vec![KeyColumn::builtin("k", 23, "integer")]
    }

    fn hashing(columns: &[Ident]) -> Hashing<'_> {
        Hashing { columns, portable: false }
    }

    #[test]
    fn the_columns_are_hashed_in_the_order_given_and_by_name() {
        let table = QualifiedName::new("s", "t\"x");
        let columns = [Ident::new("b"), Ident::new("a")];
        assert_eq!(
            fingerprint(&table, &[], ALL, hashing(&columns)),
            "SELECT count(*) AS row_count, coalesce(sum(hashtextextended(\
             ROW(t.\"b\", t.\"a\")::text COLLATE pg_catalog.\"C\", 0)), 0) AS hash \
             FROM \"s\".\"t\"\"x\" AS t"
        );
    }

    #[test]
    fn a_table_without_columns_still_counts_its_rows() {
        let sql = fingerprint(&QualifiedName::new("s", "t"), &[], ALL, hashing(&[]));
        assert!(sql.contains("hashtextextended(ROW()::text COLLATE"), "{sql}");
    }

    #[test]
    fn text_is_hashed_in_one_encoding() {
        let columns = [Ident::new("a")];
        let hashing = Hashing { portable: true, ..hashing(&columns) };
        let sql = list_rows(&QualifiedName::new("s", "t"), &key(), ALL, hashing);
        assert_eq!(
            sql,
            "SELECT ('x' || encode(substr(sha256(convert_to(ROW(t.\"a\")::text, 'UTF8')), 1, 8), \
             'hex'))::bit(64)::bigint, t.\"k\" FROM \"s\".\"t\" AS t"
        );
    }

    #[test]
    fn keys_are_listed_in_the_order_of_an_index() {
        let table = QualifiedName::new("s", "t");
        let [a, b] = ["a", "b"].map(|name| KeyColumn::builtin(name, 23, "integer"));
        let lower = ["2".to_owned(), "1".to_owned()];
        assert_eq!(
            list_keys(&table, &[a.clone(), b.clone()], &[b, a], Some(&lower), 9),
            "SELECT t.\"a\", t.\"b\" FROM \"s\".\"t\" AS t WHERE ROW(t.\"b\", t.\"a\") \
             OPERATOR(\"pg_catalog\".>) ROW('2'::integer, '1'::integer) \
             ORDER BY t.\"b\" USING OPERATOR(\"pg_catalog\".<), \
             t.\"a\" USING OPERATOR(\"pg_catalog\".<) LIMIT 9"
        );
    }

    #[test]
    fn rows_that_are_not_there_are_looked_for_too() {
        let sql = look_at_rows(
            &QualifiedName::new("s", "t"),
            &key(),
            &[vec!["7".to_owned()]],
            hashing(&[Ident::new("k")]),
        );
        assert_eq!(
            sql,
            "SELECT v.\"pghost number\", t.tableoid::text || ' ' || t.ctid::text || ' ' || \
             t.xmin::text, hashtextextended(ROW(t.\"k\")::text COLLATE pg_catalog.\"C\", 0) \
             FROM (VALUES (0, '7'::integer)) AS v (\"pghost number\", \"k\") \
             LEFT JOIN \"s\".\"t\" AS t ON t.\"k\" OPERATOR(\"pg_catalog\".=) v.\"k\""
        );
    }

    #[test]
    fn values_are_read_as_the_others_types() {
        let types = ["jsonb".to_owned(), "numeric(9,2)".to_owned()];
        let sql = respelled(&types, hashing(&[]));
        assert!(sql.contains("hashtextextended(ROW($1::jsonb)::text"), "{sql}");
        assert!(sql.contains("hashtextextended(ROW($2::numeric(9,2))::text"), "{sql}");
        let columns = [Ident::new("a")];
        let table = QualifiedName::new("s", "t");
        let sql = values_of_row(&table, &key(), &["7".to_owned()], &columns, 9);
        assert!(sql.starts_with("SELECT t.\"a\" FROM (VALUES (0, '7'::integer))"), "{sql}");
        assert!(sql.ends_with(" AND octet_length(ROW(t.\"a\")::text) <= 9"), "{sql}");
    }
}
