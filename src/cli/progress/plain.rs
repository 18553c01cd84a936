//! Progress as lines: for files, services and terminals without bars.

use std::time::{Duration, Instant};

use super::{
    super::screen::Screen,
    numbers::clock,
    report::report,
    words::{is_in_danger, meaning, name, numbers, sentence},
};
use crate::migrate::{Event, Listener, PhaseName};

/// Events of numbers come by the page or the batch; a reader wants about one a second. Of tables
/// that are copied side by side each has its turn.
const BETWEEN_NUMBERS: Duration = Duration::from_secs(1);

/// Following may take weeks, and its lines are kept somewhere.
const BETWEEN_NUMBERS_FOLLOWING: Duration = Duration::from_secs(10);

/// A slot that is well needs few words.
const BETWEEN_SLOTS: Duration = Duration::from_secs(60);
/// Indexes may take hours.
const BETWEEN_NUMBERS_OF_AN_INDEX: Duration = Duration::from_secs(10);

/// Lines on stderr, the report on stdout.
#[derive(Debug)]
pub(super) struct Plain {
    screen: Screen,
    lines: Lines,
}

impl Plain {
    pub(super) fn new(screen: Screen) -> Self {
        Self { screen, lines: Lines::new(Instant::now()) }
    }
}

impl Listener for Plain {
    fn on(&mut self, event: &Event) {
        for line in self.lines.of(event, Instant::now()) {
            self.screen.note(&line);
        }
        if let Event::Different { .. } | Event::Verified { .. } = event {
            self.screen.print(&sentence(event).unwrap_or_default());
        }
        if let Some(report) = report(event) {
            self.screen.note("");
            self.screen.print(&report);
        }
    }
}

/// Which lines are written when; pure.
#[derive(Debug)]
struct Lines {
    started: Instant,
    phase: Option<PhaseName>,
    /// What numbers come of in this phase: tables, or the changes.
    told: Vec<Told>,
    /// When the slot was last written about.
    slot_written: Option<Instant>,
    /// The indexes that are being built, and when something was written of each.
    indexes: Vec<(String, Instant)>,
}

/// Something of which numbers come.
#[derive(Debug)]
struct Told {
    name: String,
    written: Instant,
    /// The newest numbers that were not written; they are, before what comes next.
    held_back: Option<String>,
}

impl Lines {
    fn new(started: Instant) -> Self {
        let (told, indexes) = (Vec::new(), Vec::new());
        Self { started, phase: None, told, slot_written: None, indexes }
    }

    fn of(&mut self, event: &Event, now: Instant) -> Vec<String> {
        let since = now.saturating_duration_since(self.started).as_secs();
        let stamped = |text: String| format!("[{}] {text}", clock(since));
        let mut lines = Vec::new();
        match event {
            Event::Phase { phase } => {
                lines.extend(self.held_back().map(stamped));
                self.told.clear();
                self.phase = Some(*phase);
                lines.push(stamped(format!("{}: {}", name(*phase), meaning(*phase))));
            }
            Event::Notice { message } => lines.push(stamped(format!("note: {message}"))),
            Event::Checkpoint { lsn } => {
                lines.extend(self.held_back().map(stamped));
                lines.push(stamped(format!("checkpoint: {lsn}")));
            }
            Event::Progress { .. } | Event::CatchUp { .. } => {
                let text = numbers(event).map(|text| format!("{}: {text}", self.label(event)));
                let of = if let Event::Progress { table, .. } = event { table } else { "" };
                let due = self.due(of, text.unwrap_or_default(), is_last_page(event), now);
                lines.extend(due.map(stamped));
            }
            Event::Index { table, index, phase, .. } => {
                if self.is_index_due(&format!("{table} {index}"), phase == "done", now) {
                    let text = numbers(event).map(|text| format!("{}: {text}", self.label(event)));
                    lines.extend(text.map(stamped));
                }
            }
            Event::Finished { .. } | Event::Different { .. } | Event::Verified { .. } => {
                lines.extend(self.held_back().map(stamped));
            }
            Event::Waiting { .. } | Event::Resumed { .. } => {
                lines.extend(self.held_back().map(stamped));
                lines.extend(sentence(event).map(stamped));
            }
            Event::Slot { wal_status, .. } => {
                let since = *self.slot_written.get_or_insert(now);
                let due = now.saturating_duration_since(since) >= BETWEEN_SLOTS;
                if due || is_in_danger(wal_status) {
                    self.slot_written = Some(now);
                    lines.extend(sentence(event).map(stamped));
                }
            }
            // Steps are for those who count them. Errors are shown by the one who ends the
            // process, together with the exit code.
            Event::Step { .. } | Event::Error { .. } => {}
        }
        lines
    }

