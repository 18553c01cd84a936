//! The only sockets to Postgres.
//!
//! ```text
//!   Socket ── Transport ── handshake ──> Connection ──┬─ query      simple and extended
//!   bytes     frames; both               one owner    ├─ CopyOut    a page's two ends
//!             directions always move                  ├─ CopyIn
//!                                                     ├─ Pipeline   statements without waiting
//!                                                     └─ CopyBoth   the replication stream
//! ```
//!
//! A connection is a value with one owner: no task, lock or channel stands behind it. Dropped in
//! the middle of a reply it knows that it owes one, and refuses further use instead of handing
//! the old answer to a new question.
//!
//! Not here: what is asked (`catalog`, `ledger`, `backfill`, `apply`), and what a replication
//! stream carries (`replication`, `pgoutput`).

mod cancel;
mod connection;
mod copy_both;
mod copy_in;
mod copy_out;
mod dial;
mod encryption;
mod error;
mod handshake;
mod pipeline;
mod replies;
mod reports;
mod rows;
mod session;
mod socket;
mod startup;
mod surroundings;
mod tls;
mod transport;

pub use cancel::CancelToken;
pub use connection::Connection;
pub use copy_both::CopyBoth;
pub use copy_in::CopyIn;
pub use copy_out::CopyOut;
pub use error::Error;
pub use pipeline::{Pipeline, WINDOW_BYTES, WINDOW_REPLIES};
pub use reports::{NOTICES_MAX, NOTIFICATIONS_MAX, Notification, PARAMETERS_MAX};
pub use rows::{FromText, QueryResult, Row, StatementResult};
pub use session::SessionKind;
pub use surroundings::parse_dsn;
pub use tls::{CertificateError, TlsError};
