//! What CopyData carries on a replication connection: parsing never panics.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use pghost::replication::StreamMessage;

fuzz_target!(|bytes: &[u8]| {
    // Without `black_box` the compiler sees that all of it holds, and parses nothing.
    match black_box(StreamMessage::parse(black_box(bytes))) {
        Ok(StreamMessage::XLogData { payload, .. }) => assert!(payload.len() < bytes.len()),
        Ok(StreamMessage::Keepalive { .. }) => assert_eq!(bytes.len(), 18),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
