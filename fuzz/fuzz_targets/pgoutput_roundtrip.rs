//! What is decoded, encoded and decoded again is the same message; encoded again, the same bytes.
//!
//! The first byte chooses whether the message stands inside a streamed block, and the options.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::pgoutput::{Decoder, ProtoVersion, Streaming, encode::to_bytes};

fuzz_target!(|data: &[u8]| {
    let Some((&options, bytes)) = data.split_first() else {
        return;
    };
    let streaming = if options & 2 == 0 {
        Streaming::On
    } else {
        Streaming::Parallel
    };
    let mut decoder = Decoder::new(ProtoVersion::V4, streaming);
    if options & 1 != 0 {
        let start = decoder.decode(b"S\0\0\0\x07\x01");
        assert!(start.is_ok());
    }
    let mut second = decoder.clone();
    let Ok(message) = decoder.decode(bytes) else {
        return;
    };
    let written = to_bytes(&message);
    let again = second.decode(&written);
    assert_eq!(again, Ok(message));
    assert_eq!(again.map(|message| to_bytes(&message)), Ok(written));
});
