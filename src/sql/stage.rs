//! The statements that write changes by way of a staging table: COPY into it, then one statement
//! for each thing that is to be done.
//!
//! A staging table is temporary and has the columns that travel, with their types and nothing
//! else, and one more that tells what is to be done with a row ([`Stage::doing`]). Every commit
//! empties it.
//!
//! A domain is staged as the type below it: a row that is to be deleted is only a key, and the
//! NULLs that stand for the rest are no values of a domain that refuses them. What is moved on to
//! the target is made the domain's again there, by the assignment.

use super::{
    KeyColumn,
    page::options,
    write::{list, on_conflict, same_key},
};
use crate::{
    pg::{Ident, QualifiedName},
    wire::Format,
};

/// A staging table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    name: Ident,
    /// The column that numbers what is to be done; no column of the table is called so.
    doing: Ident,
    target: QualifiedName,
    columns: Vec<Ident>,
    /// What each of them is selected as.
    selected: Vec<String>,
}

/// The most columns that a table can have: `MaxHeapAttributeNumber`.
const COLUMNS_MAX: usize = 1600;

impl Stage {
    /// Whether a staging table can have so many columns of the target's, and its own.
    #[must_use]
    pub const fn has_room_for(columns: usize) -> bool {
        columns < COLUMNS_MAX
    }

    /// The staging table number `number` of a session, for rows of `target`. Each column comes with
    /// the type below its own where that is a domain.
    #[must_use]
    pub fn new(number: usize, target: &QualifiedName, columns: &[(Ident, Option<String>)]) -> Self {
        let mut doing = "pghost doing".to_owned();
        while columns.iter().any(|(column, _)| column.as_str() == doing) {
            doing.push('_');
        }
        let selected = columns.iter().map(|(column, below)| match below {
            Some(below) => format!("{column}::{below} AS {column}"),
            None => column.to_string(),
        });
        Self {
            name: Ident::new(format!("pghost_stage_{number}")),
            doing: Ident::new(doing),
            target: target.clone(),
            selected: selected.collect(),
            columns: columns.iter().map(|(column, _)| column.clone()).collect(),
        }
    }

    /// Makes it.
    #[must_use]
    pub fn create(&self) -> String {
        let Self { name, doing, target, selected, .. } = self;
        format!(
            "CREATE TEMPORARY TABLE {name} ON COMMIT DELETE ROWS AS \
             SELECT 0::smallint AS {doing}, {} FROM {target} WITH NO DATA",
            selected.join(", ")
        )
    }

    /// Empties it within a transaction.
    #[must_use]
    pub fn empty(&self) -> String {
        format!("TRUNCATE {}", self.place())
    }

    fn place(&self) -> String {
        format!("pg_temp.{}", self.name)
    }

    /// Brings rows into it: what is to be done, then the columns.
    #[must_use]
    pub fn copy(&self, format: Format) -> String {
        format!(
            "COPY {} ({}, {}) FROM STDIN{}",
            self.place(),
            self.doing,
            list(&self.columns),
            options(format)
        )
    }

    fn of_rows(&self, doing: usize) -> String {
        format!("v.{} OPERATOR(pg_catalog.=) {doing}", self.doing)
    }

    /// Deletes the rows whose keys stand here to be deleted.
    #[must_use]
    pub fn delete(&self, key: &[KeyColumn], doing: usize) -> String {
        format!(
            "DELETE FROM {} AS t USING {} AS v WHERE {} AND {}",
            self.target,
            self.place(),
            self.of_rows(doing),
            same_key(key)
        )
    }

    /// Updates the columns `set` of the rows whose keys stand here for that.
    #[must_use]
    pub fn update(&self, key: &[KeyColumn], set: &[Ident], doing: usize) -> String {
        let set: Vec<_> = set.iter().map(|name| format!("{name} = v.{name}")).collect();
        format!(
            "UPDATE {} AS t SET {} FROM {} AS v WHERE {} AND {}",
            self.target,
            set.join(", "),
            self.place(),
            self.of_rows(doing),
            same_key(key)
        )
    }

    /// Inserts rows that overwrite the row with the same key; any other violation is an error.
    #[must_use]
    pub fn upsert(&self, key: &[KeyColumn], doing: usize) -> String {
        let columns = list(&self.columns);
        format!(
            "INSERT INTO {} AS t ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} \
             FROM {} AS v WHERE {} {}",
            self.target,
            self.place(),
            self.of_rows(doing),
            on_conflict(&self.columns, key)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage {
        let columns = ["k", "a", "pghost doing"].map(|name| (Ident::new(name), None));
        Stage::new(3, &QualifiedName::new("s", "t"), &columns)
    }

    fn key() -> Vec<KeyColumn> {
        vec![KeyColumn::builtin("k", 23, "integer")]
    }

    #[test]
    fn what_is_to_be_done_stands_in_a_column_that_no_table_has() {
        assert_eq!(
            stage().create(),
            "CREATE TEMPORARY TABLE \"pghost_stage_3\" ON COMMIT DELETE ROWS AS \
             SELECT 0::smallint AS \"pghost doing_\", \"k\", \"a\", \"pghost doing\" \
             FROM \"s\".\"t\" WITH NO DATA"
        );
        assert_eq!(
            stage().delete(&key(), 0),
            "DELETE FROM \"s\".\"t\" AS t USING pg_temp.\"pghost_stage_3\" AS v \
             WHERE v.\"pghost doing_\" OPERATOR(pg_catalog.=) 0 \
             AND t.\"k\" OPERATOR(\"pg_catalog\".=) v.\"k\""
        );
    }

    #[test]
    fn a_domain_is_staged_as_the_type_below_it() {
        let columns = [(Ident::new("k"), None), (Ident::new("a"), Some("numeric(10,2)".into()))];
        let create = Stage::new(0, &QualifiedName::new("s", "t"), &columns).create();
        assert!(create.contains(", \"k\", \"a\"::numeric(10,2) AS \"a\" FROM"), "{create}");
        assert!(Stage::has_room_for(1599) && !Stage::has_room_for(1600));
    }

    #[test]
    fn a_conflict_names_the_key_and_nothing_else() {
        let upsert = stage().upsert(&key(), 1);
        assert!(
            upsert.ends_with(
                "WHERE v.\"pghost doing_\" OPERATOR(pg_catalog.=) 1 \
                 ON CONFLICT (\"k\") DO UPDATE SET \
                 \"a\" = EXCLUDED.\"a\", \"pghost doing\" = EXCLUDED.\"pghost doing\""
            ),
            "{upsert}"
        );
    }

    #[test]
    fn an_update_sets_only_what_it_was_given() {
        let update = stage().update(&key(), &[Ident::new("a")], 2);
        assert!(update.contains(" SET \"a\" = v.\"a\" FROM "), "{update}");
    }
}
