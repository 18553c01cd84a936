//! What CopyData carries on a replication connection.
//!
//! | direction | tag | fields |
//! |---|---|---|
//! | server | `w` XLogData | start, end, time, payload |
//! | server | `k` Primary keepalive | end, time, reply requested |
//! | us | `r` Standby status update | written, flushed, applied, time, reply requested |
//!
//! <https://www.postgresql.org/docs/current/protocol-replication.html>

use crate::{
    pg::{Lsn, PgTimestamp},
    pgoutput::LogicalMessage,
    wire::{Reader, WireError},
};

/// A message of the stream that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Its type is unknown.
    #[error("unknown replication message of type {0:?}")]
    UnknownType(char),
    /// Its bytes are not shaped as its type says.
    #[error(transparent)]
    Malformed(#[from] WireError),
}

/// A message from the walsender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// A message of the output plugin.
    XLogData {
        /// Where in the log it comes from; 0 for messages that are not of the log.
        start: Lsn,
        /// When it was sent.
        sent_at: PgTimestamp,
        /// The plugin's message.
        payload: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Everything that was committed before this position has been sent.
        wal_end: Lsn,
        /// When it was sent.
        sent_at: PgTimestamp,
        /// Whether the server wants an answer at once.
        reply_requested: bool,
    },
}

impl<'a> StreamMessage<'a> {
    /// Reads one CopyData payload.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(bytes);
        match r.u8("type")? {
            b'w' => {
                let start = Lsn(r.u64("start")?);
                r.u64("end")?;
                let sent_at = PgTimestamp(r.i64("time")?);
                Ok(Self::XLogData { start, sent_at, payload: r.rest() })
            }
            b'k' => {
                let message = Self::Keepalive {
                    wal_end: Lsn(r.u64("end")?),
                    sent_at: PgTimestamp(r.i64("time")?),
                    reply_requested: r.u8("reply requested")? != 0,
                };
                r.finish("keepalive")?;
                Ok(message)
            }
            other => Err(MessageError::UnknownType(other.into())),
        }
    }
}

/// What stands for the start of a long message: one of `pg_logical_emit_message` without what it
/// says. `None` where all of a message is needed.
pub(super) fn shortened(start: &[u8]) -> Option<Vec<u8>> {
    // Two positions and a time.
    let (head, payload) = start.split_at_checked(1 + 8 + 8 + 8)?;
    let emptied = LogicalMessage::emptied(payload).filter(|_| head.first() == Some(&b'w'))?;
    Some([head, &emptied].concat())
}

/// What we tell the walsender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// How far we have received.
    pub written: Lsn,
    /// How far the source may forget. The only one that moves a logical slot.
    pub flushed: Lsn,
    /// How far the target shows it.
    pub applied: Lsn,
    /// Our clock.
    pub sent_at: PgTimestamp,
    /// Whether we want an answer at once.
    pub reply_requested: bool,
}

impl StandbyStatusUpdate {
    /// Its 34 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; 34] {
        let mut bytes = [0; 34];
        let (tag, fields) = bytes.split_at_mut(1);
        tag.copy_from_slice(b"r");
        let values = [
            self.written.0.to_be_bytes(),
            self.flushed.0.to_be_bytes(),
            self.applied.0.to_be_bytes(),
            self.sent_at.0.to_be_bytes(),
        ];
        for (field, value) in fields.chunks_exact_mut(8).zip(values) {
            field.copy_from_slice(&value);
        }
        if let Some(last) = bytes.last_mut() {
            *last = u8::from(self.reply_requested);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pgoutput::Message, replication::StreamOptions};

    #[test]
    fn messages_of_the_stream_are_read() {
        let mut data = vec![b'w'];
        data.extend(1u64.to_be_bytes());
        data.extend(2u64.to_be_bytes());
        data.extend(3i64.to_be_bytes());
        data.extend(b"B...");
        assert_eq!(
            StreamMessage::parse(&data),
            Ok(StreamMessage::XLogData {
                start: Lsn(1),
                sent_at: PgTimestamp(3),
                payload: b"B..."
            })
        );
        let mut keepalive = vec![b'k'];
        keepalive.extend(9u64.to_be_bytes());
        keepalive.extend(8i64.to_be_bytes());
        keepalive.push(1);
        assert_eq!(
            StreamMessage::parse(&keepalive),
            Ok(StreamMessage::Keepalive {
                wal_end: Lsn(9),
                sent_at: PgTimestamp(8),
                reply_requested: true
            })
        );
        keepalive.push(0);
        assert!(StreamMessage::parse(&keepalive).is_err());
        assert_eq!(StreamMessage::parse(b"?"), Err(MessageError::UnknownType('?')));
        assert!(StreamMessage::parse(b"").is_err());
    }

    #[test]
    fn a_long_message_is_read_as_an_empty_one() {
        let wrapped = |payload: &[u8]| [&b"w"[..], &[7; 24], payload].concat();
        let whole = b"M\x01\0\0\0\0\0\0\0\x09prefix\0\0\0\0\x03abc";
        let short = shortened(&wrapped(&whole[..12])).unwrap();
        let Ok(StreamMessage::XLogData { start, payload, .. }) = StreamMessage::parse(&short)
        else {
            panic!("{short:?}");
        };
        assert_eq!(start, Lsn(0x0707_0707_0707_0707));
        let Ok(Message::Logical(message)) = StreamOptions::plain(vec![]).decoder().decode(payload)
        else {
            panic!("{payload:?}");
        };
        assert_eq!((message.transactional, message.lsn), (true, Lsn(9)));
        assert_eq!((message.prefix, message.content), ("", &b""[..]));
        assert_eq!(shortened(&wrapped(&whole[..10])), None);
        assert_eq!(shortened(&wrapped(b"I\0\0\0\x09prefix and more")), None);
        assert_eq!(shortened(&[&b"k"[..], &wrapped(whole)[1..]].concat()), None);
    }

    #[test]
    fn a_status_update_has_34_bytes() {
        let update = StandbyStatusUpdate {
            written: Lsn(1),
            flushed: Lsn(2),
            applied: Lsn(3),
            sent_at: PgTimestamp(4),
            reply_requested: true,
        };
        let bytes = update.encode();
        assert_eq!(&bytes[..9], b"r\0\0\0\0\0\0\0\x01");
        assert_eq!((bytes[16], bytes[24], bytes[32], bytes[33]), (2, 3, 4, 1));
    }
}
