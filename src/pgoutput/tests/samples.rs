//! One message or more of each kind: its bytes, and what they mean.

use crate::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        AbortInfo, Begin, BeginPrepare, Commit, CommitPrepared, Decoder, Delete, Insert,
        LogicalMessage, Message, OldTuple, Origin, Prepare, ProtoVersion, Relation, RelationColumn,
        RelationColumns, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit, StreamStart,
        Streaming, Truncate, Tuple, TupleValue, TypeMessage, Update,
        encode::{ColumnsBuf, OidsBuf, TupleBuf},
    },
};

/// Bytes and their meaning.
pub(super) struct Sample {
    /// What it shows.
    pub(super) name: &'static str,
    /// At the place in the stream where the message can stand.
    pub(super) decoder: Decoder,
    /// As the server sends them.
    pub(super) bytes: &'static [u8],
    /// What they mean.
    pub(super) message: Message<'static>,
}

/// A decoder at the start of a stream.
pub(super) const fn outside() -> Decoder {
    Decoder::new(ProtoVersion::V4, Streaming::On)
}

/// A decoder between Stream Start and Stream Stop.
pub(super) fn in_block() -> Decoder {
    let mut decoder = outside();
    decoder.decode(b"S\0\0\0\x07\x01").unwrap();
    decoder
}

/// All of them.
pub(super) fn all() -> Vec<Sample> {
    let v1 = || Decoder::new(ProtoVersion::V1, Streaming::Off);
    let parallel = Decoder::new(ProtoVersion::V4, Streaming::Parallel);
    let mut samples = Vec::new();
    let mut add = |name, decoder: Decoder, bytes: &'static [u8], message| {
        samples.push(Sample { name, decoder, bytes, message });
    };
    for (name, bytes, message) in transactions().into_iter().chain(descriptions()).chain(rows()) {
        add(name, v1(), bytes, message);
    }
    for (name, bytes, message) in streamed() {
        add(name, in_block(), bytes, message);
    }
    for (name, bytes, message) in around_blocks().into_iter().chain(two_phase()) {
        add(name, outside(), bytes, message);
    }
    add(
        "stream abort, parallel",
        parallel,
        b"A\0\0\0\x07\0\0\0\x08\0\0\0\0\x01\0\0\x01\0\0\0\0\0\0\0\x09",
        Message::StreamAbort(StreamAbort {
            xid: Xid(7),
            subxid: Xid(8),
            info: Some(AbortInfo { lsn: Lsn(0x0100_0001), time: PgTimestamp(9) }),
        }),
    );
    samples
}

