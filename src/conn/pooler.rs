//! Whether a session is one: that its settings hold, and that one server process serves it for
//! good.
//!
//! A pooler gives sessions out as it is set up to. In session mode a client keeps its server
//! process, and all goes well. In transaction or statement mode the next statement may run in
//! another process: settings, locks and temporary tables are lost, or somebody else gets them. So
//! nothing is set before it is known what stands in between.
//!
//! ```text
//!   ask ── pid is the one of the login ─── settings hold ──> used
//!    │         (nothing in between)  └──── a pinned one does not ──> refused
//!    └── another pid: a pooler ── each session keeps its own process ── set, ask again ──> used
//!                              └─ it changes, or two share one ──> refused
//! ```
//!
//! How a pooler shows: the login names a process by which statements can be cancelled
//! (BackendKeyData), and a pooler names one of its own invention. How its mode shows: two sessions
//! take turns; in transaction mode the second one is given the process that the first one has just
//! let go of, be the pool of one process or of many.

use super::{Connection, Error, SessionKind, session, session::Settings};
use crate::pg::SqlState;

/// How many turns the two sessions take. One is enough where nobody else uses the pool; somebody
/// who does would have to come between each time.
const TURNS: usize = 8;

/// What a pooler does that pghost's sessions can't live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolerError {
    /// A session may run on another process with each transaction.
    #[error(
        "a connection pooler in transaction mode stands before the server: settings, locks and \
         temporary tables of a session do not hold there"
    )]
    Transaction,
    /// There are no transactions.
    #[error(
        "a connection pooler in statement mode stands before the server, and there are no \
         transactions there"
    )]
    Statement,
    /// What one client has set the next one gets.
    #[error(
        "a connection pooler stands before the server and gives processes on without resetting \
         them: the next client would get what pghost sets (pgbouncer's server_reset_query)"
    )]
    NotReset,
    /// It has no replication connections.
    #[error(
        "a connection pooler stands before the server, and replication connections don't go \
         through it"
    )]
    Replication,
}

/// Whether a server, which is none then, takes no startup packet with settings that it does not
/// know. This is pgbouncer's text since ever; a server's own is of another code.
pub(super) fn refuses_settings(error: &Error) -> bool {
    matches!(error, Error::Server(said) if said.code == Some(SqlState::PROTOCOL_VIOLATION)
        && said.message.starts_with("unsupported startup parameter"))
}

impl Connection {
    /// Makes sure of the session and its settings.
    ///
    /// Errors: settings do not hold, or a pooler stands in between that gives no whole sessions.
    pub(super) async fn make_sure(&mut self, kind: SessionKind) -> Result<(), Error> {
        let answer = self.ask_for_settings(kind).await?;
        let is_pooled = self.settings() == Settings::Afterwards || self.process_id() != answer.pid;
        self.served_by(answer.pid);
        if kind == SessionKind::Replication {
            // One that a pooler lets through has a process of its own.
            if !answer.may_be_walsender {
                return Err(PoolerError::Replication.into());
            }
        } else if is_pooled {
            self.check_pooler().await?;
        }
        if answer.wrong.is_empty() {
            return Ok(());
        }
        if !is_pooled && let Some(wrong) = answer.wrong.iter().find(|w| session::is_pinned(&w.name))
        {
            return Err(dropped(wrong));
        }
        match self.query(&session::set(&answer.wrong)).await {
            Err(error) if error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                let wrong = answer.wrong.into_iter().find(|wrong| !session::is_pinned(&wrong.name));
                return Err(wrong.map_or(error, |wrong| Error::SettingForbidden {
                    name: wrong.name,
                    wanted: wrong.wanted,
                    value: wrong.value,
                }));
            }
            set => set?,
        };
        match self.ask_for_settings(kind).await?.wrong.first() {
            Some(wrong) => Err(dropped(wrong)),
            None => Ok(()),
        }
    }

    async fn ask_for_settings(&mut self, kind: SessionKind) -> Result<session::Answer, Error> {
        session::Answer::read(&self.query(&session::question(kind)).await?)
    }

    /// Makes sure that a pooler gives whole sessions, and takes them back clean.
    async fn check_pooler(&mut self) -> Result<(), Error> {
        let mut other = self.another().await?;
        let mine = self.process_id();
        let theirs = other.ask_pid().await?;
        for _ in 0..TURNS {
            let now = (self.ask_pid().await?, other.ask_pid().await?);
            if now != (mine, theirs) || mine == theirs {
                return Err(PoolerError::Transaction.into());
            }
        }
        // Whose process is kept may use it as it likes, and there is nothing left to lose.
        other.query("SELECT pg_catalog.set_config('pghost.probe', 'left', false)").await?;
        other.close().await;
        let mut next = self.another().await?;
        let left = "SELECT pg_catalog.current_setting('pghost.probe', true) AS probe,
                           pg_catalog.set_config('pghost.probe', '', false) AS none";
        let left: Option<String> = next.query(left).await?.row()?.get("probe")?;
        next.close().await;
        if left.is_some_and(|left| left == "left") {
            return Err(PoolerError::NotReset.into());
        }
        Ok(())
    }

    /// Another session of the same kind on the same way.
    async fn another(&self) -> Result<Self, Error> {
        let place = self.place().clone();
        let started = place.start(SessionKind::Sql, self.settings(), false).await;
        started.map_err(|not_started| not_started.error)
    }

    /// Which process serves the session, in a transaction of its own.
    async fn ask_pid(&mut self) -> Result<i32, Error> {
        let asked = async {
            self.query("BEGIN").await?;
            let result = self.query("SELECT pg_catalog.pg_backend_pid() AS pid").await?;
            self.query("COMMIT").await?;
            result.row()?.get("pid")
        };
        asked.await.map_err(|error| match &error {
            Error::Server(said) if said.message.contains("statement pooling") => {
                PoolerError::Statement.into()
            }
            _ => error,
        })
    }
}

fn dropped(wrong: &session::Wrong) -> Error {
    Error::SettingDropped {
        name: wrong.name.clone(),
        wanted: wrong.wanted.clone(),
        value: wrong.value.clone(),
    }
}
