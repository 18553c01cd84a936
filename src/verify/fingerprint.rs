//! The statement that makes a fingerprint. Pure.

use crate::{
    pg::{Ident, QualifiedName},
    sql::columns_of_t,
};

/// What a table's rows amount to, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many rows there are.
    pub rows: u64,
    /// The sum of the rows' hashes, as the server printed it; it is only ever compared.
    pub hash: String,
}

/// The statement whose one row is a [`Fingerprint`].
///
/// A row becomes text as a composite value, in which NULL is nothing, an empty string is `""`
/// and commas within values are quoted, so neither can be taken for the other, nor a value for
/// its neighbour's: <https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX>.
/// That text may not exceed 1 GB, by which a row with more in it is an error.
///
/// The hash is the first half of its MD5, which is the same on every release and machine; the
/// server's own hash functions promise neither. Hashes are added rather than xor-ed, or rows
/// that stand there twice would vanish; `sum(bigint)` is a numeric and can't overflow.
pub(super) fn statement(table: &QualifiedName, columns: &[Ident]) -> String {
    let columns = columns_of_t(columns);
    format!(
        "SELECT count(*) AS row_count, \
         coalesce(sum(('x' || left(md5(ROW({columns})::text), 16))::bit(64)::bigint), 0) AS hash \
         FROM {table} AS t"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_hashed_in_the_order_given_and_by_name() {
        let table = QualifiedName::new("s", "t\"x");
        let columns = [Ident::new("b"), Ident::new("a")];
        assert_eq!(
            statement(&table, &columns),
            "SELECT count(*) AS row_count, coalesce(sum(('x' || \
             left(md5(ROW(t.\"b\", t.\"a\")::text), 16))::bit(64)::bigint), 0) AS hash \
             FROM \"s\".\"t\"\"x\" AS t"
        );
    }

    #[test]
    fn a_table_without_columns_still_counts_its_rows() {
        let sql = statement(&QualifiedName::new("s", "t"), &[]);
        assert!(sql.contains("md5(ROW()::text)"), "{sql}");
    }
}
