//! How a run is shown: one listener for each `--progress`.
//!
//! ```text
//!   plain   lines on stderr             ─┐ the report on stdout
//!   bar     bars at stderr's foot       ─┘
//!   json    every event on stdout, and nothing else there
//!   off     nothing
//! ```
//!
//! The listeners only show. Rates and times left are part of the events.

mod bar;
mod json;
mod numbers;
mod plain;
mod report;
mod words;

use std::io::Write;

pub(super) use numbers::{bytes, grouped as count};

use super::{
    args::Progress,
    screen::{Screen, Stream},
};
use crate::migrate::{Event, Listener};

/// How progress is shown, once it is known whether there is a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Bar,
    Plain,
    Json,
    Off,
}

/// What was asked for, as far as stderr can do it.
pub(super) fn choose(progress: Progress) -> (Mode, Screen) {
    let mode = match progress {
        Progress::Auto | Progress::Bar => match Screen::with_bars() {
            Some(screen) => return (Mode::Bar, screen),
            None => Mode::Plain,
        },
        Progress::Plain => Mode::Plain,
        Progress::Json => Mode::Json,
        Progress::Off => Mode::Off,
    };
    (mode, Screen::plain())
}

/// The listener for a run.
pub(super) fn listener(mode: Mode, screen: &Screen) -> Box<dyn Listener> {
    match mode {
        Mode::Bar => Box::new(bar::Bars::new(screen.clone())),
        Mode::Plain => Box::new(plain::Plain::new(screen.clone())),
        Mode::Json => Box::new(json(screen)),
        Mode::Off => Box::new(|_: &Event| {}),
    }
}

/// Events as JSON on stdout.
pub(super) fn json(screen: &Screen) -> impl Listener + use<> {
    json::Json::new(screen.clone())
}

/// Where text for people goes that is no progress: stdout, unless that is for JSON.
pub(super) fn explanation(mode: Mode, screen: &Screen) -> impl Write + Send + use<> {
    screen.writer(match mode {
        Mode::Json => Stream::Stderr,
        Mode::Bar | Mode::Plain | Mode::Off => Stream::Stdout,
    })
}

/// An event of each kind, for the tests of the listeners.
#[cfg(test)]
mod sample {
    use crate::{
        migrate::{Event, PhaseName, Seconds, TableReport},
        pg::Lsn,
        verify::Kind,
    };

    pub(super) fn phase(phase: PhaseName) -> Event {
        Event::Phase { phase }
    }

    pub(super) fn progress(rows: u64, pages_done: u64) -> Event {
        progress_of_rows("public.orders", rows, pages_done)
    }

    pub(super) fn progress_of(table: &str, pages_done: u64) -> Event {
        progress_of_rows(table, pages_done * 100_000, pages_done)
    }

    fn progress_of_rows(table: &str, rows: u64, pages_done: u64) -> Event {
        Event::Progress {
            phase: PhaseName::Backfill,
            table: table.into(),
            rows,
            bytes: rows * 280,
            pages_done,
            pages_total: Some(30),
            percent: Some(100.0 * pages_done as f64 / 30.0),
            rows_per_second: 95_210.4,
            eta_seconds: Some((30 - pages_done) as f64),
        }
    }

    pub(super) fn first_progress() -> Event {
        Event::Progress {
            phase: PhaseName::Backfill,
            table: "public.orders".into(),
            rows: 1_000,
            bytes: 512,
            pages_done: 1,
            pages_total: None,
            percent: None,
            rows_per_second: 10.0,
            eta_seconds: None,
        }
    }

    pub(super) fn index(phase: &str, percent: f64) -> Event {
        Event::Index {
            table: "public.orders".into(),
            index: "by_day".into(),
            phase: phase.into(),
            percent: Some(percent),
        }
    }

    pub(super) fn checkpoint() -> Event {
        Event::Checkpoint { lsn: Lsn(0x16_B374_D848) }
    }

    pub(super) fn catch_up(changes: u64, lag_seconds: Option<f64>) -> Event {
        Event::CatchUp {
            applied_lsn: Lsn(0x16_B300_0000),
            checkpoint_lsn: Lsn(0x16_B374_D848),
            received_lsn: Lsn(0x16_B330_0000),
            changes,
            changes_per_second: 1_234.5,
            lag_bytes: 7_657_544,
            lag_seconds,
            eta_seconds: lag_seconds.map(|_| 9.0),
        }
    }

    pub(super) fn different(kind: Kind) -> Event {
        Event::Different {
            table: "public.orders".into(),
            key: vec![("id".into(), "7".into()), ("day".into(), "2026-01-02\n".into())],
            kind,
            columns: if kind == Kind::Different { vec!["a".into(), "b".into()] } else { vec![] },
        }
    }

    pub(super) fn verified(different_rows: u64) -> Event {
        Event::Verified {
            table: "public.orders".into(),
            rows: 3_000_000,
            pages: 150,
            different_rows,
            respelled_rows: different_rows / 2,
            moving_rows: different_rows / 3,
        }
    }

    pub(super) fn slot(wal_status: &str, safe_bytes: Option<u64>) -> Event {
        let bytes_per_second = 1e7;
        Event::Slot {
            slot: "pghost_orders".into(),
            wal_status: wal_status.into(),
            retained_bytes: 3 << 30,
            safe_bytes,
            bytes_per_second,
            seconds_left: safe_bytes.map(|safe| safe as f64 / bytes_per_second),
            source_lsn: Some(Lsn(0x16_B374_D848)),
        }
    }

    pub(super) fn waiting() -> Event {
        Event::Waiting {
            reason: "the server closed the connection".into(),
            waited_seconds: 4.0,
            limit_seconds: 300.0,
            next_try_seconds: 2.0,
        }
    }

    pub(super) fn finished() -> Event {
        let table = |source: &str, target: &str| TableReport {
            source: source.into(),
            target: target.into(),
            rows_copied: 3_000_000,
            inserted: 1_200,
            updated: 34,
            deleted: 5,
            truncated: 0,
            skipped: 0,
        };
        let mut second = table("sales.item", "archive.item");
        second.rows_copied = 12;
        second.truncated = 1;
        let mut first = table("public.orders", "public.orders");
        first.skipped = 7;
        Event::Finished {
            name: "orders".into(),
            checkpoint_lsn: Lsn(0x16_B374_D848),
            applied_lsn: Lsn(0x16_B374_FFFF),
            tables: vec![first, second],
            changes_received: 2_486,
            seconds: Seconds {
                backfill: 31.52,
                catch_up: 4.0,
                finish: 0.21,
                verify: 0.0,
                total: 95.0,
            },
            longest_snapshot_seconds: 0.412,
        }
    }
}
