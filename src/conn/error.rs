//! What can go wrong between us and a server, sorted by whose fault it is.

use std::io;

use super::{PoolerError, TlsError};
use crate::{
    auth::AuthError,
    config::TargetSessionAttrs,
    pg::SqlState,
    wire::{FrameError, ProtocolVersion, ServerError, WireError},
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
    /// None of several servers would do; each with its reason.
    #[error("none of the servers will do: {}", list(.0))]
    NoServer(Vec<Self>),
    /// A server is not of the kind that `target_session_attrs` asks for.
    #[error("{server} is not what target_session_attrs={wanted} asks for")]
    WrongServer {
        /// The server.
        server: String,
        /// The kind.
        wanted: TargetSessionAttrs,
    },
    /// Neither with TLS nor without.
    #[error("{first}; and with the other kind of encryption: {second}")]
    BothWays {
        /// What the first attempt met.
        first: Box<Self>,
        /// And the second.
        second: Box<Self>,
    },
    /// The connection settings can't be used together.
    #[error("{0}")]
    Settings(String),
    /// A setting is not as it was given at the start of the session.
    #[error(
        "the setting {name} was given as '{wanted}' when the session began, and is '{value}': a \
         pooler or a proxy drops it"
    )]
    SettingDropped {
        /// The setting.
        name: String,
        /// What it must be.
        wanted: String,
        /// What it is.
        value: String,
    },
    /// A setting that the role or the database brings along, and that the role may not change.
    #[error("the setting {name} is '{value}', must be '{wanted}', and the role may not change it")]
    SettingForbidden {
        /// The setting.
        name: String,
        /// What it must be.
        wanted: String,
        /// What it is.
        value: String,
    },
    /// What stands between us and the server gives no whole sessions.
    #[error(transparent)]
    Pooler(#[from] PoolerError),
    /// TLS did not come about.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server speaks only older versions of the protocol.
    #[error(
        "the server speaks protocol {offered} at most, and min_protocol_version asks for {wanted}"
    )]
    ProtocolVersion {
        /// The newest it speaks.
        offered: ProtocolVersion,
        /// The oldest that will do.
        wanted: ProtocolVersion,
    },
    /// The server and we could not agree on who we are.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthError),
    /// The socket failed in mid-session.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server ended the session without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server has not moved for so long that it is given up.
    #[error("the server has not moved for {seconds} s")]
    Silent {
        /// How long.
        seconds: u64,
    },
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
    /// An earlier request was abandoned in the middle of its reply, or the reply made no sense.
    #[error(
        "this connection owes the rest of the reply to an earlier request, which was abandoned \
         or failed, and can't be used again"
    )]
    Poisoned,
    /// An answer was waited for that is not owed.
    #[error("no answer is due on this connection: nothing was asked, or it has come already")]
    NothingAsked,
    /// An earlier statement of a pipeline failed, and no Sync has come since.
    #[error("an earlier statement failed, and the server does nothing up to the next Sync")]
    Voided,
    /// A result is not what the query should give: names the query's purpose and the column.
    #[error("the server's answer can't be read: {0}")]
    Result(String),
    /// A result is larger than anything that is asked for here.
    #[error("the result of a query has more than {limit} bytes")]
    ResultTooLarge {
        /// The most we hold.
        limit: usize,
    },
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
            Self::BothWays { first, second } => first.sqlstate().or_else(|| second.sqlstate()),
            _ => None,
        }
    }

    /// Of a question whose answer is only told to people: `None`, with the error, where the server
    /// would not or could not answer. Managed services forbid some functions, and lack others.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the connection itself.
    pub fn if_answered<T>(answer: Result<T, Self>) -> Result<Result<T, Box<ServerError>>, Self> {
        match answer {
            Ok(answer) => Ok(Ok(answer)),
            Err(Self::Server(error)) => Ok(Err(error)),
            Err(other) => Err(other),
        }
    }

    /// Whether no server could be reached at all.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => true,
            Self::NoServer(errors) => errors.iter().all(Self::is_unreachable),
            _ => false,
        }
    }
}

fn list(errors: &[Error]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
