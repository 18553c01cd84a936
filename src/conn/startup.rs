//! The start of a session, as states that are consumed by the server's messages.
//!
//! ```text
//!   StartupMessage sent
//!        |
//!        v      v  NegotiateProtocolVersion, once, before any R
//!   Authenticating --- R.., answered as `auth` says --- R 0 Ok ---> Starting
//!        |                                                            | S*, K at most once
//!        E: refused; other encryption may help                        v
//!                                                        Z --------> Started
//! ```
//!
//! Pure: messages in, messages out. Carrying them is `handshake`'s work. NoticeResponse may come
//! at any time; ParameterStatus only once we are authenticated, as libpq has it.

use std::fmt;

use super::{Error, cancel::CancelKey, connection::unexpected};
use crate::{
    auth::{Authenticated, Exchange, Step},
    wire::{
        BackendMessage, NegotiateProtocolVersion, ProtocolVersion, TransactionStatus, WireError,
    },
};

/// The protocol's versions that will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// The lowest.
    pub(super) min: ProtocolVersion,
    /// The highest, which is asked for.
    pub(super) max: ProtocolVersion,
}

/// A session that is being started.
#[derive(Debug)]
#[must_use]
pub(super) struct Startup {
    versions: Versions,
    /// The version in force as far as is known.
    version: ProtocolVersion,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// `is_first` until the first authentication request.
    Authenticating {
        exchange: Exchange,
        is_first: bool,
    },
    Starting {
        proof: Authenticated,
        key: Option<CancelKey>,
    },
}

/// What follows from a message.
pub(super) enum Next {
    /// Wait for the next one.
    Wait(Startup),
    /// Give others a turn, then [`Startup::go_on`].
    Hash(Startup),
    /// Send this as the body of a `p` message, then wait.
    Answer(Vec<u8>, Startup),
    /// The session is ready.
    Ready(Started),
}

/// Without the answer, which may be the password.
impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(next) => f.debug_tuple("Wait").field(next).finish(),
            Self::Hash(next) => f.debug_tuple("Hash").field(next).finish(),
            Self::Answer(body, next) => {
                f.debug_tuple("Answer").field(&body.len()).field(next).finish()
            }
            Self::Ready(started) => f.debug_tuple("Ready").field(started).finish(),
        }
    }
}

/// A session that has been started.
#[derive(Debug)]
pub(super) struct Started {
    /// That we were authenticated, and how.
    pub(super) proof: Authenticated,
    /// The protocol's version.
    pub(super) version: ProtocolVersion,
    /// What a CancelRequest needs; poolers may leave it out.
    pub(super) key: Option<CancelKey>,
    /// Whether a transaction is open; it never is.
    pub(super) status: TransactionStatus,
}

impl Startup {
    pub(super) const fn new(versions: Versions, exchange: Exchange) -> Self {
        let stage = Stage::Authenticating { exchange, is_first: true };
        Self { versions, version: versions.max, stage }
    }

    /// Whether the server has let us in.
    pub(super) const fn is_authenticated(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. })
    }

    /// Takes the next message.
    ///
    /// Errors: the server refuses us, or a message is out of place.
    pub(super) fn take(self, message: BackendMessage<'_>) -> Result<Next, Error> {
        match message {
            BackendMessage::ErrorResponse(error) => Err(Error::Server(error)),
            BackendMessage::NoticeResponse(_) => Ok(Next::Wait(self)),
            message => match self.stage {
                Stage::Authenticating { exchange, is_first } => {
                    Self::authenticate(self.versions, self.version, exchange, is_first, &message)
                }
                Stage::Starting { proof, key } => {
                    Self::start(self.versions, self.version, proof, key, &message)
                }
            },
        }
    }

    fn authenticate(
        versions: Versions,
        version: ProtocolVersion,
        exchange: Exchange,
        is_first: bool,
        message: &BackendMessage<'_>,
    ) -> Result<Next, Error> {
        match message {
            BackendMessage::Authentication(request) => {
                Ok(Self::stepped(versions, version, exchange.handle(request)?))
            }
            BackendMessage::NegotiateProtocolVersion(offer) if is_first => {
                let version = negotiate(versions, version, offer)?;
                let stage = Stage::Authenticating { exchange, is_first: false };
                Ok(Next::Wait(Self { versions, version, stage }))
            }
            other => Err(unexpected("an authentication request", other)),
        }
    }

    /// Hashes on, after a [`Next::Hash`].
    pub(super) fn go_on(self) -> Next {
        match self.stage {
            Stage::Authenticating { exchange, .. } => {
                Self::stepped(self.versions, self.version, exchange.go_on())
            }
            Stage::Starting { .. } => Next::Wait(self),
        }
    }

    fn stepped(versions: Versions, version: ProtocolVersion, step: Step) -> Next {
        let go_on = |exchange| {
            let stage = Stage::Authenticating { exchange, is_first: false };
            Self { versions, version, stage }
        };
        match step {
            Step::Send(body, next) => Next::Answer(body, go_on(next)),
            Step::Wait(next) => Next::Wait(go_on(next)),
            Step::Hash(next) => Next::Hash(go_on(next)),
            Step::Done(proof) => {
                let stage = Stage::Starting { proof, key: None };
                Next::Wait(Self { versions, version, stage })
            }
        }
    }

    fn start(
        versions: Versions,
        version: ProtocolVersion,
        proof: Authenticated,
        key: Option<CancelKey>,
        message: &BackendMessage<'_>,
    ) -> Result<Next, Error> {
        let go_on = |proof, key| {
            let stage = Stage::Starting { proof, key };
            Next::Wait(Self { versions, version, stage })
        };
        match message {
            BackendMessage::ParameterStatus { .. } => Ok(go_on(proof, key)),
            BackendMessage::BackendKeyData { process_id, key: secret } if key.is_none() => {
                // 3.0 has room for four bytes and no more; libpq refuses others as well.
                if version == ProtocolVersion::V3_0 && secret.len() != 4 {
                    return Err(WireError::Invalid("cancel key").into());
                }
                let key = CancelKey::new(*process_id, secret);
                Ok(go_on(proof, Some(key)))
            }
            BackendMessage::ReadyForQuery(status) => {
                Ok(Next::Ready(Started { proof, version, key, status: *status }))
            }
            other => Err(unexpected("the session's parameters", other)),
        }
    }
}

/// The version to speak after the server has named the newest that it knows: lower than what we
/// asked for, or there would be nothing to say (libpq refuses that too), and not lower than what
/// will do. We ask for no option, so that there is none that it could not know.
fn negotiate(
    versions: Versions,
    asked: ProtocolVersion,
    offer: &NegotiateProtocolVersion<'_>,
) -> Result<ProtocolVersion, Error> {
    let offered = offer.version;
    if offer.unknown_option.is_some() || offered >= asked || offered < ProtocolVersion::V3_0 {
        return Err(Error::Unexpected {
            expected: "an older version of protocol 3",
            got: "NegotiateProtocolVersion",
        });
    }
    // There is no 3.1; a server that speaks nothing newer has 3.0's messages.
    let version = if offered < ProtocolVersion::V3_2 { ProtocolVersion::V3_0 } else { offered };
    if version < versions.min {
        return Err(Error::ProtocolVersion { offered, wanted: versions.min });
    }
    Ok(version)
}

#[cfg(test)]
mod tests;
