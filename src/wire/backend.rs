//! The messages a server sends, as views into the bytes they came in.

use super::{
    CopyResponse, DataRow, Frame, Reader, RowDescription, ServerError, WireError,
    caps::CANCEL_KEY_BYTES, startup::NegotiateProtocolVersion,
};
use crate::pg::Oid;

/// One message from the server.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
#[derive(Debug)]
pub enum BackendMessage<'a> {
    /// `R`: the body, which `auth` understands.
    Authentication(&'a [u8]),
    /// `K`: what a CancelRequest needs. The key has 4 bytes in protocol 3.0, up to 256 in 3.2.
    BackendKeyData {
        /// The server process.
        process_id: i32,
        /// The secret.
        key: &'a [u8],
    },
    /// `2`
    BindComplete,
    /// `3`
    CloseComplete,
    /// `C`
    CommandComplete(CommandTag<'a>),
    /// `W`
    CopyBothResponse(CopyResponse<'a>),
    /// `d`
    CopyData(&'a [u8]),
    /// `c`
    CopyDone,
    /// `G`
    CopyInResponse(CopyResponse<'a>),
    /// `H`
    CopyOutResponse(CopyResponse<'a>),
    /// `D`
    DataRow(DataRow<'a>),
    /// `I`
    EmptyQueryResponse,
    /// `E`
    ErrorResponse(Box<ServerError>),
    /// `v`
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
    /// `n`
    NoData,
    /// `N`
    NoticeResponse(Box<ServerError>),
    /// `A`
    NotificationResponse(Notification<'a>),
    /// `t`
    ParameterDescription(ParameterDescription<'a>),
    /// `S`
    ParameterStatus {
        /// The setting.
        name: &'a str,
        /// Its value from now on.
        value: &'a str,
    },
    /// `1`
    ParseComplete,
    /// `s`
    PortalSuspended,
    /// `Z`
    ReadyForQuery(TransactionStatus),
    /// `T`
    RowDescription(RowDescription<'a>),
}

impl<'a> BackendMessage<'a> {
    /// Reads one frame.
    ///
    /// Errors: an unknown tag, a field that is cut short or not allowed, left-over bytes.
    pub fn parse(frame: Frame<'a>) -> Result<Self, WireError> {
        let mut r = Reader::new(frame.body);
        let message = match frame.tag {
            b'R' => return Ok(Self::Authentication(frame.body)),
            b'd' => return Ok(Self::CopyData(frame.body)),
            b'E' => {
                return Ok(Self::ErrorResponse(Box::new(ServerError::parse(frame.body)?)));
            }
            b'N' => {
                return Ok(Self::NoticeResponse(Box::new(ServerError::parse(frame.body)?)));
            }
            b'D' => return Ok(Self::DataRow(DataRow::parse(frame.body)?)),
            b'T' => return Ok(Self::RowDescription(RowDescription::parse(frame.body)?)),
            b'W' => return Ok(Self::CopyBothResponse(CopyResponse::parse(frame.body)?)),
            b'G' => return Ok(Self::CopyInResponse(CopyResponse::parse(frame.body)?)),
            b'H' => return Ok(Self::CopyOutResponse(CopyResponse::parse(frame.body)?)),
            b't' => {
                return Ok(Self::ParameterDescription(ParameterDescription::parse(frame.body)?));
            }
            b'v' => {
                let negotiation = NegotiateProtocolVersion::parse(frame.body)?;
                return Ok(Self::NegotiateProtocolVersion(negotiation));
            }
            b'A' => Self::NotificationResponse(Notification {
                process_id: r.i32("process id")?,
                channel: r.text("channel")?,
                payload: r.text("payload")?,
            }),
            b'K' => {
                let process_id = r.i32("process id")?;
                let key = r.bytes(r.rest().len(), "cancel key")?;
                if !CANCEL_KEY_BYTES.contains(&key.len()) {
                    return Err(WireError::Invalid("cancel key"));
                }
                Self::BackendKeyData { process_id, key }
            }
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'c' => Self::CopyDone,
            b'I' => Self::EmptyQueryResponse,
            b'n' => Self::NoData,
            b'1' => Self::ParseComplete,
            b's' => Self::PortalSuspended,
            b'C' => Self::CommandComplete(CommandTag(r.text("command tag")?)),
            b'S' => Self::ParameterStatus {
                name: r.text("parameter name")?,
                value: r.text("parameter value")?,
            },
            b'Z' => Self::ReadyForQuery(TransactionStatus::parse(r.u8("transaction status")?)?),
            _ => return Err(WireError::Invalid("message type")),
        };
        r.finish("message")?;
        Ok(message)
    }

    /// The message's name, for errors that say what came instead of what was expected.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Authentication(_) => "Authentication",
            Self::BackendKeyData { .. } => "BackendKeyData",
            Self::BindComplete => "BindComplete",
            Self::CloseComplete => "CloseComplete",
            Self::CommandComplete(_) => "CommandComplete",
            Self::CopyBothResponse(_) => "CopyBothResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::CopyInResponse(_) => "CopyInResponse",
            Self::CopyOutResponse(_) => "CopyOutResponse",
            Self::DataRow(_) => "DataRow",
            Self::EmptyQueryResponse => "EmptyQueryResponse",
            Self::ErrorResponse(_) => "ErrorResponse",
            Self::NegotiateProtocolVersion(_) => "NegotiateProtocolVersion",
            Self::NoData => "NoData",
            Self::NoticeResponse(_) => "NoticeResponse",
            Self::NotificationResponse(_) => "NotificationResponse",
            Self::ParameterDescription(_) => "ParameterDescription",
            Self::ParameterStatus { .. } => "ParameterStatus",
            Self::ParseComplete => "ParseComplete",
            Self::PortalSuspended => "PortalSuspended",
            Self::ReadyForQuery(_) => "ReadyForQuery",
            Self::RowDescription(_) => "RowDescription",
        }
    }
}

/// What ReadyForQuery says of the session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: none is open.
    Idle,
    /// `T`: one is open.
    InTransaction,
    /// `E`: one is open and has failed; only ROLLBACK helps.
    Failed,
}

impl TransactionStatus {
    const fn parse(byte: u8) -> Result<Self, WireError> {
        match byte {
            b'I' => Ok(Self::Idle),
            b'T' => Ok(Self::InTransaction),
            b'E' => Ok(Self::Failed),
            _ => Err(WireError::Invalid("transaction status")),
        }
    }
}

/// What CommandComplete says was done, for example `INSERT 0 5` or `COPY 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandTag<'a>(pub &'a str);

impl CommandTag<'_> {
    /// How many rows it was: the tag's last word; 0 for commands that don't count.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// What NOTIFY sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The server process of the session that sent it.
    pub process_id: i32,
    /// The channel.
    pub channel: &'a str,
    /// The payload, which may be empty.
    pub payload: &'a str,
}

/// The types of a prepared statement's parameters.
#[derive(Clone, Copy, Debug)]
pub struct ParameterDescription<'a> {
    types: &'a [u8],
}

impl<'a> ParameterDescription<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.u16("parameter count")?;
        let types = r.bytes(usize::from(count) * 4, "parameter type")?;
        r.finish("ParameterDescription")?;
        Ok(Self { types })
    }

    /// One for each parameter, in order.
    pub fn types(&self) -> impl ExactSizeIterator<Item = Oid> + use<'a> {
        self.types.as_chunks().0.iter().map(|oid| Oid(u32::from_be_bytes(*oid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tag: u8, body: &[u8]) -> Result<BackendMessage<'_>, WireError> {
        BackendMessage::parse(Frame { tag, body })
    }

    #[test]
    fn tags_count_rows() {
        for (tag, rows) in [("INSERT 0 5", 5), ("COPY 3", 3), ("UPDATE 0", 0), ("BEGIN", 0)] {
            assert_eq!(CommandTag(tag).rows(), rows);
        }
    }

    #[test]
    fn cancel_keys_have_4_to_256_bytes() {
        for (length, fine) in [(3, false), (4, true), (256, true), (257, false)] {
            assert_eq!(parse(b'K', &vec![0; 4 + length]).is_ok(), fine, "{length}");
        }
    }

    #[test]
    fn parameters_have_their_types() {
        let Ok(BackendMessage::ParameterDescription(parameters)) =
            parse(b't', b"\0\x02\0\0\0\x17\0\0\0\x19")
        else {
            panic!("not a description");
        };
        assert_eq!(parameters.types().collect::<Vec<_>>(), [Oid(23), Oid(25)]);
        for wrong in [&b"\0\x01"[..], b"\0\x01\0\0\0", b"\0\0x"] {
            assert!(parse(b't', wrong).is_err());
        }
        let most = [&[0xff; 2][..], &vec![0; 4 * 65_535]].concat();
        assert!(parse(b't', &most).is_ok());
    }

    #[test]
    fn notifications_are_read() {
        let Ok(BackendMessage::NotificationResponse(n)) = parse(b'A', b"\0\0\0\x07jobs\0\0") else {
            panic!("not a notification");
        };
        assert_eq!(n, Notification { process_id: 7, channel: "jobs", payload: "" });
        assert!(parse(b'A', b"\0\0\0\x07jobs\0").is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse(b'?', b"").is_err());
        assert!(parse(b'Z', b"X").is_err());
        assert!(parse(b'Z', b"II").is_err());
        assert!(parse(b'1', b"x").is_err());
    }
}
