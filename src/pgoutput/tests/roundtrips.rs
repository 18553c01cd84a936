//! Any value, written and read again, is the same value; so is any message, read and written.

use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::samples::{all, in_block, outside};
use crate::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        AbortInfo, Begin, BeginPrepare, Commit, CommitPrepared, Decoder, Delete, Insert,
        LogicalMessage, Message, OldTuple, Origin, OwnedColumn, Prepare, ProtoVersion, Relation,
        ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit, StreamStart, Streaming,
        Truncate, TupleValue, TypeMessage, Update,
        encode::{ColumnsBuf, OidsBuf, TupleBuf, to_bytes},
    },
};

#[derive(Clone, Debug)]
enum Value {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Value {
    fn borrow(&self) -> TupleValue<'_> {
        match self {
            Self::Null => TupleValue::Null,
            Self::Unchanged => TupleValue::Unchanged,
            Self::Text(bytes) => TupleValue::Text(bytes),
            Self::Binary(bytes) => TupleValue::Binary(bytes),
        }
    }
}

fn values() -> impl Strategy<Value = Vec<Value>> {
    let bytes = || vec(any::<u8>(), 0..40);
    let value = prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        bytes().prop_map(Value::Text),
        bytes().prop_map(Value::Binary),
    ];
    vec(value, 0..70)
}

/// Only inside a block, and never 0.
fn xid() -> impl Strategy<Value = Option<Xid>> {
    option::of((1..=u32::MAX).prop_map(Xid))
}

fn lsn() -> impl Strategy<Value = Lsn> {
    (1..=u64::MAX).prop_map(Lsn)
}

fn time() -> impl Strategy<Value = PgTimestamp> {
    any::<i64>().prop_map(PgTimestamp)
}

fn name() -> impl Strategy<Value = String> {
    "[^\0]{1,20}"
}

fn column() -> impl Strategy<Value = OwnedColumn> {
    (any::<bool>(), name(), any::<u32>(), any::<i32>()).prop_map(
        |(part_of_key, name, oid, type_modifier)| OwnedColumn {
            part_of_key,
            name,
            type_oid: Oid(oid),
            type_modifier,
        },
    )
}

fn survives_in(mut decoder: Decoder, message: Message<'_>) {
    let bytes = to_bytes(&message);
    assert_eq!(decoder.decode(&bytes), Ok(message));
}

/// Through a decoder that stands where the message can.
fn survives(xid: Option<Xid>, message: Message<'_>) {
    let decoder = if xid.is_some() { in_block() } else { outside() };
    survives_in(decoder, message);
}

proptest! {
    #[test]
    fn any_row(xid in xid(), oid: u32, full: bool, old in values(), new in values()) {
        let relation = Oid(oid);
        let before: TupleBuf = old.iter().map(Value::borrow).collect();
        let after: TupleBuf = new.iter().map(Value::borrow).collect();
        prop_assert!(after.tuple().values().eq(new.iter().map(Value::borrow)));
        prop_assert_eq!(before.tuple().len(), old.len());
        let mark = if full { OldTuple::Full } else { OldTuple::Key };
        let (old, new) = (mark(before.tuple()), after.tuple());
        survives(xid, Message::Insert(Insert { xid, relation, new }));
        survives(xid, Message::Delete(Delete { xid, relation, old }));
        for old in [None, Some(old)] {
            survives(xid, Message::Update(Update { xid, relation, old, new }));
        }
    }

    #[test]
    fn any_relation_or_type(
        xid in xid(),
        oid: u32,
        names in (name(), name()),
        identity in 0..4_usize,
        columns in vec(column(), 0..20),
    ) {
        let (oid, (namespace, name)) = (Oid(oid), (&*names.0, &*names.1));
        let identities = [
            ReplicaIdentity::Default,
            ReplicaIdentity::Nothing,
            ReplicaIdentity::Full,
            ReplicaIdentity::Index,
        ];
        let buf: ColumnsBuf = columns.iter().map(OwnedColumn::as_column).collect();
        prop_assert!(buf.columns().eq(columns.iter().map(OwnedColumn::as_column)));
        survives(xid, Message::Type(TypeMessage { xid, oid, namespace, name }));
        survives(xid, Message::Relation(Relation {
            xid,
            oid,
            namespace,
            name,
            replica_identity: identities[identity],
            columns: buf.columns(),
        }));
    }

    #[test]
    fn any_truncate_or_logical_message(
        xid in xid(),
        flags: (bool, bool, bool),
        oids in vec(any::<u32>().prop_map(Oid), 0..20),
        lsn: u64,
        prefix in "[^\0]{0,20}",
        content in vec(any::<u8>(), 0..100),
    ) {
        let buf: OidsBuf = oids.iter().copied().collect();
        prop_assert!(buf.oids().eq(oids));
        survives(xid, Message::Truncate(Truncate {
            xid,
            cascade: flags.0,
            restart_identity: flags.1,
            relations: buf.oids(),
        }));
        survives(xid, Message::Logical(LogicalMessage {
            xid,
            transactional: flags.2,
            lsn: Lsn(lsn),
            prefix: &prefix,
            content: &content,
        }));
    }

    #[test]
    fn any_end_of_a_transaction(
        xids in (1..=u32::MAX, 1..=u32::MAX),
        lsns in (lsn(), lsn()),
        times in (time(), time()),
        first: bool,
        gid in name(),
    ) {
        let (xid, subxid, gid) = (Xid(xids.0), Xid(xids.1), &*gid);
        let (start, end_lsn) = lsns;
        let (time, rollback_time) = times;
        let prepare = Prepare { prepare_lsn: start, end_lsn, prepare_time: time, xid, gid };
        let info = Some(AbortInfo { lsn: start, time });
        let parallel = Decoder::new(ProtoVersion::V4, Streaming::Parallel);
        survives_in(parallel, Message::StreamAbort(StreamAbort { xid, subxid, info }));
        for message in [
            Message::Begin(Begin { final_lsn: start, commit_time: time, xid }),
            Message::Commit(Commit { commit_lsn: start, end_lsn, commit_time: time }),
            Message::Origin(Origin { commit_lsn: start, name: gid }),
            Message::StreamStart(StreamStart { xid, first }),
            Message::StreamCommit(StreamCommit {
                xid, commit_lsn: start, end_lsn, commit_time: time,
            }),
            Message::StreamAbort(StreamAbort { xid, subxid, info: None }),
            Message::BeginPrepare(BeginPrepare {
                prepare_lsn: start, end_lsn, prepare_time: time, xid, gid,
            }),
            Message::Prepare(prepare),
            Message::StreamPrepare(prepare),
            Message::CommitPrepared(CommitPrepared {
                commit_lsn: start, end_lsn, commit_time: time, xid, gid,
            }),
            Message::RollbackPrepared(RollbackPrepared {
                prepare_end_lsn: start,
                rollback_end_lsn: end_lsn,
                prepare_time: time,
                rollback_time,
                xid,
                gid,
            }),
        ] {
            survives(None, message);
        }
    }

    #[test]
    fn whatever_is_decoded_is_encoded_as_something_that_decodes_to_the_same(
        sample: Index,
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        tail in vec(any::<u8>(), 0..4),
    ) {
        let samples = all();
        let sample = sample.get(&samples);
        let mut bytes = [sample.bytes, &*tail].concat();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(message) = sample.decoder.clone().decode(&bytes) {
            survives_in(sample.decoder.clone(), message);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..200), inside: bool) {
        let mut decoder = if inside { in_block() } else { outside() };
        // Either is an answer.
        let _ = decoder.decode(&bytes);
    }
}
