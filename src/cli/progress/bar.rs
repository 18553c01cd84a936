//! Progress on a terminal: bars and spinners at its foot, a line above for what is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    super::screen::Screen,
    numbers::{bytes, duration, grouped},
    report::report,
    words::{meaning, name, numbers, sentence},
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
    slot: Option<ProgressBar>,
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
        Self { screen, phase: None, tables: Vec::new(), slot: None }
    }

    fn begin(&mut self, phase: PhaseName) {
        // A run that was cut off and goes on takes up the phase it was in.
        if self.phase.as_ref().is_some_and(|known| known.name == phase) {
            return;
        }
        self.end_phase();
        if phase == PhaseName::Done {
            return;
        }
        let spinner = self.screen.add(ProgressBar::new_spinner());
        spinner.set_style(style(PHASE));
        spinner.set_message(describe(phase));
        spinner.enable_steady_tick(TICK);
        self.phase = Some(Phase { name: phase, began: Instant::now(), spinner });
    }

    /// In the place of what the phase says, for now.
    fn say(&self, event: &Event) {
        let text = sentence(event).unwrap_or_default();
        match &self.phase {
            Some(phase) => phase.spinner.set_message(text),
            None => self.screen.note(&text),
        }
    }

    /// A line for the slot, from when there is something to say until the end.
    fn slot(&mut self, event: &Event) {
        let bar = self.slot.get_or_insert_with(|| {
            let bar = self.screen.add(ProgressBar::new_spinner());
            bar.set_style(style(NO_BAR_YET));
            bar
        });
        bar.set_message(sentence(event).unwrap_or_default());
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
        if *pages_total == Some(*pages_done) {
            self.remove(table);
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

    /// Takes a table's bar away, if it has one.
    fn remove(&mut self, table: &str) {
        if let Some(place) = self.tables.iter().position(|known| known.name == table) {
            let done = self.tables.remove(place);
            self.screen.remove(&done.bar);
        }
    }

    fn clear_slot(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.screen.remove(&slot);
        }
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
                self.clear_slot();
                self.end_phase();
                if let Some(report) = report(event) {
                    self.screen.note("");
                    self.screen.print(&report);
                }
            }
            Event::Waiting { .. } => self.say(event),
            Event::Resumed { .. } => {
                self.screen.note(&format!("  {}", sentence(event).unwrap_or_default()));
                if let Some(phase) = &self.phase {
                    phase.spinner.set_message(describe(phase.name));
                }
            }
            Event::Slot { .. } => self.slot(event),
            Event::Different { .. } => self.screen.print(&sentence(event).unwrap_or_default()),
            Event::Verified { table, .. } => {
                self.remove(table);
                self.screen.print(&sentence(event).unwrap_or_default());
            }
            // Steps are for those who count them. Errors are shown by the one who ends the
            // process, together with the exit code.
            Event::Step { .. } | Event::Error { .. } => {}
        }
    }
}

/// A run that failed leaves no bar behind, and no mark on the phase that failed.
impl Drop for Bars {
    fn drop(&mut self) {
        self.clear_slot();
        self.clear_tables();
        if let Some(phase) = self.phase.take() {
            self.screen.remove(&phase.spinner);
        }
    }
}

fn describe(phase: PhaseName) -> String {
    format!("{}: {}", name(phase), meaning(phase))
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

    #[test]
    fn tables_that_are_copied_side_by_side_have_a_bar_each() {
        let mut bars = Bars::new(Screen::plain());
        bars.on(&sample::phase(PhaseName::Backfill));
        let names = |bars: &Bars| bars.tables.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        for (table, pages) in [("b", 3), ("a", 6), ("c", 1), ("a", 9), ("b", 6)] {
            bars.on(&sample::progress_of(table, pages));
        }
        assert_eq!(names(&bars), ["b", "a", "c"]);
        let positions: Vec<_> = bars.tables.iter().map(|table| table.bar.position()).collect();
        assert_eq!(positions, [2_000, 3_000, 333]);
        bars.on(&sample::progress_of("a", 30));
        assert_eq!(names(&bars), ["b", "c"]);
    }

    #[test]
    fn a_phase_that_is_taken_up_again_goes_on() {
        let mut bars = Bars::new(Screen::plain());
        bars.on(&sample::phase(PhaseName::Backfill));
        bars.on(&sample::progress(900_000, 9));
        bars.on(&sample::waiting());
        bars.on(&Event::Resumed { waited_seconds: 1.0 });
        bars.on(&sample::slot("reserved", None));
        bars.on(&sample::phase(PhaseName::Backfill));
        assert_eq!((bars.tables.len(), bars.slot.is_some()), (1, true));
        bars.on(&sample::finished());
        assert_eq!((bars.tables.len(), bars.slot.is_some()), (0, false));
    }
}
