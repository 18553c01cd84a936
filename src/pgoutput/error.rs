//! Why a message was not decoded. Each of these stops the stream.

use super::{MessageKind, ProtoVersion};
use crate::wire::WireError;

/// A message that can't be decoded.
///
/// It does not carry the bytes or the position in the log: the caller has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is not even a type byte.
    #[error("the message is empty")]
    Empty,
    /// No protocol version that pghost knows has such a message.
    #[error("the message type '{}' is unknown", .0.escape_ascii())]
    UnknownType(u8),
    /// The message belongs to a later protocol version than the one asked for.
    #[error(
        "{message} came under protocol version {version}, but exists only since version {}",
        .message.since()
    )]
    TooNew {
        /// The message.
        message: MessageKind,
        /// The version asked for.
        version: ProtoVersion,
    },
    /// The message belongs to streaming, which was not asked for.
    #[error("{0} came although streaming was not asked for")]
    NotStreaming(MessageKind),
    /// The message can't stand between Stream Start and Stream Stop.
    #[error("{0} came inside a streamed block")]
    InsideBlock(MessageKind),
    /// The message can only stand between Stream Start and Stream Stop.
    #[error("{0} came outside a streamed block")]
    OutsideBlock(MessageKind),
    /// The bytes do not have the message's shape.
    #[error("{message}: {wire}")]
    Malformed {
        /// The message.
        message: MessageKind,
        /// What is wrong, and in which field.
        #[source]
        wire: WireError,
    },
    /// A kind, flag or mark holds a byte without a defined meaning.
    #[error("{message}: the field '{field}' holds the undefined byte {byte:#04x}")]
    Undefined {
        /// The message.
        message: MessageKind,
        /// The field.
        field: &'static str,
        /// What it holds.
        byte: u8,
    },
}

/// The same from inside a message, which does not know its own name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// See [`DecodeError::Malformed`].
    Wire(WireError),
    /// See [`DecodeError::Undefined`].
    Undefined(&'static str, u8),
}

impl Fault {
    /// Out of the way of the paths that decode.
    #[cold]
    pub(super) const fn of(self, message: MessageKind) -> DecodeError {
        match self {
            Self::Wire(wire) => DecodeError::Malformed { message, wire },
            Self::Undefined(field, byte) => DecodeError::Undefined { message, field, byte },
        }
    }
}

impl From<WireError> for Fault {
    fn from(wire: WireError) -> Self {
        Self::Wire(wire)
    }
}
