//! How many rows are compared at once. Pure.

use std::time::Duration;

/// How long a page aims to take on the source, whose snapshot it holds.
const PAGE_TIME: Duration = Duration::from_millis(300);

/// The most rows in a page. Where it differs, its keys are listed here, of both sides.
const ROWS_MAX: u64 = 20_000;

/// The most where the keys themselves travel from one side to the other, in a statement.
const KEYS_MAX: u64 = 4_000;

/// Where it begins.
const ROWS_FIRST: u64 = 5_000;

/// The size of pages, learnt from those before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rows: u64,
    fixed: bool,
    most: u64,
}

impl Pace {
    /// `fixed` if somebody has said how many rows make a page.
    pub(super) fn new(fixed: Option<u64>, keys_travel: bool) -> Self {
        let most = if keys_travel { KEYS_MAX } else { ROWS_MAX };
        let rows = fixed.unwrap_or(ROWS_FIRST).clamp(1, most);
        Self { rows, fixed: fixed.is_some(), most }
    }

    /// How many rows the next page may have.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// A page with this many rows took so long. One with few rows tells nothing: that is a round
    /// trip.
    pub(super) fn page(&mut self, rows: u64, took: Duration) {
        if self.fixed || (rows < self.rows / 2 && took <= PAGE_TIME) {
            return;
        }
        let aim = PAGE_TIME.as_nanos() / took.as_nanos().max(1);
        self.rows = match aim {
            0 => self.rows / 2,
            1 => self.rows,
            _ => self.rows * 2,
        }
        .clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_to_the_time_they_aim_at() {
        let mut pace = Pace::new(None, false);
        for _ in 0..20 {
            let rows = pace.rows();
            pace.page(rows, Duration::from_millis(rows));
        }
        let took = Duration::from_millis(pace.rows());
        assert!(took <= PAGE_TIME && took * 3 >= PAGE_TIME, "{took:?}");
        for _ in 0..20 {
            pace.page(pace.rows(), Duration::from_nanos(1));
        }
        assert_eq!(pace.rows(), ROWS_MAX);
        pace.page(3, Duration::from_millis(20));
        assert_eq!(pace.rows(), ROWS_MAX);
        for _ in 0..40 {
            pace.page(1, Duration::from_secs(5));
        }
        assert_eq!(pace.rows(), 1);
    }

    #[test]
    fn a_size_that_was_given_stays_within_bounds() {
        let mut pace = Pace::new(Some(7), true);
        pace.page(7, Duration::from_nanos(1));
        assert_eq!(pace.rows(), 7);
        assert_eq!(Pace::new(Some(u64::MAX), true).rows(), KEYS_MAX);
    }
}
