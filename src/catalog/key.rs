//! Which unique index a table is paged and its rows are told apart by, or why none will do.
//!
//! Pages and changes must agree: the log names a changed row by the table's replica identity,
//! so the key is the replica identity's own index, and only where the whole old row is logged
//! (REPLICA IDENTITY FULL) any other index may serve.

use std::fmt;

use super::model::{Table, UniqueIndex};
use crate::{pg::Ident, pgoutput::ReplicaIdentity, sql::KeyColumn};

/// The key that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The index behind it.
    pub index: String,
    /// Its columns in order.
    pub columns: Vec<KeyColumn>,
}

/// Why a table has no usable key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is no unique index at all.
    NoUniqueIndex,
    /// REPLICA IDENTITY NOTHING, or DEFAULT without a primary key.
    NoIdentity(&'static str),
    /// The indexes that were looked at, and why each was refused.
    NoneUsable(Vec<(String, &'static str)>),
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUniqueIndex => f.write_str("it has no primary key and no unique index"),
            Self::NoIdentity(why) => f.write_str(why),
            Self::NoneUsable(refused) => {
                let list: Vec<_> =
                    refused.iter().map(|(index, why)| format!("{index} ({why})")).collect();
                write!(f, "none of its unique indexes can serve: {}", list.join(", "))
            }
        }
    }
}

/// Chooses the key of a source table.
///
/// Errors: no key can serve, with the reason for each index that was looked at.
pub fn choose_key(table: &Table) -> Result<Key, KeyRefusal> {
    if table.unique_indexes.is_empty() {
        return Err(KeyRefusal::NoUniqueIndex);
    }
    if table.replica_identity == ReplicaIdentity::Nothing {
        return Err(KeyRefusal::NoIdentity(
            "its replica identity is NOTHING, so the log does not tell which rows were changed",
        ));
    }
    let mut refused = Vec::new();
    for index in &table.unique_indexes {
        match usable_for_pages(table, index) {
            Ok(()) => return Ok(key_of(table, index)),
            Err(why) => refused.push((index.name.clone(), why)),
        }
    }
    Err(KeyRefusal::NoneUsable(refused))
}

/// The statement that gives a table a key that can serve.
#[must_use]
pub fn key_statement(table: &Table, columns: &str) -> String {
    let unproven = |name: &Ident| table.column(name).and_then(|c| c.unproven.as_ref());
    let waits = table.unique_indexes.iter().flat_map(|index| &index.columns).find_map(unproven);
    match waits {
        Some(constraint) => {
            format!("ALTER TABLE {} VALIDATE CONSTRAINT {constraint}", table.name)
        }
        None => format!("ALTER TABLE {} ADD PRIMARY KEY ({columns})", table.name),
    }
}

/// Which index a table's key is, why that one, and why none of those that go before it.
#[must_use]
pub fn explain_key(table: &Table, key: &Key) -> String {
    let names: Vec<_> = key.columns.iter().map(|c| c.name.to_string()).collect();
    let index = table.unique_indexes.iter().find(|index| index.name == key.index);
    let why = match (table.replica_identity, index) {
        (ReplicaIdentity::Index, _) => "its replica identity",
        (_, Some(UniqueIndex { primary: true, .. })) => "its primary key",
        _ => "a unique index, which serves since the replica identity is FULL",
    };
    let before = table.unique_indexes.iter().take_while(|index| index.name != key.index);
    let passed_over: Vec<_> = before
        .filter_map(|index| {
            Some(format!("{}: {}", index.name, usable_for_pages(table, index).err()?))
        })
        .collect();
    let mut text = format!("{} ({}), {why}", key.index, names.join(", "));
    if !passed_over.is_empty() {
        text += &format!("; not by {}", passed_over.join(", nor by "));
    }
    text
}

/// The unique index of a target table on exactly the columns `names`, in any order, that can
/// find and arbitrate rows.
#[must_use]
pub fn matching_key(table: &Table, names: &[Ident]) -> Option<Key> {
    let index = table.unique_indexes.iter().find(|index| {
        usable(table, index).is_ok()
            && index.columns.len() == names.len()
            && names.iter().all(|name| index.columns.contains(name))
    })?;
    let mut key = key_of(table, index);
    key.columns.sort_by_key(|column| names.iter().position(|name| *name == column.name));
    Some(key)
}

