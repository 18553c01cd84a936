//! The only sockets to Postgres.
//!
//! ```text
//!   dial ──> Socket ── Transport ── handshake ──> Connection ──┬─ query       simple, extended
//!   which    bytes,    frames; both   startup     one owner    ├─ Statement   prepared once
//!   server   TLS       directions     and auth                 ├─ CopyOut     a page's two ends
//!                      always move                             ├─ CopyIn
//!                                                              ├─ Pipeline    without waiting
//!            CancelToken: stop what a session is doing         └─ CopyBoth    replication
//! ```
//!
//! A connection is a value with one owner: no task, lock or channel stands behind it. Dropped in
//! the middle of a reply it knows that it owes one, and refuses further use instead of handing
//! the old answer to a new question.
//!
//! Not here: what is asked (`catalog`, `ledger`, `backfill`, `apply`), and what a replication
//! stream carries (`replication`, `pgoutput`).

mod answer;
mod ask;
mod cancel;
mod connection;
mod copy_both;
mod copy_in;
mod copy_out;
mod dial;
mod encryption;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod pipeline;
mod pooler;
mod replies;
mod reports;
mod rows;
mod session;
mod socket;
mod startup;
mod statement;
mod surroundings;
mod tls;
mod tracer;
mod transport;

pub use cancel::CancelToken;
pub use connection::Connection;
pub use copy_both::CopyBoth;
pub use copy_in::CopyIn;
pub use copy_out::CopyOut;
pub use error::Error;
pub use pipeline::{Pipeline, WINDOW_BYTES, WINDOW_REPLIES};
pub use pooler::PoolerError;
pub use reports::{NOTICES_MAX, NOTIFICATIONS_MAX, Notification, PARAMETERS_MAX};
pub use rows::{FromText, QueryResult, Row, StatementResult};
pub use session::{PATH_AGAIN, SessionKind};
pub use statement::Statement;
pub use surroundings::parse_dsn;
pub use tls::{CertificateError, TlsError};
pub use tracer::TRACE_TARGET;
