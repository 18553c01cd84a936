//! Whether the target comes nearer to the source or falls behind, and when the checkpoint will be
//! reached.
//!
//! Pure: what events say and the time are handed in.

use std::time::{Duration, Instant};

use super::Event;
use crate::pg::Lsn;

/// Two looks this far apart tell which way it goes: shorter ones tell of single transactions and
/// of the slot being looked at only now and then.
const APART: Duration = Duration::from_secs(30);
/// Who falls behind is told so this often.
const WARN_AGAIN: Duration = Duration::from_secs(600);
/// Less than a segment of the log is no backlog.
const BACKLOG_BYTES: u64 = 16 * 1024 * 1024;
/// The estimate's memory: what happened so long ago counts a third.
const MEMORY_SECONDS: f64 = 10.0;

/// Where both servers were at a time.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    source: Lsn,
    applied: Lsn,
}

/// What has been seen of both.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    applied: Lsn,
    first: Option<Look>,
    warned: Option<Instant>,
}

impl Outlook {
    /// Takes an event; gives the warning if there is one to give.
    pub(super) fn on(&mut self, event: &Event, now: Instant) -> Option<Event> {
        match event {
            Event::CatchUp { applied_lsn, .. } => {
                self.applied = *applied_lsn;
                None
            }
            // A wait for a server is nobody's falling behind.
            Event::Phase { .. } | Event::Waiting { .. } => {
                (self.applied, self.first) = (Lsn::INVALID, None);
                None
            }
            Event::Slot { source_lsn: Some(source), .. } if self.applied != Lsn::INVALID => {
                self.look(Look { at: now, source: *source, applied: self.applied })
            }
            _ => None,
        }
    }

    fn look(&mut self, now: Look) -> Option<Event> {
        let then = *self.first.get_or_insert(now);
        let apart = now.at.saturating_duration_since(then.at);
        if apart < APART {
            return None;
        }
        self.first = Some(now);
        let behind = now.source.bytes_since(now.applied);
        let is_due = self.warned.is_none_or(|at| now.at.duration_since(at) >= WARN_AGAIN);
        if behind < BACKLOG_BYTES || behind <= then.source.bytes_since(then.applied) || !is_due {
            return None;
        }
        self.warned = Some(now.at);
        let written = megabytes_per_second(now.source.bytes_since(then.source), apart);
        let applied = megabytes_per_second(now.applied.bytes_since(then.applied), apart);
        Some(Event::Notice {
            message: format!(
                "the source writes {written:.1} MB of log a second and {applied:.1} MB of it are \
                 applied: at these rates the target falls behind and never comes up to the \
                 source, though the checkpoint, which stands still, is reached. More lanes \
                 (--apply-jobs), a faster target or fewer writes help"
            ),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn megabytes_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-3)
}

/// How fast the target comes up to the checkpoint.
#[derive(Debug, Default)]
pub(super) struct Approach {
    applied: Option<Lsn>,
    bytes_per_second: f64,
    seconds: f64,
    still: f64,
}

impl Approach {
    /// The position applied now, so many seconds after the last. Gives the seconds until
    /// `checkpoint`; `None` if it is passed, and while nothing can be said.
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    pub(super) fn seconds_left(
        &mut self,
        applied: Lsn,
        checkpoint: Lsn,
        elapsed: f64,
    ) -> Option<f64> {
        let before = self.applied.replace(applied).filter(|lsn| *lsn != Lsn::INVALID)?;
        let rate = applied.bytes_since(before) as f64 / elapsed.max(1e-3);
        self.seconds += elapsed;
        // In the beginning all that was seen counts the same.
        let share = 1.0 - (-elapsed / self.seconds.min(MEMORY_SECONDS)).exp();
        self.bytes_per_second += (rate - self.bytes_per_second) * share;
        self.still = if applied > before { 0.0 } else { self.still + elapsed };
        // In the middle of a large transaction nobody knows.
        if applied >= checkpoint || self.still > MEMORY_SECONDS {
            return None;
        }
        Some(checkpoint.bytes_since(applied) as f64 / self.bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::PhaseName;

    const MB: u64 = 1_000_000;

    struct Run {
        outlook: Outlook,
        start: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self { outlook: Outlook::default(), start: Instant::now() }
        }

        fn look(&mut self, seconds: u64, source: u64, applied: u64) -> Option<String> {
            let now = self.start + Duration::from_secs(seconds);
            let catch_up = Event::CatchUp {
                applied_lsn: Lsn(applied * MB),
                checkpoint_lsn: Lsn(1),
                received_lsn: Lsn(1),
                changes: 0,
                changes_per_second: 0.0,
                lag_bytes: 0,
                lag_seconds: None,
                eta_seconds: None,
            };
            assert!(self.outlook.on(&catch_up, now).is_none());
            let slot = Event::Slot {
                slot: "s".into(),
                wal_status: "reserved".into(),
                retained_bytes: 0,
                safe_bytes: None,
                bytes_per_second: 0.0,
                seconds_left: None,
                source_lsn: Some(Lsn(source * MB)),
            };
            match self.outlook.on(&slot, now) {
                Some(Event::Notice { message }) => Some(message),
                other => other.map(|event| panic!("{event:?}")),
            }
        }
    }

    #[test]
    fn who_falls_behind_is_warned_with_both_rates_and_not_over_and_over() {
        let mut run = Run::new();
        assert_eq!(run.look(0, 100, 10), None);
        assert_eq!(run.look(20, 900, 20), None);
        let warning = run.look(40, 1_300, 410).unwrap();
        assert!(warning.contains("writes 30.0 MB") && warning.contains("10.0 MB"), "{warning}");
        assert_eq!(run.look(80, 3_000, 500), None);
        assert!(run.look(700, 9_000, 600).is_some());
    }

    #[test]
    fn who_comes_nearer_or_is_there_is_not() {
        let mut run = Run::new();
        assert_eq!(run.look(0, 1_000, 10), None);
        assert_eq!(run.look(40, 1_400, 450), None);
        assert_eq!(run.look(80, 1_500, 1_499), None);
        assert_eq!(run.look(120, 1_510, 1_500), None);
    }

    #[test]
    fn a_new_phase_begins_anew() {
        let mut run = Run::new();
        assert_eq!(run.look(0, 100, 10), None);
        let phase = Event::Phase { phase: PhaseName::Follow };
        assert!(run.outlook.on(&phase, run.start).is_none());
        assert_eq!(run.look(40, 1_300, 20), None);
    }

    #[test]
    fn the_estimate_follows_what_was_applied_and_is_none_where_nothing_is() {
        let mut approach = Approach::default();
        assert_eq!(approach.seconds_left(Lsn(0), Lsn(1_000), 1.0), None);
        assert_eq!(approach.seconds_left(Lsn(100), Lsn(1_000), 1.0), None);
        let mut left = None;
        for step in 2..=5 {
            left = approach.seconds_left(Lsn(step * 100), Lsn(1_000), 1.0);
        }
        assert!((left.unwrap() - 5.0).abs() < 1.0, "{left:?}");
        assert!(approach.seconds_left(Lsn(500), Lsn(1_000), 1.0).is_some());
        assert_eq!(approach.seconds_left(Lsn(500), Lsn(1_000), 10.0), None);
        assert_eq!(approach.seconds_left(Lsn(1_000), Lsn(1_000), 1.0), None);
    }
}
