//! A hostile server while a session starts: never panics, and never gets in by pretending to know
//! the password. `conn`'s own facade.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pghost::conn::fuzzing::startup_replies(data));

/// The facade is there only with `--cfg fuzzing`, which `fuzz/run` and cargo-fuzz give.
#[cfg(not(fuzzing))]
fn main() {
    panic!("built without --cfg fuzzing; use fuzz/run");
}
