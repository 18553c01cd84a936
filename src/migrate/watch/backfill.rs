//! A backfill's progress as events.
//!
//! The percentage is of what is known to be true. For a key of one integer column: how many of
//! the keys between the least and the greatest one, as they were when the run began, lie in pages
//! that are copied. For other keys: of the planner's estimate of rows while that has not been
//! proved wrong, then of nothing until the end of the key has been seen, then of the rows and of
//! as many pages like those of this run as are left. It never falls within a run, and only the last
//! page makes it 100.

use std::time::Instant;

use crate::{
    backfill::{KeyRange, Progress},
    catalog::Table,
    ledger::PageRecord,
    migrate::{Event, PhaseName, StepName},
};

/// What the percentage does not pass before the last page, whatever it is of.
const ALMOST_ALL: f64 = 99.9;

/// What has been seen of one table's backfill.
#[derive(Debug)]
pub(in crate::migrate) struct BackfillView<'a> {
    table: String,
    estimated_rows: Option<u64>,
    /// The pages of former runs.
    before: &'a [PageRecord],
    started: Instant,
    rows: u64,
    rows_before: u64,
    bytes: u64,
    pages_done: u64,
    pages_total: Option<u64>,
    keys: Option<Keys>,
    percent: Option<f64>,
    longest_snapshot_seconds: f64,
}

/// How far the pages have come among the keys that there can be.
#[derive(Debug)]
struct Keys {
    range: KeyRange,
    covered: u128,
    covered_before: u128,
}

/// Something that grows to a whole, and how much of it was there before this run.
struct Part {
    done: f64,
    before: f64,
    whole: f64,
}

impl<'a> BackfillView<'a> {
    /// Starts with what earlier runs have copied.
    pub(in crate::migrate) fn new(table: &Table, before: &'a [PageRecord]) -> Self {
        let rows = before.iter().map(|page| page.rows).sum();
        Self {
            table: table.name.plain(),
            estimated_rows: table.estimated_rows,
            before,
            started: Instant::now(),
            rows,
            rows_before: rows,
            bytes: before.iter().map(|page| page.bytes).sum(),
            pages_done: before.len() as u64,
            pages_total: None,
            keys: None,
            percent: None,
            longest_snapshot_seconds: 0.0,
        }
    }

    pub(in crate::migrate) const fn longest_snapshot_seconds(&self) -> f64 {
        self.longest_snapshot_seconds
    }

    /// Whether every page is on the target.
    pub(in crate::migrate) fn is_whole(&self) -> bool {
        self.pages_total == Some(self.pages_done)
    }

    /// Takes a step; a page that was copied is an event.
    pub(in crate::migrate) fn on(&mut self, progress: &Progress) -> Option<Event> {
        self.after(progress, self.started.elapsed().as_secs_f64())
    }

