//! Whether a run gets anywhere, told by its events: what patience is renewed by.
//!
//! ```text
//!   lasting   a page; a key, an index, a constraint; a step of the handover; while changes are
//!             applied, a position; having followed a source at rest for long
//!   passing   while changes are applied, more of the stream; more pages compared
//!   none      what was there before, and everything else
//! ```
//!
//! Only what is further than ever counts: an attempt that begins anew tells much of it once more.
//! And only what is on the way to where it fails: a source that is written to gives each attempt
//! something to apply before an index fails to be built for the tenth time.
//!
//! Pure: the time is handed in.

use std::{
    collections::{HashMap, HashSet},
    mem::take,
    time::{Duration, Instant},
};

use super::{Event, PhaseName, StepName};
use crate::pg::Lsn;

/// What was got done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headway {
    /// Nothing.
    None,
    /// Something that the next attempt has to do over again.
    Passing,
    /// Something that stays.
    Lasting,
}

/// How far a run has come.
#[derive(Debug, Default)]
pub(super) struct Way {
    phase: Option<PhaseName>,
    /// By phase and table.
    pages: HashMap<(PhaseName, String), u64>,
    steps: HashSet<(StepName, String)>,
    applied: Lsn,
    received: Lsn,
    /// Since it was last asked: pages and steps.
    made: bool,
    /// The same: pages compared.
    compared: bool,
    /// The same, in this phase: positions applied, and received.
    streamed: (bool, bool),
    /// Since when a source at rest is followed.
    at_rest: Option<Instant>,
}

impl Way {
    /// Takes an event, and tells whether anything goes forward, be it for nothing.
    pub(super) fn on(&mut self, event: &Event, now: Instant) -> bool {
        match event {
            Event::Phase { phase } => {
                self.phase = Some(*phase);
                (self.streamed, self.at_rest) = ((false, false), None);
                false
            }
            Event::Progress { phase, table, pages_done, .. } => {
                let most = self.pages.entry((*phase, table.clone())).or_default();
                let further = *pages_done > *most;
                *most = (*most).max(*pages_done);
                // Comparing begins anew with each attempt.
                let compares = *phase == PhaseName::Verify;
                *(if compares { &mut self.compared } else { &mut self.made }) |= further;
                further
            }
            Event::Step { step, of } if step.lasts() => {
                let is_new = self.steps.insert((*step, of.clone()));
                self.made |= is_new;
                is_new
            }
            Event::CatchUp { applied_lsn, received_lsn, .. } => {
                self.streams(*applied_lsn, *received_lsn, now)
            }
            Event::Checkpoint { .. } | Event::Verified { .. } | Event::Finished { .. } => true,
            _ => false,
        }
    }

    fn streams(&mut self, applied: Lsn, received: Lsn, now: Instant) -> bool {
        let further = (applied > self.applied, received > self.received);
        if matches!(self.phase, Some(PhaseName::CatchUp | PhaseName::Follow)) {
            self.streamed.0 |= further.0;
            self.streamed.1 |= further.1;
        }
        self.applied = self.applied.max(applied);
        self.received = self.received.max(received);
        // A source at rest gives nothing to get further with.
        let rests = self.phase == Some(PhaseName::Follow) && applied >= received;
        self.at_rest = rests.then(|| self.at_rest.unwrap_or(now));
        further.0 || further.1
    }

