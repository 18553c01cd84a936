//! How a page fails, on which side, and whose fault it was.

use crate::conn::Error;

/// What failed, and on which side.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Getting there; no page had begun.
    #[error("opening a session on the {side} to copy pages: {error}")]
    Session {
        /// The source or the target.
        side: &'static str,
        /// What happened.
        error: Error,
    },
    /// Reading it, or looking for where it ends.
    #[error("reading {what} from the source: {error}")]
    Source {
        /// The page, or the keys that were looked for.
        what: String,
        /// What happened.
        error: Error,
    },
    /// The table is not what it was when the run began.
    #[error("{table} was altered on the source: it was not what it is to be when {what} was read")]
    Altered {
        /// The page, or the keys that were looked for.
        what: String,
        /// The table.
        table: String,
    },
    /// Writing it.
    #[error("writing {what} to the target: {error}")]
    Target {
        /// The page.
        what: String,
        /// What happened.
        error: Error,
    },
    /// The target's table is not what it was when the run began.
    #[error("the target {table} was altered; nothing of {what} was written to it")]
    Reshaped {
        /// The page.
        what: String,
        /// The table.
        table: String,
    },
    /// The two sides counted differently; nothing was committed.
    #[error(
        "the source sent {sent} rows for {what} and the target took {taken}: \
         a trigger or rule on the target keeps rows away"
    )]
    Counts {
        /// The page.
        what: String,
        /// The source's count.
        sent: u64,
        /// The target's.
        taken: u64,
    },
}

impl PageError {
    /// The connection's error, if it is one.
    #[must_use]
    pub const fn connection_error(&self) -> Option<&Error> {
        match self {
            Self::Session { error, .. }
            | Self::Source { error, .. }
            | Self::Target { error, .. } => Some(error),
            Self::Altered { .. } | Self::Reshaped { .. } | Self::Counts { .. } => None,
        }
    }

    /// Whether a standby gave the page up because replaying the log would not wait for it any
    /// longer (`ProcessInterrupts` in `postgres.c`: class 40, whether only the statement is ended
    /// or the session).
    pub(super) fn is_recovery_conflict(&self) -> bool {
        match self {
            Self::Source { error, .. } => error.sqlstate().is_some_and(|s| s.class() == "40"),
            Self::Session { .. }
            | Self::Altered { .. }
            | Self::Target { .. }
            | Self::Reshaped { .. }
            | Self::Counts { .. } => false,
        }
    }
}
