//! How a run fails: what happened, what state things are in, what to do next.

use std::{fmt, time::Duration};

use super::verdict::{
    Place, Rule, Sign, Verdict, rule_of, rule_of_apply, rule_of_error, rule_of_page,
};
use crate::{
    apply::ApplyError,
    backfill::PageError,
    conn::Error,
    ledger::{Holders, MigrationName},
    pg::SqlState,
    verify::VerifyError,
};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: stopped; the same command goes on.
    Stopped,
    /// 2: refused; nothing was changed, or what was is undone.
    Refused,
    /// 3: both sides were compared, and differ.
    Different,
    /// 4: can't be resumed; nothing was touched.
    CannotResume,
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Retry | Verdict::Stop => Self::Stopped,
            Verdict::CannotResume => Self::CannotResume,
            Verdict::Refused => Self::Refused,
        }
    }
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Stopped => 1,
            Self::Refused => 2,
            Self::Different => 3,
            Self::CannotResume => 4,
        }
    }
}

/// A failure in the three lines that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which exit code.
    pub exit: Exit,
    /// Whether a run that has begun may wait and go on.
    pub verdict: Verdict,
    /// The line of the table, if what failed was a connection or a server said no.
    pub rule: Option<&'static Rule>,
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
const PAGES_KEPT: &str =
    "the pages that were committed stay; nothing of the failed page is on the target";
const UNTOUCHED: &str = "nothing is touched any more; what was committed stays";
const BOUND: &str = "drop that foreign key on the target (ALTER TABLE .. DROP CONSTRAINT) and \
                     give the same command again; then see to what refers to the rows that are \
                     gone, and make it again";
const RESUME: &str = "mend the cause and give the same command again; it goes on where it stopped";

