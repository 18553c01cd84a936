//! A key's columns, and how to say "after this row" with them.
//!
//! Bounds are text that the source printed and the source reads again: keys are never compared
//! or sorted here. Operators are named by their schema, columns by their table's alias, so that
//! neither search_path nor an alias of the same name can change what is compared.

use super::quote_literal;
use crate::pg::{Ident, Oid};

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name.
    pub name: Ident,
    /// The type it is compared as: its own, or the one below a domain.
    pub type_oid: Oid,
    /// That type as SQL spells it. A bound is no value of a domain: it may lie between two keys,
    /// and a condition of the domain's is none of its.
    pub type_name: String,
    /// The collation it is compared in, where that is not the type's own. Who compares it must
    /// name it: `name` and domains have collations of their own, and of two the server takes none.
    pub collation: Option<String>,
    /// How its index compares it.
    pub operators: Operators,
    /// Whether its own type is a domain over an enum: the operators of enums do not take domains,
    /// as those of arrays and ranges do (`enforce_generic_type_consistency` in `parse_coerce.c`).
    pub is_enum_domain: bool,
}

impl KeyColumn {
    /// One of a built-in type, for tests.
    #[cfg(test)]
    pub(crate) fn builtin(name: &str, type_oid: u32, type_name: &str) -> Self {
        Self {
            name: Ident::new(name),
            type_oid: Oid(type_oid),
            type_name: type_name.into(),
            collation: None,
            operators: Operators::builtin(),
            is_enum_domain: false,
        }
    }

    /// A value of it, such as the column itself, as its operators take it. An index on the column
    /// serves for that as well: a domain is stored as what is below it.
    #[must_use]
    pub fn comparable(&self, value: &str) -> String {
        match self.is_enum_domain {
            true => format!("{value}::{}", self.type_name),
            false => value.to_owned(),
        }
    }

    /// `smallint`, `integer` or `bigint`: the oids of `pg_type.dat`.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        matches!(self.type_oid, Oid(20 | 21 | 23))
    }

    /// ` COLLATE ..`, to stand after what it is compared with.
    #[must_use]
    pub fn collate(&self) -> String {
        self.collation.as_ref().map_or_else(String::new, |name| format!(" COLLATE {name}"))
    }
}

/// The schema in which a B-tree's operators stand, and the names of those that paging needs.
///
/// They are asked from the catalog because search_path is empty: `=` on citext would be found
/// as text's and compare otherwise than the index does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    /// The schema of all of them.
    pub schema: Ident,
    /// Strategy 3.
    pub equal: String,
    /// Strategy 5.
    pub greater: String,
    /// Strategy 4.
    pub greater_or_equal: String,
    /// Strategy 1.
    pub less_than: String,
    /// Strategy 2.
    pub less_or_equal: String,
}

impl Operators {
    /// Those of the built-in types, for tests.
    #[cfg(test)]
    pub(crate) fn builtin() -> Self {
        let [equal, greater, greater_or_equal, less_than, less_or_equal] =
            ["=", ">", ">=", "<", "<="].map(str::to_owned);
        let schema = Ident::new("pg_catalog");
        Self { schema, equal, greater, greater_or_equal, less_than, less_or_equal }
    }

    /// Whether the operator class has all of them, as every B-tree's does.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let names = [
            &self.equal,
            &self.greater,
            &self.greater_or_equal,
            &self.less_than,
            &self.less_or_equal,
        ];
        names.iter().all(|name| !name.is_empty())
    }

    /// `OPERATOR(schema.>=)`
    #[must_use]
    pub fn greater_or_equal(&self) -> String {
        format!("OPERATOR({}.{})", self.schema, self.greater_or_equal)
    }

    /// `OPERATOR(schema.=)`
    #[must_use]
    pub fn equal(&self) -> String {
        format!("OPERATOR({}.{})", self.schema, self.equal)
    }

    /// `OPERATOR(schema.>)`
    #[must_use]
    pub fn greater(&self) -> String {
        format!("OPERATOR({}.{})", self.schema, self.greater)
    }

    /// `OPERATOR(schema.<)`
    #[must_use]
    pub fn less_than(&self) -> String {
        format!("OPERATOR({}.{})", self.schema, self.less_than)
    }

    /// `OPERATOR(schema.<=)`
    #[must_use]
    pub fn less_or_equal(&self) -> String {
        format!("OPERATOR({}.{})", self.schema, self.less_or_equal)
    }
}

/// The values of a key's columns in one row, as the text the server printed.
pub type KeyValues = [String];

