//! The messages that a simulated server sends more than once in the same form.

use crate::{
    pg::{Lsn, Oid, Xid},
    pgoutput::{
        Delete, Insert, LogicalMessage, Message, OldTuple, Origin, Relation, ReplicaIdentity,
        Truncate, TupleValue, TypeMessage, Update,
        encode::{ColumnsBuf, OidsBuf, TupleBuf, to_bytes},
    },
};

pub(super) fn gid(xid: Xid) -> String {
    format!("gid {xid}")
}

pub(super) const fn origin() -> Message<'static> {
    Message::Origin(Origin { commit_lsn: Lsn(77), name: "elsewhere" })
}

/// The change of this number, always the same one.
pub(crate) fn change_bytes(number: u32, xid: Option<Xid>) -> Vec<u8> {
    let relation = Oid(number);
    let text = "x".repeat(if number.is_multiple_of(17) { 300 } else { number as usize % 40 });
    let row = TupleBuf::from_iter([TupleValue::Text(text.as_bytes()), TupleValue::Unchanged]);
    let key = TupleBuf::from_iter([TupleValue::Binary(text.as_bytes()), TupleValue::Null]);
    let (new, old) = (row.tuple(), OldTuple::Key(key.tuple()));
    let columns = ColumnsBuf::default();
    let relations = OidsBuf::from_iter([relation, Oid(5)]);
    to_bytes(&match number % 9 {
        0 => Message::Relation(Relation {
            xid,
            oid: relation,
            namespace: "public",
            name: &text,
            replica_identity: ReplicaIdentity::Default,
            columns: columns.columns(),
        }),
        1 => Message::Type(TypeMessage { xid, oid: relation, namespace: "public", name: &text }),
        2 => Message::Delete(Delete { xid, relation, old }),
        3 => Message::Update(Update { xid, relation, old: None, new }),
        4 => Message::Update(Update { xid, relation, old: Some(old), new }),
        5 => Message::Truncate(Truncate {
            xid,
            cascade: true,
            restart_identity: false,
            relations: relations.oids(),
        }),
        6 => Message::Logical(LogicalMessage {
            xid,
            transactional: true,
            lsn: Lsn(number.into()),
            prefix: "p",
            content: text.as_bytes(),
        }),
        _ => Message::Insert(Insert { xid, relation, new }),
    })
}
