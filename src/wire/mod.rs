//! Bytes: the only reader and the only writer of everything that crosses a socket.
//!
//! Pure. Reading sockets is `conn`'s work; what the bytes of a replication stream mean is
//! `pgoutput`'s. The messages, with their places in this room:
//!
//! | sent by us ([`Writer`], `frontend.rs`) | tag | sent by the server ([`BackendMessage`], `backend.rs`) | tag |
//! |---|---|---|---|
//! | StartupMessage, CancelRequest | none | Authentication | `R` |
//! | PasswordMessage, SASL responses | `p` | ParameterStatus, BackendKeyData | `S` `K` |
//! | Query | `Q` | ReadyForQuery | `Z` |
//! | Parse, Bind, Describe, Execute | `P` `B` `D` `E` | ParseComplete, BindComplete, NoData | `1` `2` `n` |
//! | Close, Flush, Sync | `C` `H` `S` | CloseComplete, PortalSuspended | `3` `s` |
//! | CopyData, CopyDone, CopyFail | `d` `c` `f` | CopyIn-, CopyOut-, CopyBothResponse | `G` `H` `W` |
//! | Terminate | `X` | RowDescription, ParameterDescription, DataRow | `T` `t` `D` |
//! | | | CommandComplete, EmptyQueryResponse | `C` `I` |
//! | | | ErrorResponse, NoticeResponse, NotificationResponse | `E` `N` `A` |
//!
//! What CopyData carries is a format of its own:
//!
//! | format | read by | written by | file |
//! |---|---|---|---|
//! | text rows | [`TextRows`], [`TextRow`] | [`TextRowWriter`] | `copy_text.rs` |
//! | binary header, rows, trailer | [`CopyBinaryReader`], [`BinaryRow`] | [`CopyBinaryWriter`] | `copy_binary.rs` |
//! | a replication stream | `replication` | `replication` | |
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

#![deny(clippy::indexing_slicing)]

mod backend;
mod caps;
mod copy_binary;
mod copy_text;
mod frame;
mod frontend;
mod reader;
mod server_error;
mod writer;

pub use backend::{
    BackendMessage, ColumnDescription, CommandTag, DataRow, RowDescription, TransactionStatus,
};
pub use caps::COLUMNS_MAX;
pub use copy_binary::{
    BinaryRow, BinaryRowWriter, CopyBinaryReader, CopyBinaryWriter, HEADER_EXTENSION_MAX,
};
pub use copy_text::{TextField, TextFields, TextRow, TextRowWriter, TextRows};
pub use frame::{Frame, FrameError, Frames, MAX_FRAME_BYTES, complete_frames};
pub use frontend::{Bind, Format};
pub use reader::{Reader, WireError};
pub use server_error::ServerError;
pub use writer::{Writer, Writing};
