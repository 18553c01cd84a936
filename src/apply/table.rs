//! A table as changes are applied to it: which value of the stream goes where.

use super::Fold;
use crate::{
    catalog::Foundation,
    pg::{Ident, Lsn, Oid, QualifiedName},
    pgoutput::{Relation, ReplicaIdentity},
    sql::KeyColumn,
};

/// A column that travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyColumn {
    /// Its name, the same on both sides.
    pub name: Ident,
    /// Its type on the source, as Relation messages name it.
    pub source_type: Oid,
    /// The type's modifier there.
    pub source_modifier: i32,
    /// Its type on the target, which parameters are declared with.
    pub target_type: Oid,
    /// The type below that one, as SQL spells it, where it is a domain.
    pub below_domain: Option<String>,
}

/// A table of the migration.
#[derive(Clone, Debug)]
pub struct ApplyTable {
    /// Its place in the migration.
    pub ordinal: usize,
    /// Its object id on the source.
    pub source_oid: Oid,
    /// Its name on the source.
    pub source: QualifiedName,
    /// Its name on the target.
    pub target: QualifiedName,
    /// What must be so on the source whenever rows are read, and after it was described anew.
    pub foundation: Foundation,
    /// What must be so on the target whenever rows are written, once `lock` was taken.
    pub ground: Foundation,
    /// The statement after which that stays so to the end of a transaction.
    pub lock: String,
    /// The columns that travel, in the order of the source.
    pub columns: Vec<ApplyColumn>,
    /// The key on the source: how fetched rows are found.
    pub source_key: Vec<KeyColumn>,
    /// The key on the target, its columns in the same order.
    pub target_key: Vec<KeyColumn>,
    /// Whether equal keys always have equal bytes, so that bytes tell which lane a key is of.
    pub keys_are_bytes: bool,
    /// Every page of it was read by then; what is later in the log was not there yet.
    pub pages_until: Lsn,
    /// How the log names the rows that change.
    pub replica_identity: ReplicaIdentity,
    /// Columns of the source that do not travel: generated ones, and new ones.
    pub left_out: Vec<Ident>,
    /// The generated ones among them.
    pub computed: Vec<Ident>,
    /// Whether new columns that the stream brings are left out, too.
    pub ignores_new: bool,
    /// Whether many changes may go by way of a staging table.
    pub staged: bool,
}

impl ApplyTable {
    /// The places of the key's columns among those that travel.
    #[must_use]
    pub fn key_places(&self) -> Vec<usize> {
        self.target_key
            .iter()
            .filter_map(|key| self.columns.iter().position(|c| c.name == key.name))
            .collect()
    }

    /// The names of the columns that travel.
    #[must_use]
    pub fn column_names(&self) -> Vec<Ident> {
        self.columns.iter().map(|c| c.name.clone()).collect()
    }

    /// An empty fold for it.
    #[must_use]
    pub fn fold(&self) -> Fold {
        Fold::new(self.columns.len(), self.key_places())
    }

    /// Leaves out what the stream brings of columns that are not of the migration, if that is asked
    /// for, and gives those that were not left out before. The source may have them no longer.
    pub fn leave_out_new(&mut self, relation: &Relation<'_>) -> Vec<Ident> {
        if !self.ignores_new {
            return Vec::new();
        }
        let full = self.replica_identity == ReplicaIdentity::Full;
        let new: Vec<_> = relation
            .columns()
            .filter(|column| full || !column.part_of_key)
            .map(|column| Ident::new(column.name))
            .filter(|name| self.columns.iter().all(|c| c.name != *name))
            .filter(|name| !self.left_out.contains(name))
            .collect();
        self.left_out.extend(new.iter().cloned());
        new
    }

    /// Where each value of the stream goes, or how the table differs from what it was when the
    /// migration began.
    ///
    /// Relation messages come again after many harmless commands (ANALYZE, GRANT, CREATE
    /// INDEX), so one that says the same is nothing. They name columns in the order of their
    /// numbers, which never changes: names in another order were exchanged.
    pub fn mapping(&self, relation: &Relation<'_>) -> Result<Vec<Option<usize>>, String> {
        if relation.replica_identity != self.replica_identity {
            return Err("its REPLICA IDENTITY is another".into());
        }
        let full = self.replica_identity == ReplicaIdentity::Full;
        let mut mapping = Vec::new();
        for column in relation.columns() {
            let place = self.columns.iter().position(|c| c.name.as_str() == column.name);
            match place {
                Some(at)
                    if self.columns[at].source_type != column.type_oid
                        || self.columns[at].source_modifier != column.type_modifier =>
                {
                    return Err(format!("the type of column {} is another", column.name));
                }
                // Under FULL every column is flagged.
                Some(at) if !full && column.part_of_key != self.key_places().contains(&at) => {
                    return Err("the key that its changes are logged by is another".into());
                }
                None if self.left_out.iter().all(|name| name.as_str() != column.name) => {
                    return Err(format!("column {} is new or renamed", column.name));
                }
                _ => mapping.push(place),
            }
        }
        if let Some(gone) = (0..self.columns.len()).find(|at| !mapping.contains(&Some(*at))) {
            return Err(format!("column {} is gone", self.columns[gone].name.as_str()));
        }
        self.is_in_order(relation).map(|()| mapping)
    }

