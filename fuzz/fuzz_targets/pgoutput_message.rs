//! Any bytes, as a stream of messages: the decoder answers each and never panics, and the values
//! of what it took can be read to the end.
//!
//! The first byte chooses the options; then each message follows its length in two bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::pgoutput::{Decoder, Message, ProtoVersion, Streaming, Tuple};

fuzz_target!(|data: &[u8]| {
    let Some((&options, mut rest)) = data.split_first() else {
        return;
    };
    let version = match options & 3 {
        0 => ProtoVersion::V1,
        1 => ProtoVersion::V2,
        2 => ProtoVersion::V3,
        _ => ProtoVersion::V4,
    };
    let streaming = match options >> 2 & 3 {
        0 => Streaming::Off,
        1 => Streaming::Parallel,
        _ => Streaming::On,
    };
    let mut decoder = Decoder::new(version, streaming);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        match decoder.decode(message) {
            Ok(message) => read(message),
            // The words must not panic either.
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});

/// Everything that is lazy is read.
fn read(message: Message<'_>) {
    let count = |tuple: Tuple<'_>| assert_eq!(tuple.values().count(), tuple.len());
    match message {
        Message::Insert(insert) => count(insert.new),
        Message::Update(update) => {
            if let Some(old) = update.old {
                count(old.tuple());
            }
            count(update.new);
        }
        Message::Delete(delete) => count(delete.old.tuple()),
        Message::Truncate(truncate) => {
            let relations = truncate.relations();
            assert_eq!(relations.len(), relations.count());
        }
        Message::Relation(relation) => {
            let columns = relation.columns();
            assert_eq!(columns.len(), columns.count());
        }
        _ => {}
    }
}
