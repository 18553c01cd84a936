//! pgoutput decoders side by side: the same bytes, in one run, as a table.
//!
//! Each column is the best of many short rounds, and the rounds of all decoders alternate, so a
//! machine that is busy with something else slows down all of them or none.

#[path = "../../decode/inputs.rs"]
mod inputs;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use inputs::Input;
use pghost::pgoutput::{Decoder, Message, ProtoVersion, Streaming, Tuple};

const ROUNDS: u32 = 400;

/// One decoder on one input: decodes every message once.
type Decode<'a> = Box<dyn FnMut() + 'a>;

fn main() {
    let names = [
        "only walking the lengths",
        "pghost",
        "pghost, reading all values",
        "pg_walstream 0.10, shared Bytes",
        "pg_walstream 0.10, slices",
        "pgoutput 0.0.7",
    ];
    println!("nanoseconds a message, best of {ROUNDS} rounds\n");
    println!("| messages | bytes each | {} |", names.join(" | "));
    println!("|---|---:|{}", "---:|".repeat(names.len()));
    for input in inputs::all() {
        let count = u32::try_from(input.ends.len()).expect("about a thousand");
        let shared = Bytes::from(input.bytes.clone());
        let times = race(vec![
            Some(lengths(&input)),
            Some(pghost(&input)),
            Some(pghost_reading(&input)),
            Some(walstream_shared(&input, &shared)),
            Some(walstream_slices(&input)),
            rs_pgoutput(&input),
        ]);
        let cells: Vec<String> = times
            .iter()
            .map(|time| match time {
                Some(time) => format!("{:.1}", time.as_secs_f64() * 1e9 / f64::from(count)),
                None => "-".to_owned(),
            })
            .collect();
        let bytes = input.bytes.len() / input.ends.len();
        println!("| {} | {bytes} | {} |", input.name, cells.join(" | "));
    }
}

fn race(mut decoders: Vec<Option<Decode<'_>>>) -> Vec<Option<Duration>> {
    let mut best = vec![None; decoders.len()];
    for _ in 0..ROUNDS {
        for (decode, best) in decoders.iter_mut().zip(&mut best) {
            if let Some(decode) = decode {
                let start = Instant::now();
                decode();
                let time = start.elapsed();
                *best = Some(best.map_or(time, |best: Duration| best.min(time)));
            }
        }
    }
    best
}

/// The least that any decoder must do: find where each column ends, believing every byte.
fn lengths(input: &Input) -> Decode<'_> {
    Box::new(|| {
        for range in input.ranges() {
            let message = black_box(&input.bytes[range]);
            let mut at = match message[0] {
                b'I' | b'U' | b'D' => 6,
                _ => continue,
            };
            while at < message.len() {
                let columns = u16::from_be_bytes([message[at], message[at + 1]]);
                at += 2;
                for _ in 0..columns {
                    at += match message[at] {
                        b'n' | b'u' => 1,
                        _ => {
                            let length: [u8; 4] = message[at + 1..at + 5].try_into().unwrap();
                            5 + u32::from_be_bytes(length) as usize
                        }
                    };
                }
                at += 1;
            }
            black_box(at);
        }
    })
}

fn pghost(input: &Input) -> Decode<'_> {
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    Box::new(move || {
        for range in input.ranges() {
            black_box(decoder.decode(black_box(&input.bytes[range]))).expect("valid");
        }
    })
}

fn pghost_reading(input: &Input) -> Decode<'_> {
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    let read = |tuple: Tuple<'_>| {
        let values = tuple.values();
        values.filter_map(|v| v.bytes()).map(<[u8]>::len).sum()
    };
    Box::new(move || {
        for range in input.ranges() {
            let message = decoder.decode(black_box(&input.bytes[range]));
            black_box(match message.expect("valid") {
                Message::Insert(m) => read(m.new),
                Message::Update(m) => read(m.new) + m.old.map_or(0, |old| read(old.tuple())),
                Message::Delete(m) => read(m.old.tuple()),
                _ => 0,
            });
        }
    })
}

/// Its fast way: the buffer is shared, each value holds a reference to it.
fn walstream_shared<'a>(input: &'a Input, shared: &'a Bytes) -> Decode<'a> {
    let mut parser = pg_walstream::LogicalReplicationParser::with_protocol_version(1);
    Box::new(move || {
        for range in input.ranges() {
            let message = black_box(shared.slice(range));
            black_box(parser.parse_wal_message_bytes(message)).expect("valid");
        }
    })
}

/// Its other way, which copies the message first.
fn walstream_slices(input: &Input) -> Decode<'_> {
    let mut parser = pg_walstream::LogicalReplicationParser::with_protocol_version(1);
    Box::new(move || {
        for range in input.ranges() {
            black_box(parser.parse_wal_message(black_box(&input.bytes[range]))).expect("valid");
        }
    })
}

/// It must know beforehand whether values are text or binary, and panics on a mixture.
fn rs_pgoutput(input: &Input) -> Option<Decode<'_>> {
    use pgoutput::{
        events::base::event::{BaseEvent, BaseEventType},
        options::{BinaryValueTraitOff, BinaryValueTraitOn, StreamingValueTraitOff},
    };

    type Text = BaseEvent<BinaryValueTraitOff, StreamingValueTraitOff>;
    type Binary = BaseEvent<BinaryValueTraitOn, StreamingValueTraitOff>;
    let binary = input.name.ends_with("binary");
    Some(Box::new(move || {
        for range in input.ranges() {
            let message = black_box(&input.bytes[range]);
            let kind = BaseEventType::from_char(message[0]).expect("valid");
            if binary {
                black_box(Binary::parse(&kind, &message[1..])).expect("valid");
            } else {
                black_box(Text::parse(&kind, &message[1..])).expect("valid");
            }
        }
    }))
}
