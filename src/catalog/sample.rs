//! A table, a column and an index that unit tests change to what they are about.

use super::{BaseType, Column, Shape, Table, UniqueIndex};
use crate::{
    pg::{Ident, Oid, QualifiedName, ServerVersion},
    pgoutput::ReplicaIdentity,
    sql::Operators,
};

impl Table {
    /// An ordinary table without columns, rows and keys.
    pub(crate) fn sample(name: &str) -> Self {
        Self {
            release: ServerVersion::OLDEST,
            oid: Oid(1),
            name: QualifiedName::new("public", name),
            kind: 'r',
            persistence: 'p',
            replica_identity: ReplicaIdentity::Default,
            columns: Vec::new(),
            unique_indexes: Vec::new(),
            estimated_rows: None,
            bytes: 0,
            has_triggers: false,
            foreign_or_exclusion: Vec::new(),
            always_triggers: Vec::new(),
            inherits: false,
            row_types: [Oid(0); 2],
            partition_key: None,
            partitions: Vec::new(),
            shape: Shape {
                columns: "c".into(),
                column_writers: "w".into(),
                file: "f".into(),
                partitions: Vec::new(),
            },
        }
    }
}

impl Column {
    /// A nullable column without a default.
    pub(crate) fn sample(name: &str, type_oid: Oid, type_name: &str) -> Self {
        Self {
            name: Ident::new(name),
            type_oid,
            type_modifier: -1,
            type_name: type_name.into(),
            base: BaseType {
                oid: type_oid,
                name: type_name.into(),
                collation: None,
                is_enum: false,
            },
            not_null: false,
            unproven: None,
            expression: None,
            identity: None,
            generated: None,
            collation: None,
            merges: None,
            sequence: None,
        }
    }
}

impl UniqueIndex {
    /// One that any migration could use, on columns of this table.
    pub(crate) fn sample(name: &str, columns: &[&str]) -> Self {
        Self {
            name: name.into(),
            primary: false,
            replica_identity: false,
            immediate: true,
            valid: true,
            partial: false,
            expressions: false,
            default_order: true,
            tells_apart: true,
            columns: columns.iter().map(|column| Ident::new(*column)).collect(),
            operators: vec![Operators::builtin(); columns.len()],
        }
    }
}
