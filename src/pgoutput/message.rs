//! What the messages say: all of version 1 but Relation, and the union of every version's.

use std::{fmt, iter::FusedIterator};

use super::{
    BeginPrepare, CommitPrepared, MessageKind, Prepare, Relation, RollbackPrepared, StreamAbort,
    StreamCommit, StreamStart, Tuple,
    decode::{flags_are_zero, namespace, position},
    error::Fault,
};
use crate::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    wire::Reader,
};

/// A message of any version.
///
/// Not `#[non_exhaustive]`: whoever handles messages must say what becomes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A committed transaction follows.
    Begin(Begin),
    /// It ends here.
    Commit(Commit),
    /// It came to the source from elsewhere.
    Origin(Origin<'a>),
    /// The table that later rows belong to.
    Relation(Relation<'a>),
    /// The name of a type that a relation uses.
    Type(TypeMessage<'a>),
    /// A new row.
    Insert(Insert<'a>),
    /// A changed row.
    Update(Update<'a>),
    /// A deleted row.
    Delete(Delete<'a>),
    /// Emptied tables.
    Truncate(Truncate<'a>),
    /// What `pg_logical_emit_message` wrote.
    Logical(LogicalMessage<'a>),
    /// A block of a transaction that is still running follows.
    StreamStart(StreamStart),
    /// The block ends.
    StreamStop,
    /// A streamed transaction committed.
    StreamCommit(StreamCommit),
    /// A streamed transaction, or a subtransaction of one, rolled back.
    StreamAbort(StreamAbort),
    /// A prepared transaction follows.
    BeginPrepare(BeginPrepare<'a>),
    /// It ends here, prepared.
    Prepare(Prepare<'a>),
    /// A prepared transaction committed.
    CommitPrepared(CommitPrepared<'a>),
    /// A prepared transaction rolled back.
    RollbackPrepared(RollbackPrepared<'a>),
    /// A streamed transaction was prepared.
    StreamPrepare(Prepare<'a>),
}

impl Message<'_> {
    /// Which message it is.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Begin(_) => MessageKind::Begin,
            Self::Commit(_) => MessageKind::Commit,
            Self::Origin(_) => MessageKind::Origin,
            Self::Relation(_) => MessageKind::Relation,
            Self::Type(_) => MessageKind::Type,
            Self::Insert(_) => MessageKind::Insert,
            Self::Update(_) => MessageKind::Update,
            Self::Delete(_) => MessageKind::Delete,
            Self::Truncate(_) => MessageKind::Truncate,
            Self::Logical(_) => MessageKind::Logical,
            Self::StreamStart(_) => MessageKind::StreamStart,
            Self::StreamStop => MessageKind::StreamStop,
            Self::StreamCommit(_) => MessageKind::StreamCommit,
            Self::StreamAbort(_) => MessageKind::StreamAbort,
            Self::BeginPrepare(_) => MessageKind::BeginPrepare,
            Self::Prepare(_) => MessageKind::Prepare,
            Self::CommitPrepared(_) => MessageKind::CommitPrepared,
            Self::RollbackPrepared(_) => MessageKind::RollbackPrepared,
            Self::StreamPrepare(_) => MessageKind::StreamPrepare,
        }
    }

    /// The subtransaction that it came under, inside a streamed block.
    #[must_use]
    pub const fn block_xid(&self) -> Option<Xid> {
        match self {
            Self::Relation(m) => m.xid,
            Self::Type(m) => m.xid,
            Self::Insert(m) => m.xid,
            Self::Update(m) => m.xid,
            Self::Delete(m) => m.xid,
            Self::Truncate(m) => m.xid,
            Self::Logical(m) => m.xid,
            _ => None,
        }
    }

    /// The same message as it would have come outside of a block.
    #[must_use]
    pub const fn without_block_xid(mut self) -> Self {
        match &mut self {
            Self::Relation(m) => m.xid = None,
            Self::Type(m) => m.xid = None,
            Self::Insert(m) => m.xid = None,
            Self::Update(m) => m.xid = None,
            Self::Delete(m) => m.xid = None,
            Self::Truncate(m) => m.xid = None,
            Self::Logical(m) => m.xid = None,
            _ => {}
        }
        self
    }
}

/// A committed transaction follows, up to its [`Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record *starts*; equal to [`Commit::commit_lsn`].
    pub final_lsn: Lsn,
    /// When it committed; for a transaction with an [`Origin`], when it did there.
    pub commit_time: PgTimestamp,
    /// Its id.
    pub xid: Xid,
}

impl Begin {
    /// `logicalrep_read_begin`, which refuses a `final_lsn` of 0 as well.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            final_lsn: position(r, "final_lsn")?,
            commit_time: PgTimestamp(r.i64("commit time")?),
            xid: Xid(r.u32("xid")?),
        })
    }
}

/// The transaction begun last ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record starts. Acknowledging this would have it sent again.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: the position to store and to acknowledge.
    pub end_lsn: Lsn,
    /// When it committed.
    pub commit_time: PgTimestamp,
}

impl Commit {
    /// `logicalrep_read_commit`. The server's reader takes positions of 0 here, but `end_lsn` is
    /// stored as progress, and 0 would mean "from the beginning".
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        flags_are_zero(r)?;
        Ok(Self {
            commit_lsn: position(r, "commit_lsn")?,
            end_lsn: position(r, "end_lsn")?,
            commit_time: PgTimestamp(r.i64("commit time")?),
        })
    }
}

/// The transaction was replayed on the source by someone else's replication.
///
/// Directly after Begin, Begin Prepare or the first Stream Start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its commit there; 0 if the session did not say.
    pub commit_lsn: Lsn,
    /// The origin's name.
    pub name: &'a str,
}

impl<'a> Origin<'a> {
    /// `logicalrep_read_origin`. It has no xid, inside a streamed block either.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self {
            commit_lsn: Lsn(r.u64("commit lsn of the origin")?),
            name: r.text("name of the origin")?,
        })
    }
}

