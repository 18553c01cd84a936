//! A backfill's progress as events.

use std::time::Instant;

use super::{Event, PhaseName, StepName};
use crate::{backfill::Progress, catalog::Table, ledger::PageRecord};

/// What has been seen of one table's backfill.
#[derive(Debug)]
pub(super) struct BackfillView {
    table: String,
    estimated_rows: Option<u64>,
    started: Instant,
    rows: u64,
    rows_before: u64,
    bytes: u64,
    pages_done: u64,
    pages_before: u64,
    pages_total: Option<u64>,
    longest_snapshot_seconds: f64,
}

impl BackfillView {
    /// Starts with what earlier runs have copied.
    pub(super) fn new(table: &Table, done: &[PageRecord]) -> Self {
        let rows = done.iter().map(|page| page.rows).sum();
        Self {
            table: table.name.plain(),
            estimated_rows: table.estimated_rows,
            started: Instant::now(),
            rows,
            rows_before: rows,
            bytes: done.iter().map(|page| page.bytes).sum(),
            pages_done: done.len() as u64,
            pages_before: done.len() as u64,
            pages_total: None,
            longest_snapshot_seconds: 0.0,
        }
    }

    pub(super) const fn longest_snapshot_seconds(&self) -> f64 {
        self.longest_snapshot_seconds
    }

    /// Takes a step; a page that was copied is an event.
    pub(super) fn on(&mut self, progress: &Progress) -> Option<Event> {
        match progress {
            Progress::SnapshotHeld(took) => {
                self.longest_snapshot_seconds =
                    self.longest_snapshot_seconds.max(took.as_secs_f64());
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
                Some(self.event(self.started.elapsed().as_secs_f64()))
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn event(&self, elapsed: f64) -> Event {
        let new_rows = (self.rows - self.rows_before) as f64;
        let new_pages = self.pages_done.saturating_sub(self.pages_before).max(1) as f64;
        let rows = self.rows as f64;
        // Once the end of the key was seen, what is left is so many pages like those of this run.
        // Before, the planner's estimate may be far too low; it is kept below the mark that only
        // the last page reaches.
        let percent = match (self.pages_total, self.estimated_rows) {
            (Some(total), _) if total <= self.pages_done => Some(100.0),
            (Some(total), _) => {
                let left = (total - self.pages_done) as f64 * new_rows / new_pages;
                Some(100.0 * rows / (rows + left).max(1.0))
            }
            (None, Some(estimate)) if estimate > 0 => {
                Some((100.0 * rows / estimate as f64).min(99.0))
            }
            _ => None,
        };
        let rate = new_rows / elapsed.max(1e-3);
        let eta = percent.filter(|p| *p > 0.0 && rate > 0.0).map(|percent| {
            let rows_left = rows * (100.0 - percent) / percent;
            rows_left / rate
        });
        Event::Progress {
            phase: PhaseName::Backfill,
            table: self.table.clone(),
            rows: self.rows,
            bytes: self.bytes,
            pages_done: self.pages_done,
            pages_total: self.pages_total,
            percent,
            rows_per_second: rate,
            eta_seconds: eta,
        }
    }
}
