//! Proof that both sides are equal.
//!
//! ```text
//!   page       on the source a range of the key, one short statement
//!     |        on the target the same range; where it orders keys otherwise, the same keys
//!   sums       both servers count and hash their rows, at the same time; equal: the next page
//!     |
//!   lists      key and hash of each row of a page that differs, or of its parts one by one where
//!     |        a side has far more rows in it than a page
//!   suspects   rows that differ are looked at again, by their keys, each time after the target
//!              has passed what was seen of the source, until it is known whether they do
//! ```
//!
//! Nobody here compares keys: ranges and single keys are found by the servers, each in its own
//! order. Where the two orders are the same, a range has the same rows on both sides; where they
//! were only taken to be (a machine's locale lies about its version), each row of either side still
//! lies in a page, and those that seem to differ are looked at by their keys.
//!
//! What the two sides must agree on is the text of a value, under the settings that each session
//! has. Rows whose text differs are told apart once more: if the target, reading the source's text,
//! would write what it has, then only the spelling differs.
//!
//! [`verify`] does all that; [`compare`] is one whole-table fingerprint for each side, which holds
//! a snapshot for as long as it takes and tells whether the sides differ, not where.

mod compare;
mod error;
mod narrow;
mod pace;
mod position;
mod run;
mod settle;
mod side;
mod suspect;
mod table;

pub use compare::{Comparison, Fingerprint, compare};
pub use error::VerifyError;
pub use position::Follower;
pub use run::verify;
pub use suspect::Kind;
pub use table::{DifferentRow, Found, VerifyProgress, VerifyTable};
