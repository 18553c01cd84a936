//! What the pages so far teach those to come. Written by the workers as they finish pages and by
//! the one who looks for bounds; each may overwrite what another has just learnt, and the next
//! page sets it right.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::{
    range::{Bound, is_sparse},
    size::rows_after,
};
use crate::ledger::PageRecord;

/// How many rows a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRows {
    /// Always this many.
    Fixed(u64),
    /// This many to begin with, then as the pages before have taught.
    Adapting(u64),
}

/// How large the next page is to be, and how it is cut.
#[derive(Debug)]
pub(super) struct Pace {
    rows: AtomicU64,
    is_fixed: bool,
    is_sparse: AtomicBool,
}

impl Pace {
    pub(super) const fn new(page_rows: PageRows) -> Self {
        let (rows, is_fixed) = match page_rows {
            PageRows::Fixed(rows) => (rows, true),
            PageRows::Adapting(rows) => (rows, false),
        };
        Self { rows: AtomicU64::new(rows), is_fixed, is_sparse: AtomicBool::new(false) }
    }

    /// How many rows the next page is to have.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Whether the keys seen last lie far from each other, if they are integers.
    pub(super) fn is_sparse(&self) -> bool {
        self.is_sparse.load(Ordering::Relaxed)
    }

    /// That so many rows lie between two bounds.
    pub(super) fn bounds_found(&self, lower: &Bound, upper: &Bound, rows: u64) {
        if let Some(sparse) = is_sparse(lower, upper, rows) {
            self.is_sparse.store(sparse, Ordering::Relaxed);
        }
    }

    /// A page that was copied, and how long it held its snapshot.
    pub(super) fn page_copied(&self, page: &PageRecord, held: Duration) {
        self.bounds_found(&page.lower, &page.upper, page.rows);
        if !self.is_fixed {
            let next = rows_after(self.rows(), page.rows, page.bytes, held);
            self.rows.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Lsn;

    fn page(lower: &str, upper: &str, rows: u64, bytes: u64) -> PageRecord {
        let bound = |key: &str| Some(vec![key.to_owned()]);
        let (lower, upper) = (bound(lower), bound(upper));
        PageRecord { number: 1, lower, upper, rows, bytes, snapshot: String::new(), lsn: Lsn(0) }
    }

    #[test]
    fn a_number_that_was_given_stays() {
        let pace = Pace::new(PageRows::Fixed(10));
        pace.page_copied(&page("0", "10", 10, 1 << 40), Duration::from_secs(100));
        assert_eq!(pace.rows(), 10);
        let pace = Pace::new(PageRows::Adapting(10));
        pace.page_copied(&page("0", "10", 10, 1 << 40), Duration::from_secs(100));
        assert_eq!(pace.rows(), 5);
    }

    #[test]
    fn the_last_page_tells_whether_keys_are_sparse() {
        let pace = Pace::new(PageRows::Fixed(10));
        assert!(!pace.is_sparse());
        pace.page_copied(&page("0", "10", 2, 20), Duration::ZERO);
        assert!(pace.is_sparse());
        pace.page_copied(&page("a", "b", 10, 100), Duration::ZERO);
        assert!(pace.is_sparse());
        pace.bounds_found(&Some(vec!["10".into()]), &Some(vec!["20".into()]), 10);
        assert!(!pace.is_sparse());
    }
}
