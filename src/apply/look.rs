//! The look that comes before the first row that a transaction writes to a table: under the lock
//! that writing it takes, is it still what was planned, and does nothing fire on its rows?
//!
//! Two small statements of a table and transaction, prepared once and pipelined with the rows; no
//! further round trip.

use std::collections::BTreeSet;

use super::ApplyTable;
use crate::conn::Pipeline;

/// What a session has looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The tables whose statements are prepared.
    prepared: BTreeSet<usize>,
    /// Those that this transaction has looked at.
    looked: BTreeSet<usize>,
}

impl Looks {
    /// The transaction has ended.
    pub(super) fn ended(&mut self) {
        self.looked.clear();
    }

    /// Whether this transaction has not looked at a table yet.
    pub(super) fn is_due(&self, at: usize) -> bool {
        !self.looked.contains(&at)
    }

    /// Queues a look at a table where this transaction has taken none. Gives how many statements
    /// were queued.
    pub(super) fn look(&mut self, pipeline: &mut Pipeline, at: usize, table: &ApplyTable) -> usize {
        if !self.looked.insert(at) {
            return 0;
        }
        let names = ["lock", "look"].map(|what| format!("pghost_{what}_{at}"));
        let look = format!("SELECT {} AS holds", table.ground.assertion());
        if self.prepared.insert(at) {
            for (name, sql) in names.iter().zip([&table.lock, &look]) {
                pipeline.prepare(name, sql, &[]);
            }
        }
        for name in &names {
            pipeline.execute(name, std::iter::empty(), |_| {});
        }
        names.len()
    }
}
