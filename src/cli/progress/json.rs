//! Progress as JSON: every event as one line on stdout.
//!
//! The fields are [`Event`]'s, and a promise.

use super::super::screen::Screen;
use crate::migrate::{Event, Listener};

/// Lines on stdout, written at once.
#[derive(Debug)]
pub(super) struct Json {
    screen: Screen,
}

impl Json {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen }
    }
}

impl Listener for Json {
    fn on(&mut self, event: &Event) {
        // An event has no map keys and no foreign types, which alone could fail.
        if let Ok(line) = serde_json::to_string(event) {
            self.screen.print(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::sample, *};
    use crate::{
        migrate::{PhaseName, StepName},
        verify::Kind,
    };

    fn fields(value: &Value) -> Vec<&str> {
        let object = value.as_object().unwrap();
        let mut names: Vec<_> = object.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn of(event: &Event) -> Value {
        let line = serde_json::to_string(event).unwrap();
        assert!(!line.contains('\n'), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    fn sorted(names: &str) -> Vec<&str> {
        let mut names: Vec<_> = names.split(' ').collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn events_have_the_promised_fields() {
        let table = [
            (sample::phase(PhaseName::Backfill), "event phase"),
            (
                sample::first_progress(),
                "event phase table rows bytes pages_done pages_total percent rows_per_second \
                 eta_seconds",
            ),
            (sample::checkpoint(), "event lsn"),
            (sample::index("done", 100.0), "event table index phase percent"),
            (
                sample::catch_up(1, None),
                "event applied_lsn checkpoint_lsn received_lsn changes changes_per_second \
                 lag_bytes lag_seconds eta_seconds",
            ),
            (
                sample::slot("extended", None),
                "event slot wal_status retained_bytes safe_bytes bytes_per_second seconds_left \
                 source_lsn",
            ),
            (sample::different(Kind::Different), "event table key kind columns"),
            (
                sample::verified(0),
                "event table rows pages different_rows respelled_rows moving_rows",
            ),
            (sample::waiting(), "event reason waited_seconds limit_seconds next_try_seconds"),
            (Event::Resumed { waited_seconds: 1.0 }, "event waited_seconds"),
            (Event::Step { step: StepName::SlotMade, of: "s".into() }, "event step of"),
            (
                sample::finished(),
                "event name checkpoint_lsn applied_lsn tables changes_received seconds \
                 longest_snapshot_seconds",
            ),
        ];
        for (event, names) in table {
            assert_eq!(fields(&of(&event)), sorted(names), "{event:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_null() {
        let progress = of(&sample::first_progress());
        for field in ["pages_total", "percent", "eta_seconds"] {
            assert!(progress[field].is_null(), "{field}");
        }
        assert_eq!(progress["phase"], "backfill");
    }

    #[test]
    fn a_row_that_differs_is_named_by_its_key() {
        let different = of(&sample::different(Kind::MissingOnTarget));
        assert_eq!(different["key"]["id"], "7");
        assert_eq!(different["kind"], "missing_on_target");
    }

    #[test]
    fn the_report_has_the_promised_parts() {
        let finished = of(&sample::finished());
        assert_eq!(fields(&finished["seconds"]), sorted("backfill catch_up finish verify total"));
        assert_eq!(
            fields(&finished["tables"][0]),
            sorted("source target rows_copied inserted updated deleted truncated skipped")
        );
        assert_eq!(finished["checkpoint_lsn"], "16/B374D848");
    }
}
