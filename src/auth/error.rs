//! Why an authentication exchange ended without success.
//!
//! Passwords appear in none of these, nor does text that the server chose: before it has proved
//! itself, it could say anything.

use std::fmt;

use super::scram::ScramError;
use crate::config::AuthMethod;
use crate::wire::WireError;

/// The end of an exchange that failed. That the server says no is not here: it does so by an
/// ErrorResponse, which is no authentication message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The server wants a password and none was found.
    #[error(
        "the server asks for a password and none is given; set PGPASSWORD, add a line \
         to ~/.pgpass (or the file of 'passfile'), or put it into the connection string"
    )]
    MissingPassword,
    /// The password would be readable on its way.
    #[error(
        "the server asks for the password in cleartext over a connection without encryption; \
         use sslmode=require, or allow it with require_auth=password"
    )]
    CleartextUnprotected,
    /// The password can't be sent as it is.
    #[error("the password holds a zero byte, which the protocol can't carry")]
    PasswordWithZero,
    /// A method that `require_auth` does not allow.
    #[error("the server asks for authentication by '{method}', which require_auth does not allow")]
    MethodNotAllowed {
        /// The method.
        method: AuthMethod,
    },
    /// The server lets us in unasked, and `require_auth` does not allow that.
    #[error("the server lets us in without authentication, which require_auth does not allow")]
    NotAuthenticated,
    /// A method that pghost does not speak.
    #[error("the server asks for authentication by {method}, which pghost does not speak")]
    UnsupportedMethod {
        /// Its name.
        method: Received,
    },
    /// None of the server's SASL mechanisms is known here.
    #[error("none of the server's SASL mechanisms is known; pghost speaks SCRAM-SHA-256")]
    UnknownMechanisms,
    /// OAuth is the only mechanism on offer.
    #[error("the server asks for an OAuth token (OAUTHBEARER), which pghost does not speak")]
    OauthOnly,
    /// `channel_binding=require` and no TLS.
    #[error("channel_binding=require needs TLS, and this connection has none")]
    BindingNeedsTls,
    /// `channel_binding=require` and a certificate that can't be bound to.
    #[error(
        "channel_binding=require can't be kept: the server's certificate is signed in a way \
         that has no channel binding (such as Ed25519)"
    )]
    BindingNotPossible,
    /// `channel_binding=require` and a server that does without.
    #[error("channel_binding=require can't be kept: the server sent {0}, without channel binding")]
    BindingNotOffered(Received),
    /// Nothing but channel binding on offer, and it is not to be had.
    #[error(
        "the server offers nothing but SCRAM-SHA-256-PLUS, which is ruled out by \
         channel_binding=disable or by the kind of its certificate"
    )]
    BindingUnavoidable,
    /// Channel binding on offer where there is no channel: the offer was not meant for us.
    #[error("the server offers SCRAM-SHA-256-PLUS on a connection without TLS")]
    BindingWithoutTls,
    /// The server said yes in the middle of SCRAM.
    #[error("the server ends SCRAM without having proved that it knows the password")]
    ServerNotProved,
    /// A message that has no place here.
    #[error("the server sent {got} where {expected} was expected")]
    Unexpected {
        /// What would have fit.
        expected: &'static str,
        /// What came.
        got: Received,
    },
    /// A message longer than [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX).
    #[error("the server's authentication message has {0} bytes; at most {max} are taken",
        max = super::MESSAGE_BYTES_MAX)]
    TooLong(usize),
    /// Bytes that are no authentication message.
    #[error("the server's authentication message is malformed: {0}")]
    Malformed(#[from] WireError),
    /// A SCRAM exchange that went wrong.
    #[error("by SCRAM: {0}")]
    Scram(#[from] ScramError),
}

impl AuthError {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Scram(ScramError::TooManyIterations(_)) => {
                "give the role its password anew with fewer rounds: SET scram_iterations = 4096; \
                 then ALTER ROLE .. PASSWORD"
            }
            Self::Scram(ScramError::WrongSignature) | Self::ServerNotProved => {
                "make sure that host and port are those of the server that is meant, and that \
                 nothing else answers there; then check the password"
            }
            Self::MissingPassword
            | Self::PasswordWithZero
            | Self::Scram(ScramError::Refused(_)) => {
                "check user and password (PGPASSWORD or .pgpass)"
            }
            Self::Malformed(_) | Self::TooLong(_) | Self::Unexpected { .. } | Self::Scram(_) => {
                "check host and port: what answers there does not speak as a Postgres server does"
            }
            _ => {
                "mend what the message names: the role's kind of authentication in the server's \
                 pg_hba.conf, or require_auth, channel_binding and sslmode"
            }
        }
    }
}

/// The code of an Authentication message, with its name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received(pub i32);

/// <https://www.postgresql.org/docs/18/protocol-message-formats.html>
impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "AuthenticationOk",
            2 => "AuthenticationKerberosV5",
            3 => "AuthenticationCleartextPassword",
            5 => "AuthenticationMD5Password",
            7 => "AuthenticationGSS",
            8 => "AuthenticationGSSContinue",
            9 => "AuthenticationSSPI",
            10 => "AuthenticationSASL",
            11 => "AuthenticationSASLContinue",
            12 => "AuthenticationSASLFinal",
            code => return write!(f, "the authentication request {code}"),
        };
        f.write_str(name)
    }
}
