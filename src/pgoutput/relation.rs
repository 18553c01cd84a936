//! Relation: which table and which columns the rows that follow belong to.
//!
//! ```text
//! Int32 oid, String schema ("" is pg_catalog), String name, Byte1 replica identity,
//! Int16 number of columns, then for each:
//!   Int8 flags (1: part of the key), String name, Int32 type oid, Int32 type modifier
//! ```
//!
//! The server sends one before the first change of a table and again whenever its cache entry was
//! thrown away (DDL, but also ANALYZE or GRANT), in the middle of a transaction too. So a second
//! one is usually equal to the first; [`OwnedRelation`] compares with `==` without allocating.

use std::{fmt, iter::FusedIterator};

use super::{decode::namespace, error::Fault};
use crate::{
    pg::{Oid, Xid},
    wire::Reader,
};

/// The table that later rows name by its oid, as it was at that moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// By which its rows name it.
    pub oid: Oid,
    /// Its schema.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What updates and deletes tell about the old row.
    pub replica_identity: ReplicaIdentity,
    /// The published columns.
    pub columns: RelationColumns<'a>,
}

impl<'a> Relation<'a> {
    /// `logicalrep_write_rel` (proto.c), after the tag and the xid.
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self {
            xid,
            oid: Oid(r.u32("oid of the relation")?),
            namespace: namespace(r)?,
            name: r.text("name of the relation")?,
            replica_identity: ReplicaIdentity::read(r)?,
            columns: RelationColumns::read(r)?,
        })
    }

    /// The published columns, in the order in which rows have them.
    #[must_use]
    pub const fn columns(&self) -> RelationColumns<'a> {
        self.columns
    }
}

/// `relreplident` of `pg_class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing: updates and deletes fail on the source.
    Nothing,
    /// The whole old row.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

impl ReplicaIdentity {
    fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        match r.u8("replica identity")? {
            b'd' => Ok(Self::Default),
            b'n' => Ok(Self::Nothing),
            b'f' => Ok(Self::Full),
            b'i' => Ok(Self::Index),
            byte => Err(Fault::Undefined("replica identity", byte)),
        }
    }

    /// The letter that `pg_class` and the message have for it.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Default => b'd',
            Self::Nothing => b'n',
            Self::Full => b'f',
            Self::Index => b'i',
        }
    }
}

/// One published column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity; all are under `FULL`.
    pub part_of_key: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type on the source.
    pub type_oid: Oid,
    /// `atttypmod`: the `10` of `varchar(10)`; -1 without.
    pub type_modifier: i32,
}

/// The columns of a [`Relation`]: a view of its bytes, checked when it was decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RelationColumns<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> RelationColumns<'a> {
    /// `logicalrep_write_attrs` (proto.c).
    fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let left = r.u16("number of columns")?;
        let mut start = *r;
        for _ in 0..left {
            read_column(r)?;
        }
        let length = start.rest().len() - r.rest().len();
        let bytes = start.bytes(length, "columns")?;
        Ok(Self { left, bytes })
    }

    /// Columns that were written by the encoder.
    pub(super) const fn from_parts(left: u16, bytes: &'a [u8]) -> Self {
        Self { left, bytes }
    }

    /// The columns that are left, as they were sent, without the number before them.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for RelationColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a> Iterator for RelationColumns<'a> {
    type Item = RelationColumn<'a>;

    fn next(&mut self) -> Option<RelationColumn<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut r = Reader::new(self.bytes);
        match read_column(&mut r) {
            Ok(column) => {
                self.bytes = r.rest();
                Some(column)
            }
            Err(fault) => {
                debug_assert!(false, "columns are checked when they are read: {fault:?}");
                None
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for RelationColumns<'_> {}
impl FusedIterator for RelationColumns<'_> {}

fn read_column<'a>(r: &mut Reader<'a>) -> Result<RelationColumn<'a>, Fault> {
    Ok(RelationColumn {
        part_of_key: match r.u8("flags of a column")? {
            0 => false,
            1 => true,
            byte => return Err(Fault::Undefined("flags of a column", byte)),
        },
        name: r.text("name of a column")?,
        type_oid: Oid(r.u32("type of a column")?),
        type_modifier: r.i32("type modifier of a column")?,
    })
}

/// A relation that outlives its message, for caches.
///
/// Equal to a [`Relation`] that says the same, whichever transaction says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnedRelation {
    /// By which its rows name it.
    pub oid: Oid,
    /// Its schema.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What updates and deletes tell about the old row.
    pub replica_identity: ReplicaIdentity,
    /// The published columns.
    pub columns: Vec<OwnedColumn>,
}

/// A column of an [`OwnedRelation`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnedColumn {
    /// Whether it is part of the replica identity.
    pub part_of_key: bool,
    /// Its name.
    pub name: String,
    /// Its type on the source.
    pub type_oid: Oid,
    /// `atttypmod`; -1 without.
    pub type_modifier: i32,
}

impl OwnedColumn {
    /// The same, borrowed.
    #[must_use]
    pub fn as_column(&self) -> RelationColumn<'_> {
        RelationColumn {
            part_of_key: self.part_of_key,
            name: &self.name,
            type_oid: self.type_oid,
            type_modifier: self.type_modifier,
        }
    }
}

impl From<RelationColumn<'_>> for OwnedColumn {
    fn from(column: RelationColumn<'_>) -> Self {
        Self {
            part_of_key: column.part_of_key,
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
        }
    }
}

impl From<Relation<'_>> for OwnedRelation {
    fn from(relation: Relation<'_>) -> Self {
        Self {
            oid: relation.oid,
            namespace: relation.namespace.to_owned(),
            name: relation.name.to_owned(),
            replica_identity: relation.replica_identity,
            columns: relation.columns.map(OwnedColumn::from).collect(),
        }
    }
}

impl PartialEq<Relation<'_>> for OwnedRelation {
    fn eq(&self, other: &Relation<'_>) -> bool {
        self.oid == other.oid
            && self.namespace == other.namespace
            && self.name == other.name
            && self.replica_identity == other.replica_identity
            && self.columns.iter().map(OwnedColumn::as_column).eq(other.columns)
    }
}
