//! Frames under any split: the same bytes give the same frames, wherever reads end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::wire::{FrameLimits, Frames, complete_frames};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (bytes, cuts) = input;
    let whole = match complete_frames(&bytes, FrameLimits::Session) {
        Ok((whole, _)) => whole,
        Err(_) => return,
    };
    let at_once: Vec<_> = Frames::new(&bytes[..whole]).map(|f| (f.tag, f.body.to_vec())).collect();

    let mut held = Vec::new();
    let mut in_pieces = Vec::new();
    let mut rest = &bytes[..];
    let mut cuts = cuts.iter().map(|&cut| usize::from(cut) + 1).chain(std::iter::repeat(bytes.len().max(1)));
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
        rest = tail;
        held.extend_from_slice(piece);
        // What can't be a frame is told of once all before it was given.
        let Ok((whole, needed)) = complete_frames(&held, FrameLimits::Session) else { break };
        assert!(needed == 0 || whole + needed > held.len());
        in_pieces.extend(Frames::new(&held[..whole]).map(|f| (f.tag, f.body.to_vec())));
        held.drain(..whole);
    }
    assert_eq!(at_once, in_pieces);
});
