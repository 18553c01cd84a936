//! Why messages do not make a transaction. Each of these stops the stream.

use super::SpillError;
use crate::{
    pg::{Lsn, Xid},
    pgoutput::{DecodeError, MessageKind},
};

/// Messages that do not fit together, or what could not be kept of them.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A message stands where it can't.
    #[error("{message} came {place}")]
    OutOfPlace {
        /// The message.
        message: MessageKind,
        /// Where.
        place: &'static str,
    },
    /// A transaction ends at another position than it was said to when it began.
    #[error("{message} is at {ended}, but its transaction was said to end at {begun}")]
    OtherPosition {
        /// Commit or Prepare.
        message: MessageKind,
        /// What the beginning said.
        begun: Lsn,
        /// What the end says.
        ended: Lsn,
    },
    /// Prepare names another transaction than Begin Prepare.
    #[error("Prepare names the transaction {ended}, but {begun} was begun")]
    OtherTransaction {
        /// The transaction that was begun.
        begun: Xid,
        /// The one that ended.
        ended: Xid,
    },
    /// A message goes on with, or ends, a streamed transaction that did not begin.
    #[error("{message} names the transaction {xid}, of which no block came")]
    Unknown {
        /// The message.
        message: MessageKind,
        /// The transaction.
        xid: Xid,
    },
    /// A message begins a transaction of which a block came already.
    #[error("{message} begins the transaction {xid}, of which a block came already")]
    Known {
        /// The message.
        message: MessageKind,
        /// The transaction.
        xid: Xid,
    },
    /// A change in a block does not say which subtransaction it belongs to.
    #[error("{0} came inside a streamed block without a transaction")]
    WithoutXid(MessageKind),
    /// A subtransaction goes on after it was rolled back.
    #[error("a change of the subtransaction {subxid} of {xid} came after its Stream Abort")]
    AfterAbort {
        /// The transaction.
        xid: Xid,
        /// The subtransaction.
        subxid: Xid,
    },
    /// More streamed transactions are open than [`Limits::open`](super::Limits::open).
    #[error("more than {limit} streamed transactions are open at once")]
    TooManyOpen {
        /// The limit.
        limit: usize,
    },
    /// The replay of a transaction was abandoned before its end, so it is not whole.
    #[error("the transaction before was not taken to its end")]
    Unfinished,
    /// There was an error before.
    #[error("the stream was stopped by an earlier error")]
    Stopped,
    /// What was kept does not come back as it was.
    #[error("what was kept of the transaction {xid} is damaged")]
    Damaged {
        /// The transaction.
        xid: Xid,
    },
    /// What was kept can't be decoded.
    #[error("what was kept of the transaction {xid} can't be decoded: {error}")]
    Undecodable {
        /// The transaction.
        xid: Xid,
        /// Why not.
        #[source]
        error: DecodeError,
    },
    /// A file for what does not fit into memory failed.
    #[error(transparent)]
    Spill(#[from] SpillError),
}
