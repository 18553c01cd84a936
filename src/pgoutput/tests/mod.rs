//! What the decoder takes, what it refuses, and that the encoder is its inverse.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod kept;
mod refusals;
mod roundtrips;
mod samples;
mod vectors;
