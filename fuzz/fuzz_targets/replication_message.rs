//! What CopyData carries on a replication connection: parsing never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::replication::StreamMessage;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(StreamMessage::XLogData { payload, .. }) = StreamMessage::parse(bytes) {
        assert!(payload.len() < bytes.len());
    }
});