    /// The columns that travel come first, by their names and in their order. Those that are left
    /// out are computed, and may stand anywhere, or are new, and stand behind.
    fn is_in_order(&self, relation: &Relation<'_>) -> Result<(), String> {
        let is_computed =
            |name: &str| self.computed.iter().any(|computed| computed.as_str() == name);
        let names = relation.columns().map(|column| column.name).filter(|name| !is_computed(name));
        let renamed: Vec<_> = (self.columns.iter().zip(names))
            .filter(|(column, name)| column.name.as_str() != *name)
            .map(|(column, name)| format!("{} to {name}", column.name.as_str()))
            .collect();
        if renamed.is_empty() {
            return Ok(());
        }
        Err(format!("renamed: {}", renamed.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgoutput::{RelationColumn, encode::ColumnsBuf};

    fn table() -> ApplyTable {
        let column = |name, oid| ApplyColumn {
            name: Ident::new(name),
            source_type: Oid(oid),
            source_modifier: -1,
            target_type: Oid(oid),
            below_domain: None,
        };
        let key = KeyColumn::builtin("id", 23, "integer");
        ApplyTable {
            ordinal: 0,
            source_oid: Oid(1),
            source: QualifiedName::new("s", "t"),
            target: QualifiedName::new("s", "t"),
            foundation: Foundation::default(),
            ground: Foundation::default(),
            lock: String::new(),
            columns: vec![column("id", 23), column("v", 25)],
            source_key: Vec::new(),
            target_key: vec![key],
            keys_are_bytes: true,
            pages_until: Lsn::INVALID,
            replica_identity: ReplicaIdentity::Default,
            left_out: vec![Ident::new("g")],
            computed: vec![Ident::new("g")],
            ignores_new: false,
            staged: true,
        }
    }

    fn mapping(columns: &[(&str, u32)]) -> Result<Vec<Option<usize>>, String> {
        with_relation(columns, |relation| table().mapping(relation))
    }

    fn with_relation<T>(columns: &[(&str, u32)], what: impl FnOnce(&Relation<'_>) -> T) -> T {
        let mut builder = ColumnsBuf::default();
        for (name, oid) in columns {
            builder.push(RelationColumn {
                part_of_key: *name == "id",
                name,
                type_oid: Oid(*oid),
                type_modifier: -1,
            });
        }
        what(&Relation {
            xid: None,
            oid: Oid(1),
            namespace: "s",
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: builder.columns(),
        })
    }

    #[test]
    fn values_find_their_columns() {
        assert_eq!(mapping(&[("id", 23), ("g", 23), ("v", 25)]), Ok(vec![Some(0), None, Some(1)]));
    }

    #[test]
    fn names_that_were_exchanged_are_told() {
        let exchanged = mapping(&[("v", 25), ("g", 23), ("id", 23)]);
        assert_eq!(exchanged.unwrap_err(), "renamed: id to v, v to id");
        // The new one has the name of the old one, which is among those that are left out.
        let mut table = ApplyTable { ignores_new: true, ..table() };
        let columns = [("id", 23), ("g", 23), ("v_old", 25), ("v", 25)];
        let taken = with_relation(&columns, |relation| {
            table.leave_out_new(relation);
            table.mapping(relation)
        });
        assert_eq!(taken.unwrap_err(), "renamed: v to v_old");
    }

    #[test]
    fn a_changed_table_is_told_apart() {
        assert!(mapping(&[("id", 23)]).unwrap_err().contains("v is gone"));
        assert!(mapping(&[("id", 20), ("v", 25)]).unwrap_err().contains("type of column id"));
        let new = mapping(&[("id", 23), ("v", 25), ("w", 25)]);
        assert!(new.unwrap_err().contains("w is new"));
    }

    #[test]
    fn new_columns_are_left_out_by_name_if_that_is_asked_for() {
        let mut table = ApplyTable { ignores_new: true, ..table() };
        let mut take = |columns: &[(&str, u32)]| {
            with_relation(columns, |relation| {
                (table.leave_out_new(relation), table.mapping(relation))
            })
        };
        let new = [("id", 23), ("g", 23), ("v", 25), ("w", 25)];
        let mapping = vec![Some(0), None, Some(1), None];
        assert_eq!(take(&new), (vec![Ident::new("w")], Ok(mapping.clone())));
        assert_eq!(take(&new), (Vec::new(), Ok(mapping)));
        // Renamed is gone.
        let (_, renamed) = take(&[("id", 23), ("m", 25)]);
        assert!(renamed.unwrap_err().contains("v is gone"));
    }
}