impl Failure {
    /// A refusal before anything was done.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            verdict: Verdict::Refused,
            rule: None,
            sqlstate: None,
            message: message.into(),
            state: NOTHING_CHANGED.into(),
            hint: hint.into(),
        }
    }

    /// A refusal that a run which has begun waits out: somebody else is still at it, perhaps its
    /// own sessions of a moment ago; or it is another server that has answered.
    pub(super) fn busy(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Retry, ..Self::refused(message, hint) }
    }

    /// Somebody else has the migration for itself.
    pub(super) fn is_run(name: &MigrationName, holders: &Holders) -> Self {
        let busy = format!("another pghost is running the migration {name}");
        Self::busy(
            holders.told(&busy, &format!("the migration {name} on the target")),
            holders.next("let it run, or stop it first; give another --name for another migration"),
        )
    }

    /// Sessions of an earlier run have not ended, and may still write.
    pub(super) fn still_written_to(writers: &Holders, waited: Duration) -> Self {
        let (seconds, who) = (waited.as_secs(), writers.are_pghosts());
        Self {
            message: match who {
                true => format!(
                    "sessions of an earlier run have not ended on the target for {seconds} s, and \
                     may still write: {writers}"
                ),
                false => format!(
                    "the advisory lock of the migration's writers has been held on the target for \
                     {seconds} s, not only by pghost's sessions: {writers}"
                ),
            },
            hint: format!(
                "see there what they are and wait for (pg_stat_activity, pg_blocking_pids), or end \
                 them ({}); then give the same command again",
                writers.ended()
            ),
            ..Self::interrupted()
        }
    }

    /// A migration that can't go on.
    pub(super) fn cannot_resume(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (exit, verdict) = (Exit::CannotResume, Verdict::CannotResume);
        Self { exit, verdict, ..Self::refused(message, hint) }
    }

    /// A fault that was seen before anything was done, and that no server has told.
    pub(super) fn seen(sign: Sign, message: impl Into<String>) -> Self {
        let rule = rule_of(sign);
        Self {
            exit: rule.verdict.into(),
            verdict: rule.verdict,
            rule: Some(rule),
            ..Self::refused(message, rule.next)
        }
    }

    /// A refusal by a server, before anything was done.
    #[must_use]
    pub fn refused_by(what: &str, error: &Error) -> Self {
        let rule = rule_of_error(error, Place::Anywhere);
        let hint = match error {
            error if error.is_unreachable() => {
                "check host, port and network, and that the server runs"
            }
            Error::Tls(_) => "mend what the message names, or choose another sslmode",
            Error::Authentication(error) => error.next(),
            Error::Pooler(_) | Error::SettingDropped { .. } => {
                "give host and port of the server itself, past the pooler"
            }
            Error::SettingForbidden { .. } => {
                "ALTER ROLE or ALTER DATABASE .. RESET the setting that the message names, or use \
                 another role"
            }
            _ if error.sqlstate().is_some_and(|code| code.class() == "28") => {
                "check user, password and the server's pg_hba.conf"
            }
            _ if error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                "grant the role what the message asks for, and try again"
            }
            _ if rule.sign == Sign::SearchPath => rule.next,
            _ => "mend what the message names, and try again",
        };
        let verdict = match rule.verdict {
            Verdict::Retry => Verdict::Retry,
            _ => Verdict::Refused,
        };
        let failure = Self::refused(format!("{what}: {error}"), hint);
        Self { verdict, rule: Some(rule), sqlstate: error.sqlstate(), ..failure }
    }

    /// A stop in mid-run.
    #[must_use]
    pub fn stopped_by(what: &str, error: &Error) -> Self {
        let rule = rule_of_error(error, Place::Anywhere);
        Self::by_rule(rule, error.sqlstate(), format!("{what}: {error}"), KEPT)
    }

    /// A fault that was met in mid-run, and that no server has told.
    pub(super) fn met(sign: Sign, message: impl Into<String>) -> Self {
        Self::by_rule(rule_of(sign), None, message.into(), KEPT)
    }

    /// A page that failed.
    #[must_use]
    pub fn backfill(error: &PageError) -> Self {
        let sqlstate = error.connection_error().and_then(Error::sqlstate);
        Self::by_rule(rule_of_page(error), sqlstate, error.to_string(), PAGES_KEPT)
    }

    /// Changes that could not be applied.
    #[must_use]
    pub fn apply(error: &ApplyError) -> Self {
        let sqlstate = error.connection_error().and_then(Error::sqlstate);
        let failure = Self::by_rule(rule_of_apply(error), sqlstate, error.to_string(), KEPT);
        match error {
            ApplyError::Bound { .. } => Self { hint: BOUND.into(), ..failure },
            _ => failure,
        }
    }

    /// A comparison that came to no end.
    #[must_use]
    pub fn verify(error: &VerifyError) -> Self {
        let sqlstate = error.connection_error().and_then(Error::sqlstate);
        let rule = match error.connection_error() {
            Some(error) => rule_of_error(error, Place::Anywhere),
            None => rule_of(Sign::Other),
        };
        let failure = Self::by_rule(rule, sqlstate, error.to_string(), KEPT);
        let hint = "see that the changes reach the target again, and compare once more";
        match error {
            VerifyError::NotFollowed { .. } => Self { hint: hint.into(), ..failure },
            VerifyError::Server { .. } => failure,
        }
    }

    /// Both sides were compared, and differ.
    #[must_use]
    pub fn different(message: String) -> Self {
        Self {
            exit: Exit::Different,
            verdict: Verdict::Stop,
            rule: None,
            sqlstate: None,
            message,
            state: KEPT.into(),
            hint: "find out who else writes to the target; mend the rows there, or move the table \
                   anew; `pghost verify` compares again"
                .into(),
        }
    }

    fn by_rule(
        rule: &'static Rule,
        sqlstate: Option<SqlState>,
        message: String,
        state: &str,
    ) -> Self {
        let state = if rule.verdict == Verdict::CannotResume { UNTOUCHED } else { state };
        Self {
            exit: rule.verdict.into(),
            verdict: rule.verdict,
            rule: Some(rule),
            sqlstate,
            message,
            state: state.into(),
            hint: rule.next.into(),
        }
    }

    /// The same for a run that has begun: whatever could not be done now, something was before.
    #[must_use]
    pub(super) fn in_mid_run(self) -> Self {
        match self.exit {
            Exit::Refused => {
                let hint = match self.rule {
                    Some(rule) => rule.next.into(),
                    // What it says of who is in the way holds as well now.
                    None if self.verdict == Verdict::Retry => self.hint,
                    None => RESUME.into(),
                };
                Self { exit: Exit::Stopped, state: KEPT.into(), hint, ..self }
            }
            Exit::CannotResume => Self { state: UNTOUCHED.into(), ..self },
            Exit::Stopped | Exit::Different => self,
        }
    }

    /// Whether it is one of these.
    pub(super) fn is_of(&self, sign: Sign) -> bool {
        self.rule.is_some_and(|rule| rule.sign == sign)
    }

    /// The same of a table that is by now what it was before: nothing was taken of it meanwhile.
    #[must_use]
    pub(super) fn restored(self) -> Self {
        let hint = "it is what it was again: see that nobody alters it, and give the same command \
                    again";
        Self { hint: hint.into(), ..self }
    }

    /// The same for a comparison, which changes nothing.
    #[must_use]
    pub(super) fn of_comparison(self) -> Self {
        match self.exit {
            Exit::Stopped => Self {
                state: NOTHING_CHANGED.into(),
                hint: "mend the cause and give the same command again; it begins anew".into(),
                ..self
            },
            Exit::Different => Self { state: NOTHING_CHANGED.into(), ..self },
            Exit::Refused | Exit::CannotResume => self,
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
            verdict: Verdict::Stop,
            rule: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_way_is_told_in_mid_run_too() {
        let busy = Failure::busy("another pghost is at it", "let it run").in_mid_run();
        assert_eq!((busy.exit, busy.verdict), (Exit::Stopped, Verdict::Retry));
        assert_eq!((&*busy.state, &*busy.hint), (KEPT, "let it run"));
        let refused = Failure::refused("something is not as it must be", "try again").in_mid_run();
        assert_eq!((refused.exit, &*refused.hint), (Exit::Stopped, RESUME));
        let away = Failure::refused_by("connecting", &Error::Closed).in_mid_run();
        assert_eq!((away.verdict, &*away.hint), (Verdict::Retry, super::super::verdict::SERVER));
    }
}
