//! How fast pgoutput's messages are decoded: messages/s and bytes/s.
//!
//! `decode` is the decoder alone, which checks the whole message; `decode, read all values` also
//! goes through every column as an applier does.

#[path = "decode/inputs.rs"]
mod inputs;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inputs::Input;
use pghost::pgoutput::{Decoder, Message, ProtoVersion, Streaming, Tuple};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for input in inputs::all() {
        group.throughput(throughput(&input));
        group.bench_function(input.name, |b| {
            let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
            b.iter(|| {
                for range in input.ranges() {
                    let message = decoder.decode(black_box(&input.bytes[range]));
                    black_box(message).expect("the encoder's messages");
                }
            });
        });
    }
    group.finish();
}

fn decode_and_read_all_values(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode, read all values");
    for input in inputs::all() {
        group.throughput(throughput(&input));
        group.bench_function(input.name, |b| {
            let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
            b.iter(|| {
                let mut bytes = 0;
                for range in input.ranges() {
                    let message = decoder.decode(black_box(&input.bytes[range]));
                    bytes += read_all(&message.expect("the encoder's messages"));
                }
                bytes
            });
        });
    }
    group.finish();
}

fn read_all(message: &Message<'_>) -> usize {
    let read = |tuple: Tuple<'_>| {
        let values = tuple.values();
        values.filter_map(|v| v.bytes()).map(<[u8]>::len).sum()
    };
    match message {
        Message::Insert(m) => read(m.new),
        Message::Update(m) => read(m.new) + m.old.map_or(0, |old| read(old.tuple())),
        Message::Delete(m) => read(m.old.tuple()),
        _ => 0,
    }
}

fn throughput(input: &Input) -> Throughput {
    Throughput::ElementsAndBytes {
        elements: input.ends.len() as u64,
        bytes: input.bytes.len() as u64,
    }
}

criterion_group!(benches, decode, decode_and_read_all_values);
criterion_main!(benches);
