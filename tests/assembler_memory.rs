//! Putting transactions together: an ordinary one allocates nothing, a streamed one next to
//! nothing a row, and one that is far larger than memory takes hardly any.
#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

use std::path::Path;

use pghost::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, Commit, Decoder, Insert, Message, ProtoVersion, StreamAbort, StreamCommit,
        StreamStart, Streaming, TupleValue,
        encode::{TupleBuf, to_bytes},
    },
    replication::{Assembler, Limits, SpillDirectory, Taken},
};

const MIB: usize = 1 << 20;
const TIME: PgTimestamp = PgTimestamp(0);

fn assembler(memory: usize) -> Assembler {
    let spill = SpillDirectory::open(&std::env::temp_dir()).unwrap();
    Assembler::new(spill, Limits { memory, ..Limits::default() })
}

fn decoder() -> Decoder {
    Decoder::new(ProtoVersion::V2, Streaming::On)
}

fn insert(xid: Option<Xid>, bytes: usize) -> Vec<u8> {
    let text = vec![b'x'; bytes];
    let row = TupleBuf::from_iter([TupleValue::Text(b"1"), TupleValue::Text(&text)]);
    to_bytes(&Message::Insert(Insert { xid, relation: Oid(1), new: row.tuple() }))
}

/// What is around the changes of a streamed transaction: start and stop of its block, and its end.
fn around() -> [Vec<u8>; 3] {
    let (xid, commit_lsn, end_lsn) = (Xid(7), Lsn(1), Lsn(2));
    [
        Message::StreamStart(StreamStart { xid, first: true }),
        Message::StreamStop,
        Message::StreamCommit(StreamCommit { xid, commit_lsn, end_lsn, commit_time: TIME }),
    ]
    .map(|message| to_bytes(&message))
}

/// Takes a message and counts the bytes of the rows that are handed on.
fn take(assembler: &mut Assembler, decoder: &mut Decoder, payload: &[u8]) -> u64 {
    let rows = |message: Message<'_>| match message {
        Message::Insert(m) => m.new.as_bytes().len() as u64,
        _ => 0,
    };
    match assembler.take(decoder.decode(payload).unwrap(), payload).unwrap() {
        Taken::Nothing => 0,
        Taken::Now(message) => rows(message),
        Taken::Whole(mut replay) => {
            let mut bytes = 0;
            while let Some(message) = replay.advance().unwrap() {
                bytes += rows(message);
            }
            bytes
        }
    }
}

#[test]
fn an_ordinary_transaction_allocates_nothing() {
    let begin = Begin { final_lsn: Lsn(1), commit_time: TIME, xid: Xid(7) };
    let commit = Commit { commit_lsn: Lsn(1), end_lsn: Lsn(2), commit_time: TIME };
    let [begin, commit] = [Message::Begin(begin), Message::Commit(commit)].map(|m| to_bytes(&m));
    let insert = insert(None, 100);
    let (mut assembler, mut decoder) = (assembler(16 * MIB), decoder());
    let counted = allocation_counter::measure(|| {
        take(&mut assembler, &mut decoder, &begin);
        for _ in 0..1000 {
            take(&mut assembler, &mut decoder, &insert);
        }
        take(&mut assembler, &mut decoder, &commit);
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_streamed_transaction_allocates_its_segments_and_little_else() {
    const ROWS: u64 = 20_000;
    let [start, stop, commit] = around();
    let insert = insert(Some(Xid(7)), 100);
    // In memory as a whole; and nearly all of it in a file.
    for (memory, most) in [(16 * MIB, 16 + 50), (MIB, 16 + 30)] {
        let (mut assembler, mut decoder) = (assembler(memory), decoder());
        let mut read = 0;
        let mut transaction = || {
            take(&mut assembler, &mut decoder, &start);
            for _ in 0..ROWS {
                take(&mut assembler, &mut decoder, &insert);
            }
            take(&mut assembler, &mut decoder, &stop);
            read += take(&mut assembler, &mut decoder, &commit);
        };
        let first = allocation_counter::measure(&mut transaction);
        assert!(first.count_total <= most, "{first:?}");
        // The second one uses the segments again.
        let second = allocation_counter::measure(&mut transaction);
        assert!(second.count_total <= 30, "{second:?}");
        assert_eq!(read, 2 * ROWS * 111);
    }
}

#[test]
fn a_transaction_of_300_mb_takes_less_than_32_mib() {
    const ROWS: u64 = 300_000;
    let [start, stop, commit] = around();
    let again = to_bytes(&Message::StreamStart(StreamStart { xid: Xid(7), first: false }));
    let rows: Vec<_> = (7..107).map(|xid| insert(Some(Xid(xid)), 1000)).collect();
    let abort =
        to_bytes(&Message::StreamAbort(StreamAbort { xid: Xid(7), subxid: Xid(9), info: None }));
    let (mut assembler, mut decoder) = (assembler(Limits::default().memory), decoder());
    let before = resident();
    let mut most = before;
    let mut read = 0;
    let counted = allocation_counter::measure(|| {
        take(&mut assembler, &mut decoder, &start);
        for (number, row) in (0..ROWS).zip(rows.iter().cycle()) {
            take(&mut assembler, &mut decoder, row);
            if number % 10_000 == 0 {
                // As a server does it: a block is never the whole transaction.
                take(&mut assembler, &mut decoder, &stop);
                take(&mut assembler, &mut decoder, &again);
                most = most.max(resident());
            }
        }
        take(&mut assembler, &mut decoder, &stop);
        take(&mut assembler, &mut decoder, &abort);
        assert!(assembler.spilled() > 280_000_000);
        read = take(&mut assembler, &mut decoder, &commit);
        most = most.max(resident());
    });
    // Each hundredth row was rolled back.
    assert_eq!(read, ROWS / 100 * 99 * 1011);
    assert!(counted.bytes_max < 32 * MIB as u64, "{counted:?}");
    assert!(counted.count_total < 1000, "{counted:?}");
    assert!(most - before < 32 * MIB, "{} MiB", (most - before) / MIB);
    assert_eq!((assembler.open(), assembler.spilled()), (0, 0));
}

/// How much memory the process has, where the system tells.
fn resident() -> usize {
    let Ok(statm) = std::fs::read_to_string(Path::new("/proc/self/statm")) else { return 0 };
    // Pages; of 4096 bytes here, and never smaller.
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
