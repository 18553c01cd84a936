//! Which rows of a table a statement is about: a range of its key, or those of given keys.

use super::{
    KeyColumn, KeyValues, after, quote_literal, up_to,
    write::{FETCH_NUMBER, same_key},
};
use crate::pg::{Ident, QualifiedName};

/// Rows of a table, which a statement calls `t`.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// After the first bound, up to the second, in the order of the server that is asked; open
    /// where `None`.
    Between(Option<&'a KeyValues>, Option<&'a KeyValues>),
    /// Those that have one of these keys.
    Keyed(&'a [Vec<String>]),
}

impl Rows<'_> {
    /// ` FROM ..` with what picks them.
    #[must_use]
    pub fn from(&self, table: &QualifiedName, key: &[KeyColumn]) -> String {
        match self {
            Self::Between(lower, upper) => {
                format!(" FROM {table} AS t{}", between(key, *lower, *upper))
            }
            // There is no VALUES of nothing.
            Self::Keyed([]) => format!(" FROM {table} AS t WHERE false"),
            Self::Keyed(keys) => {
                format!(" FROM {} JOIN {table} AS t ON {}", numbered(key, keys), same_key(key))
            }
        }
    }
}

/// ` WHERE` a row of `t` stands after one bound, up to another.
pub(super) fn between(
    key: &[KeyColumn],
    lower: Option<&KeyValues>,
    upper: Option<&KeyValues>,
) -> String {
    let lower = lower.map(|bound| after(key, bound));
    let bounds: Vec<_> = lower.into_iter().chain(upper.map(|bound| up_to(key, bound))).collect();
    match bounds.as_slice() {
        [] => String::new(),
        bounds => format!(" WHERE {}", bounds.join(" AND ")),
    }
}

/// Keys, numbered from 0; their columns keep their names.
///
/// `(VALUES (0, 'k'::type), ..) AS v ("pghost number", "k")`
pub(super) fn numbered(key: &[KeyColumn], keys: &[Vec<String>]) -> String {
    let row = |(number, values): (usize, &Vec<String>)| {
        let values = key.iter().zip(values);
        let values = values.map(|(c, v)| format!(", {}::{}", quote_literal(v), c.type_name));
        format!("({number}{})", values.collect::<String>())
    };
    let rows: Vec<_> = keys.iter().enumerate().map(row).collect();
    let names: String = key.iter().map(|c| format!(", {}", c.name)).collect();
    format!("(VALUES {}) AS v ({}{names})", rows.join(", "), Ident::new(FETCH_NUMBER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Vec<KeyColumn> {
        vec![KeyColumn::builtin("a", 25, "text"), KeyColumn::builtin("b", 23, "integer")]
    }

    #[test]
    fn ranges_are_half_open() {
        let table = QualifiedName::new("s", "t");
        let (low, high) = (["x".to_owned(), "1".to_owned()], ["y".to_owned(), "2".to_owned()]);
        assert_eq!(Rows::Between(None, None).from(&table, &key()), r#" FROM "s"."t" AS t"#);
        assert_eq!(
            Rows::Between(Some(&low), Some(&high)).from(&table, &key()),
            concat!(
                r#" FROM "s"."t" AS t WHERE ROW(t."a", t."b") OPERATOR("pg_catalog".>) "#,
                r#"ROW('x'::text, '1'::integer) AND ROW(t."a", t."b") "#,
                r#"OPERATOR("pg_catalog".<=) ROW('y'::text, '2'::integer)"#
            )
        );
    }

    #[test]
    fn keys_are_values_of_the_keys_types() {
        let table = QualifiedName::new("s", "t");
        let keys = [vec!["O'B".to_owned(), "1".to_owned()], vec!["y".to_owned(), "2".to_owned()]];
        assert_eq!(
            Rows::Keyed(&keys).from(&table, &key()),
            concat!(
                r#" FROM (VALUES (0, 'O''B'::text, '1'::integer), (1, 'y'::text, '2'::integer)) "#,
                r#"AS v ("pghost number", "a", "b") JOIN "s"."t" AS t ON "#,
                r#"t."a" OPERATOR("pg_catalog".=) v."a" AND "#,
                r#"t."b" OPERATOR("pg_catalog".=) v."b""#
            )
        );
        assert!(Rows::Keyed(&[]).from(&table, &key()).ends_with(" WHERE false"));
    }
}