type Row = (&'static str, &'static [u8], Message<'static>);

fn transactions() -> Vec<Row> {
    vec![
        (
            "begin",
            b"B\0\0\0\0\x01\x6b\x37\x08\0\x02\xb6\x31\x9c\x4a\x13\x88\0\0\x02\xf1",
            Message::Begin(Begin {
                final_lsn: Lsn(0x016b_3708),
                commit_time: PgTimestamp(0x0002_b631_9c4a_1388),
                xid: Xid(753),
            }),
        ),
        (
            "commit",
            b"C\0\0\0\0\0\x01\x6b\x37\x08\0\0\0\0\x01\x6b\x37\x38\xff\xff\xff\xff\xff\xff\xff\xff",
            Message::Commit(Commit {
                commit_lsn: Lsn(0x016b_3708),
                end_lsn: Lsn(0x016b_3738),
                commit_time: PgTimestamp(-1),
            }),
        ),
        (
            "origin of a session that did not say where",
            b"O\0\0\0\0\0\0\0\0node_b\0",
            Message::Origin(Origin { commit_lsn: Lsn::INVALID, name: "node_b" }),
        ),
        (
            "truncate with both options",
            b"T\0\0\0\x02\x03\0\0\x40\x01\0\0\x40\x02",
            truncate(None, true, true, &[0x4001, 0x4002]),
        ),
        ("truncate of nothing", b"T\0\0\0\0\0", truncate(None, false, false, &[])),
        (
            "logical message",
            b"M\x01\0\0\0\0\0\0\x10\0ghost\0\0\0\0\x02\0\xff",
            Message::Logical(LogicalMessage {
                xid: None,
                transactional: true,
                lsn: Lsn(0x1000),
                prefix: "ghost",
                content: b"\0\xff",
            }),
        ),
    ]
}

fn descriptions() -> Vec<Row> {
    vec![
        (
            "relation",
            b"R\0\0\x40\x01public\0orders\0d\0\x02\
              \x01id\0\0\0\0\x14\xff\xff\xff\xff\0n\xc3\xb6te\0\0\0\x04\x13\0\0\0\x0e",
            relation(None),
        ),
        (
            "relation of pg_catalog without columns, identity full",
            b"R\0\0\x40\x01\0t\0f\0\0",
            Message::Relation(Relation {
                xid: None,
                oid: Oid(0x4001),
                namespace: "pg_catalog",
                name: "t",
                replica_identity: ReplicaIdentity::Full,
                columns: columns(&[]),
            }),
        ),
        (
            "type",
            b"Y\0\0\x40\x05app\0mood\0",
            Message::Type(TypeMessage {
                xid: None,
                oid: Oid(0x4005),
                namespace: "app",
                name: "mood",
            }),
        ),
    ]
}

fn rows() -> Vec<Row> {
    use TupleValue::{Binary, Null, Text, Unchanged};
    let row = |old, new: &[TupleValue<'_>]| {
        Message::Update(Update { xid: None, relation: Oid(0x4001), old, new: tuple(new) })
    };
    vec![
        (
            "insert with every kind of value",
            b"I\0\0\x40\x01N\0\x05t\0\0\0\x0242nub\0\0\0\x01\0t\0\0\0\0",
            insert(None, &[Text(b"42"), Null, Unchanged, Binary(b"\0"), Text(b"")]),
        ),
        ("insert without columns", b"I\0\0\x40\x01N\0\0", insert(None, &[])),
        ("update", b"U\0\0\x40\x01N\0\x02t\0\0\0\x011u", row(None, &[Text(b"1"), Unchanged])),
        (
            "update of the key",
            b"U\0\0\x40\x01K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012n",
            row(Some(OldTuple::Key(tuple(&[Text(b"1"), Null]))), &[Text(b"2"), Null]),
        ),
        (
            "update under identity full",
            b"U\0\0\x40\x01O\0\x01b\0\0\0\x01\x01N\0\x01b\0\0\0\x01\x02",
            row(Some(OldTuple::Full(tuple(&[Binary(b"\x01")]))), &[Binary(b"\x02")]),
        ),
        (
            "delete by key",
            b"D\0\0\x40\x01K\0\x02t\0\0\0\x0219n",
            delete(None, OldTuple::Key(tuple(&[Text(b"19"), Null]))),
        ),
        (
            "delete under identity full",
            b"D\0\0\x40\x01O\0\x01t\0\0\0\x0219",
            delete(None, OldTuple::Full(tuple(&[Text(b"19")]))),
        ),
    ]
}

fn streamed() -> Vec<Row> {
    let sub = Some(Xid(8));
    vec![
        ("stream stop", b"E", Message::StreamStop),
        ("insert in a block", b"I\0\0\0\x08\0\0\x40\x01N\0\x01n", insert(sub, &[TupleValue::Null])),
        (
            "update in a block",
            b"U\0\0\0\x08\0\0\x40\x01N\0\x01n",
            Message::Update(Update {
                xid: sub,
                relation: Oid(0x4001),
                old: None,
                new: tuple(&[TupleValue::Null]),
            }),
        ),
        (
            "delete in a block",
            b"D\0\0\0\x08\0\0\x40\x01K\0\x01n",
            delete(sub, OldTuple::Key(tuple(&[TupleValue::Null]))),
        ),
        (
            "truncate in a block",
            b"T\0\0\0\x08\0\0\0\x01\x01\0\0\x40\x01",
            truncate(sub, true, false, &[0x4001]),
        ),
        (
            "relation in a block",
            b"R\0\0\0\x08\0\0\x40\x01public\0orders\0d\0\x02\
              \x01id\0\0\0\0\x14\xff\xff\xff\xff\0n\xc3\xb6te\0\0\0\x04\x13\0\0\0\x0e",
            relation(sub),
        ),
        (
            "type in a block",
            b"Y\0\0\0\x08\0\0\x40\x05\0mood\0",
            Message::Type(TypeMessage {
                xid: sub,
                oid: Oid(0x4005),
                namespace: "pg_catalog",
                name: "mood",
            }),
        ),
        (
            "logical message in a block",
            b"M\0\0\0\x08\x01\0\0\0\0\0\0\x10\0\0\0\0\0\0",
            Message::Logical(LogicalMessage {
                xid: sub,
                transactional: true,
                lsn: Lsn(0x1000),
                prefix: "",
                content: b"",
            }),
        ),
        (
            "origin in a block, which has no xid",
            b"O\0\0\0\0\0\0\0\x05n\0",
            Message::Origin(Origin { commit_lsn: Lsn(5), name: "n" }),
        ),
    ]
}

fn around_blocks() -> Vec<Row> {
    vec![
        (
            "stream start",
            b"S\0\0\0\x07\x01",
            Message::StreamStart(StreamStart { xid: Xid(7), first: true }),
        ),
        (
            "stream start of a later block",
            b"S\0\0\0\x07\0",
            Message::StreamStart(StreamStart { xid: Xid(7), first: false }),
        ),
        (
            "stream commit",
            b"c\0\0\0\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03",
            Message::StreamCommit(StreamCommit {
                xid: Xid(7),
                commit_lsn: Lsn(1),
                end_lsn: Lsn(2),
                commit_time: PgTimestamp(3),
            }),
        ),
        (
            "stream abort",
            b"A\0\0\0\x07\0\0\0\x07",
            Message::StreamAbort(StreamAbort { xid: Xid(7), subxid: Xid(7), info: None }),
        ),
    ]
}

fn two_phase() -> Vec<Row> {
    let prepare = Prepare {
        prepare_lsn: Lsn(1),
        end_lsn: Lsn(2),
        prepare_time: PgTimestamp(3),
        xid: Xid(4),
        gid: "gid",
    };
    vec![
        (
            "begin prepare",
            b"b\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04gid\0",
            Message::BeginPrepare(BeginPrepare {
                prepare_lsn: Lsn(1),
                end_lsn: Lsn(2),
                prepare_time: PgTimestamp(3),
                xid: Xid(4),
                gid: "gid",
            }),
        ),
        (
            "prepare",
            b"P\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04gid\0",
            Message::Prepare(prepare),
        ),
        (
            "stream prepare",
            b"p\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04gid\0",
            Message::StreamPrepare(prepare),
        ),
        (
            "commit prepared",
            b"K\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04gid\0",
            Message::CommitPrepared(CommitPrepared {
                commit_lsn: Lsn(1),
                end_lsn: Lsn(2),
                commit_time: PgTimestamp(3),
                xid: Xid(4),
                gid: "gid",
            }),
        ),
        (
            "rollback prepared",
            b"r\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\
              \0\0\0\0\0\0\0\x05\0\0\0\x04gid\0",
            Message::RollbackPrepared(RollbackPrepared {
                prepare_end_lsn: Lsn(1),
                rollback_end_lsn: Lsn(2),
                prepare_time: PgTimestamp(3),
                rollback_time: PgTimestamp(5),
                xid: Xid(4),
                gid: "gid",
            }),
        ),
    ]
}

fn relation(xid: Option<Xid>) -> Message<'static> {
    let column = |part_of_key, name, oid, type_modifier| RelationColumn {
        part_of_key,
        name,
        type_oid: Oid(oid),
        type_modifier,
    };
    Message::Relation(Relation {
        xid,
        oid: Oid(0x4001),
        namespace: "public",
        name: "orders",
        replica_identity: ReplicaIdentity::Default,
        columns: columns(&[column(true, "id", 20, -1), column(false, "n\u{f6}te", 1043, 14)]),
    })
}

fn columns(columns: &[RelationColumn<'_>]) -> RelationColumns<'static> {
    let columns: &'static ColumnsBuf = Box::leak(Box::new(columns.iter().copied().collect()));
    columns.columns()
}

fn insert(xid: Option<Xid>, new: &[TupleValue<'_>]) -> Message<'static> {
    Message::Insert(Insert { xid, relation: Oid(0x4001), new: tuple(new) })
}

const fn delete(xid: Option<Xid>, old: OldTuple<'static>) -> Message<'static> {
    Message::Delete(Delete { xid, relation: Oid(0x4001), old })
}

fn truncate(xid: Option<Xid>, cascade: bool, restart: bool, oids: &[u32]) -> Message<'static> {
    let oids = oids.iter().copied().map(Oid).collect();
    let relations: &'static OidsBuf = Box::leak(Box::new(oids));
    Message::Truncate(Truncate {
        xid,
        cascade,
        restart_identity: restart,
        relations: relations.oids(),
    })
}

fn tuple(values: &[TupleValue<'_>]) -> Tuple<'static> {
    let tuple: &'static TupleBuf = Box::leak(Box::new(values.iter().copied().collect()));
    tuple.tuple()
}
