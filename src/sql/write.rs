//! The statements that write changes: each for a fixed number of rows, prepared once.
//!
//! Parameters are numbered row by row. Their types are given when the statement is prepared, so
//! VALUES needs no casts and each value may come as text or in binary.

use super::{KeyColumn, columns_of_t};
use crate::pg::{Ident, QualifiedName};

/// `($1, $2), ($3, $4)`
fn value_rows(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 8);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            text.push_str(if column == 1 { "$" } else { ", $" });
            text.push_str(&(row * columns + column).to_string());
        }
        text.push(')');
    }
    text
}

pub(super) fn list(names: &[Ident]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `t.k = value`, as the target's own index compares.
fn equal(column: &KeyColumn, value: &str) -> String {
    let own = column.comparable(&format!("t.{}", column.name));
    let value = column.comparable(value);
    format!("{own} {} {value}{}", column.operators.equal(), column.collate())
}

/// `t.k = v.k AND ..`, by the operators of the target's own index.
pub(super) fn same_key(key: &[KeyColumn]) -> String {
    let parts: Vec<_> = key.iter().map(|c| equal(c, &format!("v.{}", c.name))).collect();
    parts.join(" AND ")
}

/// Plain inserts: a conflict is an error. OVERRIDING SYSTEM VALUE lets GENERATED ALWAYS identity
/// columns take the source's values.
#[must_use]
pub fn insert_rows(table: &QualifiedName, columns: &[Ident], rows: usize) -> String {
    format!(
        "INSERT INTO {table} AS t ({}) OVERRIDING SYSTEM VALUE VALUES {}",
        list(columns),
        value_rows(rows, columns.len())
    )
}

/// Inserts that overwrite the row with the same key; any other violation is an error.
#[must_use]
pub fn upsert_rows(
    table: &QualifiedName,
    columns: &[Ident],
    key: &[KeyColumn],
    rows: usize,
) -> String {
    format!("{} {}", insert_rows(table, columns, rows), on_conflict(columns, key))
}

/// `ON CONFLICT (key) DO UPDATE SET ..` all other columns.
pub(super) fn on_conflict(columns: &[Ident], key: &[KeyColumn]) -> String {
    let is_key = |name: &Ident| key.iter().any(|k| k.name == *name);
    let set: Vec<_> = columns
        .iter()
        .filter(|name| !is_key(name))
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    // A row that is nothing but its key is already what it should be.
    let action = if set.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", set.join(", "))
    };
    let arbiter: Vec<_> = key.iter().map(|c| c.name.to_string()).collect();
    format!("ON CONFLICT ({}) DO {action}", arbiter.join(", "))
}

/// Updates of `set` in the rows named by their keys. A row's parameters are its key, then `set`.
#[must_use]
pub fn update_rows(table: &QualifiedName, key: &[KeyColumn], set: &[Ident], rows: usize) -> String {
    let keys: Vec<_> = key.iter().map(|c| c.name.clone()).collect();
    let columns: Vec<_> = keys.iter().chain(set).cloned().collect();
    let assignments: Vec<_> = set.iter().map(|name| format!("{name} = v.{name}")).collect();
    format!(
        "UPDATE {table} AS t SET {} FROM (VALUES {}) AS v ({}) WHERE {}",
        assignments.join(", "),
        value_rows(rows, columns.len()),
        list(&columns),
        same_key(key)
    )
}

/// Deletes of the rows named by their keys.
#[must_use]
pub fn delete_rows(table: &QualifiedName, key: &[KeyColumn], rows: usize) -> String {
    let keys: Vec<_> = key.iter().map(|c| c.name.clone()).collect();
    format!(
        "DELETE FROM {table} AS t USING (VALUES {}) AS v ({}) WHERE {}",
        value_rows(rows, keys.len()),
        list(&keys),
        same_key(key)
    )
}

