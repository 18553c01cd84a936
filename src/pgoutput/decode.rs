//! From the bytes of one message to the message.
//!
//! Insert, Update and Delete are nearly everything a busy stream consists of: they come first, and
//! the others are kept out of their way in a function of their own. What the three go through is
//! marked `inline(always)`, because there the message's kind is a constant and whatever does not
//! concern it folds away; left to the compiler, `benches/decode.rs` takes twice as long on short
//! rows. How long a row takes is then the walk over its lengths, each of which must be read
//! before the next can be found, and the writing of the message that is returned.

use super::{
    Begin, BeginPrepare, Commit, CommitPrepared, DecodeError, Delete, Insert, LogicalMessage,
    Message, MessageKind, Origin, Prepare, ProtoVersion, Relation, RollbackPrepared, StreamAbort,
    StreamCommit, StreamStart, Streaming, Truncate, TypeMessage, Update, error::Fault,
};
use crate::{
    pg::{Lsn, Xid},
    wire::{Reader, WireError},
};

/// Decodes the messages of one stream, in the order in which they come.
///
/// It knows what was asked for in START_REPLICATION, and whether it stands inside a streamed
/// block, where messages have one more field. A new connection needs a new decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    version: ProtoVersion,
    streaming: Streaming,
    place: Place,
}

/// Where in the stream the next message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not between Stream Start and Stream Stop.
    Outside,
    /// Between them.
    Block,
}

impl Decoder {
    /// A decoder for a stream that was started with these options.
    #[must_use]
    pub const fn new(version: ProtoVersion, streaming: Streaming) -> Self {
        Self { version, streaming, place: Place::Outside }
    }

    /// Whether the next message stands inside a streamed block.
    #[must_use]
    pub fn in_block(&self) -> bool {
        self.place == Place::Block
    }

    /// Decodes one message: the payload of one XLogData.
    ///
    /// After an error the decoder is as it was before, but the stream must not go on: the message
    /// may have been a change.
    #[inline]
    pub fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let (&tag, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
        let r = Reader::new(body);
        match tag {
            b'I' => self.known(MessageKind::Insert, r),
            b'U' => self.known(MessageKind::Update, r),
            b'D' => self.known(MessageKind::Delete, r),
            tag => self.other(tag, r),
        }
    }

    /// Decodes a message that stood inside a streamed block and was kept until its transaction
    /// committed, as if it had come with the commit: without the field that only blocks have.
    pub fn decode_kept(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
        // What can stand in a block is of version 1, and has one layout in all of them.
        let mut block = Self::new(ProtoVersion::V2, Streaming::On);
        block.place = Place::Block;
        let message = block.decode(bytes)?;
        match block.place {
            Place::Block => Ok(message.without_block_xid()),
            // Stream Stop is of the block, not in it.
            Place::Outside => Err(DecodeError::OutsideBlock(message.kind())),
        }
    }