    fn label(&self, event: &Event) -> &'static str {
        match event {
            Event::Progress { phase, .. } => name(*phase),
            _ => name(self.phase.unwrap_or(PhaseName::CatchUp)),
        }
    }

    /// Small ones are built before anything is said of them, and need no word.
    fn is_index_due(&mut self, name: &str, done: bool, now: Instant) -> bool {
        let Some(at) = self.indexes.iter().position(|(known, _)| known == name) else {
            if !done {
                self.indexes.push((name.to_owned(), now));
            }
            return !done;
        };
        if done {
            self.indexes.swap_remove(at);
            return true;
        }
        let written = &mut self.indexes[at].1;
        let due = now.saturating_duration_since(*written) >= BETWEEN_NUMBERS_OF_AN_INDEX;
        if due {
            *written = now;
        }
        due
    }

    /// Gives the numbers back if they are to be written now, else keeps them. The more there is
    /// that numbers come of, the less often they are written of each.
    fn due(&mut self, of: &str, text: String, is_last: bool, now: Instant) -> Option<String> {
        let between = match self.phase {
            Some(PhaseName::Follow) => BETWEEN_NUMBERS_FOLLOWING,
            _ => BETWEEN_NUMBERS,
        };
        let several = u32::try_from(self.told.len()).unwrap_or(u32::MAX);
        if is_last {
            self.told.retain(|told| told.name != of);
            return Some(text);
        }
        let Some(told) = self.told.iter_mut().find(|told| told.name == of) else {
            self.told.push(Told { name: of.to_owned(), written: now, held_back: None });
            return Some(text);
        };
        if now.saturating_duration_since(told.written) < between.saturating_mul(several) {
            told.held_back = Some(text);
            return None;
        }
        (told.written, told.held_back) = (now, None);
        Some(text)
    }

    /// The numbers that were not written.
    fn held_back(&mut self) -> impl Iterator<Item = String> + use<'_> {
        self.told.iter_mut().filter_map(|told| told.held_back.take())
    }
}

