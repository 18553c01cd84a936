//! What was found before a run: refused, warned of, or as it should be.
//!
//! One list serves both who only asks (`pghost check`, which wants all of it) and a run, which is
//! refused by the first thing that stands in its way. Pure.

use serde::Serialize;

use crate::{
    migrate::{Event, Failure, Listener, Verdict},
    pg::QualifiedName,
};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A run would be refused.
    Refused,
    /// A run would begin, and may suffer.
    Warning,
    /// As it should be.
    Ok,
}

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// On the source.
    Source,
    /// On the target.
    Target,
    /// On the server of `--copy-from`.
    Standby,
    /// By comparing both, or in what was asked for.
    Both,
}

impl Side {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Standby => "standby",
            Self::Both => "both",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at, as a word that stays the same.
    pub about: &'static str,
    /// Where.
    pub server: Side,
    /// The source table that it concerns, if it is one.
    pub table: Option<String>,
    /// What it is.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// What is looked at, and where.
#[derive(Clone, Copy, Debug)]
pub(in crate::migrate) struct At<'a> {
    server: Side,
    about: &'static str,
    table: Option<&'a QualifiedName>,
}

impl<'a> At<'a> {
    pub(in crate::migrate) const fn new(server: Side, about: &'static str) -> Self {
        Self { server, about, table: None }
    }

    pub(in crate::migrate) const fn source(about: &'static str) -> Self {
        Self::new(Side::Source, about)
    }

    pub(in crate::migrate) const fn target(about: &'static str) -> Self {
        Self::new(Side::Target, about)
    }

    pub(in crate::migrate) const fn both(about: &'static str) -> Self {
        Self::new(Side::Both, about)
    }

    pub(in crate::migrate) const fn server(self) -> Side {
        self.server
    }

    /// The same of one table.
    pub(in crate::migrate) const fn of(self, table: &'a QualifiedName) -> Self {
        Self { table: Some(table), ..self }
    }
}

/// What has been found so far.
#[derive(Debug)]
pub(in crate::migrate) struct Findings {
    list: Vec<Finding>,
    /// What a run is refused by.
    first: Option<Failure>,
    /// Whether to go on whatever fails.
    wants_all: bool,
}

impl Findings {
    /// For a run: what passes by itself, as a server that is away, ends the look at once.
    pub(in crate::migrate) fn for_run() -> Self {
        Self { list: Vec::new(), first: None, wants_all: false }
    }

    /// For who asks.
    pub(in crate::migrate) fn for_check() -> Self {
        Self { wants_all: true, ..Self::for_run() }
    }

    /// Whether nothing follows but an answer.
    pub(in crate::migrate) const fn is_for_check(&self) -> bool {
        self.wants_all
    }

    pub(in crate::migrate) fn ok(&mut self, at: At<'_>, message: impl Into<String>) {
        self.add(at, Severity::Ok, message.into(), None);
    }

    pub(in crate::migrate) fn warn(
        &mut self,
        at: At<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(at, Severity::Warning, message.into(), Some(hint.into()));
    }

    pub(in crate::migrate) fn refuse(&mut self, at: At<'_>, failure: Failure) {
        self.add(at, Severity::Refused, failure.message.clone(), Some(failure.hint.clone()));
        self.first.get_or_insert(failure);
    }

