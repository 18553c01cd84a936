//! Where each message goes: on at once, to what is kept, or away.

use super::{
    AssembleError, Limits, Replay, Spill, SpillDirectory,
    pool::Pool,
    replay::End,
    spool::{HEADER, Spool, header},
};
use crate::{
    pg::{Lsn, Xid},
    pgoutput::{Commit, Message, MessageKind, Prepare, StreamAbort, StreamStart},
};

/// Turns the messages of one slot into whole transactions, in the order in which they committed.
///
/// ```text
///              Begin                 Stream Start
///  transaction <───── between <═══════════════════> block     changes are kept
///   on at once ─────>  │   ^       Stream Stop
///              Commit  │   │ its Commit was handed on
///                      v   │
///                     replay        Stream Commit, Stream Prepare
/// ```
#[derive(Debug)]
pub struct Assembler<S: Spill = SpillDirectory> {
    place: Place,
    /// Nothing but an origin came yet in the transaction or its first block.
    at_head: bool,
    open: Vec<Spool<S::File>>,
    pool: Pool,
    spill: S,
    limits: Limits,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between transactions and blocks.
    Between,
    /// After Begin, which named the position of the commit.
    Transaction(Lsn),
    /// After Begin Prepare, which named the position and the transaction.
    Prepared(Lsn, Xid),
    /// After the Stream Start of this open transaction.
    Block(usize),
    /// A transaction was handed on to be replayed, and its end was not taken yet.
    Replay,
    /// After an error.
    Stopped,
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Taken<'a, S: Spill> {
    /// Nothing is handed on: it was kept, or says what to do with what is kept.
    Nothing,
    /// It is handed on as it is.
    Now(Message<'a>),
    /// It makes a transaction whole, which is to be taken to its end.
    Whole(Replay<'a, S>),
}

/// The same, before the message is handed out with it.
enum Step<'a, F> {
    Nothing,
    Now,
    Whole(Spool<F>, End<'a>),
}

impl<S: Spill> Assembler<S> {
    /// For a stream that begins now; what needs a file gets it from `spill`.
    pub fn new(spill: S, limits: Limits) -> Self {
        let pool = Pool::new(limits.memory);
        Self { place: Place::Between, at_head: false, open: Vec::new(), pool, spill, limits }
    }

    /// Takes the next message of the stream, decoded and as it came.
    #[inline]
    pub fn take<'a>(
        &'a mut self,
        message: Message<'a>,
        payload: &'a [u8],
    ) -> Result<Taken<'a, S>, AssembleError> {
        if let Message::Insert(_) | Message::Update(_) | Message::Delete(_) = message
            && let Place::Transaction(_) = self.place
        {
            self.at_head = false;
            return Ok(Taken::Now(message));
        }
        match self.step(&message, payload) {
            Ok(Step::Nothing) => Ok(Taken::Nothing),
            Ok(Step::Now) => Ok(Taken::Now(message)),
            Ok(Step::Whole(spool, end)) => {
                self.place = Place::Replay;
                Ok(Taken::Whole(Replay::new(self, spool, end)))
            }
            Err(error) => {
                // The first error stays what it was if more messages come.
                if self.place != Place::Replay {
                    self.place = Place::Stopped;
                }
                Err(error)
            }
        }
    }

    /// Forgets everything, for a connection that begins anew: there the server streams from their
    /// start the transactions that are open.
    pub fn reset(&mut self) {
        self.place = Place::Between;
        self.open.clear();
        self.pool = Pool::new(self.limits.memory);
    }

