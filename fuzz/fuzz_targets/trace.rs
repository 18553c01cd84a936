//! A trace of any conversation: never panics, takes whole frames, and never shows the secret.
//!
//! Input: turns, each a byte that says who speaks, two bytes of length, and the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::wire::{FrameLimits, Trace, complete_frames};

/// No escape looks like a part of it.
const SECRET: &str = r"ghost's\Secret";

/// It as it is, in SQL, in conninfo, and in conninfo in SQL.
const SPELLINGS: [&str; 4] = [
    SECRET,
    r"ghost''s\Secret",
    r"ghost\'s\\Secret",
    r"ghost\''s\\Secret",
];

fuzz_target!(|data: &[u8]| {
    let mut trace = Trace::new(vec![SECRET.into(), b"x".to_vec()]);
    let mut damaged = false;
    let mut rest = data;
    while let Some(([side, high, low], tail)) = rest.split_first_chunk() {
        let length = u16::from_be_bytes([*high, *low]).into();
        let (bytes, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
        rest = tail;
        let mut lines = 0;
        let mut line = |line: &str| {
            lines += 1;
            assert!(!line.contains(['\n', '\r']), "{line}");
            for spelling in SPELLINGS {
                assert!(!line.contains(spelling), "{line}");
            }
        };
        let taken = match side {
            b'S' => {
                line(&trace.ssl_response(*high));
                continue;
            }
            b'F' => trace.sent(bytes, &mut line),
            _ => {
                let taken = trace.received(bytes, &mut line);
                let whole = complete_frames(bytes, FrameLimits::Ours).map_or(0, |(whole, _)| whole);
                damaged |= complete_frames(&bytes[whole..], FrameLimits::Ours).is_err();
                let expected = whole;
                assert_eq!(taken, if damaged { bytes.len() } else { expected });
                taken
            }
        };
        assert!(taken <= bytes.len());
        assert_eq!(lines > 0, taken > 0);
        let _ = format!("{trace:?}");
    }
});