/// The condition that a row of `t` stands after `bound` in the key's order.
#[must_use]
pub fn after(key: &[KeyColumn], bound: &KeyValues) -> String {
    compare(key, bound, Operators::greater, Operators::greater, Operators::greater_or_equal)
}

/// The condition that a row of `t` stands at or before `bound`.
#[must_use]
pub fn up_to(key: &[KeyColumn], bound: &KeyValues) -> String {
    // Lexicographic <=: strictly less decides at every column but the last.
    compare(key, bound, Operators::less_or_equal, Operators::less_than, Operators::less_or_equal)
}

fn compare(
    key: &[KeyColumn],
    bound: &KeyValues,
    last: impl Fn(&Operators) -> String,
    before_last: impl Fn(&Operators) -> String,
    range: impl Fn(&Operators) -> String,
) -> String {
    let columns: Vec<_> = key.iter().map(|c| c.comparable(&format!("t.{}", c.name))).collect();
    let values: Vec<_> = key
        .iter()
        .zip(bound)
        .map(|(c, v)| format!("{}::{}{}", quote_literal(v), c.type_name, c.collate()))
        .collect();
    let same = key.windows(2).all(|pair| last(&pair[0].operators) == last(&pair[1].operators));
    match key {
        [] => "true".to_owned(),
        [only] => format!("{} {} {}", columns[0], last(&only.operators), values[0]),
        [first, ..] if same => format!(
            "ROW({}) {} ROW({})",
            columns.join(", "),
            last(&first.operators),
            values.join(", ")
        ),
        // A row comparison has one operator for all columns; columns whose operators stand in
        // different schemas are compared one by one.
        _ => {
            let mut condition = String::new();
            for (i, part) in key.iter().enumerate().rev() {
                let operator = if i + 1 == key.len() {
                    last(&part.operators)
                } else {
                    before_last(&part.operators)
                };
                let decided = format!("{} {operator} {}", columns[i], values[i]);
                condition = if condition.is_empty() {
                    decided
                } else {
                    let equal = format!("{} {} {}", columns[i], part.operators.equal(), values[i]);
                    format!("({decided} OR ({equal} AND {condition}))")
                };
            }
            // An index can't walk to an OR; it can to the first column.
            let first = range(&key[0].operators);
            format!("({} {first} {} AND {condition})", columns[0], values[0])
        }
    }
}

/// `t."a", t."b"`
#[must_use]
pub fn columns_of_t(names: impl IntoIterator<Item = impl std::borrow::Borrow<Ident>>) -> String {
    let names: Vec<_> = names.into_iter().map(|n| format!("t.{}", n.borrow())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_name: &str, schema: &str) -> KeyColumn {
        KeyColumn {
            operators: Operators { schema: Ident::new(schema), ..Operators::builtin() },
            ..KeyColumn::builtin(name, 0, type_name)
        }
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn one_column_is_compared_by_its_own_operator() {
        let key = [column("id", "bigint", "pg_catalog")];
        assert_eq!(after(&key, &values(&["5"])), r#"t."id" OPERATOR("pg_catalog".>) '5'::bigint"#);
        let citext = [column("k\"x", "public.citext", "public")];
        assert_eq!(
            up_to(&citext, &values(&["O'B"])),
            r#"t."k""x" OPERATOR("public".<=) 'O''B'::public.citext"#
        );
    }

    #[test]
    fn a_collation_that_is_not_the_types_own_is_named() {
        let mut key = [column("k", "name", "pg_catalog")];
        key[0].collation = Some(r#"public."de""#.into());
        assert_eq!(
            after(&key, &values(&["x"])),
            r#"t."k" OPERATOR("pg_catalog".>) 'x'::name COLLATE public."de""#
        );
    }

    #[test]
    fn several_columns_are_compared_as_a_row() {
        let key = [column("a", "text", "pg_catalog"), column("b", "uuid", "pg_catalog")];
        assert_eq!(
            after(&key, &values(&["x", "y"])),
            r#"ROW(t."a", t."b") OPERATOR("pg_catalog".>) ROW('x'::text, 'y'::uuid)"#
        );
    }

    #[test]
    fn operators_of_different_schemas_are_spelled_out() {
        let key = [column("a", "public.citext", "public"), column("b", "int4", "pg_catalog")];
        assert_eq!(
            up_to(&key, &values(&["x", "1"])),
            concat!(
                r#"(t."a" OPERATOR("public".<=) 'x'::public.citext AND "#,
                r#"(t."a" OPERATOR("public".<) 'x'::public.citext OR "#,
                r#"(t."a" OPERATOR("public".=) 'x'::public.citext AND "#,
                r#"t."b" OPERATOR("pg_catalog".<=) '1'::int4)))"#
            )
        );
    }
}
