//! From messages to whole transactions, in the order in which they committed.
//!
//! A server that was asked to stream sends large transactions in blocks while they still run, of
//! several transactions in turn, and tells of each what became of it:
//!
//! ```text
//!  what comes                             what is handed on
//!  S 7 first | I 7 | I 8 | E              nothing: kept, as nobody knows how 7 and 8 end
//!  B 10 | I | C                           B 10 | I | C     as they come, not copied
//!  S 9 first | I 9 | E                    nothing
//!  A 7 8                                  nothing: what came under 8 is dropped
//!  c 7                                    B 7 | I | C      read again from where it was kept
//!  A 9 9                                  nothing: all of 9 is dropped
//! ```
//!
//! What is handed on are the messages that a server sends if it was *not* asked to stream, so
//! who takes them knows one kind of stream only: Begin, Origin, Relation, Type, Insert, Update,
//! Delete, Truncate, Message, Commit, and for prepared transactions Begin Prepare, Prepare, Commit
//! Prepared and Rollback Prepared. None has the field that only blocks have.
//!
//! # Memory
//!
//! What is kept stays in memory up to [`Limits::memory`], then the transaction with most of it
//! goes to a file; it is read back piece by piece, one message at a time. So memory is bounded by
//! the limits and the largest single message, however large a transaction is.
//!
//! # What is durable
//!
//! Nothing that is held here. A position that is acknowledged takes none of it away: a transaction
//! that is still open commits behind everything that was handed on, and after a reconnect the
//! server streams it again from its start ([`Assembler::reset`]).
//!
//! # Errors
//!
//! Whatever does not fit, such as the end of a transaction that did not begin, is an error, and
//! after an error nothing more is taken: what was not understood may have been a change. The one
//! exception is a Stream Abort of what is not held; see [`crate::pgoutput`].
//!
//! # What is not here
//!
//! Decoding (`pgoutput`), positions and what may be acknowledged (`ledger`), and what the changes
//! mean to a table (`apply`). Only `spill` touches the outside world.

#![deny(clippy::indexing_slicing)]

mod assembler;
mod error;
mod limits;
mod pool;
mod replay;
#[cfg(any(test, fuzzing))]
pub mod simulated;
mod spill;
mod spool;
#[cfg(test)]
mod tests;
mod xids;

pub use assembler::{Assembler, Taken};
pub use error::AssembleError;
pub use limits::Limits;
pub use replay::Replay;
pub use spill::{SpillDirectory, SpillError, SpilledFile};
pub use spool::{Spill, SpillFile};
