//! How a table is cut into pages.
//!
//! Pure: bounds go in, pages come out; nobody here compares keys. Pages are half-open ranges
//! `(lower, upper]` that chain from "before every key" to "after every key", so each key a row
//! can have lies in exactly one page, whatever is inserted or moved meanwhile.

use crate::ledger::PageRecord;

/// A range of the key: after `lower`, up to and including `upper`; `None` is without bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its place in the key's order.
    pub number: u64,
    /// The key after which it begins.
    pub lower: Option<Vec<String>>,
    /// The key with which it ends.
    pub upper: Option<Vec<String>>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Copy this page.
    Copy(Page),
    /// Find the key that stands a page after this one, and tell [`Pager::bound_found`].
    FindBound(Option<Vec<String>>),
    /// Every page has been given out.
    End,
}

/// Gives out pages, those that a former run left out first.
#[derive(Debug)]
pub struct Pager {
    gaps: std::vec::IntoIter<Page>,
    /// Where the next new page begins; `None` once the last page was given out.
    next: Option<(u64, Option<Vec<String>>)>,
}

impl Pager {
    /// Goes on after the pages that the ledger lists, in their order.
    ///
    /// Workers finish pages out of order, so there can be gaps: where one page's upper bound is
    /// not the next one's lower bound.
    #[must_use]
    pub fn new(done: &[PageRecord]) -> Self {
        let mut gaps = Vec::new();
        let mut number = 0;
        let mut end = Some(None);
        for page in done {
            if end.as_ref() != Some(&page.lower) {
                gaps.push(Page { number, lower: end.take().flatten(), upper: page.lower.clone() });
            }
            number = page.number + 1;
            end = page.upper.clone().map(Some);
        }
        Self { gaps: gaps.into_iter(), next: end.map(|lower| (number, lower)) }
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if let Some(page) = self.gaps.next() {
            return Step::Copy(page);
        }
        match &self.next {
            Some((_, lower)) => Step::FindBound(lower.clone()),
            None => Step::End,
        }
    }

    /// Whether every page has been given out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.gaps.as_slice().is_empty() && self.next.is_none()
    }

    /// The bound that was asked for; `None` if fewer rows than a page are left, which makes the
    /// rest the last page. Gives the page that the bound ends.
    pub fn bound_found(&mut self, upper: Option<Vec<String>>) -> Option<Page> {
        let (number, lower) = self.next.take()?;
        self.next = upper.clone().map(|bound| (number + 1, Some(bound)));
        Some(Page { number, lower, upper })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pg::Lsn;

    fn key(n: u64) -> Option<Vec<String>> {
        Some(vec![n.to_string()])
    }

    fn record(number: u64, lower: Option<Vec<String>>, upper: Option<Vec<String>>) -> PageRecord {
        PageRecord { number, lower, upper, rows: 0, bytes: 0, snapshot: String::new(), lsn: Lsn(0) }
    }

    fn all_pages(pager: &mut Pager, bounds: &[u64]) -> Vec<Page> {
        let mut pages = Vec::new();
        loop {
            match pager.step() {
                Step::Copy(page) => pages.push(page),
                Step::FindBound(lower) => {
                    let after = lower.map_or(0, |l| l[0].parse().unwrap());
                    let upper = bounds.iter().find(|&&b| b > after).copied();
                    pages.extend(pager.bound_found(upper.and_then(key)));
                }
                Step::End => return pages,
            }
        }
    }

    #[test]
    fn pages_chain_from_before_every_key_to_after_every_key() {
        let pages = all_pages(&mut Pager::new(&[]), &[10, 20]);
        let bounds: Vec<_> = pages.iter().map(|p| (p.lower.clone(), p.upper.clone())).collect();
        assert_eq!(bounds, [(None, key(10)), (key(10), key(20)), (key(20), None)]);
    }

    #[test]
    fn an_empty_table_is_one_page() {
        assert_eq!(all_pages(&mut Pager::new(&[]), &[]).len(), 1);
    }

    #[test]
    fn a_finished_table_has_no_more_pages() {
        let mut pager = Pager::new(&[record(0, None, key(5)), record(1, key(5), None)]);
        assert_eq!(pager.step(), Step::End);
    }

    proptest! {
        /// Whichever pages were done when a run ended, the next one copies exactly the rest.
        #[test]
        fn resuming_covers_every_key_once(
            bounds in prop::collection::btree_set(1u64..1000, 0..30),
            done in prop::collection::vec(any::<bool>(), 31),
        ) {
            let bounds: Vec<_> = bounds.into_iter().collect();
            let first = all_pages(&mut Pager::new(&[]), &bounds);
            let records: Vec<_> = first
                .iter()
                .zip(&done)
                .filter(|(_, done)| **done)
                .map(|(p, _)| record(p.number, p.lower.clone(), p.upper.clone()))
                .collect();
            let rest = all_pages(&mut Pager::new(&records), &bounds);
            let mut all: Vec<_> = records
                .iter()
                .map(|r| (r.number, r.lower.clone(), r.upper.clone()))
                .chain(rest.into_iter().map(|p| (p.number, p.lower, p.upper)))
                .collect();
            all.sort_by_key(|(number, ..)| *number);
            prop_assert_eq!(&all[0].1, &None);
            prop_assert_eq!(&all[all.len() - 1].2, &None);
            for pair in all.windows(2) {
                prop_assert_eq!(&pair[0].2, &pair[1].1);
                prop_assert!(pair[0].0 < pair[1].0);
            }
        }
    }
}
