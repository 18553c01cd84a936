//! Progress on a terminal: bars and spinners at its foot, a line above for what is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    super::screen::Screen,
    numbers::{bytes, duration, grouped},
    report::report,
    words::{meaning, name, numbers},
};
use crate::migrate::{Event, Listener, PhaseName};

/// How often spinners turn.
const TICK: Duration = Duration::from_millis(100);

/// Steps of a bar: hundredths of a percent.
const STEPS: u64 = 10_000;

// What is too long for the terminal is cut off (`wide_msg`), not wrapped.
const PHASE: &str = "{spinner} {wide_msg}";
const BAR: &str = "  [{bar:16}] {wide_msg}";
const NO_BAR_YET: &str = "  {spinner} {wide_msg}";

/// Bars at the foot of stderr, the report on stdout.
#[derive(Debug)]
pub(super) struct Bars {
    screen: Screen,
    phase: Option<Phase>,
    tables: Vec<Table>,
}

/// The phase that is under way.
#[derive(Debug)]
struct Phase {
    name: PhaseName,
    began: Instant,
    spinner: ProgressBar,
}

/// A table that is being copied, or an index that is being built.
#[derive(Debug)]
struct Table {
    name: String,
    bar: ProgressBar,
}

impl Bars {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, phase: None, tables: Vec::new() }
    }

    fn begin(&mut self, phase: PhaseName) {
        self.end_phase();
        if phase == PhaseName::Done {
            return;
        }
        let spinner = self.screen.add(ProgressBar::new_spinner());
        spinner.set_style(style(PHASE));
        spinner.set_message(format!("{}: {}", name(phase), meaning(phase)));
        spinner.enable_steady_tick(TICK);
        self.phase = Some(Phase { name: phase, began: Instant::now(), spinner });
    }

    /// The phase is done: a line of it stays.
    fn end_phase(&mut self) {
        self.clear_tables();
        if let Some(phase) = self.phase.take() {
            self.screen.remove(&phase.spinner);
            let took = duration(phase.began.elapsed().as_secs_f64());
            self.screen.note(&format!("✓ {} ({took})", name(phase.name)));
        }
    }

    fn table(&mut self, event: &Event) {
        let Event::Progress { table, rows, bytes: size, pages_done, pages_total, percent, .. } =
            event
        else {
            return;
        };
        let place = self.tables.iter().position(|known| known.name == *table);
        if *pages_total == Some(*pages_done) {
            if let Some(place) = place {
                let done = self.tables.remove(place);
                self.screen.remove(&done.bar);
            }
            let (rows, size) = (grouped(*rows), bytes(*size));
            self.screen.note(&format!("  ✓ {table}: {rows} rows, {size}"));
            return;
        }
        self.show(table, *percent, event);
    }

    fn index(&mut self, event: &Event) {
        let Event::Index { table, index, phase, percent } = event else {
            return;
        };
        let name = format!("{table} {index}");
        if phase != "done" {
            return self.show(&name, *percent, event);
        }
        // Small ones are built before anything is said of them.
        if let Some(place) = self.tables.iter().position(|known| known.name == name) {
            let done = self.tables.remove(place);
            self.screen.remove(&done.bar);
            self.screen.note(&format!("  ✓ {index} of {table}"));
        }
    }

    /// Shows how far a table or an index is.
    fn show(&mut self, name: &str, percent: Option<f64>, event: &Event) {
        let place = self.tables.iter().position(|known| known.name == name);
        let place = place.unwrap_or_else(|| {
            let bar = self.screen.add(ProgressBar::new(STEPS));
            self.tables.push(Table { name: name.to_owned(), bar });
            self.tables.len() - 1
        });
        let Some(Table { bar, .. }) = self.tables.get(place) else {
            return;
        };
        match percent {
            Some(percent) => {
                bar.set_style(style(BAR).progress_chars("=> "));
                bar.set_position(steps(percent));
            }
            None => bar.set_style(style(NO_BAR_YET)),
        }
        bar.set_message(numbers(event).unwrap_or_default());
    }

    fn clear_tables(&mut self) {
        for table in std::mem::take(&mut self.tables) {
            self.screen.remove(&table.bar);
        }
    }
}

impl Listener for Bars {
    fn on(&mut self, event: &Event) {
        match event {
            Event::Phase { phase } => self.begin(*phase),
            Event::Notice { message } => self.screen.note(&format!("  note: {message}")),
            Event::Progress { .. } => self.table(event),
            Event::Index { .. } => self.index(event),
            Event::Checkpoint { lsn } => self.screen.note(&format!("  checkpoint {lsn}")),
            Event::CatchUp { .. } => {
                if let Some(phase) = &self.phase {
                    let numbers = numbers(event).unwrap_or_default();
                    let text = format!("{}: {numbers}", name(phase.name));
                    phase.spinner.set_message(text);
                }
            }
            Event::Finished { .. } => {
                self.end_phase();
                if let Some(report) = report(event) {
                    self.screen.note("");
                    self.screen.print(&report);
                }
            }
            // Shown by the one who ends the process, together with the exit code.
            Event::Error { .. } => {}
        }
    }
}

/// A run that failed leaves no bar behind, and no mark on the phase that failed.
impl Drop for Bars {
    fn drop(&mut self) {
        self.clear_tables();
        if let Some(phase) = self.phase.take() {
            self.screen.remove(&phase.spinner);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own; its test tries them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` stays within the bounds and takes what is no number for 0"
)]
fn steps(percent: f64) -> u64 {
    ((percent * 100.0) as u64).min(STEPS)
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn the_templates_are_valid() {
        for template in [PHASE, BAR, NO_BAR_YET] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn bars_fill_with_the_percent_and_no_further() {
        assert_eq!([0.0, 33.333, 100.0, 250.0].map(steps), [0, 3_333, 10_000, 10_000]);
        assert_eq!([f64::NAN, -1.0].map(steps), [0, 0]);
    }

    #[test]
    fn an_index_has_a_bar_until_it_is_built() {
        let mut bars = Bars::new(Screen::plain());
        bars.on(&sample::phase(PhaseName::Finish));
        bars.on(&sample::index("done", 100.0));
        bars.on(&sample::index("loading", 50.0));
        assert_eq!(bars.tables.len(), 1);
        assert_eq!(bars.tables[0].bar.position(), 5_000);
        bars.on(&sample::index("done", 100.0));
        assert!(bars.tables.is_empty());
    }

    #[test]
    fn a_table_has_a_bar_until_its_last_page() {
        let mut bars = Bars::new(Screen::plain());
        bars.on(&sample::phase(PhaseName::Backfill));
        bars.on(&sample::first_progress());
        bars.on(&sample::progress(900_000, 9));
        assert_eq!(bars.tables.len(), 1);
        assert_eq!(bars.tables[0].bar.position(), 3_000);
        bars.on(&sample::progress(3_000_000, 30));
        assert!(bars.tables.is_empty());
        assert_eq!(bars.phase.as_ref().map(|phase| phase.name), Some(PhaseName::Backfill));
        bars.on(&sample::phase(PhaseName::Done));
        assert!(bars.phase.is_none());
    }
}
