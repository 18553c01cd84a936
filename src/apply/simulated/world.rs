//! Both servers, the dice and what is written down of a run.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{mistake::Mistake, source::Source, target::Target};

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) transactions: u64,
    pub(super) changes: u64,
    pub(super) crashes: u64,
    pub(super) source_crashes: u64,
    pub(super) target_crashes: u64,
    pub(super) conflicts: u64,
    pub(super) stops: u64,
    pub(super) fetched: u64,
    pub(super) fetched_none: u64,
    pub(super) raised: u64,
    pub(super) moved: u64,
    pub(super) moved_lax: u64,
    pub(super) truncates: u64,
    pub(super) parts: u64,
    pub(super) ahead: u64,
    pub(super) exact: u64,
    pub(super) skipped: u64,
}

impl Seen {
    pub(super) const fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.changes += other.changes;
        self.crashes += other.crashes;
        self.source_crashes += other.source_crashes;
        self.target_crashes += other.target_crashes;
        self.conflicts += other.conflicts;
        self.stops += other.stops;
        self.fetched += other.fetched;
        self.fetched_none += other.fetched_none;
        self.raised += other.raised;
        self.moved += other.moved;
        self.moved_lax += other.moved_lax;
        self.truncates += other.truncates;
        self.parts += other.parts;
        self.ahead += other.ahead;
        self.exact += other.exact;
        self.skipped += other.skipped;
    }

    /// Each of them, by its name.
    pub(super) const fn each(&self) -> [(&'static str, u64); 17] {
        [
            ("transactions", self.transactions),
            ("changes", self.changes),
            ("crashes", self.crashes),
            ("source_crashes", self.source_crashes),
            ("target_crashes", self.target_crashes),
            ("conflicts", self.conflicts),
            ("stops", self.stops),
            ("fetched", self.fetched),
            ("fetched_none", self.fetched_none),
            ("raised", self.raised),
            ("moved", self.moved),
            ("moved_lax", self.moved_lax),
            ("truncates", self.truncates),
            ("parts", self.parts),
            ("ahead", self.ahead),
            ("exact", self.exact),
            ("skipped", self.skipped),
        ]
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Source,
    pub(super) target: Target,
    pub(super) rng: Rng,
    pub(super) mistake: Option<Mistake>,
    pub(super) lanes: usize,
    /// How much the source does between two steps of the backfill.
    pub(super) busy: usize,
    /// Whether what is folded is handed over often, in the middle of transactions too.
    pub(super) hasty: bool,
    pub(super) crashes_left: usize,
    pub(super) seen: Seen,
    /// Keys whose row was to be fetched and was not there any more: what the target has there may
    /// be old, until the change that took it away comes.
    pub(super) unwritten: BTreeSet<(usize, String)>,
    /// What happened, if anybody wants to know.
    pub(super) history: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, mistake: Option<Mistake>, told: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let source = Source::new(&mut rng);
        let target = Target::new(source.migrated());
        Self {
            lanes: rng.usize(1..=4),
            busy: [2, 6, 12][rng.usize(..3)],
            hasty: rng.bool(),
            crashes_left: 0,
            source,
            target,
            rng,
            mistake,
            seen: Seen::default(),
            unwritten: BTreeSet::new(),
            history: told.then(Vec::new),
        }
    }

    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Writes something down.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(line());
        }
    }

    /// Whether something crashes that could. A run with too many of them would not get on.
    pub(super) fn may_crash(&mut self) -> bool {
        let may = self.crashes_left > 0;
        self.crashes_left -= usize::from(may);
        may
    }

    /// True so many times in a hundred.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }
}
