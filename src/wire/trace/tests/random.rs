//! Random bytes and random secrets.

use proptest::prelude::*;

use super::{super::Trace, frame, started, untagged};
use crate::wire::{FrameLimits, complete_frames};

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), 1..4_u8, any::<u8>()], 0..40)
}

/// A frame, often one that the protocol knows.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(&b"123ABCDEFGHIKNPQRSTVWXZcdfnpstv"[..]);
    (prop_oneof![known, any::<u8>()], body()).prop_map(|(tag, body)| frame(tag, &body))
}

/// Bytes that are often frames.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![9 => any_frame(), 1 => body()];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// How many bytes are to be taken: whole frames, or all of them if somewhere no frame can begin.
fn expected(bytes: &[u8]) -> usize {
    let whole = complete_frames(bytes, FrameLimits::Ours).map_or(0, |(whole, _)| whole);
    let rest = complete_frames(&bytes[whole..], FrameLimits::Ours);
    if rest.is_err() { bytes.len() } else { whole }
}

/// Every line is one line, and begins as all do.
fn check(line: &str, side: char) {
    assert!(!line.contains(['\n', '\r']), "{line}");
    let mut parts = line.splitn(3, '\t');
    assert_eq!(parts.next(), Some(side.to_string().as_str()));
    assert!(parts.next().unwrap().parse::<i64>().is_ok(), "{line}");
    assert!(!parts.next().unwrap().is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_taken_frame_by_frame(bytes in stream()) {
        let mut trace = started(&["secret"]);
        prop_assert_eq!(trace.received(&bytes, &mut |line| check(line, 'B')), expected(&bytes));
        prop_assert_eq!(trace.sent(&bytes, &mut |line| check(line, 'F')), expected(&bytes));
    }

    #[test]
    fn any_split_gives_the_same_lines(
        frames in prop::collection::vec(any_frame(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = frames.concat();
        let mut at_once = Vec::new();
        let taken = started(&[]).sent(&bytes, &mut |line| at_once.push(line.to_owned()));
        let (mut trace, mut in_pieces) = (started(&[]), Vec::new());
        let mut line = |line: &str| in_pieces.push(line.to_owned());
        let first = trace.sent(&bytes[..cut.index(bytes.len() + 1)], &mut line);
        prop_assert_eq!(first + trace.sent(&bytes[first..], &mut line), taken);
        prop_assert_eq!(at_once, in_pieces);
    }

    #[test]
    fn any_bytes_are_taken_in_the_startup_phase(bytes in stream(), body in any::<Vec<u8>>()) {
        let bytes = [untagged(&body), bytes].concat();
        let mut trace = Trace::new(vec![b"secret".to_vec()]);
        let taken = trace.sent(&bytes, &mut |line| check(line, 'F'));
        prop_assert!(taken > body.len() && taken <= bytes.len());
    }

    /// A secret within any message in any place is in no line, whatever the message is.
    #[test]
    fn no_secret_is_in_any_line(
        secret in "[!-~]{8,24}",
        tag in prop::sample::select(&b"123ABCDEFGHIKNPQRSTVWXZcdfnpstv!"[..]),
        bodies in prop::collection::vec(
            (prop::collection::vec(prop_oneof![Just(0), Just(b'\''), any::<u8>()], 0..12), 0..5_u8),
            1..4,
        ),
        padding in prop_oneof![Just(0_usize), 990..1_030_usize],
    ) {
        let mut body = vec![b'-'; padding];
        for (bytes, quoting) in bodies {
            let spelled = match quoting {
                0 => secret.clone(),
                1 => secret.replace('\'', "''"),
                2 => secret.replace('\\', r"\\").replace('\'', r"\'"),
                3 => secret.replace('\\', r"\\").replace('\'', r"\'").replace('\'', "''"),
                _ => secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            };
            body.extend([&bytes[..], spelled.as_bytes(), b"\0"].concat());
        }
        let plain: String = secret.chars().filter(|c| !r#"'"\"#.contains(*c)).collect();
        // A number field can end within the quotes at an edge, which leaves all but them.
        let whole = !secret.starts_with(['\'', '"', '\\']) && !secret.ends_with(['\'', '"', '\\']);
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut line = |line: &str| {
            assert!(!line.contains(&secret) && !line.contains(&percent), "{line}");
            let shown: String = line.chars().filter(|c| !r#"'"\"#.contains(*c)).collect();
            assert!(!whole || plain.len() < 6 || !shown.contains(&plain), "{line}");
        };
        let bytes = frame(tag, &body);
        let mut trace = started(&[&secret]);
        prop_assert_eq!(trace.sent(&bytes, &mut line), bytes.len());
        prop_assert_eq!(trace.received(&bytes, &mut line), bytes.len());
        let untagged = untagged(&[b"\0\x03\0\0", &body[..]].concat());
        let mut trace = Trace::new(vec![secret.clone().into_bytes()]);
        prop_assert_eq!(trace.sent(&untagged, &mut line), untagged.len());
    }
}