/// Of a target table without a [`matching_key`]: the unique indexes that are on exactly those
/// columns, and why each can't serve.
#[must_use]
pub fn unusable_keys<'a>(table: &'a Table, names: &[Ident]) -> Vec<(&'a str, &'static str)> {
    let same = table.unique_indexes.iter().filter(|index| {
        index.columns.len() == names.len() && names.iter().all(|name| index.columns.contains(name))
    });
    same.filter_map(|index| Some((index.name.as_str(), usable(table, index).err()?))).collect()
}

fn usable_for_pages(table: &Table, index: &UniqueIndex) -> Result<(), &'static str> {
    usable(table, index)?;
    if !index.default_order {
        return Err("it is not a B-tree in its columns' default order");
    }
    match table.replica_identity {
        ReplicaIdentity::Default if !index.primary => {
            Err("the replica identity is the primary key, and this is another index")
        }
        ReplicaIdentity::Index if !index.replica_identity => {
            Err("the replica identity is another index")
        }
        _ => Ok(()),
    }
}

/// Whether rows can be found by it and ON CONFLICT can name it.
fn usable(table: &Table, index: &UniqueIndex) -> Result<(), &'static str> {
    let nullable =
        index.columns.iter().any(|name| table.column(name).is_none_or(|column| !column.not_null));
    match index {
        UniqueIndex { valid: false, .. } => Err("it is not valid"),
        UniqueIndex { immediate: false, .. } => Err("it is deferrable"),
        UniqueIndex { partial: true, .. } => Err("it has a WHERE clause"),
        UniqueIndex { expressions: true, .. } => Err("it is on an expression"),
        _ if nullable => Err("a column of it can be NULL"),
        _ if index.operators.len() != index.columns.len() => {
            Err("its operators are not a B-tree's")
        }
        UniqueIndex { tells_apart: false, .. } => {
            Err("by its collation or operator class it takes values for one that its columns tell \
                 apart")
        }
        _ if index
            .columns
            .iter()
            .any(|n| table.column(n).is_none_or(|c| c.generated.is_some())) =>
        {
            Err("a column of it is generated, and the log does not carry generated columns")
        }
        _ => Ok(()),
    }
}

