//! The messages a server sends, as views into the bytes they came in.

use super::{Frame, Reader, ServerError, WireError};
use crate::pg::Oid;

/// One message from the server.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
#[derive(Debug)]
pub enum BackendMessage<'a> {
    /// `R`: the body, which `auth` understands.
    Authentication(&'a [u8]),
    /// `K`: what a cancel request needs. The key has 4 bytes in protocol 3.0, up to 256 in 3.2.
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
    CopyBothResponse,
    /// `d`
    CopyData(&'a [u8]),
    /// `c`
    CopyDone,
    /// `G`
    CopyInResponse,
    /// `H`
    CopyOutResponse,
    /// `D`
    DataRow(DataRow<'a>),
    /// `I`
    EmptyQueryResponse,
    /// `E`
    ErrorResponse(Box<ServerError>),
    /// `v`: the newest protocol version the server speaks.
    NegotiateProtocolVersion(u32),
    /// `n`
    NoData,
    /// `N`
    NoticeResponse(Box<ServerError>),
    /// `A`
    NotificationResponse,
    /// `t`
    ParameterDescription,
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
            // Formats and types are what we asked for; nothing is decided by them.
            b'W' => return Ok(Self::CopyBothResponse),
            b'G' => return Ok(Self::CopyInResponse),
            b'H' => return Ok(Self::CopyOutResponse),
            b't' => return Ok(Self::ParameterDescription),
            b'A' => return Ok(Self::NotificationResponse),
            b'v' => return Ok(Self::NegotiateProtocolVersion(r.u32("protocol version")?)),
            b'K' => {
                let process_id = r.i32("process id")?;
                let key = r.rest();
                if !(4..=256).contains(&key.len()) {
                    return Err(WireError::Invalid("cancel key"));
                }
                return Ok(Self::BackendKeyData { process_id, key });
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
            Self::CopyBothResponse => "CopyBothResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::CopyInResponse => "CopyInResponse",
            Self::CopyOutResponse => "CopyOutResponse",
            Self::DataRow(_) => "DataRow",
            Self::EmptyQueryResponse => "EmptyQueryResponse",
            Self::ErrorResponse(_) => "ErrorResponse",
            Self::NegotiateProtocolVersion(_) => "NegotiateProtocolVersion",
            Self::NoData => "NoData",
            Self::NoticeResponse(_) => "NoticeResponse",
            Self::NotificationResponse => "NotificationResponse",
            Self::ParameterDescription => "ParameterDescription",
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

/// One row of a result, read value by value.
#[derive(Clone, Copy, Debug)]
pub struct DataRow<'a> {
    values: &'a [u8],
    count: u16,
}

impl<'a> DataRow<'a> {
    /// Checks that the row holds exactly the values it counts.
    fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.u16("column count")?;
        let values = r.rest();
        for _ in 0..count {
            r.value("column value")?;
        }
        r.finish("DataRow")?;
        Ok(Self { values, count })
    }

    /// Its values in order, `None` for NULL.
    pub fn values(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut r = Reader::new(self.values);
        (0..self.count).map_while(move |_| r.value("column value").ok())
    }
}

/// The shape of a result.
#[derive(Clone, Copy, Debug)]
pub struct RowDescription<'a> {
    columns: &'a [u8],
    count: u16,
}

/// One column of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDescription<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_oid: Oid,
}

impl<'a> RowDescription<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.u16("column count")?;
        let columns = r.rest();
        for _ in 0..count {
            Self::column(&mut r)?;
        }
        r.finish("RowDescription")?;
        Ok(Self { columns, count })
    }

    fn column(r: &mut Reader<'a>) -> Result<ColumnDescription<'a>, WireError> {
        let name = r.text("column name")?;
        r.bytes(6, "table and column number")?;
        let type_oid = Oid(r.u32("type oid")?);
        r.bytes(8, "type length, modifier and format")?;
        Ok(ColumnDescription { name, type_oid })
    }

    /// Its columns in order.
    pub fn columns(&self) -> impl Iterator<Item = ColumnDescription<'a>> + use<'a> {
        let mut r = Reader::new(self.columns);
        (0..self.count).map_while(move |_| Self::column(&mut r).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tag: u8, body: &[u8]) -> Result<BackendMessage<'_>, WireError> {
        BackendMessage::parse(Frame { tag, body })
    }

    #[test]
    fn rows_are_views_of_their_values() {
        let Ok(BackendMessage::DataRow(row)) = parse(b'D', b"\0\x02\0\0\0\x01a\xff\xff\xff\xff")
        else {
            panic!("not a row");
        };
        assert_eq!(row.values().collect::<Vec<_>>(), [Some(&b"a"[..]), None]);
    }

    #[test]
    fn a_row_must_hold_what_it_counts() {
        assert!(parse(b'D', b"\0\x02\0\0\0\x01a").is_err());
        assert!(parse(b'D', b"\0\x01\0\0\0\x01ab").is_err());
        assert!(parse(b'D', b"\xff\xff").is_err());
        assert!(parse(b'D', b"\0\x01\xff\xff\xff\xfe").is_err());
    }

    #[test]
    fn columns_are_described() {
        let body = b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
        let Ok(BackendMessage::RowDescription(shape)) = parse(b'T', body) else {
            panic!("not a description");
        };
        let columns: Vec<_> = shape.columns().collect();
        assert_eq!(columns, [ColumnDescription { name: "id", type_oid: Oid(23) }]);
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
    fn what_is_not_understood_is_refused() {
        assert!(parse(b'?', b"").is_err());
        assert!(parse(b'Z', b"X").is_err());
        assert!(parse(b'Z', b"II").is_err());
        assert!(parse(b'1', b"x").is_err());
    }
}
