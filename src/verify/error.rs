//! What can go wrong while tables are compared. That they differ is no error.

use crate::{conn::Error, pg::Lsn};

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Reading on one side.
    #[error("comparing {table} on the {side}: {error}")]
    Server {
        /// The table.
        table: String,
        /// `source` or `target`.
        side: &'static str,
        /// What happened.
        error: Error,
    },
    /// Nobody brings the target the changes any more.
    #[error("the target is at {position} and does not come to {wanted}: {why}")]
    NotFollowed {
        /// Where it is.
        position: Lsn,
        /// Where it should come to.
        wanted: Lsn,
        /// How that is known.
        why: String,
    },
}

impl VerifyError {
    /// The connection's error, if it is one.
    #[must_use]
    pub const fn connection_error(&self) -> Option<&Error> {
        match self {
            Self::Server { error, .. } => Some(error),
            Self::NotFollowed { .. } => None,
        }
    }
}