/// Of a table.
fn is_last_page(event: &Event) -> bool {
    matches!(event, Event::Progress { pages_done, pages_total, .. }
        if *pages_total == Some(*pages_done))
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    /// Lines of events at milliseconds after the start.
    fn lines(events: &[(u64, Event)]) -> String {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        let of = |(at, event): &(u64, Event)| lines.of(event, start + Duration::from_millis(*at));
        events.iter().flat_map(of).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_run_reads_like_this() {
        let notice = Event::Notice { message: "an old transaction holds up the slot".into() };
        let text = lines(&[
            (0, sample::phase(PhaseName::Prepare)),
            (50, notice),
            (1_200, sample::phase(PhaseName::Backfill)),
            (1_300, sample::first_progress()),
            (1_800, sample::progress(900_000, 9)),
            (2_300, sample::progress(1_200_000, 12)),
            (2_400, sample::progress(2_900_000, 29)),
            (2_900, sample::progress(3_000_000, 30)),
            (3_000, sample::checkpoint()),
            (3_000, sample::phase(PhaseName::CatchUp)),
            (3_001, sample::catch_up(1_000, None)),
            (4_001, sample::catch_up(25_000, Some(4.2))),
            (65_000, sample::phase(PhaseName::Done)),
        ]);
        assert_eq!(text, include_str!("golden/plain.txt").trim_end());
    }

    #[test]
    fn tables_that_are_copied_side_by_side_take_turns() {
        let (bill, orders) = ("public.bill", "public.orders");
        let of = sample::progress_of;
        let mut events = vec![(0, sample::phase(PhaseName::Backfill))];
        for page in 1..30 {
            // A page of each every 0.2 s; the one of few pages comes to its end.
            events.push((page * 200, of(orders, page)));
            if page <= 10 {
                events.push((page * 200 + 1, of(bill, page * 3)));
            }
        }
        events.push((6_001, sample::checkpoint()));
        let shown: Vec<_> = (lines(&events).lines())
            .filter_map(|line| Some(line.split_once("backfill: public.")?.1.to_owned()))
            .map(|line| line.split(" %").next().unwrap().to_owned())
            .collect();
        assert_eq!(
            shown,
            [
                "orders 3.3",
                "bill 10.0",
                "bill 100.0",
                "orders 36.7",
                "orders 53.3",
                "orders 70.0",
                "orders 86.7",
                "orders 96.7"
            ]
        );
    }

    #[test]
    fn waiting_and_the_slot_read_like_this() {
        let text = lines(&[
            (0, sample::phase(PhaseName::Backfill)),
            (1_000, sample::slot("reserved", None)),
            (31_000, sample::slot("reserved", None)),
            (62_000, sample::slot("extended", Some(1 << 30))),
            (63_000, sample::slot("unreserved", Some(0))),
            (64_000, sample::waiting()),
            (69_000, Event::Resumed { waited_seconds: 5.2 }),
        ]);
        assert_eq!(
            text,
            "[00:00:00] backfill: copying the rows, page by page\n\
             [00:01:02] slot pghost_orders: 3.0 GiB of log kept for it, 1.0 GiB more until it is \
             lost, 1 min 47 s at the rate of now\n\
             [00:01:03] slot pghost_orders: 3.0 GiB of log kept for it, 0 B more until it is lost, \
             0 s at the rate of now (unreserved)\n\
             [00:01:04] waiting (4 s of 5 min 00 s), next try in 2.00 s: the server closed the \
             connection\n\
             [00:01:09] going on after 5.20 s"
        );
    }

    #[test]
    fn following_writes_less_often() {
        let mut events = vec![(0, sample::phase(PhaseName::Follow))];
        events.extend((0..30).map(|second| (second * 1_000, sample::catch_up(second, None))));
        assert_eq!(lines(&events).lines().count(), 1 + 3);
    }

    #[test]
    fn an_index_is_told_of_now_and_then_until_it_is_built() {
        let mut events =
            vec![(0, sample::phase(PhaseName::Finish)), (1, sample::index("done", 100.0))];
        events.extend(
            (1..30).map(|second| (second * 1_000, sample::index("loading", second as f64))),
        );
        events.push((30_000, sample::index("done", 100.0)));
        let lines = lines(&events);
        let of_index: Vec<_> = lines.lines().skip(1).collect();
        assert_eq!(
            of_index,
            [
                "[00:00:01] finish: by_day of public.orders: 1.0 %, loading",
                "[00:00:11] finish: by_day of public.orders: 11.0 %, loading",
                "[00:00:21] finish: by_day of public.orders: 21.0 %, loading",
                "[00:00:30] finish: by_day of public.orders: 100.0 %, done",
            ]
        );
    }

    #[test]
    fn an_error_is_left_to_the_end_of_the_process() {
        let error = Event::Error {
            code: 1,
            sqlstate: None,
            message: String::new(),
            state: String::new(),
            hint: String::new(),
        };
        assert_eq!(lines(&[(0, error)]), "");
    }
}
