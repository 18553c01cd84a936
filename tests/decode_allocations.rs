//! Decoding rows and reading their values allocates nothing.

use pghost::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, Commit, Decoder, Delete, Insert, Message, OldTuple, ProtoVersion, Streaming,
        TupleValue, Update,
        encode::{TupleBuf, to_bytes},
    },
};

/// A transaction with each kind of change and each kind of value.
fn transaction() -> Vec<Vec<u8>> {
    let big = vec![b'x'; 100_000];
    let values =
        [TupleValue::Text(b"1"), TupleValue::Null, TupleValue::Unchanged, TupleValue::Binary(&big)];
    let row: TupleBuf = values.into_iter().cycle().take(60).collect();
    let (relation, new) = (Oid(16_385), row.tuple());
    let old = OldTuple::Full(new);
    let xid = None;
    let messages = [
        Message::Begin(Begin { final_lsn: Lsn(1), commit_time: PgTimestamp(0), xid: Xid(700) }),
        Message::Insert(Insert { xid, relation, new }),
        Message::Update(Update { xid, relation, old: None, new }),
        Message::Update(Update { xid, relation, old: Some(old), new }),
        Message::Delete(Delete { xid, relation, old }),
        Message::Commit(Commit {
            commit_lsn: Lsn(1),
            end_lsn: Lsn(2),
            commit_time: PgTimestamp(0),
        }),
    ];
    messages.iter().map(to_bytes).collect()
}

fn value_bytes(message: &Message<'_>) -> usize {
    let tuples = match message {
        Message::Insert(insert) => [Some(insert.new), None],
        Message::Update(update) => [Some(update.new), update.old.map(|old| old.tuple())],
        Message::Delete(delete) => [Some(delete.old.tuple()), None],
        _ => [None, None],
    };
    let values = tuples.iter().flatten().flat_map(|tuple| tuple.values());
    values.filter_map(|value| value.bytes()).map(<[u8]>::len).sum()
}

#[test]
fn decoding_rows_and_reading_their_values_allocates_nothing() {
    let messages = transaction();
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    let mut read = 0;
    let counted = allocation_counter::measure(|| {
        for bytes in &messages {
            read += value_bytes(&decoder.decode(bytes).unwrap());
        }
    });
    assert_eq!(read, 5 * 15 * 100_001, "every value was read");
    assert_eq!(counted.count_total, 0);
}

#[test]
fn refusing_a_message_allocates_nothing() {
    let mut messages = transaction();
    for bytes in &mut messages {
        bytes.pop();
    }
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    let counted = allocation_counter::measure(|| {
        for bytes in &messages {
            decoder.decode(bytes).unwrap_err();
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 8])));
    assert_eq!(counted.count_total, 1);
}