/// One row that gets another key and the values of `set`, and keeps its other columns.
/// Parameters: the old key, then `set`, which holds the new key.
///
/// Not an UPDATE: that could not give a value to a key that is GENERATED ALWAYS AS IDENTITY. Each
/// row is deleted before it is inserted, since the INSERT reads what the DELETE returns.
#[must_use]
pub fn move_row(
    table: &QualifiedName,
    columns: &[Ident],
    key: &[KeyColumn],
    set: &[Ident],
) -> String {
    let condition: Vec<_> =
        key.iter().enumerate().map(|(i, c)| equal(c, &format!("${}", i + 1))).collect();
    let values: Vec<_> = columns
        .iter()
        .map(|name| match set.iter().position(|s| s == name) {
            Some(i) => format!("${}", key.len() + i + 1),
            None => format!("old.{name}"),
        })
        .collect();
    format!(
        "WITH old AS (DELETE FROM {table} AS t WHERE {} RETURNING *) \
         INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM old",
        condition.join(" AND "),
        list(columns),
        values.join(", ")
    )
}

/// All of the tables' rows, those of their partitions included. (`ONLY` would be an error there;
/// other tables have no children here.)
///
/// At once, since tables that foreign keys bind can be emptied only together. Never CASCADE: that
/// would empty tables that the log says nothing of.
#[must_use]
pub fn truncate(tables: &[QualifiedName]) -> String {
    let tables: Vec<_> = tables.iter().map(ToString::to_string).collect();
    format!("TRUNCATE {}", tables.join(", "))
}

/// The name of the column that numbers what [`fetch_rows`] finds.
pub const FETCH_NUMBER: &str = "pghost number";

/// Rows of the source by their keys, each with the number of the key it was found by, from 0.
/// Parameters: the keys, of the columns' own types.
#[must_use]
pub fn fetch_rows(
    table: &QualifiedName,
    columns: &[Ident],
    key: &[KeyColumn],
    rows: usize,
) -> String {
    let keys: Vec<_> = key.iter().map(|c| c.name.clone()).collect();
    let numbered: Vec<_> = (0..rows)
        .map(|row| {
            let first = row * keys.len();
            let places: Vec<_> = (1..=keys.len()).map(|i| format!("${}", first + i)).collect();
            format!("({row}, {})", places.join(", "))
        })
        .collect();
    let number = Ident::new(FETCH_NUMBER);
    format!(
        "SELECT v.{number}, {} FROM (VALUES {}) AS v ({number}, {}) JOIN {table} AS t ON {}",
        columns_of_t(columns),
        numbered.join(", "),
        list(&keys),
        same_key(key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Vec<KeyColumn> {
        vec![KeyColumn::builtin("k", 23, "integer")]
    }

    fn table() -> QualifiedName {
        QualifiedName::new("s", "t")
    }

    #[test]
    fn a_conflict_names_the_key_and_nothing_else() {
        let columns = [Ident::new("k"), Ident::new("a")];
        assert_eq!(
            upsert_rows(&table(), &columns, &key(), 2),
            "INSERT INTO \"s\".\"t\" AS t (\"k\", \"a\") OVERRIDING SYSTEM VALUE \
             VALUES ($1, $2), ($3, $4) ON CONFLICT (\"k\") DO UPDATE SET \"a\" = EXCLUDED.\"a\""
        );
        assert!(upsert_rows(&table(), &columns[..1], &key(), 1).ends_with("(\"k\") DO NOTHING"));
    }

    #[test]
    fn updates_and_deletes_find_rows_by_the_targets_own_operator() {
        assert_eq!(
            update_rows(&table(), &key(), &[Ident::new("a")], 1),
            "UPDATE \"s\".\"t\" AS t SET \"a\" = v.\"a\" \
             FROM (VALUES ($1, $2)) AS v (\"k\", \"a\") \
             WHERE t.\"k\" OPERATOR(\"pg_catalog\".=) v.\"k\""
        );
        assert_eq!(
            delete_rows(&table(), &key(), 2),
            "DELETE FROM \"s\".\"t\" AS t USING (VALUES ($1), ($2)) AS v (\"k\") \
             WHERE t.\"k\" OPERATOR(\"pg_catalog\".=) v.\"k\""
        );
        assert_eq!(
            move_row(
                &table(),
                &["k", "a", "b"].map(Ident::new),
                &key(),
                &[Ident::new("k"), Ident::new("a")]
            ),
            "WITH old AS (DELETE FROM \"s\".\"t\" AS t \
             WHERE t.\"k\" OPERATOR(\"pg_catalog\".=) $1 RETURNING *) \
             INSERT INTO \"s\".\"t\" (\"k\", \"a\", \"b\") OVERRIDING SYSTEM VALUE \
             SELECT $2, $3, old.\"b\" FROM old"
        );
    }
}
