//! The server's nouns: positions, object ids, names, error codes, versions.
//!
//! Plain values over std, used by every other room. Nothing here knows bytes, sockets or SQL
//! beyond the spelling of its own noun.

mod ident;
mod lsn;
mod snapshot;
mod sqlstate;
mod time;
mod version;

pub use ident::{Ident, QualifiedName};
pub use lsn::{Lsn, ParseLsnError};
pub use snapshot::{ParseSnapshotError, Snapshot};
pub use sqlstate::SqlState;
pub use time::PgTimestamp;
pub use version::ServerVersion;

/// An object identifier, unique within one database of one server only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub u32);

impl std::fmt::Display for Oid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A 32-bit transaction id, as pgoutput sends it: without its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Xid(pub u32);

impl std::fmt::Display for Xid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
