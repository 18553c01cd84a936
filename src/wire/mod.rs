//! Bytes: the only reader and the only writer of everything that crosses a socket.
//!
//! Pure. Reading sockets is `conn`'s work; what the bytes of a replication stream mean is
//! `pgoutput`'s. The messages, with their places in this room:
//!
//! | sent by us ([`Writer`], `frontend.rs`) | tag | sent by the server ([`BackendMessage`], `backend.rs`) | tag |
//! |---|---|---|---|
//! | StartupMessage, SSLRequest, CancelRequest (`startup.rs`) | none | Authentication | `R` |
//! | PasswordMessage, SASL responses | `p` | ParameterStatus, BackendKeyData | `S` `K` |
//! | Query | `Q` | ReadyForQuery | `Z` |
//! | Parse, Bind, Describe, Execute | `P` `B` `D` `E` | ParseComplete, BindComplete, NoData | `1` `2` `n` |
//! | Close, Flush, Sync | `C` `H` `S` | CloseComplete, PortalSuspended | `3` `s` |
//! | CopyData, CopyDone, CopyFail | `d` `c` `f` | CopyIn-, CopyOut-, CopyBothResponse (`copy.rs`) | `G` `H` `W` |
//! | Terminate | `X` | RowDescription, ParameterDescription, DataRow (`row.rs`) | `T` `t` `D` |
//! | | | CommandComplete, EmptyQueryResponse | `C` `I` |
//! | | | ErrorResponse, NoticeResponse (`server_error.rs`), NotificationResponse | `E` `N` `A` |
//! | | | NegotiateProtocolVersion (`startup.rs`) | `v` |
//!
//! What CopyData carries is a format of its own:
//!
//! | format | read by | written by | file |
//! |---|---|---|---|
//! | text rows | [`TextRows`], [`TextRow`] | [`TextRowWriter`] | `copy_text.rs` |
//! | binary header, rows, trailer | [`CopyBinaryReader`], [`BinaryRow`] | [`CopyBinaryWriter`] | `copy_binary.rs` |
//! | a replication stream | `replication` | `replication` | |
//!
//! [`Trace`] (`trace/`) renders every one of them as text.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

// What a peer sends can be anything: nothing here panics on it or cuts a number short.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

mod backend;
pub mod caps;
mod copy;
mod copy_binary;
mod copy_text;
mod frame;
mod frontend;
mod reader;
mod row;
mod server_error;
mod startup;
mod trace;
mod writer;

pub use backend::{
    BackendMessage, CommandTag, Notification, ParameterDescription, TransactionStatus,
};
pub use copy::CopyResponse;
pub use copy_binary::{
    BinaryRow, BinaryRowWriter, CopyBinaryReader, CopyBinaryWriter, HEADER_EXTENSION_MAX,
};
pub use copy_text::{TextField, TextFields, TextRow, TextRowWriter, TextRows};
pub use frame::{Frame, FrameError, FrameLimits, Frames, complete_frames};
pub use frontend::{Bind, Format};
pub use reader::{Reader, WireError};
pub use row::{ColumnDescription, DataRow, RowDescription};
pub use server_error::ServerError;
pub use startup::{ALPN_PROTOCOL, NegotiateProtocolVersion, ProtocolVersion, SslResponse};
pub use trace::Trace;
pub use writer::{Writer, Writing};
