//! What came of a case on one side, in words that both sides share.

use std::{collections::BTreeSet, fmt};

/// Asked of every session. Each line is a `name=value`; what is not there has no line.
pub(super) const SQL: &str = "select concat_ws(chr(10),
    'user=' || current_user,
    'db=' || current_database(),
    'app=' || current_setting('application_name'),
    'work_mem=' || current_setting('work_mem'),
    'my.value=' || current_setting('my.value', true),
    'my.other=' || current_setting('my.other', true),
    'at=' || coalesce(host(inet_server_addr()), 'socket'),
    'port=' || inet_server_port())";

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A parameter that nobody knows.
    Unknown,
    /// The string is not of the form.
    Syntax,
    /// A value that can't be.
    Value,
    /// Lists of different lengths.
    Lists,
    /// A service that is in no file.
    NoService,
    /// A service file that is not there.
    NoServiceFile,
    /// A service file that is not of the form.
    ServiceSyntax,
    /// The server wants a password and none was found.
    NoPassword,
    /// The server does not like the password.
    WrongPassword,
    /// The server has no such role.
    NoRole,
    /// The server has no such database.
    NoDatabase,
    /// The server's rules let this role not in.
    Shut,
    /// Anything else that the server says no with.
    Server,
    /// Nobody answers, or there is no such host.
    Unreachable,
    /// Channel binding is required and can't be had.
    ChannelBinding,
    /// The server asks in a way that the settings do not allow.
    Method,
    /// Settings that contradict each other.
    Contradiction,
    /// What was asked for can't be done here.
    CanNot,
}

/// A file that both warn of and do not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Warned {
    OpenToOthers,
    NotPlain,
}

/// What came of a case.
pub(super) struct Outcome {
    pub(super) end: Result<String, Refusal>,
    pub(super) warned: BTreeSet<Warned>,
    /// In the side's own words, for people.
    pub(super) said: String,
}

/// The words are each side's own.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end && self.warned == other.warned
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Ok(answer) => write!(f, "session {:?}", answer.replace('\n', " "))?,
            Err(refusal) => write!(f, "{refusal:?}")?,
        }
        write!(f, ", warned {:?}, said {:?}", self.warned, self.said.trim())
    }
}
