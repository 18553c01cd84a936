//! The words of phases and numbers, which lines and bars share.

use super::numbers::{bytes, estimate, grouped, rate};
use crate::migrate::{Event, PhaseName};

/// A phase's name for people.
pub(super) fn name(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Prepare => "prepare",
        PhaseName::Backfill => "backfill",
        PhaseName::CatchUp => "catch-up",
        PhaseName::Finish => "finish",
        PhaseName::Verify => "verify",
        PhaseName::Follow => "follow",
        PhaseName::Done => "done",
    }
}

/// What is done in a phase.
pub(super) fn meaning(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Prepare => "looking at both servers; publication, slot and target tables",
        PhaseName::Backfill => "copying the rows, page by page",
        PhaseName::CatchUp => "applying the changes that were made meanwhile",
        PhaseName::Finish => "what belongs to the tables besides their rows",
        PhaseName::Verify => "comparing both sides",
        PhaseName::Follow => "applying changes until interrupted",
        PhaseName::Done => "all that was asked for is on the target",
    }
}

/// The numbers of a `progress`, `index` or `catch_up` event, what matters most first, since a
/// terminal may be too narrow for all; `None` for other events.
pub(super) fn numbers(event: &Event) -> Option<String> {
    Some(match event {
        Event::Progress {
            table, rows, bytes: size, percent, rows_per_second, eta_seconds, ..
        } => {
            let mut parts = Vec::new();
            parts.extend(percent.map(|percent| format!("{percent:.1} %")));
            parts.extend(eta_seconds.map(|left| format!("{} left", estimate(left))));
            parts.push(format!("{} rows/s", rate(*rows_per_second)));
            parts.push(format!("{} rows", grouped(*rows)));
            parts.push(bytes(*size));
            format!("{table} {}", parts.join(", "))
        }
        Event::CatchUp {
            applied_lsn,
            received_lsn,
            changes,
            changes_per_second,
            lag_bytes,
            lag_seconds,
            ..
        } => {
            let lag = match lag_seconds {
                Some(seconds) => format!("{} ({})", bytes(*lag_bytes), estimate(*seconds)),
                None => bytes(*lag_bytes),
            };
            let (speed, changes) = (rate(*changes_per_second), grouped(*changes));
            format!(
                "{lag} behind, {speed} changes/s, {changes} changes, \
                 applied {applied_lsn}, received {received_lsn}"
            )
        }
        Event::Index { table, index, phase, percent } => {
            let percent = percent.map_or_else(String::new, |percent| format!(" {percent:.1} %,"));
            format!("{index} of {table}:{percent} {phase}")
        }
        _ => return None,
    })
}
