//! Partitions: what they are, whether the log tells of their rows as the root's, and how they are
//! made.
//!
//! A partitioned table has no rows of its own. Its changes come under its name
//! (`publish_via_partition_root`), but each partition logs old keys by a replica identity of its
//! own, and can be rewritten, emptied, attached and detached by itself; the stream tells nothing
//! of that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Key, model::Table};
use crate::{
    pg::{Ident, Oid, QualifiedName},
    pgoutput::ReplicaIdentity,
};

/// A partition, at any level below a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// Its object id, on its own server only.
    pub oid: Oid,
    /// Its name.
    pub name: QualifiedName,
    /// What it is a partition of.
    pub parent: Oid,
    /// `relkind`: `r`, or `p` where it has partitions itself.
    pub kind: char,
    /// `relpersistence`.
    pub persistence: char,
    /// `FOR VALUES ..` or `DEFAULT`.
    pub bound: String,
    /// What it is partitioned by itself, as PARTITION BY takes it.
    pub key: Option<String>,
    /// How the log names its rows that change.
    pub replica_identity: ReplicaIdentity,
    /// The index that it names them by.
    pub identity_index: Option<String>,
    /// Its indexes that belong to one of the root's, by the name of that.
    pub indexes: BTreeMap<String, String>,
    /// What it is made of.
    pub shape: PartitionShape,
}

/// What a partition is made of, to tell later what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionShape {
    /// For people.
    pub name: String,
    /// Its object id and its file's number (`relfilenode`), which is 0 where it has no rows of its
    /// own.
    pub oid_and_file: (u32, u32),
    /// Who wrote its line in `pg_class`.
    pub writer: String,
    /// Who attached it.
    pub attached_by: String,
    /// Who wrote its columns' lines, as a hash.
    pub column_writers: String,
}

/// The files of all partitions, compared with what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files<'a> {
    /// No partition has another file.
    Same,
    /// All have, by one transaction: as TRUNCATE of the root does it.
    AllAtOnce,
    /// These have: as TRUNCATE of a partition does it, and VACUUM FULL; with what they were.
    Some(Vec<(&'a PartitionShape, u32)>),
}

/// What became of partitions, as a clause that goes on after the table's name.
pub(super) fn changed(now: &[PartitionShape], before: &[PartitionShape]) -> Option<String> {
    let find = |list: &'_ [PartitionShape], of: &PartitionShape| {
        list.iter().position(|shape| shape.oid_and_file.0 == of.oid_and_file.0)
    };
    for shape in now {
        let name = &shape.name;
        let Some(old) = find(before, shape).map(|at| &before[at]) else {
            return Some(format!(
                "has a partition more on the source than when the migration began, {name}: rows \
                 that it brought are not in the stream of changes"
            ));
        };
        if shape.attached_by != old.attached_by {
            return Some(format!(
                "had its partition {name} detached on the source since the migration began: \
                 changes that were made to it then are not in the stream"
            ));
        }
        if shape.column_writers != old.column_writers && shape.oid_and_file != old.oid_and_file {
            return Some(format!(
                "was altered on the source since the migration began: a rewrite of the rows of \
                 {name} is not in the stream of changes"
            ));
        }
    }
    let gone = before.iter().find(|shape| find(now, shape).is_none())?;
    Some(format!(
        "has lost its partition {} on the source since the migration began: that its rows went \
         is not in the stream of changes",
        gone.name
    ))
}

/// Compares the files of partitions that are the same as before.
pub(super) fn files<'a>(now: &'a [PartitionShape], before: &[PartitionShape]) -> Files<'a> {
    let was = |shape: &PartitionShape| {
        let old = before.iter().find(|old| old.oid_and_file.0 == shape.oid_and_file.0);
        old.map_or(shape.oid_and_file.1, |old| old.oid_and_file.1)
    };
    let with_file: Vec<_> = now.iter().filter(|shape| shape.oid_and_file.1 != 0).collect();
    let others: Vec<_> = (with_file.iter())
        .map(|shape| (*shape, was(shape)))
        .filter(|(shape, was)| shape.oid_and_file.1 != *was)
        .collect();
    let Some((first, _)) = others.first() else {
        return Files::Same;
    };
    let at_once = others.iter().all(|(shape, _)| shape.writer == first.writer);
    if at_once && others.len() == with_file.len() { Files::AllAtOnce } else { Files::Some(others) }
}