/// A type that is not built in; before the first [`Relation`] that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeMessage<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// The type that relations name.
    pub oid: Oid,
    /// Its schema.
    pub namespace: &'a str,
    /// Its name; for a domain that of its base type (`logicalrep_write_typ`).
    pub name: &'a str,
}

impl<'a> TypeMessage<'a> {
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self {
            xid,
            oid: Oid(r.u32("oid of the type")?),
            namespace: namespace(r)?,
            name: r.text("name of the type")?,
        })
    }
}

/// A new row. A row filter can make one of an update: then it may hold
/// [`Unchanged`](super::TupleValue::Unchanged).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row.
    pub new: Tuple<'a>,
}

impl<'a> Insert<'a> {
    /// `logicalrep_read_insert`.
    #[inline(always)]
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let relation = Oid(r.u32("oid of the relation")?);
        match r.u8("mark of the new row")? {
            b'N' => Ok(Self { xid, relation, new: Tuple::read(r)? }),
            byte => Err(Fault::Undefined("mark of the new row", byte)),
        }
    }
}

/// A changed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row before: sent if its key changed or is stored out of line, or under `FULL`.
    pub old: Option<OldTuple<'a>>,
    /// The row after.
    pub new: Tuple<'a>,
}

impl<'a> Update<'a> {
    /// `logicalrep_read_update`.
    #[inline(always)]
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let relation = Oid(r.u32("oid of the relation")?);
        let mut mark = r.u8("mark of the row")?;
        let mut old = None;
        if mark != b'N' {
            old = Some(OldTuple::read(r, mark)?);
            mark = r.u8("mark of the new row")?;
        }
        match mark {
            b'N' => Ok(Self { xid, relation, old, new: Tuple::read(r)? }),
            byte => Err(Fault::Undefined("mark of the new row", byte)),
        }
    }
}

/// A deleted row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// The table.
    pub relation: Oid,
    /// The row as it was.
    pub old: OldTuple<'a>,
}

impl<'a> Delete<'a> {
    /// `logicalrep_read_delete`.
    #[inline(always)]
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let relation = Oid(r.u32("oid of the relation")?);
        let mark = r.u8("mark of the old row")?;
        let old = OldTuple::read(r, mark)?;
        Ok(Self { xid, relation, old })
    }
}