    /// What was got done since it was last asked. To have followed a source at rest counts if it
    /// was at least for so `long`.
    pub(super) fn headway(&mut self, now: Instant, long: Duration) -> Headway {
        let rested = take(&mut self.at_rest);
        let rested = rested.is_some_and(|since| now.saturating_duration_since(since) >= long);
        let (applied, received) = take(&mut self.streamed);
        let (made, compared) = (take(&mut self.made), take(&mut self.compared));
        match () {
            () if made || applied || rested => Headway::Lasting,
            () if received || compared => Headway::Passing,
            () => Headway::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Headway::{Lasting, None, Passing},
        *,
    };

    const LONG: Duration = Duration::from_secs(300);

    fn phase(phase: PhaseName) -> Event {
        Event::Phase { phase }
    }

    fn pages(phase: PhaseName, table: &str, pages_done: u64) -> Event {
        Event::Progress {
            phase,
            table: table.into(),
            rows: 0,
            bytes: 0,
            pages_done,
            pages_total: Option::None,
            percent: Option::None,
            rows_per_second: 0.0,
            eta_seconds: Option::None,
        }
    }

    fn step(step: StepName, of: &str) -> Event {
        Event::Step { step, of: of.into() }
    }

    fn stream(applied: u64, received: u64) -> Event {
        Event::CatchUp {
            applied_lsn: Lsn(applied),
            checkpoint_lsn: Lsn(9),
            received_lsn: Lsn(received),
            changes: 0,
            changes_per_second: 0.0,
            lag_bytes: 0,
            lag_seconds: Option::None,
            eta_seconds: Option::None,
        }
    }

    fn verified(table: &str) -> Event {
        let table = table.into();
        let (rows, pages, different_rows, respelled_rows, moving_rows) = (9, 1, 0, 0, 0);
        Event::Verified { table, rows, pages, different_rows, respelled_rows, moving_rows }
    }

    /// What each attempt comes to that tells these events and then fails.
    fn attempts(attempts: &[&[Event]]) -> Vec<Headway> {
        let (mut way, now) = (Way::default(), Instant::now());
        let of = |events: &&[Event]| {
            events.iter().for_each(|event| _ = way.on(event, now));
            way.headway(now, LONG)
        };
        attempts.iter().map(of).collect()
    }

    #[test]
    fn only_what_is_further_than_ever_counts() {
        use PhaseName::{Backfill, CatchUp, Finish, Follow, Verify};
        let page = [phase(Backfill), pages(Backfill, "t", 1)];
        let other = [phase(Backfill), pages(Backfill, "u", 1)];
        assert_eq!(attempts(&[&page, &page, &other]), [Lasting, None, Lasting]);
        let index = [phase(Finish), step(StepName::ObjectMade, "i")];
        let next = [phase(Finish), step(StepName::ObjectMade, "j")];
        assert_eq!(attempts(&[&index, &index, &next]), [Lasting, None, Lasting]);
        let read = [phase(Backfill), step(StepName::PageRead, "t")];
        assert_eq!(attempts(&[&read, &[]]), [None, None]);
        for streams in [CatchUp, Follow] {
            let stream = |applied, received| [phase(streams), stream(applied, received)];
            let all = attempts(&[&stream(3, 5), &stream(3, 5), &stream(3, 6), &stream(4, 6)]);
            assert_eq!(all, [Lasting, None, Passing, Lasting]);
        }
        // The first table is fine, the second never comes further than its first page.
        let compares = [phase(Verify), pages(Verify, "t", 9), verified("t"), pages(Verify, "u", 1)];
        assert_eq!(attempts(&[&compares, &compares]), [Passing, None]);
        assert_eq!(attempts(&[&[Event::Checkpoint { lsn: Lsn(7) }]]), [None]);
    }

    #[test]
    fn whether_it_matters_is_another_question() {
        let (mut way, now) = (Way::default(), Instant::now());
        let mut moves = |event: &Event| way.on(event, now);
        assert!(moves(&stream(3, 3)) && moves(&stream(3, 4)) && moves(&stream(4, 4)));
        assert!(!moves(&stream(4, 4)) && !moves(&phase(PhaseName::CatchUp)));
        assert!(moves(&Event::Checkpoint { lsn: Lsn(1) }) && moves(&verified("t")));
    }

    /// A source that is written to: there is always more to apply before it fails.
    #[test]
    fn what_is_applied_on_the_way_to_the_fault_does_not_count() {
        for fails in [PhaseName::Finish, PhaseName::Verify, PhaseName::Handoff] {
            let attempt = |at| {
                [phase(PhaseName::CatchUp), stream(at, at), phase(fails), stream(at + 5, at + 5)]
            };
            assert_eq!(attempts(&[&attempt(10), &attempt(20), &attempt(30)]), [None; 3]);
        }
    }

    #[test]
    fn a_source_at_rest_is_followed_for_long() {
        use PhaseName::{Follow, Verify};
        let after = |first: &[Event], last: &Event, seconds: u64| {
            let (mut way, start) = (Way::default(), Instant::now());
            // All of it is known from an attempt before.
            way.on(&stream(20, 20), start);
            way.headway(start, LONG);
            first.iter().for_each(|event| _ = way.on(event, start));
            let now = start + Duration::from_secs(seconds);
            way.on(last, now);
            (way.headway(now, LONG), way.headway(now + LONG, LONG))
        };
        let follows = [phase(Follow), stream(9, 9)];
        assert_eq!(after(&follows, &stream(9, 9), 300), (Lasting, None));
        assert_eq!(after(&follows, &stream(9, 9), 299), (None, None));
        // Something has come, and is not on the target.
        assert_eq!(after(&follows, &stream(9, 10), 300), (None, None));
        assert_eq!(after(&[phase(Verify), stream(9, 9)], &stream(9, 9), 300), (None, None));
        assert_eq!(after(&[phase(Follow)], &stream(9, 9), 300), (None, None));
    }
}
