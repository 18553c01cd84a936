//! What came of a demo, in the few lines that are printed. Pure.

use std::fmt;

use super::workload::Counts;
use crate::{
    migrate::{Event, Seconds, grouped as count},
    pg::ServerVersion,
    verify::Comparison,
};

/// How a migration ended. Sums are over all its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) rows_copied: u64,
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    pub(super) skipped: u64,
    pub(super) changes_received: u64,
    pub(super) backfill_seconds: f64,
    pub(super) catch_up_seconds: f64,
    pub(super) longest_snapshot_seconds: f64,
}

impl Outcome {
    /// From the event of the end; `None` for any other.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let Event::Finished { tables, changes_received, seconds, longest_snapshot_seconds, .. } =
            event
        else {
            return None;
        };
        let Seconds { backfill, catch_up, .. } = *seconds;
        Some(Self {
            rows_copied: tables.iter().map(|t| t.rows_copied).sum(),
            inserted: tables.iter().map(|t| t.inserted).sum(),
            updated: tables.iter().map(|t| t.updated).sum(),
            deleted: tables.iter().map(|t| t.deleted).sum(),
            skipped: tables.iter().map(|t| t.skipped).sum(),
            changes_received: *changes_received,
            backfill_seconds: backfill,
            catch_up_seconds: catch_up,
            longest_snapshot_seconds: *longest_snapshot_seconds,
        })
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) version: ServerVersion,
    pub(super) written: Counts,
    pub(super) seconds_written: f64,
    /// After the run that ended while the workload still wrote.
    pub(super) first: Outcome,
    /// After the last run.
    pub(super) last: Outcome,
    pub(super) comparison: Comparison,
    pub(super) seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version;
        writeln!(
            f,
            "A table moved while it was written to, on two servers of PostgreSQL {version}:"
        )?;
        writeln!(f)?;
        self.workload(f)?;
        self.migration(f)?;
        self.verdict(f)?;
        write!(f, "  all in all        {:.1} s", self.seconds)
    }
}

impl Report {
    fn workload(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = &self.written;
        writeln!(
            f,
            "  live workload     {} changes in {:.1} s: {} inserts, {} updates, {} deletes",
            count(written.changes()),
            self.seconds_written,
            count(written.inserted),
            count(written.updated),
            count(written.deleted),
        )?;
        writeln!(
            f,
            "                    among them {} changed keys and {} big values; \
             {} statements/s, {} rollbacks",
            count(written.moved),
            count(written.big),
            rate(written.statements, self.seconds_written),
            count(written.rolled_back),
        )
    }

    fn migration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (&self.first, &self.last);
        writeln!(
            f,
            "  backfill          {} rows in {:.1} s, {} rows/s",
            count(last.rows_copied),
            last.backfill_seconds,
            rate(last.rows_copied, last.backfill_seconds),
        )?;
        writeln!(
            f,
            "  catch-up          {} changes in {:.1} s, {} changes/s; \
             {} of them by the second run",
            count(last.changes_received),
            last.catch_up_seconds,
            rate(last.changes_received, last.catch_up_seconds),
            count((last.changes_received).saturating_sub(first.changes_received)),
        )?;
        writeln!(
            f,
            "                    {} inserted, {} updated, {} deleted, {} skipped",
            count(last.inserted),
            count(last.updated),
            count(last.deleted),
            count(last.skipped),
        )?;
        let longest = f64::max(first.longest_snapshot_seconds, last.longest_snapshot_seconds);
        writeln!(f, "  longest snapshot  {longest:.3} s held on the source by the migration")
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { source, target } = &self.comparison;
        let verdict = if self.comparison.is_equal() { "equal" } else { "DIFFERENT" };
        writeln!(
            f,
            "  compared          {} rows on the source, {} on the target, all values: {verdict}",
            count(source.rows),
            count(target.rows),
        )
    }
}

/// Of whole milliseconds, and at least one: what takes no time has no rate.
fn rate(number: u64, seconds: f64) -> String {
    let milliseconds = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let milliseconds = milliseconds.as_millis().max(1);
    let rate = u128::from(number) * 1000 / milliseconds;
    count(u64::try_from(rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{migrate::TableReport, pg::Lsn, verify::Fingerprint};

    fn outcome(changes_received: u64) -> Outcome {
        Outcome::of(&Event::Finished {
            name: "orders".into(),
            checkpoint_lsn: Lsn(1),
            applied_lsn: Lsn(2),
            tables: vec![TableReport {
                source: "public.orders".into(),
                target: "public.orders".into(),
                rows_copied: 1_000_000,
                inserted: 10,
                updated: 20,
                deleted: 5,
                truncated: 0,
                skipped: 0,
            }],
            changes_received,
            seconds: Seconds { backfill: 8.0, catch_up: 0.5, ..Seconds::default() },
            longest_snapshot_seconds: 0.25,
        })
        .unwrap()
    }

    fn report(target_hash: &str) -> String {
        let side = |hash: &str| Fingerprint { rows: 1_000_005, hash: hash.into() };
        let report = Report {
            version: ServerVersion::from_num(150_018),
            written: Counts {
                statements: 14_940,
                inserted: 12,
                updated: 24,
                deleted: 5,
                moved: 3,
                big: 2,
                ..Counts::default()
            },
            seconds_written: 9.96,
            first: outcome(30),
            last: outcome(35),
            comparison: Comparison { source: side("1"), target: side(target_hash) },
            seconds: 20.0,
        };
        report.to_string()
    }

    #[test]
    fn the_report_tells_rows_changes_rates_the_longest_snapshot_and_the_verdict() {
        assert_eq!(
            report("1"),
            "\
A table moved while it was written to, on two servers of PostgreSQL 15.18:

  live workload     41 changes in 10.0 s: 12 inserts, 24 updates, 5 deletes
                    among them 3 changed keys and 2 big values; 1,500 statements/s, 0 rollbacks
  backfill          1,000,000 rows in 8.0 s, 125,000 rows/s
  catch-up          35 changes in 0.5 s, 70 changes/s; 5 of them by the second run
                    10 inserted, 20 updated, 5 deleted, 0 skipped
  longest snapshot  0.250 s held on the source by the migration
  compared          1,000,005 rows on the source, 1,000,005 on the target, all values: equal
  all in all        20.0 s"
        );
    }

    #[test]
    fn sides_that_differ_are_not_called_equal() {
        let text = report("2");
        assert!(text.contains("DIFFERENT") && !text.contains("equal"), "{text}");
    }

    #[test]
    fn what_takes_no_time_has_a_rate() {
        assert_eq!(rate(500, 0.0), "500,000");
    }
}
