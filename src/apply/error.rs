//! What stops the applying of changes.

use crate::{
    conn::Error,
    pg::{Lsn, SqlState},
    pgoutput::DecodeError,
    replication::MessageError,
};

/// How many bytes of a message that can't be decoded are shown.
const SHOWN_BYTES: usize = 64;

/// A failure of the catch-up or the following. Whatever it is, the position in the target says
/// what is there, and the next run goes on from it.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The walsender's connection.
    #[error("reading changes from the source: {0}")]
    Stream(#[source] Error),
    /// The walsender's connection has reached another server than the others: settings with several
    /// hosts, or a name with several addresses, can lead one session here and the next one there.
    #[error(
        "the server that was reached for reading changes {what}; name exactly one host, or give \
         target_session_attrs=read-write"
    )]
    Elsewhere {
        /// How it differs.
        what: &'static str,
    },
    /// The connection that fetches rows from the source.
    #[error("fetching a moved row of {table} from the source: {error}")]
    Fetch {
        /// The table.
        table: String,
        /// What happened.
        error: Error,
    },
    /// The target.
    #[error("writing changes to {place}, after position {after}: {error}")]
    Target {
        /// The target, or the table there whose changes the server has refused.
        place: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
        /// What happened.
        error: Error,
    },
    /// The staging table of a table refuses what is to go by way of it. The table itself may take
    /// it.
    #[error(
        "writing changes to {place} by way of a staging table, after position {after}: {error}"
    )]
    NotStaged {
        /// The table's place among those of the run.
        table: usize,
        /// The table.
        place: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
        /// What happened.
        error: Error,
    },
    /// Tables were emptied on the source, and one that is not moved refers to them on the target.
    #[error(
        "emptying {place} as TRUNCATE did on the source, after position {after}: {error}; on the \
         target a table that is not moved refers to it by a foreign key"
    )]
    Bound {
        /// The first of the tables.
        place: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
        /// What happened.
        error: Error,
    },
    /// A table of the target is not what it was when the run began.
    #[error("{place} was altered; nothing was written to it after position {after}")]
    Reshaped {
        /// The table.
        place: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
    },
    /// The ledger's line was not there, or not where this run has left it.
    #[error(
        "the migration's line in the ledger is not where this run has left it, at {after}: \
         it is gone, another run has moved it, or the target is another server than it was (a \
         failover, a restore); the change after it was rolled back"
    )]
    PositionLost {
        /// The last position that the target is known to have committed.
        after: Lsn,
    },
    /// The source does not show a transaction that it has sent.
    #[error(
        "the source has sent a transaction but does not show it for {seconds} s: its commit waits \
         for a synchronous standby, perhaps for pghost's own walsender \
         (synchronous_standby_names)"
    )]
    NotShown {
        /// How long we have waited.
        seconds: u64,
    },
    /// Told to stop, while something else was waited for.
    #[error("interrupted")]
    Interrupted,
    /// A message of the stream is not understood.
    #[error("the stream can't be decoded at {at}: {error}; the message begins {bytes}")]
    Undecodable {
        /// Where in the log.
        at: Lsn,
        /// Why.
        error: DecodeError,
        /// Its first bytes, in hexadecimal.
        bytes: String,
    },
    /// A frame of the stream is not understood.
    #[error("the replication stream can't be read: {0}")]
    Message(#[from] MessageError),
    /// A message makes no sense where it came.
    #[error("the stream makes no sense at {at}: {what}")]
    OutOfPlace {
        /// Where in the log.
        at: Lsn,
        /// What came.
        what: String,
    },
    /// A table of the migration has changed on the source.
    #[error("the definition of {table} has changed on the source at {at}: {difference}")]
    TableChanged {
        /// The table.
        table: String,
        /// Where in the log.
        at: Lsn,
        /// What is different.
        difference: String,
    },
    /// After the checkpoint the target must be what the log expects.
    #[error(
        "the target's {table} is not what the source's log expects after position {after}: \
         {what} of {expected} rows found {found}; something else has written to the target"
    )]
    Diverged {
        /// The target table.
        table: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
        /// The statement.
        what: &'static str,
        /// How many rows were named.
        expected: u64,
        /// How many were there.
        found: u64,
    },
    /// A row that is written must be there then.
    #[error(
        "{what} of {expected} rows into the target's {table}, after position {after}, brought \
         {found}: a trigger or rule on the target keeps rows away"
    )]
    KeptAway {
        /// The target table.
        table: String,
        /// The last position that the target is known to have committed.
        after: Lsn,
        /// The statement.
        what: &'static str,
        /// How many rows were sent.
        expected: u64,
        /// How many were taken.
        found: u64,
    },
}

impl ApplyError {
    /// Whether rows stood in each other's way: a unique or an exclusion constraint.
    pub(super) fn is_conflict(&self) -> bool {
        let conflicts = [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION];
        matches!(self, Self::Target { error, .. }
            if error.sqlstate().is_some_and(|code| conflicts.contains(&code)))
    }

    /// The table whose changes are to go without a staging table from now on.
    pub(super) const fn unstaged(&self) -> Option<usize> {
        match self {
            Self::NotStaged { table, .. } => Some(*table),
            _ => None,
        }
    }

    /// The connection's error, if it is one.
    #[must_use]
    pub const fn connection_error(&self) -> Option<&Error> {
        match self {
            Self::Stream(error)
            | Self::Fetch { error, .. }
            | Self::Target { error, .. }
            | Self::NotStaged { error, .. }
            | Self::Bound { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Where something was wrong that concerns no table.
pub(super) const TARGET: &str = "the target";

/// The first bytes of a message, as they are shown.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
