//! What can go wrong between us and a server, sorted by whose fault it is.

use std::io;

use crate::{
    auth::AuthError,
    pg::SqlState,
    wire::{FrameError, ServerError, WireError},
};

/// A failure on a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No host of the connection settings could be reached.
    #[error("can't reach {server}: {source}")]
    Unreachable {
        /// Where we tried.
        server: String,
        /// Why not.
        source: io::Error,
    },
    /// Connecting took longer than `connect_timeout`.
    #[error("no answer from {server} within {seconds} s (connect_timeout)")]
    ConnectTimeout {
        /// Where we tried.
        server: String,
        /// The limit.
        seconds: u64,
    },
    /// The settings ask for something that pghost does not do yet.
    #[error("{0}")]
    Unsupported(String),
    /// The server and we could not agree on who we are.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthError),
    /// The socket failed in mid-session.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server ended the session without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server said no.
    #[error(transparent)]
    Server(#[from] Box<ServerError>),
    /// A message is not shaped as the protocol says.
    #[error("the server sent a malformed message: {0}")]
    Malformed(#[from] WireError),
    /// The stream of messages itself is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message came where the protocol does not allow it.
    #[error("expected {expected}, the server sent {got}")]
    Unexpected {
        /// What would have been right.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// An earlier request was abandoned in the middle of its reply.
    #[error("this connection still owes the reply to an abandoned request and can't be used again")]
    Poisoned,
    /// A result is not what the query should give: names the query's purpose and the column.
    #[error("the server's answer can't be read: {0}")]
    Result(String),
    /// More bytes came, unasked for, than a server has reason to send.
    #[error("the server sent more than {limit} bytes while it was not reading what we sent")]
    Flooded {
        /// The most we hold.
        limit: usize,
    },
}

impl Error {
    /// The SQLSTATE, if it was the server that said no.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        match self {
            Self::Server(error) => error.code,
            _ => None,
        }
    }
}