    /// Every message but the three that carry rows.
    #[inline(never)]
    fn other<'a>(&mut self, tag: u8, r: Reader<'a>) -> Result<Message<'a>, DecodeError> {
        match MessageKind::from_tag(tag) {
            Some(kind) => self.known(kind, r),
            None => Err(DecodeError::UnknownType(tag)),
        }
    }

    /// A message whose tag is known.
    #[inline(always)]
    fn known<'a>(
        &mut self,
        kind: MessageKind,
        mut r: Reader<'a>,
    ) -> Result<Message<'a>, DecodeError> {
        self.admit(kind)?;
        let message = self.body(kind, &mut r).map_err(|fault| fault.of(kind))?;
        if let Err(wire) = r.finish("the message") {
            return Err(Fault::Wire(wire).of(kind));
        }
        match kind {
            MessageKind::StreamStart => self.place = Place::Block,
            MessageKind::StreamStop => self.place = Place::Outside,
            _ => {}
        }
        Ok(message)
    }

    /// Whether a message may come here at all; the rules are those of the room's head.
    #[inline(always)]
    fn admit(&self, kind: MessageKind) -> Result<(), DecodeError> {
        use MessageKind as Kind;
        // An unasked Stream Abort can only take back what was never handed over.
        if self.version < kind.since() && kind != Kind::StreamAbort {
            return Err(DecodeError::TooNew { message: kind, version: self.version });
        }
        let streams = matches!(
            kind,
            Kind::StreamStart | Kind::StreamStop | Kind::StreamCommit | Kind::StreamPrepare
        );
        if streams && self.streaming == Streaming::Off {
            return Err(DecodeError::NotStreaming(kind));
        }
        match (kind, self.place) {
            (Kind::StreamStop, Place::Outside) => Err(DecodeError::OutsideBlock(kind)),
            (Kind::StreamStop, Place::Block) | (_, Place::Outside) => Ok(()),
            // As `apply_dispatch` of the server's worker hands them on to a block's spool file.
            (
                Kind::Origin
                | Kind::Relation
                | Kind::Type
                | Kind::Insert
                | Kind::Update
                | Kind::Delete
                | Kind::Truncate
                | Kind::Logical,
                Place::Block,
            ) => Ok(()),
            (_, Place::Block) => Err(DecodeError::InsideBlock(kind)),
        }
    }

    #[inline(always)]
    fn body<'a>(&self, kind: MessageKind, r: &mut Reader<'a>) -> Result<Message<'a>, Fault> {
        use MessageKind as Kind;
        Ok(match kind {
            Kind::Begin => Message::Begin(Begin::read(r)?),
            Kind::Commit => Message::Commit(Commit::read(r)?),
            Kind::Origin => Message::Origin(Origin::read(r)?),
            Kind::Relation => Message::Relation(Relation::read(self.xid(r)?, r)?),
            Kind::Type => Message::Type(TypeMessage::read(self.xid(r)?, r)?),
            Kind::Insert => Message::Insert(Insert::read(self.xid(r)?, r)?),
            Kind::Update => Message::Update(Update::read(self.xid(r)?, r)?),
            Kind::Delete => Message::Delete(Delete::read(self.xid(r)?, r)?),
            Kind::Truncate => Message::Truncate(Truncate::read(self.xid(r)?, r)?),
            Kind::Logical => Message::Logical(LogicalMessage::read(self.xid(r)?, r)?),
            Kind::StreamStart => Message::StreamStart(StreamStart::read(r)?),
            Kind::StreamStop => Message::StreamStop,
            Kind::StreamCommit => Message::StreamCommit(StreamCommit::read(r)?),
            Kind::StreamAbort => {
                let with_info =
                    self.version >= ProtoVersion::V4 && self.streaming == Streaming::Parallel;
                Message::StreamAbort(StreamAbort::read(r, with_info)?)
            }
            Kind::BeginPrepare => Message::BeginPrepare(BeginPrepare::read(r)?),
            Kind::Prepare => Message::Prepare(Prepare::read(r)?),
            Kind::CommitPrepared => Message::CommitPrepared(CommitPrepared::read(r)?),
            Kind::RollbackPrepared => Message::RollbackPrepared(RollbackPrepared::read(r)?),
            Kind::StreamPrepare => Message::StreamPrepare(Prepare::read(r)?),
        })
    }

    /// The field that changes, relations, types and logical messages have inside a block only.
    #[inline(always)]
    fn xid(&self, r: &mut Reader<'_>) -> Result<Option<Xid>, Fault> {
        match self.place {
            Place::Outside => Ok(None),
            Place::Block => transaction(r, "xid").map(Some),
        }
    }
}

/// A transaction's id; 0 is `InvalidTransactionId` and no transaction's.
pub(super) fn transaction(r: &mut Reader<'_>, field: &'static str) -> Result<Xid, Fault> {
    match r.u32(field)? {
        0 => Err(WireError::Invalid(field).into()),
        xid => Ok(Xid(xid)),
    }
}

/// A position that must be one: 0 is `InvalidXLogRecPtr`.
pub(super) fn position(r: &mut Reader<'_>, field: &'static str) -> Result<Lsn, Fault> {
    match r.u64(field)? {
        0 => Err(WireError::Invalid(field).into()),
        lsn => Ok(Lsn(lsn)),
    }
}

/// The flags of commits and prepares: none is defined, and the server's reader refuses any.
pub(super) fn flags_are_zero(r: &mut Reader<'_>) -> Result<(), Fault> {
    match r.u8("flags")? {
        0 => Ok(()),
        byte => Err(Fault::Undefined("flags", byte)),
    }
}

/// A schema's name, which is empty for `pg_catalog` (`logicalrep_write_namespace`).
pub(super) fn namespace<'a>(r: &mut Reader<'a>) -> Result<&'a str, Fault> {
    match r.text("schema")? {
        "" => Ok("pg_catalog"),
        name => Ok(name),
    }
}
