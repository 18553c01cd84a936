//! Proof that both sides are equal.
//!
//! For now one whole-table fingerprint for each side, made by the servers themselves: see
//! [`compare`]. It reads every row and tells whether the sides differ, not where. A table is read
//! in one statement, whose snapshot lasts as long as it does: for tables of which that can't be
//! asked, and to name the rows that differ, comparing page by page is a later widening.
//!
//! Only equal rows of both sides can be told: whoever writes in between makes them differ.

mod compare;
mod fingerprint;

pub use compare::{Comparison, compare};
pub use fingerprint::Fingerprint;
