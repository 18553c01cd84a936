//! Large transactions that are sent in blocks while they still run: version 2 and later.
//!
//! ```text
//! S xid=7 first | I xid=7 .. | I xid=8 (a subtransaction) .. | E     a block
//! S xid=9 first | .. | E                                             another's; blocks don't nest
//! A xid=7 subxid=8                                                   undo what came with xid 8
//! S xid=7 | .. | E                                                   more of the first
//! c xid=7                                                            and it committed
//! ```
//!
//! Nothing of a block may be applied for good before its Stream Commit.

use super::{
    decode::{flags_are_zero, position, transaction},
    error::Fault,
};
use crate::{
    pg::{Lsn, PgTimestamp, Xid},
    wire::Reader,
};

/// A block of a running transaction follows, up to Stream Stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The transaction.
    pub xid: Xid,
    /// Whether this is its first block.
    pub first: bool,
}

impl StreamStart {
    /// `logicalrep_read_stream_start`, but with only 0 and 1 for `first`.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            xid: transaction(r, "xid")?,
            first: match r.u8("first segment")? {
                0 => false,
                1 => true,
                byte => return Err(Fault::Undefined("first segment", byte)),
            },
        })
    }
}

/// A streamed transaction committed: what its blocks held, less what was aborted, is now true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The transaction.
    pub xid: Xid,
    /// Where its commit record starts.
    pub commit_lsn: Lsn,
    /// Where its commit record ends: the position to store and to acknowledge.
    pub end_lsn: Lsn,
    /// When it committed.
    pub commit_time: PgTimestamp,
}

impl StreamCommit {
    /// `logicalrep_read_stream_commit`; positions of 0 are refused as in Commit.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Fault> {
        let xid = transaction(r, "xid")?;
        flags_are_zero(r)?;
        Ok(Self {
            xid,
            commit_lsn: position(r, "commit_lsn")?,
            end_lsn: position(r, "end_lsn")?,
            commit_time: PgTimestamp(r.i64("commit time")?),
        })
    }
}

/// A streamed transaction rolled back, or one of its subtransactions did.
///
/// It can name a transaction of which no block came; see the module's rule. Then it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The transaction.
    pub xid: Xid,
    /// The subtransaction whose changes to undo; equal to `xid` when all is rolled back.
    pub subxid: Xid,
    /// When and where; only with `streaming` as `parallel`.
    pub info: Option<AbortInfo>,
}

/// Where a rollback is in the log, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortInfo {
    /// Where.
    pub lsn: Lsn,
    /// When.
    pub time: PgTimestamp,
}

impl StreamAbort {
    /// `logicalrep_read_stream_abort`. The server sends the last two fields exactly if version 4
    /// and `parallel` were asked for (`write_abort_info` in `pgoutput_stream_abort`).
    pub(super) fn read(r: &mut Reader<'_>, with_info: bool) -> Result<Self, Fault> {
        Ok(Self {
            xid: transaction(r, "xid")?,
            subxid: transaction(r, "subxid")?,
            info: if with_info {
                Some(AbortInfo {
                    lsn: Lsn(r.u64("abort_lsn")?),
                    time: PgTimestamp(r.i64("abort time")?),
                })
            } else {
                None
            },
        })
    }
}
