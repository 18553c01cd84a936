//! A streamed transaction that committed or was prepared, read again message by message.

use super::{
    AssembleError, Assembler, Spill,
    spool::{Cursor, Record, Spool},
};
use crate::pgoutput::{Begin, BeginPrepare, Commit, Decoder, Message, Prepare, StreamCommit};

/// A whole transaction, to be taken to its end.
///
/// It reads what was kept a piece at a time, so nothing is lost by waiting between two messages.
/// If it is dropped before its end, the assembler takes nothing more: the transaction would not be
/// whole.
#[derive(Debug)]
pub struct Replay<'a, S: Spill> {
    assembler: &'a mut Assembler<S>,
    spool: Spool<S::File>,
    cursor: Cursor,
    end: End<'a>,
    stage: Stage,
}

/// How the transaction ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    Commit(StreamCommit),
    Prepare(Prepare<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Changes,
    Done,
    Failed,
}

impl<'a, S: Spill> Replay<'a, S> {
    pub(super) fn new(
        assembler: &'a mut Assembler<S>,
        spool: Spool<S::File>,
        end: End<'a>,
    ) -> Self {
        Self { assembler, spool, cursor: Cursor::default(), end, stage: Stage::Begin }
    }

    /// The next message: Begin or Begin Prepare, what is left of the changes, Commit or Prepare;
    /// then `None`.
    pub fn advance(&mut self) -> Result<Option<Message<'_>>, AssembleError> {
        match self.stage {
            Stage::Begin => {
                self.stage = Stage::Changes;
                Ok(Some(self.end.beginning()))
            }
            Stage::Changes => self.change().map(Some),
            Stage::Done => Ok(None),
            Stage::Failed => Err(AssembleError::Stopped),
        }
    }

    /// The next change, or the end.
    fn change(&mut self) -> Result<Message<'_>, AssembleError> {
        // Until it is known that it went well.
        self.stage = Stage::Failed;
        let Some(record) = self.next_kept()? else {
            self.stage = Stage::Done;
            self.assembler.replayed(&mut self.spool);
            return Ok(self.end.message());
        };
        let payload = self.cursor.payload(&record, &self.spool);
        let message = Decoder::decode_kept(payload)
            .map_err(|error| AssembleError::Undecodable { xid: self.spool.xid, error })?;
        self.stage = Stage::Changes;
        Ok(message)
    }

    /// The next payload that was not rolled back.
    fn next_kept(&mut self) -> Result<Option<Record>, AssembleError> {
        while let Some(record) = self.cursor.next(&self.spool)? {
            if !self.spool.is_aborted(record.xid) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl<'a> End<'a> {
    fn beginning(&self) -> Message<'a> {
        match *self {
            Self::Commit(StreamCommit { xid, commit_lsn, commit_time, .. }) => {
                Message::Begin(Begin { final_lsn: commit_lsn, commit_time, xid })
            }
            Self::Prepare(Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid }) => {
                let begin = BeginPrepare { prepare_lsn, end_lsn, prepare_time, xid, gid };
                Message::BeginPrepare(begin)
            }
        }
    }

    fn message(&self) -> Message<'a> {
        match *self {
            Self::Commit(StreamCommit { commit_lsn, end_lsn, commit_time, .. }) => {
                Message::Commit(Commit { commit_lsn, end_lsn, commit_time })
            }
            Self::Prepare(prepare) => Message::Prepare(prepare),
        }
    }
}
