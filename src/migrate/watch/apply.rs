//! The applying's progress as events.

use std::time::{Instant, SystemTime};

use crate::{
    apply::{ApplyProgress, Moment},
    migrate::{Event, StepName, outlook::Approach},
    pg::{Ident, PgTimestamp, QualifiedName},
};

/// Columns of a source table are left out.
pub(in crate::migrate) fn left_out(table: &QualifiedName, columns: &[Ident]) -> Event {
    let columns: Vec<_> = columns.iter().map(Ident::as_str).collect();
    let (name, columns) = (table.plain(), columns.join(", "));
    Event::Notice { message: format!("new columns of {name} are left out: {columns}") }
}

/// What has been seen.
#[derive(Debug)]
pub(in crate::migrate) struct ApplyView {
    last: Instant,
    changes: u64,
    approach: Approach,
}

impl ApplyView {
    pub(in crate::migrate) fn new() -> Self {
        Self { last: Instant::now(), changes: 0, approach: Approach::default() }
    }

    /// Takes a moment.
    pub(in crate::migrate) fn on(&mut self, moment: &Moment) -> Vec<Event> {
        match moment {
            Moment::Progress(progress) => {
                let elapsed = self.last.elapsed().as_secs_f64();
                self.last = Instant::now();
                let now = PgTimestamp::from_system_time(SystemTime::now());
                vec![self.event(progress, elapsed, now)]
            }
            Moment::CheckpointRaised(lsn) => vec![Event::Checkpoint { lsn: *lsn }],
            Moment::LeftOut { table, columns } => vec![left_out(table, columns)],
            Moment::CheckpointPassed(lsn) => vec![
                Event::Notice {
                    message: format!("the checkpoint {lsn} is passed: the target is exact"),
                },
                Event::Step { step: StepName::CheckpointPassed, of: lsn.to_string() },
            ],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn event(&mut self, progress: &ApplyProgress, elapsed: f64, now: PgTimestamp) -> Event {
        // Less than before where changes came again.
        let new = progress.changes.saturating_sub(self.changes);
        self.changes = progress.changes;
        let furthest = progress.received.max(progress.checkpoint);
        let caught_up = progress.applied >= progress.received;
        let lag_seconds = match progress.committed_at {
            // Nothing has come yet, so nothing is known.
            None => None,
            Some(_) if caught_up => Some(0.0),
            Some(at) => Some(now.seconds_since(at).max(0.0)),
        };
        let (applied, checkpoint) = (progress.applied, progress.checkpoint);
        let eta_seconds = self.approach.seconds_left(applied, checkpoint, elapsed);
        Event::CatchUp {
            applied_lsn: progress.applied,
            checkpoint_lsn: progress.checkpoint,
            received_lsn: progress.received,
            changes: progress.changes,
            changes_per_second: new as f64 / elapsed.max(1e-3),
            lag_bytes: furthest.bytes_since(progress.applied),
            lag_seconds,
            eta_seconds,
        }
    }
}
