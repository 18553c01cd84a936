//! The statements that find, read and write a page.

use super::{KeyColumn, KeyValues, Rows, columns_of_t, rows::between};
use crate::{
    pg::{Ident, QualifiedName},
    wire::Format,
};

/// The key of the row that is `rows` rows after `lower`: the page's upper bound. No row comes
/// back when fewer are left.
#[must_use]
pub fn next_bound(
    table: &QualifiedName,
    key: &[KeyColumn],
    lower: Option<&KeyValues>,
    rows: u64,
) -> String {
    bound_within(table, key, (lower, None), rows)
}

/// The same within a range, which ends with `upper`.
#[must_use]
pub fn bound_within(
    table: &QualifiedName,
    key: &[KeyColumn],
    (lower, upper): (Option<&KeyValues>, Option<&KeyValues>),
    rows: u64,
) -> String {
    let columns = columns_of_t(key.iter().map(|c| &c.name));
    let from = between(key, lower, upper);
    format!(
        "SELECT {columns} FROM {table} AS t{from} ORDER BY {columns} OFFSET {} LIMIT 1",
        rows.saturating_sub(1)
    )
}

/// The least and the greatest key of an integer column, each by one short read of its index; NULL
/// if there is none.
#[must_use]
pub fn key_ends(table: &QualifiedName, column: &KeyColumn) -> String {
    let k = format!("t.{}", column.name);
    format!(
        "SELECT (SELECT {k} FROM {table} AS t ORDER BY {k} LIMIT 1)::bigint AS least, \
         (SELECT {k} FROM {table} AS t ORDER BY {k} DESC LIMIT 1)::bigint AS greatest"
    )
}

/// The rows after `lower` up to `upper`, both open where `None`.
///
/// COPY takes no parameters, so the bounds are literals.
#[must_use]
pub fn copy_page_out(
    table: &QualifiedName,
    columns: &[Ident],
    key: &[KeyColumn],
    (lower, upper): (Option<&KeyValues>, Option<&KeyValues>),
    format: Format,
) -> String {
    let columns = columns_of_t(columns);
    let from = Rows::Between(lower, upper).from(table, key);
    format!("COPY (SELECT {columns}{from}) TO STDOUT{}", options(format))
}

/// The other end of [`copy_page_out`].
#[must_use]
pub fn copy_page_in(table: &QualifiedName, columns: &[Ident], format: Format) -> String {
    let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
    format!("COPY {table} ({}) FROM STDIN{}", columns.join(", "), options(format))
}

pub(super) const fn options(format: Format) -> &'static str {
    match format {
        Format::Text => "",
        Format::Binary => " (FORMAT binary)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Vec<KeyColumn> {
        vec![KeyColumn::builtin("id", 23, "integer")]
    }

    #[test]
    fn bounds_are_found_by_walking_the_index_a_page_further() {
        let table = QualifiedName::new("public", "t");
        assert_eq!(
            next_bound(&table, &key(), Some(&["7".to_owned()]), 100),
            "SELECT t.\"id\" FROM \"public\".\"t\" AS t WHERE t.\"id\" \
             OPERATOR(\"pg_catalog\".>) '7'::integer ORDER BY t.\"id\" OFFSET 99 LIMIT 1"
        );
        assert_eq!(
            bound_within(&table, &key(), (None, Some(&["9".to_owned()])), 3),
            "SELECT t.\"id\" FROM \"public\".\"t\" AS t WHERE t.\"id\" \
             OPERATOR(\"pg_catalog\".<=) '9'::integer ORDER BY t.\"id\" OFFSET 2 LIMIT 1"
        );
    }

    #[test]
    fn pages_are_half_open_and_name_their_columns() {
        let table = QualifiedName::new("public", "t");
        let columns = [Ident::new("id"), Ident::new("v")];
        let (low, high) = (["1".to_owned()], ["2".to_owned()]);
        assert_eq!(
            copy_page_out(&table, &columns, &key(), (Some(&low), Some(&high)), Format::Binary),
            "COPY (SELECT t.\"id\", t.\"v\" FROM \"public\".\"t\" AS t WHERE \
             t.\"id\" OPERATOR(\"pg_catalog\".>) '1'::integer AND \
             t.\"id\" OPERATOR(\"pg_catalog\".<=) '2'::integer) TO STDOUT (FORMAT binary)"
        );
        assert_eq!(
            copy_page_out(&table, &columns, &key(), (None, None), Format::Text),
            "COPY (SELECT t.\"id\", t.\"v\" FROM \"public\".\"t\" AS t) TO STDOUT"
        );
        assert_eq!(
            copy_page_in(&table, &columns, Format::Text),
            "COPY \"public\".\"t\" (\"id\", \"v\") FROM STDIN"
        );
    }
}