    /// Whether nothing is held: no streamed transaction is open, and no other is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.place == Place::Between
    }

    /// How many streamed transactions are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many bytes of memory are set aside for what is kept.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.pool.bytes()
    }

    /// How many bytes of open transactions are in files.
    #[must_use]
    pub fn spilled(&self) -> u64 {
        self.open.iter().map(Spool::on_disk).sum()
    }

    /// The end of a replay was handed on.
    pub(super) fn replayed(&mut self, spool: &mut Spool<S::File>) {
        spool.free(&mut self.pool);
        self.place = Place::Between;
    }

    #[inline(never)]
    fn step<'a>(
        &mut self,
        message: &Message<'a>,
        payload: &[u8],
    ) -> Result<Step<'a, S::File>, AssembleError> {
        let kind = message.kind();
        match message {
            Message::Insert(_)
            | Message::Update(_)
            | Message::Delete(_)
            | Message::Truncate(_)
            | Message::Relation(_)
            | Message::Type(_) => self.part(message, payload),
            // One that is not transactional is part of none, wherever it comes.
            Message::Logical(m) if !m.transactional => match self.place {
                Place::Stopped | Place::Replay => Err(self.misplaced(kind)),
                _ => Ok(Step::Now),
            },
            Message::Logical(_) => self.part(message, payload),
            Message::Origin(_) => self.origin(message, payload),
            Message::Begin(m) => self.begin(kind, m.xid, Place::Transaction(m.final_lsn)),
            Message::BeginPrepare(m) => {
                self.begin(kind, m.xid, Place::Prepared(m.prepare_lsn, m.xid))
            }
            Message::Commit(m) => self.commit(m),
            Message::Prepare(m) => self.prepare(m),
            Message::CommitPrepared(_) | Message::RollbackPrepared(_) => {
                self.between(kind)?;
                Ok(Step::Now)
            }
            Message::StreamStart(m) => self.start_block(*m),
            Message::StreamStop => match self.place {
                Place::Block(_) => {
                    self.place = Place::Between;
                    Ok(Step::Nothing)
                }
                _ => Err(self.misplaced(kind)),
            },
            Message::StreamAbort(m) => self.abort(*m),
            Message::StreamCommit(m) => Ok(Step::Whole(self.close(kind, m.xid)?, End::Commit(*m))),
            Message::StreamPrepare(m) => {
                Ok(Step::Whole(self.close(kind, m.xid)?, End::Prepare(*m)))
            }
        }
    }

    /// A message that is part of a transaction.
    fn part<'a>(
        &mut self,
        message: &Message<'a>,
        payload: &[u8],
    ) -> Result<Step<'a, S::File>, AssembleError> {
        self.at_head = false;
        match self.place {
            Place::Transaction(_) | Place::Prepared(..) => Ok(Step::Now),
            Place::Block(open) => {
                let kind = message.kind();
                let subxid = message.block_xid().ok_or(AssembleError::WithoutXid(kind))?;
                self.keep(open, kind, subxid, payload)?;
                Ok(Step::Nothing)
            }
            _ => Err(self.misplaced(message.kind())),
        }
    }

    /// Directly after the beginning of a transaction, streamed or not.
    fn origin<'a>(
        &mut self,
        message: &Message<'a>,
        payload: &[u8],
    ) -> Result<Step<'a, S::File>, AssembleError> {
        let kind = message.kind();
        let at_head = std::mem::take(&mut self.at_head);
        match self.place {
            Place::Transaction(_) | Place::Prepared(..) if at_head => Ok(Step::Now),
            Place::Block(open) if at_head => {
                // It has no xid of its own: it is the whole transaction's.
                if let Some(xid) = self.open.get(open).map(|spool| spool.xid) {
                    self.keep(open, kind, xid, payload)?;
                }
                Ok(Step::Nothing)
            }
            Place::Transaction(_) | Place::Prepared(..) | Place::Block(_) => {
                Err(out_of_place(kind, "behind a change of its transaction"))
            }
            _ => Err(self.misplaced(kind)),
        }
    }

    fn begin<'a>(
        &mut self,
        kind: MessageKind,
        xid: Xid,
        place: Place,
    ) -> Result<Step<'a, S::File>, AssembleError> {
        self.between(kind)?;
        if self.find(xid).is_some() {
            return Err(AssembleError::Known { message: kind, xid });
        }
        self.place = place;
        self.at_head = true;
        Ok(Step::Now)
    }

    fn commit<'a>(&mut self, commit: &Commit) -> Result<Step<'a, S::File>, AssembleError> {
        let Place::Transaction(begun) = self.place else {
            return Err(self.misplaced(MessageKind::Commit));
        };
        // `apply_handle_commit` of the server's worker checks it too.
        self.ends(MessageKind::Commit, begun, commit.commit_lsn)
    }

    fn prepare<'a>(&mut self, prepare: &Prepare<'_>) -> Result<Step<'a, S::File>, AssembleError> {
        let Place::Prepared(begun, xid) = self.place else {
            return Err(self.misplaced(MessageKind::Prepare));
        };
        if prepare.xid != xid {
            return Err(AssembleError::OtherTransaction { begun: xid, ended: prepare.xid });
        }
        self.ends(MessageKind::Prepare, begun, prepare.prepare_lsn)
    }

    fn ends<'a>(
        &mut self,
        message: MessageKind,
        begun: Lsn,
        ended: Lsn,
    ) -> Result<Step<'a, S::File>, AssembleError> {
        if begun != ended {
            return Err(AssembleError::OtherPosition { message, begun, ended });
        }
        self.place = Place::Between;
        Ok(Step::Now)
    }

    fn start_block<'a>(&mut self, start: StreamStart) -> Result<Step<'a, S::File>, AssembleError> {
        let (message, xid) = (MessageKind::StreamStart, start.xid);
        self.between(message)?;
        let open = match (self.find(xid), start.first) {
            (Some(open), false) => open,
            (Some(_), true) => return Err(AssembleError::Known { message, xid }),
            (None, false) => return Err(AssembleError::Unknown { message, xid }),
            (None, true) => {
                let limit = self.limits.open;
                if self.open.len() >= limit {
                    return Err(AssembleError::TooManyOpen { limit });
                }
                self.open.push(Spool::new(xid));
                self.open.len() - 1
            }
        };
        self.place = Place::Block(open);
        self.at_head = start.first;
        Ok(Step::Nothing)
    }

    /// Of what is not held there is nothing to take back.
    fn abort<'a>(&mut self, abort: StreamAbort) -> Result<Step<'a, S::File>, AssembleError> {
        self.between(MessageKind::StreamAbort)?;
        let Some(open) = self.find(abort.xid) else {
            return Ok(Step::Nothing);
        };
        if abort.subxid == abort.xid {
            self.open.swap_remove(open).free(&mut self.pool);
            return Ok(Step::Nothing);
        }
        if let Some(spool) = self.open.get_mut(open) {
            spool.abort(abort.subxid, &mut self.pool)?;
        }
        self.forget_aborted()?;
        Ok(Step::Nothing)
    }

    /// Takes an open transaction out, which is whole now.
    fn close(&mut self, message: MessageKind, xid: Xid) -> Result<Spool<S::File>, AssembleError> {
        self.between(message)?;
        let open = self.find(xid).ok_or(AssembleError::Unknown { message, xid })?;
        Ok(self.open.swap_remove(open))
    }

    /// Keeps a payload of an open transaction.
    fn keep(
        &mut self,
        open: usize,
        message: MessageKind,
        subxid: Xid,
        payload: &[u8],
    ) -> Result<(), AssembleError> {
        let bytes = HEADER + payload.len();
        let fits = bytes <= self.pool.size();
        let Some((spool, header)) = self.open.get_mut(open).zip(header(subxid, payload)) else {
            return Err(out_of_place(message, "with more bytes than a message can have"));
        };
        spool.goes_on(subxid)?;
        if !fits {
            spool.push_to_file(header, payload, &mut self.spill, &mut self.pool)?;
            return Ok(());
        }
        if spool.has_room(bytes) {
            spool.push(header, payload);
            return Ok(());
        }
        let segment = self.segment()?;
        if let Some(spool) = self.open.get_mut(open) {
            spool.add_room(segment);
            spool.push(header, payload);
        }
        Ok(())
    }

    /// An empty segment. If all are in use, the transaction with most of them goes to its file.
    fn segment(&mut self) -> Result<Vec<u8>, AssembleError> {
        loop {
            if let Some(segment) = self.pool.take() {
                return Ok(segment);
            }
            if let Some(largest) = self.open.iter_mut().max_by_key(|spool| spool.segments()) {
                largest.flush(&mut self.spill, &mut self.pool)?;
            }
        }
    }

    /// Keeps to the limit of what is remembered of rolled back subtransactions.
    fn forget_aborted(&mut self) -> Result<(), AssembleError> {
        let words: usize = self.open.iter().map(Spool::aborted_words).sum();
        if words > self.limits.aborted
            && let Some(most) = self.open.iter_mut().max_by_key(|spool| spool.aborted_words())
        {
            most.rewrite(&mut self.spill, &mut self.pool)?;
        }
        Ok(())
    }

    fn find(&self, xid: Xid) -> Option<usize> {
        self.open.iter().position(|spool| spool.xid == xid)
    }

    /// Whether a message that stands between transactions may come.
    fn between(&self, kind: MessageKind) -> Result<(), AssembleError> {
        match self.place {
            Place::Between => Ok(()),
            _ => Err(self.misplaced(kind)),
        }
    }

    #[cold]
    fn misplaced(&self, message: MessageKind) -> AssembleError {
        match self.place {
            Place::Between => out_of_place(message, "outside of a transaction"),
            Place::Transaction(_) => out_of_place(message, "inside a transaction"),
            Place::Prepared(..) => out_of_place(message, "inside a prepared transaction"),
            Place::Block(_) => out_of_place(message, "inside a streamed block"),
            Place::Replay => AssembleError::Unfinished,
            Place::Stopped => AssembleError::Stopped,
        }
    }
}

const fn out_of_place(message: MessageKind, place: &'static str) -> AssembleError {
    AssembleError::OutOfPlace { message, place }
}
