//! The only place that writes to stdout and stderr.
//!
//! A reader that went away, or a terminal that was hung up, must not end a run that moves data:
//! what can't be written is dropped.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use tracing_subscriber::fmt::MakeWriter;

/// Both streams, and the bars that may stand at the foot of the terminal.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    bars: MultiProgress,
    standing: Arc<AtomicUsize>,
}

/// One of the streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Screen {
    /// Without bars.
    pub(super) fn plain() -> Self {
        Self::on(ProgressDrawTarget::hidden())
    }

    /// With bars, if stderr is a terminal that can show them.
    pub(super) fn with_bars() -> Option<Self> {
        let screen = Self::on(ProgressDrawTarget::stderr());
        (!screen.bars.is_hidden()).then_some(screen)
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self { bars: MultiProgress::with_draw_target(target), standing: Arc::default() }
    }

    /// Puts a bar below the others. It must be removed again.
    pub(super) fn add(&self, bar: ProgressBar) -> ProgressBar {
        self.standing.fetch_add(1, Ordering::Relaxed);
        self.bars.add(bar)
    }

    /// Takes a bar away.
    pub(super) fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.bars.remove(bar);
        self.standing.fetch_sub(1, Ordering::Relaxed);
    }

    /// A line or several on stderr, above the bars.
    pub(super) fn note(&self, text: &str) {
        if self.has_bars() {
            // Not `suspend`, which panics when the terminal is gone.
            let _ = self.bars.println(text);
        } else {
            // Not `println`, which leaves the cursor behind the line.
            write_line(&mut io::stderr().lock(), text);
        }
    }

    /// A line or several on stdout.
    pub(super) fn print(&self, text: &str) {
        // Bars that stand are on a terminal; if stdout is one too, it is the same.
        if self.has_bars() && io::stdout().is_terminal() {
            let _ = self.bars.println(text);
        } else {
            write_line(&mut io::stdout().lock(), text);
        }
    }

    fn has_bars(&self) -> bool {
        self.standing.load(Ordering::Relaxed) > 0 && !self.bars.is_hidden()
    }

    /// A writer of whole lines.
    pub(super) fn writer(&self, stream: Stream) -> io::LineWriter<Lines> {
        let screen = self.clone();
        io::LineWriter::new(Lines { screen, stream })
    }
}

fn write_line(out: &mut impl Write, text: &str) {
    // One write, so that a line is not torn apart by another process's.
    let _ = out.write_all(format!("{text}\n").as_bytes());
    let _ = out.flush();
}

/// Takes whole lines; never fails.
#[derive(Debug)]
pub(super) struct Lines {
    screen: Screen,
    stream: Stream,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match self.stream {
            Stream::Stdout => self.screen.print(text),
            Stream::Stderr => self.screen.note(text),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For the log, which writes an event at once.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines { screen: self.clone(), stream: Stream::Stderr }
    }
}
