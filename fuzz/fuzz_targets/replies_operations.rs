//! Questions and messages in any order, against a model that forgets nothing: `conn`'s own facade.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pghost::conn::fuzzing::replies_operations(data));

/// The facade is there only with `--cfg fuzzing`, which `fuzz/run` and cargo-fuzz give.
#[cfg(not(fuzzing))]
fn main() {
    panic!("built without --cfg fuzzing; use fuzz/run");
}
