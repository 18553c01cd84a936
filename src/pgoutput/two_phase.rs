//! Prepared transactions, with the option `two_phase`: version 3 and later.
//!
//! ```text
//! b .. changes .. P        sent when PREPARE TRANSACTION is decoded
//! S .. E, S .. E, p        the same for one that was streamed
//! K or r                   what became of it, any time later, also after a reconnect
//! ```

use super::{
    decode::{flags_are_zero, position, transaction},
    error::Fault,
};
use crate::{
    pg::{Lsn, PgTimestamp, Xid},
    wire::Reader,
};

/// A transaction that was prepared follows, up to its [`Prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginPrepare<'a> {
    /// Where its prepare record starts.
    pub prepare_lsn: Lsn,
    /// Where its prepare record ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name the user gave it.
    pub gid: &'a str,
}

impl<'a> BeginPrepare<'a> {
    /// `logicalrep_read_begin_prepare`.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        Ok(Self {
            prepare_lsn: position(r, "prepare_lsn")?,
            end_lsn: position(r, "end_lsn")?,
            prepare_time: PgTimestamp(r.i64("prepare time")?),
            xid: transaction(r, "xid")?,
            gid: r.text("gid")?,
        })
    }
}

/// A transaction is prepared: Prepare after its changes, Stream Prepare after its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepare<'a> {
    /// Where its prepare record starts.
    pub prepare_lsn: Lsn,
    /// Where its prepare record ends.
    pub end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name the user gave it.
    pub gid: &'a str,
}

impl<'a> Prepare<'a> {
    /// `logicalrep_read_prepare` and `logicalrep_read_stream_prepare`, which share their layout.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        flags_are_zero(r)?;
        Ok(Self {
            prepare_lsn: position(r, "prepare_lsn")?,
            end_lsn: position(r, "end_lsn")?,
            prepare_time: PgTimestamp(r.i64("prepare time")?),
            xid: transaction(r, "xid")?,
            gid: r.text("gid")?,
        })
    }
}

/// A prepared transaction committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Where its commit record starts.
    pub commit_lsn: Lsn,
    /// Where its commit record ends.
    pub end_lsn: Lsn,
    /// When it committed.
    pub commit_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name the user gave it.
    pub gid: &'a str,
}

impl<'a> CommitPrepared<'a> {
    /// `logicalrep_read_commit_prepared`.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        flags_are_zero(r)?;
        Ok(Self {
            commit_lsn: position(r, "commit_lsn")?,
            end_lsn: position(r, "end_lsn")?,
            commit_time: PgTimestamp(r.i64("commit time")?),
            xid: transaction(r, "xid")?,
            gid: r.text("gid")?,
        })
    }
}

/// A prepared transaction rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// Where its prepare record ended: tells whether the prepare was ever received.
    pub prepare_end_lsn: Lsn,
    /// Where its rollback record ends.
    pub rollback_end_lsn: Lsn,
    /// When it was prepared.
    pub prepare_time: PgTimestamp,
    /// When it rolled back.
    pub rollback_time: PgTimestamp,
    /// The transaction.
    pub xid: Xid,
    /// The name the user gave it.
    pub gid: &'a str,
}

impl<'a> RollbackPrepared<'a> {
    /// `logicalrep_read_rollback_prepared`.
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        flags_are_zero(r)?;
        Ok(Self {
            prepare_end_lsn: position(r, "prepare_end_lsn")?,
            rollback_end_lsn: position(r, "rollback_end_lsn")?,
            prepare_time: PgTimestamp(r.i64("prepare time")?),
            rollback_time: PgTimestamp(r.i64("rollback time")?),
            xid: transaction(r, "xid")?,
            gid: r.text("gid")?,
        })
    }
}