    /// What came of a look: `None` if it has found what stands in the way.
    ///
    /// Errors: the look itself has failed, and will not in a while.
    pub(in crate::migrate) fn take<T>(
        &mut self,
        at: At<'_>,
        looked: Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.verdict == Verdict::Retry && !self.wants_all => Err(failure),
            Err(failure) => {
                self.refuse(at, failure);
                Ok(None)
            }
        }
    }

    fn add(&mut self, at: At<'_>, severity: Severity, message: String, hint: Option<String>) {
        let At { server, about, table } = at;
        let table = table.map(QualifiedName::plain);
        self.list.push(Finding { severity, about, server, table, message, hint });
    }

    /// Whether something stands in the way on this server.
    pub(in crate::migrate) fn is_refused(&self, side: Side) -> bool {
        self.list.iter().any(|f| f.severity == Severity::Refused && f.server == side)
    }

    /// Whether something stands in the way of this source table.
    pub(in crate::migrate) fn stands_in_the_way(&self, table: &QualifiedName) -> bool {
        let table = table.plain();
        let refused = |f: &&Finding| f.severity == Severity::Refused;
        self.list.iter().filter(refused).any(|f| f.table.as_ref() == Some(&table))
    }

    /// Whether something stands in the way on this server that is of no single table.
    pub(in crate::migrate) fn stands_in_the_way_of_all(&self, side: Side) -> bool {
        let refused = |f: &&Finding| f.severity == Severity::Refused && f.server == side;
        self.list.iter().filter(refused).any(|f| f.table.is_none())
    }

    /// How many things stand in the way.
    pub(in crate::migrate) fn refusals(&self) -> usize {
        self.count(Severity::Refused)
    }

    /// Whether something of this kind stands in the way.
    pub(in crate::migrate) fn are_refused_for(&self, about: &str) -> bool {
        self.list.iter().any(|f| f.severity == Severity::Refused && f.about == about)
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }

    /// What a run is told of: warnings; and what refuses it, where that is more than one thing.
    pub(in crate::migrate) fn tell(&self, listener: &mut dyn Listener) {
        let refused = self.count(Severity::Refused);
        for finding in &self.list {
            let word = match finding.severity {
                Severity::Refused if refused > 1 => "refused: ",
                Severity::Warning if !TOLD_BY_THE_WATCH.contains(&finding.about) => "",
                _ => continue,
            };
            let hint = finding.hint.as_deref().unwrap_or_default();
            let message = format!("{word}{} ({hint})", finding.message);
            listener.on(&Event::Notice { message });
        }
    }

    /// Lets a run begin.
    ///
    /// Errors: the first thing that stands in its way.
    pub(in crate::migrate) fn refused(&self) -> Result<(), Failure> {
        let more = self.count(Severity::Refused).saturating_sub(1);
        match self.first.clone() {
            None => Ok(()),
            Some(failure) if more == 0 => Err(failure),
            Some(failure) => Err(Failure {
                message: format!("{} (and {more} more)", failure.message),
                hint: format!(
                    "{}; `pghost check` with the same arguments lists what else stands in the way",
                    failure.hint
                ),
                ..failure
            }),
        }
    }

    /// The list, what is worst first.
    pub(in crate::migrate) fn into_list(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| finding.severity);
        self.list
    }
}

/// What the watch over the slot tells at the beginning of every run.
const TOLD_BY_THE_WATCH: [&str; 2] = [super::KEEP_SIZE, super::IDLE_TIMEOUT];

#[cfg(test)]
mod tests {
    use super::*;

    const WAL: At<'static> = At::source("wal_level");

    fn told(findings: &Findings) -> (Result<(), Failure>, Vec<String>) {
        let mut notices = Vec::new();
        findings.tell(&mut |event: &Event| {
            if let Event::Notice { message } = event {
                notices.push(message.clone());
            }
        });
        (findings.refused(), notices)
    }

    #[test]
    fn a_run_is_refused_by_the_first_thing_and_told_the_others() {
        let mut findings = Findings::for_run();
        findings.ok(WAL, "fine");
        findings.warn(At::target("size"), "large", "make room");
        let refused = Failure::refused("one", "mend one");
        findings.refuse(WAL, refused.clone());
        let (ended, notices) = told(&findings);
        assert_eq!((ended, notices), (Err(refused.clone()), vec!["large (make room)".into()]));

        let mut findings = Findings::for_run();
        findings.refuse(WAL, refused);
        findings.refuse(WAL, Failure::refused("two", "mend two"));
        let (ended, notices) = told(&findings);
        let failure = ended.unwrap_err();
        assert_eq!(failure.message, "one (and 1 more)");
        assert!(failure.hint.starts_with("mend one; ") && failure.hint.contains("pghost check"));
        assert_eq!(notices, ["refused: one (mend one)", "refused: two (mend two)"]);
    }

    #[test]
    fn what_the_watch_over_the_slot_tells_is_not_told_twice() {
        let mut findings = Findings::for_run();
        findings.warn(At::source(super::super::KEEP_SIZE), "little log is kept", "more");
        assert_eq!(told(&findings), (Ok(()), Vec::new()));
    }

    #[test]
    fn a_server_that_is_away_ends_a_run_and_not_a_check() {
        let away = || Failure::busy("away", "wait");
        assert_eq!(Findings::for_run().take::<()>(WAL, Err(away())), Err(away()));
        let mut findings = Findings::for_check();
        assert_eq!(findings.take::<()>(WAL, Err(away())), Ok(None));
        findings.ok(WAL, "fine");
        findings.refuse(WAL.of(&QualifiedName::new("s", "t")), away());
        let list = findings.into_list();
        let severities: Vec<_> = list.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Refused, Severity::Refused, Severity::Ok]);
        assert_eq!(list[1].table.as_deref(), Some("s.t"));
    }
}
