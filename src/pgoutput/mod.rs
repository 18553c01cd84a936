//! The messages of `pgoutput`, the output plugin of logical replication: bytes to values.
//!
//! | message | tag | since | inside a streamed block | file |
//! |---|---|---|---|---|
//! | Begin | `B` | 1 | never | `message` |
//! | Commit | `C` | 1 | never | `message` |
//! | Origin | `O` | 1 | as outside | `message` |
//! | Relation | `R` | 1 | with its xid | `relation` |
//! | Type | `Y` | 1 | with its xid | `message` |
//! | Insert | `I` | 1 | with its xid | `message`, `tuple` |
//! | Update | `U` | 1 | with its xid | `message`, `tuple` |
//! | Delete | `D` | 1 | with its xid | `message`, `tuple` |
//! | Truncate | `T` | 1 | with its xid | `message` |
//! | Logical decoding message | `M` | 1 | with its xid | `message` |
//! | Stream Start | `S` | 2 | never: begins one | `streamed` |
//! | Stream Stop | `E` | 2 | only: ends it | `streamed` |
//! | Stream Commit | `c` | 2 | never | `streamed` |
//! | Stream Abort | `A` | 2 | never | `streamed` |
//! | Begin Prepare | `b` | 3 | never | `two_phase` |
//! | Prepare | `P` | 3 | never | `two_phase` |
//! | Commit Prepared | `K` | 3 | never | `two_phase` |
//! | Rollback Prepared | `r` | 3 | never | `two_phase` |
//! | Stream Prepare | `p` | 3 | never | `two_phase` |
//!
//! Version 4 adds two fields to Stream Abort, and only where `streaming` is `parallel`.
//! Layouts: <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>;
//! the functions that write and read them are in the server's
//! `src/backend/replication/logical/proto.c`.
//!
//! # What is refused, and the one thing that is not
//!
//! A change that is dropped is lost for good, so whatever is not understood is an error that
//! stops the stream: an unknown tag, a known message that was not asked for or stands where it
//! can't, a byte or flag without a defined meaning, a message that ends early or late, a
//! transaction 0, and a position `0/0` where the server's own reader refuses it or where it would
//! be stored as progress.
//!
//! The exception is an unasked Stream Abort. PostgreSQL 18 sends one under version 1: where it
//! finds that a large transaction has already rolled back, it drops its changes and marks those of
//! its subtransactions as streamed that had any (`ReorderBufferTruncateTXN` in `reorderbuffer.c`;
//! `tests/it/protocol/streams.rs` makes it do so). **The rule: an unasked message is let through if
//! it can only take back what was never handed over.** Stream Abort alone is such: it names a
//! transaction of which no block can have come, so there is nothing it could undo. It is decoded
//! and handed out as any other, and whoever assembles transactions finds nothing under its xid. The
//! other stream messages would begin, end or commit something, and stay errors.
//!
//! # What is not here
//!
//! No sockets and no XLogData or keepalive frames (`replication`), no cache of relations, no
//! transactions put together, no value parsed: a column stays the bytes the server gave. A decoded
//! message borrows them; nothing is allocated.
//!
//! ```
//! use pghost::pgoutput::{Decoder, Message, ProtoVersion, Streaming, TupleValue};
//!
//! let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
//! let message = decoder.decode(b"I\0\0\x40\0N\0\x02t\0\0\0\x0242n")?;
//! let Message::Insert(insert) = message else { panic!("not an insert") };
//! let values: Vec<_> = insert.new.values().collect();
//! assert_eq!(values, [TupleValue::Text(b"42"), TupleValue::Null]);
//! # Ok::<(), pghost::pgoutput::DecodeError>(())
//! ```

#![deny(clippy::indexing_slicing)]

mod decode;
pub mod encode;
mod error;
mod kind;
mod message;
mod relation;
mod streamed;
#[cfg(test)]
mod tests;
mod tuple;
mod two_phase;
mod version;

pub use decode::Decoder;
pub use error::DecodeError;
pub use kind::MessageKind;
pub use message::{
    Begin, Commit, Delete, Insert, LogicalMessage, Message, Oids, OldTuple, Origin, Truncate,
    TypeMessage, Update,
};
pub use relation::{
    OwnedColumn, OwnedRelation, Relation, RelationColumn, RelationColumns, ReplicaIdentity,
};
pub use streamed::{AbortInfo, StreamAbort, StreamCommit, StreamStart};
pub use tuple::{Tuple, TupleValue, TupleValues};
pub use two_phase::{BeginPrepare, CommitPrepared, Prepare, RollbackPrepared};
pub use version::{ProtoVersion, Streaming};
