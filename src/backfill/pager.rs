//! How a table is cut into pages.
//!
//! Pure: bounds go in, pages come out; nobody here compares keys. Pages are half-open ranges
//! `(lower, upper]` that chain from "before every key" to "after every key", so each key a row
//! can have lies in exactly one page, whatever is inserted or moved meanwhile.

use std::collections::VecDeque;

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
    /// Find where a page ends, and tell [`Pager::bound_found`].
    FindBound(Search),
    /// Every page has been given out.
    End,
}

/// Which bound is to be found: the key that stands a page after `lower`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The key after which the page begins.
    pub lower: Option<Vec<String>>,
    /// Where the bound lies before others' pages, the key that it may reach, and how many pages
    /// there may be up to that.
    pub gap: Option<(Vec<String>, u64)>,
}

/// What a former run left out between pages that are done.
#[derive(Debug)]
struct Gap {
    number: u64,
    /// How many numbers are free. There were as many pages when it was cut before.
    pages: u64,
    lower: Option<Vec<String>>,
    upper: Vec<String>,
}

/// Gives out pages, those that a former run left out first.
#[derive(Debug)]
pub struct Pager {
    gaps: VecDeque<Gap>,
    /// Where the next new page begins; `None` once the last page was given out.
    next: Option<(u64, Option<Vec<String>>)>,
}

impl Pager {
    /// Goes on after the pages that the ledger lists, in their order.
    ///
    /// Workers finish pages out of order, so there can be gaps: where one page's upper bound is
    /// not the next one's lower bound. Their pages are cut anew, since nobody knows any more how
    /// they were cut, into as many as there were.
    #[must_use]
    pub fn new(done: &[PageRecord]) -> Self {
        let mut gaps = VecDeque::new();
        let mut number = 0;
        let mut end = Some(None);
        for page in done {
            if end.as_ref() != Some(&page.lower)
                && let Some(upper) = page.lower.clone()
            {
                let (pages, lower) = (page.number.saturating_sub(number), end.take().flatten());
                gaps.push_back(Gap { number, pages, lower, upper });
            }
            number = page.number + 1;
            end = page.upper.clone().map(Some);
        }
        Self { gaps, next: end.map(|lower| (number, lower)) }
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if let Some(gap) = self.gaps.pop_front_if(|gap| gap.pages <= 1) {
            return Step::Copy(gap.rest());
        }
        match (self.gaps.front(), &self.next) {
            (Some(gap), _) => {
                let within = (gap.upper.clone(), gap.pages);
                Step::FindBound(Search { lower: gap.lower.clone(), gap: Some(within) })
            }
            (None, Some((_, lower))) => Step::FindBound(Search { lower: lower.clone(), gap: None }),
            (None, None) => Step::End,
        }
    }

    /// Whether every page has been given out.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.gaps.is_empty() && self.next.is_none()
    }

    /// The bound that was asked for; `None` if fewer rows than a page are left, which makes the
    /// rest the last page. Gives the page that the bound ends.
    pub fn bound_found(&mut self, upper: Option<Vec<String>>) -> Option<Page> {
        if let Some(gap) = self.gaps.front_mut() {
            return match upper.filter(|upper| *upper != gap.upper) {
                Some(upper) => Some(gap.cut(upper)),
                None => self.gaps.pop_front().map(Gap::rest),
            };
        }
        let (number, lower) = self.next.take()?;
        self.next = upper.clone().map(|bound| (number + 1, Some(bound)));
        Some(Page { number, lower, upper })
    }
}

impl Gap {
    /// Its first page, if that ends here; what is left is the gap then.
    fn cut(&mut self, upper: Vec<String>) -> Page {
        let lower = self.lower.replace(upper.clone());
        let page = Page { number: self.number, lower, upper: Some(upper) };
        self.number += 1;
        self.pages -= 1;
        page
    }

    /// All of it as one page.
    fn rest(self) -> Page {
        Page { number: self.number, lower: self.lower, upper: Some(self.upper) }
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
                Step::FindBound(Search { lower, gap }) => {
                    let after = lower.map_or(0, |l| l[0].parse().unwrap());
                    let most = gap.map_or(u64::MAX, |(upper, _)| upper[0].parse().unwrap());
                    let upper = bounds.iter().find(|&&b| b > after && b <= most).copied();
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

    #[test]
    fn what_was_left_out_is_cut_again_and_into_no_more_pages() {
        let done = [record(0, None, key(10)), record(4, key(50), None)];
        let pages = |bounds: &[u64]| -> Vec<_> {
            let pages = all_pages(&mut Pager::new(&done), bounds);
            pages.into_iter().map(|p| (p.number, p.lower, p.upper)).collect()
        };
        let one = (1, key(10), key(20));
        // As it was, coarser, finer, and where the last bound is the gap's own.
        let thirds = [one.clone(), (2, key(20), key(30)), (3, key(30), key(50))];
        assert_eq!(pages(&[20, 30]), thirds);
        assert_eq!(pages(&[20]), [one.clone(), (2, key(20), key(50))]);
        assert_eq!(pages(&[]), [(1, key(10), key(50))]);
        assert_eq!(pages(&[20, 30, 40, 45]), thirds);
        assert_eq!(pages(&[20, 50]), [one, (2, key(20), key(50))]);
    }

    proptest! {
        /// Whichever pages were done when a run ended, the next one copies exactly the rest.
        #[test]
        fn resuming_covers_every_key_once(
            bounds in prop::collection::btree_set(1u64..1000, 0..30),
            done in prop::collection::vec(any::<bool>(), 31),
            anew in prop::option::of(prop::collection::btree_set(1u64..1000, 0..60)),
        ) {
            let bounds: Vec<_> = bounds.into_iter().collect();
            let first = all_pages(&mut Pager::new(&[]), &bounds);
            let records: Vec<_> = first
                .iter()
                .zip(&done)
                .filter(|(_, done)| **done)
                .map(|(p, _)| record(p.number, p.lower.clone(), p.upper.clone()))
                .collect();
            let is_same = anew.is_none();
            let anew = anew.map_or(bounds, |anew| anew.into_iter().collect());
            let rest = all_pages(&mut Pager::new(&records), &anew);
            prop_assert!(!is_same || rest.len() == first.len() - records.len());
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