/// Why a table with these partitions can't be followed, if it can't.
#[must_use]
pub fn why_not_followed(partitions: &[Partition]) -> Option<String> {
    partitions.iter().find_map(|partition| {
        let name = partition.name.plain();
        match (partition.kind, partition.persistence) {
            ('r' | 'p', 'p') => None,
            ('f', _) => Some(format!(
                "its partition {name} is a foreign table, whose changes are in no log here"
            )),
            ('r' | 'p', _) => {
                Some(format!("its partition {name} is unlogged, so its changes are not in the log"))
            }
            _ => Some(format!("its partition {name} is not a table")),
        }
    })
}

/// The statements that make every partition name its changed rows by the table's key; none if all
/// do.
#[must_use]
pub fn identity_statements(table: &Table, key: &Key) -> Vec<String> {
    let is_primary = table.unique_indexes.iter().any(|i| i.primary && i.name == key.index);
    let wrong = table.partitions.iter().filter(|partition| {
        let full = partition.replica_identity == ReplicaIdentity::Full;
        let own = partition.indexes.get(&key.index);
        let by_key = own.is_some() && own == partition.identity_index.as_ref();
        let right = full || table.replica_identity != ReplicaIdentity::Full && by_key;
        partition.kind == 'r' && !right
    });
    let statement = |partition: &Partition| {
        let identity = match partition.indexes.get(&key.index) {
            _ if table.replica_identity == ReplicaIdentity::Full => "FULL".to_owned(),
            Some(own) if !is_primary => format!("USING INDEX {}", Ident::new(own)),
            Some(_) => "DEFAULT".to_owned(),
            None => "FULL".to_owned(),
        };
        format!("ALTER TABLE {} REPLICA IDENTITY {identity}", partition.name)
    };
    wrong.map(statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(oid: u32, file: u32, writer: &str) -> PartitionShape {
        PartitionShape {
            name: format!("p{oid}"),
            oid_and_file: (oid, file),
            writer: writer.into(),
            attached_by: "a".into(),
            column_writers: "w".into(),
        }
    }

    #[test]
    fn partitions_that_come_go_or_are_rewritten_are_told() {
        let before = [shape(1, 1, "x"), shape(2, 2, "x")];
        assert_eq!(changed(&before, &before), None);
        assert_eq!(changed(&[shape(1, 5, "y"), shape(2, 2, "z")], &before), None);
        let more = changed(&[shape(1, 1, "x"), shape(2, 2, "x"), shape(3, 3, "x")], &before);
        assert!(more.unwrap().contains("p3"));
        assert!(changed(&before[1..], &before).unwrap().contains("lost its partition p1"));
        let again = PartitionShape { attached_by: "b".into(), ..shape(2, 2, "x") };
        assert!(changed(&[shape(1, 1, "x"), again], &before).unwrap().contains("p2 detached"));
        let rewritten = PartitionShape { column_writers: "v".into(), ..shape(2, 3, "x") };
        assert!(changed(&[shape(1, 1, "x"), rewritten], &before).unwrap().contains("rewrite"));
    }

    #[test]
    fn a_truncate_of_the_root_is_told_from_others() {
        let middle = shape(9, 0, "m");
        let before = [middle.clone(), shape(1, 1, "x"), shape(2, 2, "x")];
        let with = |a: PartitionShape, b: PartitionShape| [middle.clone(), a, b];
        assert_eq!(files(&before, &before), Files::Same);
        assert_eq!(files(&with(shape(1, 1, "y"), shape(2, 2, "z")), &before), Files::Same);
        let at_once = with(shape(1, 8, "t"), shape(2, 9, "t"));
        assert_eq!(files(&at_once, &before), Files::AllAtOnce);
        let (one, apart) = (shape(1, 8, "t"), with(shape(1, 8, "t"), shape(2, 9, "u")));
        assert_eq!(
            files(&with(one.clone(), shape(2, 2, "x")), &before),
            Files::Some(vec![(&one, 1)])
        );
        assert!(matches!(files(&apart, &before), Files::Some(both) if both.len() == 2));
    }
}
