//! The source's tables and what the log says of their changes, as pgoutput's bytes.

use super::{COLUMNS, Row};
use crate::pg::Lsn;
use crate::{
    pg::{Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, Commit, Delete, Insert, LogicalMessage, Message, OldTuple, Relation, RelationColumn,
        ReplicaIdentity, Truncate, TupleValue, Update,
        encode::{ColumnsBuf, OidsBuf, TupleBuf, to_bytes},
    },
};

/// The type of every column.
pub(super) const TEXT: Oid = Oid(25);

/// The name of a computed column.
pub(super) const COMPUTED: &str = "computed";

/// A table of the source.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) oid: Oid,
    pub(super) name: &'static str,
    /// REPLICA IDENTITY FULL.
    pub(super) full: bool,
    /// Its keys are stored out of line.
    pub(super) long_keys: bool,
    /// A computed column comes before the others, which the target has none of.
    pub(super) computed: bool,
}

/// Whether a value is stored out of line.
fn is_out_of_line(value: Option<&String>) -> bool {
    value.is_some_and(|value| value.starts_with('B'))
}

impl Table {
    /// A key of it.
    pub(super) fn key(&self, number: usize) -> String {
        format!("{}{number}", if self.long_keys { 'B' } else { 'k' })
    }

    pub(super) fn identity(&self) -> ReplicaIdentity {
        if self.full { ReplicaIdentity::Full } else { ReplicaIdentity::Default }
    }

    /// Which of the target's columns comes at each place, if any.
    pub(super) fn order(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        self.computed.then_some(None).into_iter().chain((0..COLUMNS.len()).map(Some))
    }

    fn tuple<'a>(&self, value: impl Fn(usize) -> TupleValue<'a>) -> TupleBuf {
        self.order().map(|at| at.map_or(TupleValue::Text(b"computed"), &value)).collect()
    }

    fn whole(&self, row: &Row) -> TupleBuf {
        self.tuple(|at| sent(row[at].as_ref()))
    }

    /// What the log says of the row before a change.
    fn old(&self, row: &Row) -> TupleBuf {
        let key = |at: usize| if at == 0 { sent(row[0].as_ref()) } else { TupleValue::Null };
        if self.full { self.whole(row) } else { self.tuple(key) }
    }

    pub(super) fn relation(&self) -> Vec<u8> {
        let column = |at: Option<usize>| RelationColumn {
            part_of_key: self.full || at == Some(0),
            name: at.map_or(COMPUTED, |at| COLUMNS[at]),
            type_oid: TEXT,
            type_modifier: -1,
        };
        let columns: ColumnsBuf = self.order().map(column).collect();
        to_bytes(&Message::Relation(Relation {
            xid: None,
            oid: self.oid,
            namespace: "public",
            name: self.name,
            replica_identity: self.identity(),
            columns: columns.columns(),
        }))
    }

    pub(super) fn insert(&self, row: &Row) -> Vec<u8> {
        let new = self.whole(row);
        to_bytes(&Message::Insert(Insert { xid: None, relation: self.oid, new: new.tuple() }))
    }

    /// An update. A value out of line that it does not touch is not in the log.
    pub(super) fn update(&self, before: &Row, after: &Row) -> Vec<u8> {
        let old = self.old(before);
        let new = self.tuple(|at| match after[at].as_ref() {
            value if is_out_of_line(value) && before[at] == after[at] => TupleValue::Unchanged,
            value => sent(value),
        });
        let keyed = before[0] != after[0] || is_out_of_line(before[0].as_ref());
        to_bytes(&Message::Update(Update {
            xid: None,
            relation: self.oid,
            old: (self.full || keyed).then(|| self.as_old(&old)),
            new: new.tuple(),
        }))
    }

    pub(super) fn delete(&self, row: &Row) -> Vec<u8> {
        let old = self.old(row);
        let old = self.as_old(&old);
        to_bytes(&Message::Delete(Delete { xid: None, relation: self.oid, old }))
    }

    fn as_old<'a>(&self, old: &'a TupleBuf) -> OldTuple<'a> {
        if self.full { OldTuple::Full(old.tuple()) } else { OldTuple::Key(old.tuple()) }
    }
}

fn sent(value: Option<&String>) -> TupleValue<'_> {
    value.map_or(TupleValue::Null, |value| TupleValue::Text(value.as_bytes()))
}

pub(super) fn truncate(tables: &[Oid]) -> Vec<u8> {
    let relations: OidsBuf = tables.iter().copied().collect();
    to_bytes(&Message::Truncate(Truncate {
        xid: None,
        cascade: false,
        restart_identity: false,
        relations: relations.oids(),
    }))
}

/// What marks the checkpoint.
pub(super) fn mark(lsn: Lsn) -> Vec<u8> {
    to_bytes(&Message::Logical(LogicalMessage {
        xid: None,
        transactional: true,
        lsn,
        prefix: "pghost",
        content: b"checkpoint",
    }))
}

pub(super) fn begin(xid: Xid, final_lsn: Lsn) -> Vec<u8> {
    to_bytes(&Message::Begin(Begin { final_lsn, commit_time: PgTimestamp(0), xid }))
}

pub(super) fn commit(commit_lsn: Lsn, end_lsn: Lsn) -> Vec<u8> {
    to_bytes(&Message::Commit(Commit { commit_lsn, end_lsn, commit_time: PgTimestamp(0) }))
}
