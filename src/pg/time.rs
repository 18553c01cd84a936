//! Moments as the server counts them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 2000-01-01 00:00:00 UTC, the epoch of Postgres's timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgTimestamp(pub i64);

/// Seconds between the Unix epoch and Postgres's (`POSTGRES_EPOCH_JDATE` in `timestamp.h`).
const EPOCH_SECONDS: i64 = 946_684_800;

impl PgTimestamp {
    /// The same moment, from a wall clock that was read elsewhere.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        let unix = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        };
        Self(unix.saturating_sub(EPOCH_SECONDS * 1_000_000))
    }

    /// Seconds from `earlier` to this moment; negative when it is later.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for display; microseconds of years fit")]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_the_year_2000() {
        let epoch = UNIX_EPOCH + Duration::from_secs(946_684_800);
        assert_eq!(PgTimestamp::from_system_time(epoch), PgTimestamp(0));
        assert_eq!(PgTimestamp::from_system_time(UNIX_EPOCH).0, -946_684_800_000_000);
        assert!((PgTimestamp(1_500_000).seconds_since(PgTimestamp(0)) - 1.5).abs() < 1e-9);
    }
}
