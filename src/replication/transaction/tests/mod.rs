//! What the assembler hands on, what it refuses, and that it keeps to its limits.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod equality;
mod limits;
mod rules;
mod support;
