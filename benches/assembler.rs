//! What putting transactions together costs beyond decoding: messages/s and bytes/s.
//!
//! `ordinary` is one message after the other as it is handed on, beside the decoder alone;
//! `streamed` is all of it: decoded, kept, read again, decoded again.

#[allow(dead_code, reason = "other benches read the other inputs")]
#[path = "decode/inputs.rs"]
mod inputs;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pghost::{
    pg::{Lsn, PgTimestamp, Xid},
    pgoutput::{
        Decoder, Message, ProtoVersion, StreamCommit, StreamStart, Streaming, encode::to_bytes,
    },
    replication::{Assembler, Limits, SpillDirectory, Taken},
};

/// How often the thousand messages of an input come in a streamed transaction.
const TIMES: usize = 20;
const TOP: Xid = Xid(700);

fn assembler(memory: usize) -> Assembler {
    let spill =
        SpillDirectory::open(&std::env::temp_dir()).expect("a directory for temporary files");
    Assembler::new(spill, Limits { memory, ..Limits::default() })
}

/// Decodes and takes one message, and whatever it makes whole.
#[inline]
fn take(assembler: &mut Assembler, decoder: &mut Decoder, payload: &[u8]) {
    let message = decoder.decode(black_box(payload)).expect("the encoder's messages");
    match assembler.take(message, payload).expect("a valid order") {
        Taken::Nothing => {}
        Taken::Now(message) => {
            black_box(message);
        }
        Taken::Whole(mut replay) => {
            while let Some(message) = replay.advance().expect("what was kept") {
                black_box(message);
            }
        }
    }
}

fn ordinary(c: &mut Criterion) {
    let mut group = c.benchmark_group("assembler");
    let input = inputs::all().pop().expect("mixed transactions");
    // The last one may lack its end.
    let begins = |range: &std::ops::Range<usize>| input.bytes[range.start] == b'B';
    let last = input.ranges().filter(begins).count() - 1;
    let whole = input.ranges().scan(0, |begun, range| {
        *begun += usize::from(begins(&range));
        (*begun <= last).then_some(range)
    });
    let whole: Vec<_> = whole.collect();
    group.throughput(Throughput::Elements(whole.len() as u64));
    group.bench_function("ordinary, the decoder alone", |b| {
        let mut decoder = Decoder::new(ProtoVersion::V2, Streaming::On);
        b.iter(|| {
            for range in &whole {
                let message = decoder.decode(black_box(&input.bytes[range.clone()]));
                black_box(message).expect("the encoder's messages");
            }
        });
    });
    group.bench_function("ordinary", |b| {
        let mut decoder = Decoder::new(ProtoVersion::V2, Streaming::On);
        let mut assembler = assembler(Limits::default().memory);
        b.iter(|| {
            for range in &whole {
                take(&mut assembler, &mut decoder, &input.bytes[range.clone()]);
            }
        });
    });
    group.finish();
}

/// A streamed transaction of the updates of nine columns; each so many of them are of one
/// subtransaction.
fn transaction(together: usize) -> Vec<Vec<u8>> {
    let input = inputs::all().into_iter().nth(1).expect("nine columns, text");
    let (xid, commit_lsn, end_lsn, commit_time) = (TOP, Lsn(1), Lsn(2), PgTimestamp(0));
    let mut messages = vec![to_bytes(&Message::StreamStart(StreamStart { xid, first: true }))];
    for time in 0..TIMES {
        for (number, range) in input.ranges().enumerate() {
            let subxid = (time * 1000 + number) / together;
            let subxid = TOP.0 + u32::try_from(subxid).unwrap_or(0);
            let (tag, rest) = input.bytes[range].split_at(1);
            messages.push([tag, &subxid.to_be_bytes(), rest].concat());
        }
    }
    messages.push(to_bytes(&Message::StreamStop));
    let commit = StreamCommit { xid, commit_lsn, end_lsn, commit_time };
    messages.push(to_bytes(&Message::StreamCommit(commit)));
    messages
}

fn streamed(c: &mut Criterion) {
    let mut group = c.benchmark_group("assembler");
    for (name, memory, together) in [
        ("streamed, in memory", 64 << 20, usize::MAX),
        ("streamed, through a file", 1 << 20, usize::MAX),
        ("streamed, a subtransaction each, in memory", 64 << 20, 1),
    ] {
        let messages = transaction(together);
        group.throughput(Throughput::Elements(messages.len() as u64));
        group.bench_function(name, |b| {
            let mut decoder = Decoder::new(ProtoVersion::V2, Streaming::On);
            let mut assembler = assembler(memory);
            b.iter(|| {
                for payload in &messages {
                    take(&mut assembler, &mut decoder, payload);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ordinary, streamed);
criterion_main!(benches);
