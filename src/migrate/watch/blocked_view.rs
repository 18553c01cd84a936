//! Who holds a run up, in words, and how often that is told.
//!
//! Pure: what the servers say and the time are handed in.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::migrate::Event;

/// How often the same one is told.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The process number that stands for a transaction without a session.
const PREPARED: i32 = 0;

/// Somebody whom sessions of the run wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::migrate) struct Blocker {
    /// Its process on the server.
    pub(in crate::migrate) pid: i32,
    /// For how long it is waited for.
    pub(in crate::migrate) seconds: u64,
    /// Which tables are waited for, where that is known.
    pub(in crate::migrate) tables: Option<String>,
    /// Whose session it is.
    pub(in crate::migrate) user: Option<String>,
    /// What it calls itself.
    pub(in crate::migrate) application: Option<String>,
    /// The server's word for what kind of process it is.
    pub(in crate::migrate) kind: Option<String>,
    /// What it does.
    pub(in crate::migrate) state: Option<String>,
    /// How long its transaction is open.
    pub(in crate::migrate) open_seconds: Option<u64>,
    /// Whom it waits for itself.
    pub(in crate::migrate) behind: Option<String>,
}

impl Blocker {
    fn who(&self) -> String {
        let word = |what: &str, name: &Option<String>| {
            let name = name.as_deref().filter(|name| !name.is_empty())?;
            Some(format!("{what}{name}"))
        };
        let kind = self.kind.clone().filter(|kind| kind != "client backend");
        let details: Vec<_> = [
            word("user ", &self.user),
            word("application ", &self.application),
            word("", &kind),
            word("", &self.state),
            self.open_seconds.map(|seconds| format!("its transaction open for {seconds} s")),
            word("itself waiting for pid ", &self.behind),
        ]
        .into_iter()
        .flatten()
        .collect();
        if details.is_empty() {
            format!("pid {}", self.pid)
        } else {
            format!("pid {} ({})", self.pid, details.join(", "))
        }
    }

    /// What has happened and what to do, for whoever sees that nothing moves.
    fn message(&self, side: &str) -> String {
        let (pid, seconds) = (self.pid, self.seconds);
        let what = self.tables.as_ref().map_or_else(
            || "another transaction to end".to_owned(),
            |tables| format!("a lock on {tables}"),
        );
        let waits = format!("the run has waited on the {side} for {seconds} s for {what}");
        if pid == PREPARED {
            return format!(
                "{waits}: in the way is a prepared transaction (pg_prepared_xacts there); \
                 COMMIT PREPARED or ROLLBACK PREPARED ends it"
            );
        }
        let who = self.who();
        // Nobody should end that one: the standby would go down with it.
        if self.kind.as_deref() == Some("startup") {
            return format!(
                "{waits}: in the way is {who}, which replays the lock of a transaction of the \
                 primary; wait for that one, or end it there"
            );
        }
        format!(
            "{waits}: in the way is {who}; wait for it, or end it there: \
             SELECT pg_terminate_backend({pid})"
        )
    }
}

/// What has been told of one server.
#[derive(Debug)]
pub(in crate::migrate) struct BlockedView {
    side: &'static str,
    told: BTreeMap<i32, Instant>,
}

impl BlockedView {
    pub(in crate::migrate) const fn new(side: &'static str) -> Self {
        Self { side, told: BTreeMap::new() }
    }

    /// Takes all that are in the way at this moment; tells those that were not told of lately.
    pub(in crate::migrate) fn on(&mut self, blockers: &[Blocker], now: Instant) -> Vec<Event> {
        // Who comes again is a new one.
        self.told.retain(|pid, _| blockers.iter().any(|blocker| blocker.pid == *pid));
        let mut events = Vec::new();
        for blocker in blockers {
            let last = self.told.get(&blocker.pid);
            if last.is_none_or(|told| now.saturating_duration_since(*told) >= TELL_AGAIN) {
                self.told.insert(blocker.pid, now);
                events.push(Event::Notice { message: blocker.message(self.side) });
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocker(pid: i32) -> Blocker {
        Blocker { pid, seconds: 12, tables: Some("public.t".into()), ..Blocker::default() }
    }

    #[test]
    fn it_is_told_what_waits_and_who_is_in_the_way_and_what_to_do() {
        let some = |text: &str| Some(text.to_owned());
        let whole = Blocker {
            user: some("app"),
            application: some("psql"),
            kind: some("client backend"),
            state: some("idle in transaction"),
            open_seconds: Some(35),
            behind: some("8, 9"),
            ..blocker(7)
        };
        assert_eq!(
            whole.message("source"),
            "the run has waited on the source for 12 s for a lock on public.t: in the way is pid 7 \
             (user app, application psql, idle in transaction, its transaction open for 35 s, \
             itself waiting for pid 8, 9); wait for it, or end it there: \
             SELECT pg_terminate_backend(7)"
        );
        // What the role may not see is left out.
        let little = Blocker { tables: None, application: some(""), ..blocker(7) };
        assert_eq!(
            little.message("target"),
            "the run has waited on the target for 12 s for another transaction to end: in the way \
             is pid 7; wait for it, or end it there: SELECT pg_terminate_backend(7)"
        );
        let worker = Blocker { kind: some("autovacuum worker"), ..blocker(7) };
        assert!(worker.message("source").contains("pid 7 (autovacuum worker);"));
    }

    #[test]
    fn what_has_no_session_is_not_to_be_ended_as_one() {
        let startup = Blocker { kind: Some("startup".into()), ..blocker(7) };
        for blocker in [blocker(PREPARED), startup] {
            let message = blocker.message("standby");
            assert!(!message.contains("pg_terminate_backend"), "{message}");
        }
    }

    #[test]
    fn each_is_told_once_and_again_after_a_while() {
        let (mut view, start) = (BlockedView::new("target"), Instant::now());
        let mut told = |pids: &[i32], seconds| {
            let blockers: Vec<_> = pids.iter().copied().map(blocker).collect();
            view.on(&blockers, start + Duration::from_secs(seconds)).len()
        };
        assert_eq!([told(&[], 0), told(&[1], 1), told(&[1], 3), told(&[1, 2], 5)], [0, 1, 0, 1]);
        assert_eq!([told(&[1, 2], 60), told(&[1, 2], 61), told(&[1, 2], 65)], [0, 1, 1]);
        assert_eq!([told(&[], 70), told(&[1], 72), told(&[1], 74)], [0, 1, 0]);
    }
}
