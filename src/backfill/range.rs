//! Arithmetic on the keys of a single integer column: where a page ends, how full it was, and how
//! many of the keys there can be it covers.
//!
//! Pure. These are the only keys that are ever compared here, and only because arithmetic is the
//! point of it. They say where a page is cut and how far the pages have come; which rows it
//! holds is the server's to say.

use crate::ledger::PageRecord;

/// A page's bound, as the ledger has it.
pub(super) type Bound = Option<Vec<String>>;

/// The least and the greatest key that a table had at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The least.
    pub least: i64,
    /// The greatest, not below the least.
    pub greatest: i64,
}

impl KeyRange {
    /// The bound of a page of at most `rows` rows that begins after `lower`, or before every key;
    /// `None` where it would reach the greatest key.
    ///
    /// It lies between two keys that were there, so the column's type can hold it.
    #[must_use]
    pub fn cut(&self, lower: Option<i64>, rows: u64) -> Option<i64> {
        let before_least = i128::from(self.least) - 1;
        let from = lower.map_or(before_least, |lower| i128::from(lower).max(before_least));
        let bound = i64::try_from(from + i128::from(rows)).ok()?;
        (bound < self.greatest).then_some(bound)
    }

    /// The same for a page of a gap that ends with `upper` and may have so many `pages`: of more
    /// rows, if there are too many keys for that.
    #[must_use]
    pub fn cut_within(
        &self,
        lower: Option<i64>,
        (upper, pages): (i64, u64),
        rows: u64,
    ) -> Option<i64> {
        let range = Self { greatest: self.greatest.min(upper), ..*self };
        let before_least = i128::from(self.least) - 1;
        let from = lower.map_or(before_least, |lower| i128::from(lower).max(before_least));
        let even = span(from, i128::from(range.greatest)).div_ceil(u128::from(pages.max(1)));
        range.cut(lower, rows.max(u64::try_from(even).unwrap_or(u64::MAX)))
    }

    /// How many keys there can be.
    #[must_use]
    pub fn width(&self) -> u128 {
        span(i128::from(self.least) - 1, i128::from(self.greatest))
    }

    /// How many of them lie in a page; none if its bounds are no integers.
    #[must_use]
    pub fn covered(&self, page: &PageRecord) -> u128 {
        let (first, last) = (i128::from(self.least) - 1, i128::from(self.greatest));
        let place = |bound: &Bound, open: i128| match bound {
            None => Some(open),
            Some(_) => integer(bound).map(|key| i128::from(key).clamp(first, last)),
        };
        match (place(&page.lower, first), place(&page.upper, last)) {
            (Some(lower), Some(upper)) => span(lower, upper),
            _ => 0,
        }
    }
}

/// How many keys lie after `lower` up to `upper`.
fn span(lower: i128, upper: i128) -> u128 {
    u128::try_from(upper - lower).unwrap_or(0)
}

/// A bound as a number, if it is a single one.
pub(super) fn integer(bound: &Bound) -> Option<i64> {
    match bound.as_deref() {
        Some([key]) => key.parse().ok(),
        _ => None,
    }
}

