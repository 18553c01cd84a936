//! One case: what both sides are given, and what libpq is known to do with it.

use super::outcome::Refusal;

/// What a case needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing but the server.
    Nothing,
    /// The server's socket in the directory that psql has compiled in.
    DefaultSocket,
    /// A second address of this machine, `127.0.0.2`.
    SecondAddress,
    /// `::1`.
    Ipv6,
}

/// What libpq does.
#[derive(Debug)]
pub(super) enum Expected {
    /// It connects; these, between bars, are among the lines of the session's answer.
    Session(&'static str),
    /// It does not.
    Refusal(Refusal),
}

/// A case; its texts still have their `{names}`.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) dsn: &'static str,
    pub(super) env: Vec<(&'static str, &'static str)>,
    /// Path below the home directory, text, permissions.
    pub(super) files: Vec<(&'static str, &'static str, u32)>,
    pub(super) expected: Expected,
    pub(super) need: Need,
    /// The parameter whose release brought what is tested.
    pub(super) since: Option<&'static str>,
    /// The release that ended what is tested, by a parameter it brought.
    pub(super) until: Option<&'static str>,
    /// Why pghost does something else.
    pub(super) diverges: Option<&'static str>,
}

const fn case(name: &'static str, dsn: &'static str, expected: Expected) -> Case {
    Case {
        name,
        dsn,
        env: Vec::new(),
        files: Vec::new(),
        expected,
        need: Need::Nothing,
        since: None,
        until: None,
        diverges: None,
    }
}

/// A case in which libpq connects and gets an answer with these words.
pub(super) const fn good(name: &'static str, dsn: &'static str, answer: &'static str) -> Case {
    case(name, dsn, Expected::Session(answer))
}

/// A case in which libpq does not connect.
pub(super) const fn bad(name: &'static str, dsn: &'static str, refusal: Refusal) -> Case {
    case(name, dsn, Expected::Refusal(refusal))
}

impl Case {
    /// A variable for all cases of a table, unless a case has its own.
    pub(super) fn or_env(mut self, name: &'static str, value: &'static str) -> Self {
        if self.env.iter().all(|(known, _)| *known != name) {
            self.env.push((name, value));
        }
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    pub(super) fn file(self, path: &'static str, text: &'static str) -> Self {
        self.file_with_mode(path, text, 0o600)
    }

    pub(super) fn file_with_mode(
        mut self,
        path: &'static str,
        text: &'static str,
        mode: u32,
    ) -> Self {
        self.files.push((path, text, mode));
        self
    }

    pub(super) const fn needs(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    pub(super) const fn since(mut self, parameter: &'static str) -> Self {
        self.since = Some(parameter);
        self
    }

    pub(super) const fn until(mut self, parameter: &'static str) -> Self {
        self.until = Some(parameter);
        self
    }

    pub(super) const fn diverges(mut self, why: &'static str) -> Self {
        self.diverges = Some(why);
        self
    }
}
