//! The table that the demo moves: an order book of nine columns, some 250 bytes a row.
//!
//! Its rows are made by the server from their keys, so that a million of them cost no traffic.
//! They are fit to trip over: NULL beside empty strings, quotes, backslashes, line ends and what
//! COPY takes for NULL, elements that arrays must quote. Pure: SQL text only.

use crate::pg::{Ident, QualifiedName};

const COLUMNS: [&str; 9] =
    ["id", "reference", "note", "amount", "tags", "details", "paid", "created_at", "updated_at"];

/// Keys at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// From each to the next.
    pub step: u64,
}

impl Keys {
    /// A single key.
    #[must_use]
    pub const fn one(key: u64) -> Self {
        Self { first: key, count: 1, step: 1 }
    }
}

/// The table's columns in order; the first is its key.
#[must_use]
pub fn columns() -> Vec<Ident> {
    COLUMNS.into_iter().map(Ident::new).collect()
}

/// Makes the table with the rows of keys 1 to `rows`. Four statements in one text.
#[must_use]
pub fn create(table: &QualifiedName, rows: u64) -> String {
    let keys = Keys { first: 1, count: rows, step: 1 };
    // The key comes after the rows: an index is built faster than it grows.
    format!(
        "CREATE TABLE {table} (
             id bigint NOT NULL,
             reference uuid NOT NULL,
             note text,
             amount numeric(12, 2) NOT NULL,
             tags text[] NOT NULL,
             details jsonb NOT NULL,
             paid boolean NOT NULL,
             created_at timestamptz NOT NULL,
             updated_at timestamptz
         );
         {};
         ALTER TABLE {table} ADD PRIMARY KEY (id);
         ANALYZE {table}",
        insert(table, keys, 0)
    )
}

/// Inserts a row for each of the keys. Its other values follow from key and `salt`.
#[must_use]
pub fn insert(table: &QualifiedName, keys: Keys, salt: u32) -> String {
    let Keys { first, count, step } = keys;
    // Without OFFSET 0 the planner would put the hash wherever it is used.
    format!(
        "INSERT INTO {table} ({})
         SELECT k.id, h::uuid,
                CASE k.id % 23
                    WHEN 0 THEN NULL
                    WHEN 1 THEN ''
                    WHEN 2 THEN E'a ''quoted'' \"note\", \\\\N\\tand\\nGr\u{fc}\u{df}e \u{1f4e6}'
                    ELSE 'order ' || k.id || ' was left with the neighbours at number '
                         || k.id % 300 || ', ' || left(h, 20)
                END,
                (k.id * 7919 % 10000000) / 100.0,
                CASE k.id % 11
                    WHEN 0 THEN '{{}}'::text[]
                    WHEN 1 THEN ARRAY['a,b', '{{c}}', 'd\"e', NULL, 'NULL', '']
                    ELSE ARRAY['express', left(h, 6)]
                END,
                jsonb_build_object('customer', k.id % 50000, 'channel', left(h, 3),
                                   'items', k.id % 9, 'gift', k.id % 7 = 0),
                k.id % 3 = 0,
                timestamptz '2025-01-01 00:00:00.123456+00' + k.id * interval '1.7 seconds',
                CASE WHEN k.id % 5 > 0 THEN timestamptz '2026-01-01 00:00:00+00' END
           FROM (SELECT id,
                        left(encode(sha256(convert_to(id || ' {salt}', 'UTF8')), 'hex'), 32) AS h
                   FROM generate_series({first}::bigint, {}, {step}) AS id OFFSET 0) AS k",
        COLUMNS.join(", "),
        (first + count * step).saturating_sub(step),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_keys_ends_with_its_last_key() {
        let table = QualifiedName::new("public", "orders");
        let keys = Keys { first: 10, count: 4, step: 3 };
        assert!(insert(&table, keys, 0).contains("generate_series(10::bigint, 19, 3)"));
        assert!(insert(&table, Keys::one(7), 0).contains("generate_series(7::bigint, 7, 1)"));
    }

    #[test]
    fn every_column_is_made_and_filled() {
        let sql = create(&QualifiedName::new("public", "orders"), 1);
        for column in columns() {
            assert_eq!(
                sql.matches(&format!("             {} ", column.as_str())).count(),
                1,
                "{column}"
            );
        }
        assert!(sql.contains(&format!("({})", COLUMNS.join(", "))));
    }
}
