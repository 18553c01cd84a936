//! How many rows make a page, learnt from the pages before.
//!
//! Pure: what pages took goes in, a number comes out. The planner's estimate is only where it
//! begins: tables that were never analyzed have none, rows differ in width from one end of a table
//! to the other, and a far or busy server takes longer for the same bytes.

use std::time::Duration;

/// What a page aims at: small enough that what is repeated after a crash is not worth mentioning.
const PAGE_BYTES: u64 = 16 * 1024 * 1024;

/// How long a page aims to hold its snapshot: "well under a second", with room for the one that
/// turns out three times as long.
const PAGE_TIME: Duration = Duration::from_millis(300);

/// The most rows in a page, for tables of very small rows.
const PAGE_ROWS_MAX: u64 = 250_000;

/// Where a table begins of which nothing is known.
const PAGE_ROWS_UNKNOWN: u64 = 20_000;

/// By how much the number may change from one page to the next: a page that waited for a lock, or
/// one row of 50 MB, says little about the others.
const STEP_MAX: u64 = 2;

/// A page with less than one in so many of the rows that it might have has few.
const FEW: u64 = 4;

/// How many rows make a page of some 16 MiB, by the planner's estimates; a middling number
/// when there are none.
#[must_use]
pub fn rows_per_page(table_bytes: u64, estimated_rows: Option<u64>) -> u64 {
    match estimated_rows {
        Some(rows) if rows > 0 => {
            let row_bytes = (table_bytes / rows).max(1);
            (PAGE_BYTES / row_bytes).clamp(1, PAGE_ROWS_MAX)
        }
        _ => PAGE_ROWS_UNKNOWN,
    }
}

/// The number of rows for pages to come, after a page of `rows` rows and `bytes` bytes that held
/// its snapshot for `held`.
///
/// A page without rows teaches nothing. One that has few, as the last one or one cut by arithmetic
/// where keys are sparse, tells of the bytes of a row but not of its time: that is the page's own,
/// a round trip for a row.
#[must_use]
pub(super) fn rows_after(current: u64, rows: u64, bytes: u64, held: Duration) -> u64 {
    if rows == 0 {
        return current;
    }
    let by_bytes = PAGE_BYTES / (bytes / rows).max(1);
    let nanos = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
    let aim = u64::try_from(PAGE_TIME.as_nanos()).unwrap_or(u64::MAX);
    let by_time = u128::from(rows) * u128::from(aim) / u128::from(nanos);
    let by_time = match u64::try_from(by_time).unwrap_or(u64::MAX) {
        _ if rows < current / FEW && held <= PAGE_TIME => current,
        rows => rows,
    };
    by_bytes
        .min(by_time)
        .clamp(current / STEP_MAX, current.saturating_mul(STEP_MAX))
        .clamp(1, PAGE_ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn settles(mut rows: u64, row_bytes: u64, row_time: Duration) -> u64 {
        for _ in 0..40 {
            let held = row_time * u32::try_from(rows).unwrap();
            rows = rows_after(rows, rows, rows * row_bytes, held);
        }
        rows
    }

    #[test]
    fn a_page_is_sized_by_the_estimates_if_there_are_any() {
        assert_eq!(rows_per_page(1000 * 16 * MIB, Some(1000)), 1);
        assert_eq!(rows_per_page(280_000, Some(1000)), PAGE_BYTES / 280);
        assert_eq!(rows_per_page(1, Some(1_000_000)), PAGE_ROWS_MAX);
        assert_eq!(rows_per_page(1000, None), PAGE_ROWS_UNKNOWN);
        assert_eq!(rows_per_page(1000, Some(0)), PAGE_ROWS_UNKNOWN);
    }

    #[test]
    fn pages_settle_at_their_bytes_where_the_servers_are_quick() {
        let quick = Duration::from_nanos(1);
        assert_eq!(settles(20_000, 1000, quick), PAGE_BYTES / 1000);
        assert_eq!(settles(1, 1000, quick), PAGE_BYTES / 1000);
        assert_eq!(settles(250_000, 50 * MIB, quick), 1);
        assert_eq!(settles(20_000, 5, quick), PAGE_ROWS_MAX);
    }

    #[test]
    fn pages_settle_at_their_time_where_the_servers_are_slow() {
        // A row in 0.1 ms: 3,000 rows in 300 ms.
        assert_eq!(settles(100_000, 10, Duration::from_micros(100)), 3_000);
        // A second for every row: one at a time is all that can be done.
        assert_eq!(settles(100, 10, Duration::from_secs(1)), 1);
    }

    #[test]
    fn a_page_of_few_rows_tells_nothing_of_time() {
        let round_trips = Duration::from_millis(150);
        assert_eq!(rows_after(10_000, 2, 200, round_trips), 10_000);
        assert_eq!(rows_after(10_000, 2, 200, Duration::from_nanos(1)), 10_000);
        assert_eq!(rows_after(10_000, 5_000, 500_000, round_trips), 10_000);
        // Few because they are large, or slow.
        assert_eq!(rows_after(10_000, 2, 200 * MIB, round_trips), 5_000);
        assert_eq!(rows_after(10_000, 2, 200, Duration::from_secs(10)), 5_000);
    }

    #[test]
    fn one_strange_page_changes_little() {
        assert_eq!(rows_after(10_000, 10_000, 1000, Duration::from_secs(100)), 5_000);
        assert_eq!(rows_after(10_000, 10_000, 1, Duration::ZERO), 20_000);
        assert_eq!(rows_after(10_000, 0, 0, Duration::from_secs(100)), 10_000);
        assert_eq!(rows_after(1, 1, u64::MAX, Duration::MAX), 1);
    }
}
