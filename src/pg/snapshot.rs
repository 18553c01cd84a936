//! Which transactions a snapshot shows.

use std::{fmt, str::FromStr};

use super::Xid;

/// `pg_current_snapshot()`: `xmin:xmax:xip,..` with 64-bit transaction ids.
///
/// This is the exact test of visibility. Positions in the log are not: a commit is in the log
/// before it can be seen, and with synchronous replication the gap can be seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Whether a transaction that has committed is shown. `xid` is its top-level id.
    ///
    /// The epoch that pgoutput leaves out is the one that brings the id nearest to `xmax`:
    /// transaction ids in use span less than half of 32 bits.
    #[must_use]
    pub fn shows(&self, xid: Xid) -> bool {
        let distance = xid.0.wrapping_sub(low_half(self.xmax)).cast_signed();
        let xid = self.xmax.wrapping_add_signed(i64::from(distance));
        xid < self.xmin || xid < self.xmax && !self.in_progress.contains(&xid)
    }

    /// Whether every transaction below the `xmax` of `earlier` has ended, so that this one shows
    /// all of them that have committed. Others may have begun to write before that without a later
    /// one having ended: they are not below it.
    #[must_use]
    pub const fn is_past(&self, earlier: &Self) -> bool {
        self.xmin >= earlier.xmax
    }
}

fn low_half(xid: u64) -> u32 {
    u32::try_from(xid & u64::from(u32::MAX)).unwrap_or(0)
}

/// The text is not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSnapshotError(String);

impl fmt::Display for ParseSnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a snapshot such as 10:20:10,14,15", self.0)
    }
}

impl std::error::Error for ParseSnapshotError {}

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(3, ':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let list = parts.next()?;
            let in_progress = match list {
                "" => Vec::new(),
                list => list.split(',').map(|x| x.parse().ok()).collect::<Option<_>>()?,
            };
            Some(Self { xmin, xmax, in_progress })
        };
        parse().ok_or_else(|| ParseSnapshotError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_progress_or_had_not_begun_is_not_shown() {
        let snapshot: Snapshot = "10:20:10,14".parse().unwrap();
        for (xid, shown) in
            [(9, true), (10, false), (13, true), (14, false), (19, true), (20, false)]
        {
            assert_eq!(snapshot.shows(Xid(xid)), shown, "{xid}");
        }
    }

    #[test]
    fn ids_find_their_epoch_on_both_sides_of_a_wraparound() {
        let epoch = 1u64 << 32;
        let text = format!("{}:{}:{}", epoch - 2, epoch + 5, epoch - 2);
        let snapshot: Snapshot = text.parse().unwrap();
        assert!(!snapshot.shows(Xid(u32::MAX - 1)));
        assert!(snapshot.shows(Xid(u32::MAX)));
        assert!(snapshot.shows(Xid(3)));
        assert!(!snapshot.shows(Xid(5)));
    }

    #[test]
    fn damaged_text_is_refused() {
        for text in ["", "1", "1:2", "1:2:x", "1:2:3,", "a:2:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text:?}");
        }
    }
}