/// Whether fewer than half of the keys that there can be between two bounds are there; `None` if
/// a bound is open, which leaves it unknown.
pub(super) fn is_sparse(lower: &Bound, upper: &Bound, rows: u64) -> Option<bool> {
    let (lower, upper) = (integer(lower)?, integer(upper)?);
    Some(span(i128::from(lower), i128::from(upper)) > u128::from(rows) * 2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::pg::Lsn;

    fn bound(key: impl Into<Option<i64>>) -> Bound {
        key.into().map(|key| vec![key.to_string()])
    }

    fn page(lower: impl Into<Option<i64>>, upper: impl Into<Option<i64>>) -> PageRecord {
        PageRecord {
            number: 0,
            lower: bound(lower),
            upper: bound(upper),
            rows: 0,
            bytes: 0,
            snapshot: String::new(),
            lsn: Lsn(0),
        }
    }

    #[test]
    fn a_page_ends_a_page_of_keys_further_and_before_the_greatest() {
        let (min, max) = (i64::MIN, i64::MAX);
        for (least, greatest, lower, rows, expected) in [
            (1, 100, None, 10, Some(10)),
            (1, 100, Some(10), 10, Some(20)),
            (1, 100, Some(89), 10, Some(99)),
            // The last page has no bound, so that it ends after every key.
            (1, 100, Some(90), 10, None),
            (1, 100, Some(500), 10, None),
            (7, 7, None, 1, None),
            (-5, 5, None, 3, Some(-3)),
            // A run that goes on where all rows before are gone by now.
            (50, 100, Some(3), 10, Some(59)),
            (min, max, None, 1, Some(min)),
            (min, max, Some(min), 10, Some(min + 10)),
            (min, max, Some(0), i64::MAX as u64, None),
            (min, max, Some(-1), i64::MAX as u64, Some(max - 1)),
            (min, max, Some(max - 1), 1, None),
            (min, max, Some(max), u64::MAX, None),
            (0, max, None, u64::MAX, None),
        ] {
            let cut = KeyRange { least, greatest }.cut(lower, rows);
            assert_eq!(cut, expected, "{least}..{greatest} after {lower:?} by {rows}");
        }
    }

    #[test]
    fn a_page_of_a_gap_ends_before_it_or_with_it() {
        let range = KeyRange { least: 1, greatest: 100 };
        for (lower, upper, pages, rows, expected) in [
            (Some(10), 50, 4, 10, Some(20)),
            (Some(40), 50, 2, 10, None),
            // As even as it gets, rather than all in the last one.
            (Some(10), 50, 2, 10, Some(30)),
            (Some(10), 50, 3, 10, Some(24)),
            (None, 20, 5, 7, Some(7)),
            // What has been there before is gone.
            (Some(90), 200, 9, 5, Some(95)),
            (Some(100), 200, 9, 5, None),
            (Some(-50), 0, 9, 5, None),
            (None, i64::MAX, 1, 5, None),
        ] {
            let cut = range.cut_within(lower, (upper, pages), rows);
            assert_eq!(cut, expected, "after {lower:?} up to {upper}, {pages} pages of {rows}");
        }
    }

    #[test]
    fn pages_cover_the_keys_between_their_bounds_within_the_range() {
        let range = KeyRange { least: 11, greatest: 20 };
        assert_eq!(range.width(), 10);
        for (page, covered) in [
            (page(None, None), 10),
            (page(None, 12), 2),
            (page(12, 15), 3),
            (page(15, None), 5),
            (page(15, 1000), 5),
            (page(-1000, 5), 0),
            (page(25, 30), 0),
            (page(25, None), 0),
        ] {
            assert_eq!(range.covered(&page), covered, "{page:?}");
        }
        let all = KeyRange { least: i64::MIN, greatest: i64::MAX };
        assert_eq!(all.width(), 1 << 64);
        assert_eq!(all.covered(&page(None, -1)), 1 << 63);
    }

    #[test]
    fn what_is_no_integer_covers_nothing_and_tells_nothing() {
        let text = PageRecord { lower: Some(vec!["a".into()]), ..page(None, 5) };
        assert_eq!(KeyRange { least: 1, greatest: 9 }.covered(&text), 0);
        assert_eq!(is_sparse(&text.lower, &text.upper, 1), None);
        assert_eq!(integer(&Some(vec!["1".into(), "2".into()])), None);
    }

    #[test]
    fn a_page_less_than_half_full_is_sparse() {
        let told = |rows| is_sparse(&bound(100), &bound(110), rows);
        assert_eq!([0, 4, 5, 10].map(told), [true, true, false, false].map(Some));
        assert_eq!(is_sparse(&bound(i64::MIN), &bound(i64::MAX), u64::MAX), Some(false));
        assert_eq!(is_sparse(&None, &bound(1), 0), None);
        assert_eq!(is_sparse(&bound(1), &None, 0), None);
    }

    /// Walks a table as the backfill does, with everything learnt at once; gives each page's bounds
    /// and rows, and how often the index was asked for a bound.
    fn walk(keys: &BTreeSet<i64>, rows: u64) -> (Vec<(Bound, Bound, u64)>, usize) {
        let range = KeyRange { least: *keys.first().unwrap(), greatest: *keys.last().unwrap() };
        let (mut pages, mut asked, mut sparse, mut lower) = (Vec::new(), 0, false, None);
        loop {
            let after = |key: i64| lower.is_none_or(|lower| key > lower);
            let upper = if sparse {
                asked += 1;
                let place = usize::try_from(rows).unwrap() - 1;
                keys.iter().copied().filter(|key| after(*key)).nth(place)
            } else {
                range.cut(lower, rows)
            };
            let within = |key: &i64| after(*key) && upper.is_none_or(|upper| *key <= upper);
            let count = keys.iter().filter(|key| within(key)).count() as u64;
            pages.push((bound(lower), bound(upper), count));
            sparse = is_sparse(&bound(lower), &bound(upper), count).unwrap_or(sparse);
            lower = upper;
            if upper.is_none() {
                return (pages, asked);
            }
        }
    }

    fn check(keys: &BTreeSet<i64>, rows: u64) -> (usize, usize) {
        let (pages, asked) = walk(keys, rows);
        assert_eq!(pages[0].0, None);
        assert_eq!(pages[pages.len() - 1].1, None);
        assert!(pages.windows(2).all(|pair| pair[0].1 == pair[1].0), "{pages:?}");
        assert_eq!(pages.iter().map(|page| page.2).sum::<u64>(), keys.len() as u64);
        assert!(pages.iter().all(|page| page.2 <= rows), "{pages:?}");
        (pages.len(), asked)
    }

    #[test]
    fn a_gap_costs_a_page_or_two_and_dense_keys_no_question() {
        assert_eq!(check(&(1..=10_000).collect(), 100), (100, 0));
        let gap: BTreeSet<_> = (1..=1000).chain(4_000_000_000..4_000_001_000).collect();
        assert_eq!(check(&gap, 100), (21, 2));
        assert_eq!(check(&gap, 20_000), (3, 1));
        let ends = BTreeSet::from([i64::MIN, i64::MAX]);
        assert_eq!(check(&ends, 1), (4, 2));
        // Every key far from the next one: as keyset.
        let (pages, asked) = check(&(0..1000).map(|i| i * 1_000_003).collect(), 10);
        assert!(pages <= 103 && asked >= pages - 2, "{pages} {asked}");
    }

    proptest! {
        /// Whatever the keys, pages chain, hold no more rows than they may and are few.
        #[test]
        fn pages_hold_every_key_once_and_are_few(
            clumps in prop::collection::vec((any::<i64>(), 1i64..200, 1i64..50), 1..8),
            rows in 1u64..60,
        ) {
            let clump = |&(from, count, step): &(i64, i64, i64)| {
                (0..count).map(move |i| from.saturating_add(i * step))
            };
            let keys: BTreeSet<_> = clumps.iter().flat_map(clump).collect();
            let (pages, _) = check(&keys, rows);
            // Of two pages in a row one is at least half full, or the second ends a gap.
            let most = 4 * (keys.len() / usize::try_from(rows).unwrap()) + 4 + 3 * clumps.len();
            prop_assert!(pages <= most);
        }

        #[test]
        fn a_cut_moves_on_and_stays_within_the_range(
            a in any::<i64>(), b in any::<i64>(), lower in any::<Option<i64>>(),
            rows in 1..u64::MAX,
        ) {
            let range = KeyRange { least: a.min(b), greatest: a.max(b) };
            if let Some(cut) = range.cut(lower, rows) {
                prop_assert!(range.least <= cut && cut < range.greatest);
                prop_assert!(lower.is_none_or(|lower| lower < cut));
            }
        }
    }
}