/// What is told of a row before its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// The columns of its replica identity; the others are null.
    Key(Tuple<'a>),
    /// All of it, big values included: replica identity `FULL`.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    #[inline]
    fn read(r: &mut Reader<'a>, mark: u8) -> Result<Self, Fault> {
        match mark {
            b'K' => Tuple::read(r).map(Self::Key),
            b'O' => Tuple::read(r).map(Self::Full),
            byte => Err(Fault::Undefined("mark of the old row", byte)),
        }
    }

    /// The columns, whichever kind it is.
    #[inline]
    #[must_use]
    pub const fn tuple(&self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => *tuple,
        }
    }
}

/// Emptied tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// The subtransaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// `CASCADE` was given; the tables it reached are listed too, if they are published.
    pub cascade: bool,
    /// `RESTART IDENTITY` was given.
    pub restart_identity: bool,
    /// The tables.
    pub relations: Oids<'a>,
}

impl<'a> Truncate<'a> {
    /// `TRUNCATE_CASCADE` of proto.c.
    pub(super) const CASCADE: u8 = 1;
    /// `TRUNCATE_RESTART_SEQS` of proto.c.
    pub(super) const RESTART_IDENTITY: u8 = 2;

    /// `logicalrep_read_truncate`.
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let count = r.length("number of relations")?;
        let options = r.u8("options")?;
        if options & !(Self::CASCADE | Self::RESTART_IDENTITY) != 0 {
            return Err(Fault::Undefined("options", options));
        }
        // A product that overflows is more bytes than there can be.
        let bytes = r.bytes(count.saturating_mul(4), "relations")?;
        Ok(Self {
            xid,
            cascade: options & Self::CASCADE != 0,
            restart_identity: options & Self::RESTART_IDENTITY != 0,
            relations: Oids::over(bytes),
        })
    }

    /// The tables.
    #[must_use]
    pub const fn relations(&self) -> Oids<'a> {
        self.relations
    }
}

/// The oids of a [`Truncate`]: a view of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Oids<'a> {
    left: &'a [[u8; 4]],
}

impl<'a> Oids<'a> {
    /// A view of bytes that are oids, four each.
    pub(super) const fn over(bytes: &'a [u8]) -> Self {
        Self { left: bytes.as_chunks().0 }
    }

    /// Those that are left, as they were sent.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.left.as_flattened()
    }
}

impl fmt::Debug for Oids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl Iterator for Oids<'_> {
    type Item = Oid;

    fn next(&mut self) -> Option<Oid> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(Oid(u32::from_be_bytes(*first)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.len(), Some(self.left.len()))
    }
}

impl ExactSizeIterator for Oids<'_> {}
impl FusedIterator for Oids<'_> {}

/// What `pg_logical_emit_message` wrote; only with the option `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// The transaction; only inside a streamed block.
    pub xid: Option<Xid>,
    /// Whether it is part of its transaction. If not, it comes at once and outside of any, even
    /// if the transaction that wrote it rolls back.
    pub transactional: bool,
    /// Where it is in the log.
    pub lsn: Lsn,
    /// Who it is meant for.
    pub prefix: &'a str,
    /// Any bytes.
    pub content: &'a [u8],
}

impl<'a> LogicalMessage<'a> {
    /// The message at the start of these bytes, less prefix and content, as it would have come
    /// with both empty; `None` if it is another one, or cut off before that. Not within a streamed
    /// block, where it has a transaction besides.
    ///
    /// Anybody can write messages of a gigabyte. Nobody needs to hold one for its position.
    #[must_use]
    pub fn emptied(bytes: &[u8]) -> Option<Vec<u8>> {
        // Its tag, flags and position.
        let (head, rest) = bytes.split_at_checked(1 + 1 + 8)?;
        // The prefix's end, and a length.
        (head.first() == Some(&b'M') && !rest.is_empty()).then(|| [head, &[0; 1 + 4]].concat())
    }

    /// `logicalrep_write_message`; the server has no reader for it.
    pub(super) fn read(xid: Option<Xid>, r: &mut Reader<'a>) -> Result<Self, Fault> {
        let transactional = match r.u8("flags")? {
            0 => false,
            1 => true,
            byte => return Err(Fault::Undefined("flags", byte)),
        };
        Ok(Self {
            xid,
            transactional,
            lsn: Lsn(r.u64("lsn")?),
            prefix: r.text("prefix")?,
            content: {
                let length = r.length("length of the content")?;
                r.bytes(length, "content")?
            },
        })
    }
}
