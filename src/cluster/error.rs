//! What can go wrong with a throwaway server, and what the reader can do about it.

use std::{error::Error, io, iter, path::PathBuf};

/// Why there is no throwaway server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// `GHOST_PG_BIN` was set, so it was meant; nothing else is tried in its place.
    #[error(
        "GHOST_PG_BIN is {dir:?}, but {why}.\nPoint it at a directory that holds postgres, \
         initdb and pg_ctl, or unset it to let pghost look by itself."
    )]
    BadBinDir {
        /// What the variable holds.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// No usable Postgres was found, and none could be fetched.
    #[error(
        "no {wanted} is to be had on this machine.\nTried:\n{tried}\nInstall one with:\n  \
         {command}\nor set GHOST_PG_BIN to a directory that holds postgres, initdb and pg_ctl."
    )]
    NotFound {
        /// What was looked for, for example `PostgreSQL 15`.
        wanted: String,
        /// One line for each place that was tried, with what was wrong with it.
        tried: String,
        /// What to type.
        command: String,
    },

    /// A program was run and reported failure.
    #[error("{doing} failed ({status}):\n{output}")]
    Failed {
        /// What was being done, as the start of a sentence.
        doing: String,
        /// How the program ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },

    /// We are root, and there is nobody else to run the server.
    #[error(
        "Postgres refuses to be run by root, and there is no other user to run it (looked for \
         {tried}).\nCreate one with:\n  useradd --system postgres"
    )]
    NoUser {
        /// Who was looked for.
        tried: String,
    },

    /// Something was fetched, and it is not what it should be.
    #[error("{what} cannot be used: {why}")]
    Unusable {
        /// What was looked at.
        what: String,
        /// What is wrong with it.
        why: String,
    },

    /// The server ended while it was starting, or never became ready.
    #[error("the throwaway PostgreSQL {version} did not start: {why}.\nIts log ends with:\n{log}")]
    NotStarted {
        /// The server's release.
        version: String,
        /// What was seen.
        why: String,
        /// The log's last lines.
        log: String,
    },

    /// The server was told to stop and was still running when patience ended.
    #[error(
        "the throwaway PostgreSQL {version} was still running {seconds} s after being told to \
         stop ({how}).\nA smart stop waits until the last session has gone: close the sessions, \
         or stop it fast. Its log ends with:\n{log}"
    )]
    NotStopped {
        /// The server's release.
        version: String,
        /// The stop mode that was asked for.
        how: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The log's last lines.
        log: String,
    },

    /// The server goes on by its old configuration, because the new one is wrong.
    #[error("the server did not take its new configuration. Its log ends with:\n{log}")]
    NotReloaded {
        /// The log's last lines, which name the file and the line.
        log: String,
    },

    /// Something is asked of a server that has been stopped.
    #[error("the throwaway server is stopped; start it again first")]
    Stopped,

    /// A setting that cannot be used.
    #[error("the setting {name} = {value:?} cannot be used for a throwaway server: {why}")]
    Setting {
        /// The setting's name.
        name: String,
        /// The value that was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The operating system refused something.
    #[error("{doing} failed")]
    Io {
        /// What was being done, with the path or program it was done to.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The error and its causes in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Puts what was being done in front of what the system said.
pub(super) trait Doing<T> {
    /// `doing` is a phrase such as `writing "/tmp/x"`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|source| ClusterError::Io { doing: doing(), source })
    }
}
