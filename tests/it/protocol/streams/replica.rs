//! Tables made of nothing but what a stream said, in the order of its commits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use pghost::{
    pg::Oid,
    pgoutput::{OwnedRelation, ReplicaIdentity},
};

use super::resolve::{Change, Old, Row, Transaction, Value};

/// The values of a row by the names of their columns.
pub(super) type Named = BTreeMap<String, Value>;

/// A table as the stream last described it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) relation: Arc<OwnedRelation>,
    pub(super) rows: Vec<Named>,
}

#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) tables: HashMap<Oid, Table>,
}

impl Replica {
    pub(super) fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            match change {
                Change::Insert { table, new } => self.table(table).push(named(table, new)),
                Change::Update { table, old, new } => self.update(table, old.as_ref(), new),
                Change::Delete { table, old } => {
                    let rows = self.table(table);
                    let at = find(rows, table, old);
                    rows.swap_remove(at);
                }
                Change::Truncate { tables, .. } => {
                    tables.iter().for_each(|table| self.table(table).clear());
                }
                Change::Message { .. } => {}
            }
        }
    }

    fn table(&mut self, relation: &Arc<OwnedRelation>) -> &mut Vec<Named> {
        let new = || Table { relation: relation.clone(), rows: Vec::new() };
        let table = self.tables.entry(relation.oid).or_insert_with(new);
        table.relation = relation.clone();
        &mut table.rows
    }

    fn update(&mut self, table: &OwnedRelation, old: Option<&Old>, new: &Row) {
        let rows = self.table(&Arc::new(table.clone()));
        let key_of_new = Old::Key(new.clone());
        let old = old.unwrap_or(&key_of_new);
        let at = find(rows, table, old);
        let mut new = named(table, new);
        for (name, value) in &mut new {
            if *value == Value::Unchanged {
                // Where the whole old row was sent it must be able to tell.
                *value = match old {
                    Old::Full(old) => named(table, old)[name].clone(),
                    Old::Key(_) => rows[at][name].clone(),
                };
            }
        }
        rows[at] = new;
    }
}

fn named(table: &OwnedRelation, row: &Row) -> Named {
    assert_eq!(table.columns.len(), row.len(), "{table:?}: {row:?}");
    table.columns.iter().map(|column| column.name.clone()).zip(row.iter().cloned()).collect()
}

/// The row that an old tuple means.
fn find(rows: &[Named], table: &OwnedRelation, old: &Old) -> usize {
    let (old, full) = match old {
        Old::Key(row) => (named(table, row), false),
        Old::Full(row) => (named(table, row), true),
    };
    assert_eq!(full, table.replica_identity == ReplicaIdentity::Full);
    let wanted: Vec<_> = table.columns.iter().filter(|column| column.part_of_key).collect();
    assert!(!wanted.is_empty() && (!full || wanted.len() == table.columns.len()), "{table:?}");
    let same = |row: &Named| {
        wanted.iter().all(|column| {
            // A column that was added after the row is null in it.
            row.get(&column.name).unwrap_or(&Value::Null) == &old[&column.name]
        })
    };
    let found = rows.iter().position(same);
    found.unwrap_or_else(|| panic!("{} has no row {old:?}", table.name))
}
