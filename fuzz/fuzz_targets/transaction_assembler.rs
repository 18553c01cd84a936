//! Any valid interleaving of streamed transactions comes out as the plain order; and any messages
//! in any order are answered, with an error or without, and never with a panic.
//!
//! The first byte chooses which of the two, the next two the limits; the rest is what the
//! simulated server does, or which messages come.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::replication::transaction::simulated::{self, Choices};

fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else {
        return;
    };
    if mode % 2 == 1 {
        return simulated::torment(Choices(data));
    }
    let Some((limits, data)) = data.split_at_checked(2) else {
        return;
    };
    let script = simulated::script(Choices(data));
    let out = simulated::assemble(&script, Choices(limits).limits());
    assert_eq!(out.expect("a valid order"), script.plain);
});