fn key_of(table: &Table, index: &UniqueIndex) -> Key {
    let columns = index.columns.iter().zip(&index.operators).filter_map(|(name, operators)| {
        let column = table.column(name)?;
        let base = column.base.clone();
        Some(KeyColumn {
            name: name.clone(),
            is_enum_domain: base.is_enum && base.oid != column.type_oid,
            type_oid: base.oid,
            type_name: base.name,
            collation: base.collation,
            operators: operators.clone(),
        })
    });
    Key { index: index.name.clone(), columns: columns.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::model::{Column, Generated},
        pg::Oid,
    };

    fn column(name: &str, not_null: bool) -> Column {
        Column { not_null, ..Column::sample(name, Oid(23), "integer") }
    }

    fn index(name: &str, columns: &[&str]) -> UniqueIndex {
        UniqueIndex { primary: name == "pk", ..UniqueIndex::sample(name, columns) }
    }

    fn table(replica_identity: ReplicaIdentity, unique_indexes: Vec<UniqueIndex>) -> Table {
        let columns = vec![column("a", true), column("b", true), column("n", false)];
        Table { columns, replica_identity, unique_indexes, ..Table::sample("t") }
    }

    fn chosen(table: &Table) -> Result<String, String> {
        choose_key(table).map(|key| key.index).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_primary_key_serves_by_default_and_under_full() {
        for identity in [ReplicaIdentity::Default, ReplicaIdentity::Full] {
            let table = table(identity, vec![index("pk", &["a"]), index("u", &["b"])]);
            assert_eq!(chosen(&table), Ok("pk".into()));
        }
    }

    #[test]
    fn the_replica_identity_index_goes_before_the_primary_key() {
        let mut unique = index("u", &["b"]);
        unique.replica_identity = true;
        let table = table(ReplicaIdentity::Index, vec![index("pk", &["a"]), unique]);
        assert_eq!(chosen(&table), Ok("u".into()));
    }

    #[test]
    fn another_unique_index_serves_only_under_full() {
        let full = table(ReplicaIdentity::Full, vec![index("u", &["b", "a"])]);
        assert_eq!(chosen(&full), Ok("u".into()));
        let default = table(ReplicaIdentity::Default, vec![index("u", &["b"])]);
        assert!(chosen(&default).unwrap_err().contains("u (the replica identity is"));
    }

    #[test]
    fn each_refused_index_is_named_with_its_reason() {
        let mut deferrable = index("pk", &["a"]);
        deferrable.immediate = false;
        let mut partial = index("p", &["a"]);
        partial.partial = true;
        let nullable = index("u", &["n"]);
        let table = table(ReplicaIdentity::Full, vec![deferrable, partial, nullable]);
        assert_eq!(
            chosen(&table).unwrap_err(),
            "none of its unique indexes can serve: pk (it is deferrable), \
             p (it has a WHERE clause), u (a column of it can be NULL)"
        );
    }

    #[test]
    fn a_table_without_identity_or_index_is_refused() {
        let nothing = table(ReplicaIdentity::Nothing, vec![index("pk", &["a"])]);
        assert!(chosen(&nothing).unwrap_err().contains("NOTHING"));
        let none = table(ReplicaIdentity::Default, vec![]);
        assert!(chosen(&none).unwrap_err().contains("no primary key"));
    }

    #[test]
    fn the_targets_key_may_order_its_columns_otherwise() {
        let target = table(ReplicaIdentity::Default, vec![index("pk", &["b", "a"])]);
        let names = [Ident::new("a"), Ident::new("b")];
        let key = matching_key(&target, &names).unwrap();
        assert_eq!(key.columns.iter().map(|c| &c.name).collect::<Vec<_>>(), [&names[0], &names[1]]);
        assert_eq!(matching_key(&target, &names[..1]), None);
    }

    #[test]
    fn an_index_that_takes_more_for_one_than_its_columns_is_no_key() {
        let merging = UniqueIndex { tells_apart: false, ..index("pk", &["a"]) };
        let refused = table(ReplicaIdentity::Default, vec![merging.clone()]);
        assert!(chosen(&refused).unwrap_err().contains("takes values for one"));
        let names = [Ident::new("a")];
        assert_eq!(matching_key(&refused, &names), None);
        let [(name, why)] = unusable_keys(&refused, &names)[..] else { panic!() };
        assert!(name == "pk" && why.contains("takes values for one"));
        assert_eq!(unusable_keys(&refused, &[Ident::new("b")]), []);
        // Another one may serve beside it.
        let both = table(ReplicaIdentity::Full, vec![merging, index("u", &["a"])]);
        assert_eq!(chosen(&both), Ok("u".into()));
        assert_eq!(matching_key(&both, &names).unwrap().index, "u");
    }

    #[test]
    fn the_choice_is_explained() {
        let told = |table: &Table| explain_key(table, &choose_key(table).unwrap());
        let primary = table(ReplicaIdentity::Default, vec![index("pk", &["a", "b"])]);
        assert_eq!(told(&primary), r#"pk ("a", "b"), its primary key"#);
        let mut unique = index("u", &["b"]);
        unique.replica_identity = true;
        let other = table(ReplicaIdentity::Index, vec![index("pk", &["a"]), unique]);
        assert_eq!(
            told(&other),
            r#"u ("b"), its replica identity; not by pk: the replica identity is another index"#
        );
        let mut deferrable = index("pk", &["a"]);
        deferrable.immediate = false;
        let full = table(ReplicaIdentity::Full, vec![deferrable, index("u", &["b"])]);
        assert_eq!(
            told(&full),
            "u (\"b\"), a unique index, which serves since the replica identity is FULL; \
             not by pk: it is deferrable"
        );
    }

    #[test]
    fn a_not_null_that_is_not_valid_lets_nulls_through_and_is_to_be_validated() {
        let mut table = table(ReplicaIdentity::Full, vec![index("u", &["n"])]);
        assert!(key_statement(&table, "..").ends_with("ADD PRIMARY KEY (..)"));
        table.columns[2].unproven = Some(Ident::new("nn"));
        assert!(chosen(&table).unwrap_err().contains("a column of it can be NULL"));
        assert!(key_statement(&table, "..").ends_with("VALIDATE CONSTRAINT \"nn\""));
    }

    #[test]
    fn a_generated_key_is_refused() {
        let mut table = table(ReplicaIdentity::Default, vec![index("pk", &["a"])]);
        table.columns[0].generated = Some(Generated::Stored);
        assert!(chosen(&table).unwrap_err().contains("generated"));
    }
}
