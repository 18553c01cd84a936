//! Which position may be stored with what has been taken from the stream so far.
//!
//! Pure, and the one place that decides it. Positions are stored in order with the changes they
//! cover, and only what was stored is ever acknowledged; so all that is left to decide is what
//! "everything before here" means while messages come in:
//!
//! - after a Commit: its end;
//! - after a keepalive: its WAL end, if no transaction is open; within one it says nothing about
//!   the changes of that transaction;
//! - never the position of a single change: those of concurrent transactions interleave.

use crate::pg::Lsn;

/// Follows the stream.
#[derive(Clone, Copy, Debug)]
pub struct Accountant {
    complete: Lsn,
    open: Option<Lsn>,
}

impl Accountant {
    /// Starts after `complete`.
    #[must_use]
    pub const fn new(complete: Lsn) -> Self {
        Self { complete, open: None }
    }

    /// A transaction begins whose commit record starts at `commit_lsn`.
    pub const fn begin(&mut self, commit_lsn: Lsn) {
        self.open = Some(commit_lsn);
    }

    /// The open transaction is complete; its commit record ends at `end_lsn`.
    pub fn commit(&mut self, end_lsn: Lsn) {
        self.open = None;
        self.complete = self.complete.max(end_lsn);
    }

    /// All that was committed before `wal_end` has been sent.
    pub fn keepalive(&mut self, wal_end: Lsn) {
        if self.open.is_none() {
            self.complete = self.complete.max(wal_end);
        }
    }

    /// If `lsn` has been passed, everything before it counts as complete: a restart from there
    /// sends the open transaction again, whole.
    pub fn reach(&mut self, lsn: Lsn) {
        if self.has_passed(lsn) {
            self.complete = self.complete.max(lsn);
        }
    }

    /// Whether a transaction is open.
    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Everything that was committed before this position has been taken from the stream.
    #[must_use]
    pub const fn complete(&self) -> Lsn {
        self.complete
    }

    /// The first position that is complete only after everything of which something was taken.
    #[must_use]
    pub fn taken(&self) -> Lsn {
        self.open.map_or(self.complete, |commit_lsn| self.complete.max(Lsn(commit_lsn.0 + 1)))
    }

    /// Whether everything that was committed before `lsn` has been taken: the last complete
    /// position has reached it, or a transaction has begun that commits there or later
    /// (transactions come in the order of their commits).
    #[must_use]
    pub fn has_passed(&self, lsn: Lsn) -> bool {
        self.complete >= lsn || self.open.is_some_and(|commit_lsn| commit_lsn >= lsn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_keepalive_within_a_transaction_says_nothing() {
        let mut accountant = Accountant::new(Lsn(10));
        accountant.begin(Lsn(50));
        accountant.keepalive(Lsn(90));
        assert_eq!(accountant.complete(), Lsn(10));
        accountant.commit(Lsn(60));
        assert_eq!(accountant.complete(), Lsn(60));
        accountant.keepalive(Lsn(90));
        assert_eq!(accountant.complete(), Lsn(90));
    }

    #[test]
    fn a_position_is_passed_when_nothing_before_it_can_still_come() {
        let mut accountant = Accountant::new(Lsn(10));
        assert!(accountant.has_passed(Lsn(10)) && !accountant.has_passed(Lsn(11)));
        accountant.begin(Lsn(49));
        assert!(!accountant.has_passed(Lsn(50)));
        accountant.commit(Lsn(50));
        assert!(accountant.has_passed(Lsn(50)));
        accountant.begin(Lsn(70));
        assert!(accountant.has_passed(Lsn(70)) && !accountant.has_passed(Lsn(71)));
    }

    #[test]
    fn what_was_taken_of_an_open_transaction_is_complete_only_with_it() {
        let mut accountant = Accountant::new(Lsn(10));
        assert_eq!(accountant.taken(), Lsn(10));
        accountant.keepalive(Lsn(50));
        accountant.begin(Lsn(50));
        assert!(accountant.taken() > accountant.complete());
        let taken = accountant.taken();
        accountant.commit(Lsn(60));
        assert!(taken <= accountant.complete());
    }

    proptest! {
        /// Whatever keepalives come in between, the stored position never covers a transaction
        /// that is not complete, and never goes backwards.
        #[test]
        fn the_position_never_covers_an_open_transaction(
            steps in prop::collection::vec((0u64..40, prop::collection::vec(0u64..60, 0..4)), 1..40)
        ) {
            let mut accountant = Accountant::new(Lsn(0));
            let mut commit_lsn = 0;
            for (gap, keepalives) in steps {
                let before = accountant.complete();
                commit_lsn = before.0.max(commit_lsn) + gap;
                accountant.begin(Lsn(commit_lsn));
                for ahead in keepalives {
                    accountant.keepalive(Lsn(commit_lsn + ahead));
                    prop_assert!(accountant.complete() <= Lsn(commit_lsn));
                }
                accountant.commit(Lsn(commit_lsn + 8));
                prop_assert!(accountant.complete() >= before);
                prop_assert_eq!(accountant.complete(), Lsn(commit_lsn + 8));
            }
        }
    }
}
