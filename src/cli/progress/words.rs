//! The words of phases and numbers, which lines and bars share.

use super::numbers::{bytes, duration, estimate, grouped, rate};
use crate::{
    migrate::{Event, PhaseName},
    verify::Kind,
};

/// A phase's name for people.
pub(super) fn name(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Prepare => "prepare",
        PhaseName::Backfill => "backfill",
        PhaseName::CatchUp => "catch-up",
        PhaseName::Finish => "finish",
        PhaseName::Verify => "verify",
        PhaseName::Follow => "follow",
        PhaseName::Handoff => "handoff",
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
        PhaseName::Handoff => "giving slot and position to a native subscription",
        PhaseName::Done => "all that was asked for is on the target",
    }
}

/// An event that is a sentence; `None` for other events.
pub(super) fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Waiting { reason, waited_seconds, limit_seconds, next_try_seconds } => format!(
            "waiting ({} of {}), next try in {}: {reason}",
            estimate(*waited_seconds),
            estimate(*limit_seconds),
            duration(*next_try_seconds)
        ),
        Event::Resumed { waited_seconds } => {
            format!("going on after {}", duration(*waited_seconds))
        }
        Event::Slot { slot, wal_status, retained_bytes, safe_bytes, seconds_left, .. } => {
            let mut text = format!("slot {slot}: {} of log kept for it", bytes(*retained_bytes));
            if let Some(safe) = safe_bytes {
                text += &format!(", {} more until it is lost", bytes(*safe));
            }
            if let Some(left) = seconds_left {
                text += &format!(", {} at the rate of now", estimate(*left));
            }
            if is_in_danger(wal_status) {
                text += &format!(" ({wal_status})");
            }
            text
        }
        Event::Different { table, key, kind, columns } => {
            let columns = columns.join(", ");
            let how = match kind {
                Kind::MissingOnTarget => "is missing on the target".to_owned(),
                Kind::ExtraOnTarget => "is on the target only".to_owned(),
                Kind::Different => format!("differs in {columns}"),
            };
            let key: Vec<_> =
                key.iter().map(|(name, value)| format!("{name} = {}", tame(value))).collect();
            format!("{table}: {} {how}", key.join(", "))
        }
        Event::Verified { .. } => verified(event)?,
        _ => return None,
    })
}

/// What was found in a table.
fn verified(event: &Event) -> Option<String> {
    let Event::Verified { table, rows, pages, different_rows, respelled_rows, moving_rows } = event
    else {
        return None;
    };
    let found = match different_rows {
        0 => "no row differs".to_owned(),
        different => format!("{} differ", counted(*different, "row")),
    };
    let mut text = format!(
        "{table}: {} compared in {}: {found}",
        counted(*rows, "row"),
        counted(*pages, "page")
    );
    if *respelled_rows > 0 {
        text += &format!("; {} only spelled differently", counted(*respelled_rows, "row"));
    }
    if *moving_rows > 0 {
        text += &format!(
            "; {} changed all the time and could not be compared",
            counted(*moving_rows, "row")
        );
    }
    Some(text)
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A value of a key, as much of it as a line has room for, and nothing that steers a terminal.
fn tame(value: &str) -> String {
    const CHARS_MAX: usize = 200;
    let mut text: String = value.chars().take(CHARS_MAX).filter(|c| !c.is_control()).collect();
    if value.chars().nth(CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

/// Whether a slot may be lost at any moment, or is.
pub(super) fn is_in_danger(wal_status: &str) -> bool {
    !["reserved", "extended"].contains(&wal_status)
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
            if *size > 0 {
                parts.push(bytes(*size));
            }
            format!("{table} {}", parts.join(", "))
        }
        Event::CatchUp {
            applied_lsn,
            received_lsn,
            changes,
            changes_per_second,
            lag_bytes,
            lag_seconds,
            eta_seconds,
            ..
        } => {
            let lag = match lag_seconds {
                Some(seconds) => format!("{} ({})", bytes(*lag_bytes), estimate(*seconds)),
                None => bytes(*lag_bytes),
            };
            let (speed, changes) = (rate(*changes_per_second), grouped(*changes));
            let left = eta_seconds.map(|left| format!("checkpoint in {}, ", estimate(left)));
            let left = left.unwrap_or_default();
            format!(
                "{left}{lag} behind, {speed} changes/s, {changes} changes, \
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

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn what_a_comparison_finds_reads_like_this() {
        let of = |event| sentence(&event).unwrap();
        let row = "public.orders: id = 7, day = 2026-01-02";
        for (kind, how) in [
            (Kind::Different, "differs in a, b"),
            (Kind::MissingOnTarget, "is missing on the target"),
            (Kind::ExtraOnTarget, "is on the target only"),
        ] {
            assert_eq!(of(sample::different(kind)), format!("{row} {how}"));
        }
        let all = "public.orders: 3,000,000 rows compared in 150 pages: ";
        assert_eq!(of(sample::verified(0)), format!("{all}no row differs"));
        assert_eq!(
            of(sample::verified(3)),
            format!(
                "{all}3 rows differ; 1 row only spelled differently; \
                 1 row changed all the time and could not be compared"
            )
        );
        assert_eq!(tame(&"x".repeat(300)).chars().count(), 201);
    }
}
