//! What an applying of changes is asked to do, and what it tells while it does.

use std::time::Duration;

use super::ApplyTable;
use crate::{
    config::Config,
    ledger::MigrationName,
    pg::{Ident, Lsn, PgTimestamp, QualifiedName},
    replication::SystemIdentity,
};

/// An applying of changes.
#[derive(Clone, Debug)]
pub struct Apply {
    /// The migration's name in the ledger.
    pub migration: MigrationName,
    /// Where the slot is.
    pub source: Config,
    /// Which server that must be: the primary of this cluster, on this timeline.
    pub identity: SystemIdentity,
    /// Where the changes go.
    pub target: Config,
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Lanes up to the checkpoint, at least one.
    pub jobs: usize,
    /// Whether values may come in binary.
    pub binary: bool,
    /// The tables.
    pub tables: Vec<ApplyTable>,
    /// The checkpoint, from which on the target is exact.
    pub checkpoint: Lsn,
    /// When to stop.
    pub stop: Stop,
    /// How long one side may stand still before it is given up.
    pub stall: Duration,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Once everything that was committed before this position, and before the checkpoint, is on
    /// the target.
    At(Lsn),
    /// When told to.
    WhenTold,
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is on the target.
    Reached,
    /// It was told to; the position is stored.
    Interrupted,
}

/// What it tells while it runs.
#[derive(Clone, Debug)]
pub enum Moment {
    /// How far it is.
    Progress(ApplyProgress),
    /// A row had to be fetched; the target will be exact only here.
    CheckpointRaised(Lsn),
    /// The target is what the source was at this position, and that is committed.
    CheckpointPassed(Lsn),
    /// The stream brings new columns of a table, which are left out.
    LeftOut {
        /// The table on the source.
        table: QualifiedName,
        /// The columns.
        columns: Vec<Ident>,
    },
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyProgress {
    /// Durable on the target.
    pub applied: Lsn,
    /// Received.
    pub received: Lsn,
    /// The checkpoint.
    pub checkpoint: Lsn,
    /// Changes received in this run.
    pub changes: u64,
    /// When the last durable transaction was committed on the source.
    pub committed_at: Option<PgTimestamp>,
}
