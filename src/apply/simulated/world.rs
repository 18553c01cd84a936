//! Both servers, the dice and what is written down of a run.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{mistake::Mistake, source::Source, target::Target};

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) transactions: usize,
    pub(super) changes: u64,
    pub(super) crashes: usize,
    pub(super) source_crashes: usize,
    pub(super) hidden_changes: usize,
    pub(super) fetched: usize,
    pub(super) fetched_none: usize,
    pub(super) raised: usize,
    pub(super) moved: usize,
    pub(super) moved_lax: usize,
    pub(super) truncates: usize,
    pub(super) parts: usize,
    pub(super) ahead: usize,
    pub(super) exact: usize,
    pub(super) skipped: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Source,
    pub(super) target: Target,
    pub(super) rng: Rng,
    pub(super) mistake: Option<Mistake>,
    pub(super) lanes: usize,
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

    /// True so many times in a hundred.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }
}
