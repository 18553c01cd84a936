//! How a run fails: what happened, what state things are in, what to do next.

use std::fmt;

use crate::{apply::ApplyError, backfill::PageError, conn::Error, pg::SqlState};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: stopped; the same command goes on.
    Stopped,
    /// 2: refused; nothing was changed, or what was is undone.
    Refused,
    /// 4: can't be resumed; nothing was touched.
    CannotResume,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Stopped => 1,
            Self::Refused => 2,
            Self::CannotResume => 4,
        }
    }
}

/// A failure in the three lines that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which exit code.
    pub exit: Exit,
    /// The server's code, if a server said no.
    pub sqlstate: Option<SqlState>,
    /// What happened.
    pub message: String,
    /// What state things are in.
    pub state: String,
    /// What to do next.
    pub hint: String,
}

const NOTHING_CHANGED: &str = "nothing was changed on either server";
const KEPT: &str = "what was committed stays, and the ledger on the target knows how far it is";
const RESUME: &str = "mend the cause and give the same command again; it goes on where it stopped";

impl Failure {
    /// A refusal before anything was done.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            sqlstate: None,
            message: message.into(),
            state: NOTHING_CHANGED.into(),
            hint: hint.into(),
        }
    }

    /// A migration that can't go on.
    pub fn cannot_resume(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::CannotResume, ..Self::refused(message, hint) }
    }

    /// A refusal by a server, before anything was done.
    #[must_use]
    pub fn refused_by(what: &str, error: &Error) -> Self {
        let hint = match error {
            error if error.is_unreachable() => {
                "check host, port and network, and that the server runs"
            }
            Error::Tls(_) => "mend what the message names, or choose another sslmode",
            Error::Authentication(_) => "check user and password (PGPASSWORD or .pgpass)",
            _ if error.sqlstate().is_some_and(|code| code.class() == "28") => {
                "check user, password and the server's pg_hba.conf"
            }
            _ if error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                "grant the role what the message asks for, and try again"
            }
            _ => "mend what the message names, and try again",
        };
        let failure = Self::refused(format!("{what}: {error}"), hint);
        Self { sqlstate: error.sqlstate(), ..failure }
    }

    /// A stop in mid-run.
    #[must_use]
    pub fn stopped_by(what: &str, error: &Error) -> Self {
        Self {
            exit: Exit::Stopped,
            sqlstate: error.sqlstate(),
            message: format!("{what}: {error}"),
            state: KEPT.into(),
            hint: RESUME.into(),
        }
    }

    /// A page that failed.
    #[must_use]
    pub fn backfill(error: &PageError) -> Self {
        Self {
            exit: Exit::Stopped,
            sqlstate: error.connection_error().and_then(Error::sqlstate),
            message: error.to_string(),
            state:
                "the pages that were committed stay; nothing of the failed page is on the target"
                    .into(),
            hint: RESUME.into(),
        }
    }

    /// Changes that could not be applied.
    #[must_use]
    pub fn apply(error: &ApplyError) -> Self {
        let hint = match error {
            ApplyError::TableChanged { .. } => {
                "a migration can't go on over a change of the table: remove this one's slot and \
                 ledger lines and start again"
            }
            ApplyError::Diverged { .. } => {
                "find out what else writes to the target table; start again once it doesn't"
            }
            _ => RESUME,
        };
        Self {
            exit: Exit::Stopped,
            sqlstate: error.connection_error().and_then(Error::sqlstate),
            message: error.to_string(),
            state: KEPT.into(),
            hint: hint.into(),
        }
    }

    /// Told to stop before anything was done.
    #[must_use]
    pub fn interrupted_early() -> Self {
        Self { state: NOTHING_CHANGED.into(), ..Self::interrupted() }
    }

    /// Told to stop.
    #[must_use]
    pub fn interrupted() -> Self {
        Self {
            exit: Exit::Stopped,
            sqlstate: None,
            message: "interrupted".into(),
            state: KEPT.into(),
            hint: "give the same command again; it goes on where it stopped".into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        writeln!(f, "state: {}", self.state)?;
        write!(f, "next:  {}", self.hint)
    }
}

impl std::error::Error for Failure {}