    fn after(&mut self, progress: &Progress, elapsed: f64) -> Option<Event> {
        match progress {
            // Until now it has waited for other tables.
            Progress::Begun => {
                self.started = Instant::now();
                None
            }
            Progress::SnapshotHeld(took) => {
                self.longest_snapshot_seconds =
                    self.longest_snapshot_seconds.max(took.as_secs_f64());
                None
            }
            Progress::KeyRange(range) => {
                let covered = self.before.iter().map(|page| range.covered(page)).sum();
                self.keys = Some(Keys { range: *range, covered, covered_before: covered });
                None
            }
            Progress::AllFound { pages } => {
                self.pages_total = Some(self.pages_done.max(*pages));
                None
            }
            Progress::Read(number) => {
                let of = format!("{} {number}", self.table);
                Some(Event::Step { step: StepName::PageRead, of })
            }
            Progress::Copied(page) => {
                let held = page.snapshot_held.as_secs_f64();
                self.longest_snapshot_seconds = self.longest_snapshot_seconds.max(held);
                self.rows += page.record.rows;
                self.bytes += page.record.bytes;
                self.pages_done += 1;
                if let Some(keys) = &mut self.keys {
                    keys.covered += keys.range.covered(&page.record);
                }
                Some(self.event(elapsed))
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn event(&mut self, elapsed: f64) -> Event {
        let part = self.part();
        let percent = if self.is_whole() {
            Some(100.0)
        } else {
            let percent = |part: &Part| (100.0 * part.done / part.whole).min(ALMOST_ALL);
            part.as_ref().map(percent).map(|now| self.percent.map_or(now, |last| last.max(now)))
        };
        self.percent = percent.or(self.percent);
        let eta = if self.is_whole() { Some(0.0) } else { part.and_then(|part| part.eta(elapsed)) };
        Event::Progress {
            phase: PhaseName::Backfill,
            table: self.table.clone(),
            rows: self.rows,
            bytes: self.bytes,
            pages_done: self.pages_done,
            pages_total: self.pages_total,
            percent,
            rows_per_second: (self.rows - self.rows_before) as f64 / elapsed.max(1e-3),
            eta_seconds: eta,
        }
    }

    /// What the percentage is of, if anything is known.
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn part(&self) -> Option<Part> {
        if let Some(Keys { range, covered, covered_before }) = &self.keys {
            let whole = range.width() as f64;
            return Some(Part { done: *covered as f64, before: *covered_before as f64, whole });
        }
        let (rows, before) = (self.rows as f64, self.rows_before as f64);
        let whole = match (self.pages_total, self.estimated_rows) {
            (Some(total), _) => {
                let new_pages = (self.pages_done - self.before.len() as u64).max(1) as f64;
                let left = total.saturating_sub(self.pages_done) as f64;
                rows + left * (rows - before) / new_pages
            }
            // An estimate that has been passed is known to be wrong, and that is all.
            (None, Some(estimate)) if self.rows <= estimate => estimate as f64,
            (None, _) => return None,
        };
        (whole > 0.0).then_some(Part { done: rows, before, whole })
    }
}

impl Part {
    /// How long the rest takes if it goes on as in this run.
    fn eta(&self, elapsed: f64) -> Option<f64> {
        let (new, left) = (self.done - self.before, self.whole - self.done);
        (new > 0.0 && left > 0.0).then(|| elapsed * left / new)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{backfill::PageCopied, pg::Lsn};

    fn table(estimated_rows: Option<u64>) -> Table {
        Table { estimated_rows, ..Table::sample("t") }
    }

    fn page(lower: Option<i64>, upper: Option<i64>, rows: u64) -> PageRecord {
        let bound = |key: Option<i64>| key.map(|key| vec![key.to_string()]);
        let (lower, upper) = (bound(lower), bound(upper));
        let (bytes, snapshot) = (rows * 10, String::new());
        PageRecord { number: 0, lower, upper, rows, bytes, snapshot, lsn: Lsn(0) }
    }

    fn copied(lower: Option<i64>, upper: Option<i64>, rows: u64) -> Progress {
        let record = page(lower, upper, rows);
        Progress::Copied(PageCopied { record, snapshot_held: Duration::ZERO })
    }

    const fn range(least: i64, greatest: i64) -> Progress {
        Progress::KeyRange(KeyRange { least, greatest })
    }

    /// Percent and seconds left after each page of a run in which a page takes a second.
    fn shown(
        estimate: Option<u64>,
        before: &[PageRecord],
        steps: &[Progress],
    ) -> Vec<(Option<f64>, Option<f64>)> {
        let table = table(estimate);
        let mut view = BackfillView::new(&table, before);
        let mut seconds = 0.0;
        let mut shown = Vec::new();
        for step in steps {
            seconds += f64::from(u8::from(matches!(step, Progress::Copied(_))));
            if let Some(Event::Progress { percent, eta_seconds, .. }) = view.after(step, seconds) {
                shown.push((percent, eta_seconds));
            }
        }
        let percents: Vec<_> = shown.iter().filter_map(|(percent, _)| *percent).collect();
        assert!(percents.windows(2).all(|pair| pair[0] <= pair[1]), "{percents:?}");
        assert!(percents.iter().all(|percent| (0.0..=100.0).contains(percent)), "{percents:?}");
        shown
    }

    #[test]
    fn an_integer_key_is_as_far_as_its_pages_whatever_is_estimated() {
        let all_found = Progress::AllFound { pages: 4 };
        for estimate in [None, Some(1), Some(1_000_000)] {
            let steps = [
                range(1, 1000),
                copied(None, Some(250), 250),
                // Out of order, and emptied meanwhile.
                copied(Some(500), Some(750), 0),
                all_found.clone(),
                copied(Some(250), Some(500), 250),
                copied(Some(750), None, 250),
            ];
            assert_eq!(
                shown(estimate, &[], &steps),
                [
                    (Some(25.0), Some(3.0)),
                    (Some(50.0), Some(2.0)),
                    (Some(75.0), Some(1.0)),
                    (Some(100.0), Some(0.0)),
                ]
            );
        }
    }

    #[test]
    fn rows_that_come_beyond_the_range_do_not_make_it_more_than_all() {
        let steps = [
            range(-100, -1),
            copied(None, Some(-51), 50),
            copied(Some(-51), Some(-1), 50),
            copied(Some(-1), Some(50), 50),
            copied(Some(50), Some(i64::MAX), 50),
            Progress::AllFound { pages: 5 },
            copied(Some(i64::MAX), None, 0),
        ];
        assert_eq!(
            shown(None, &[], &steps),
            [
                (Some(50.0), Some(1.0)),
                (Some(99.9), None),
                (Some(99.9), None),
                (Some(99.9), None),
                (Some(100.0), Some(0.0)),
            ]
        );
    }

    #[test]
    fn a_run_that_goes_on_starts_where_the_last_one_stopped() {
        // Finished out of order: the page between is still to come.
        let before = [page(None, Some(250), 250), page(Some(500), Some(750), 250)];
        let steps = [
            range(1, 1000),
            copied(Some(250), Some(500), 250),
            Progress::AllFound { pages: 4 },
            copied(Some(750), None, 250),
        ];
        assert_eq!(
            shown(Some(7), &before, &steps),
            [(Some(75.0), Some(1.0)), (Some(100.0), Some(0.0))]
        );
        // By rows: half was there, a quarter took a second.
        let steps = &steps[1..2];
        assert_eq!(shown(Some(1000), &before, steps), [(Some(75.0), Some(1.0))]);
    }

    #[test]
    fn an_estimate_holds_until_it_is_passed() {
        let steps = [
            copied(None, None, 60),
            copied(None, None, 40),
            copied(None, None, 100),
            Progress::AllFound { pages: 5 },
            // By pages it would be 80, and it has been more.
            copied(None, None, 100),
            copied(None, None, 100),
        ];
        assert_eq!(
            shown(Some(100), &[], &steps),
            [
                (Some(60.0), Some(40.0 / 60.0)),
                (Some(99.9), None),
                (None, None),
                (Some(99.9), Some(4.0 / 4.0)),
                (Some(100.0), Some(0.0)),
            ]
        );
        assert_eq!(shown(None, &[], &steps[..3]), [(None, None); 3]);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert_eq!(shown(Some(0), &[], &[copied(None, None, 0)]), [(None, None)]);
        let steps = [Progress::AllFound { pages: 1 }, copied(None, None, 0)];
        assert_eq!(shown(None, &[], &steps), [(Some(100.0), Some(0.0))]);
        // Nothing can be said from no keys at all.
        assert_eq!(
            shown(None, &[], &[range(1, 10), copied(None, Some(0), 0)]),
            [(Some(0.0), None)]
        );
    }
}
