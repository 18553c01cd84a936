//! SIGINT and SIGTERM: the first asks the run to stop at the next safe point, the second ends it.

use std::{process, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::timeout,
};

use super::{progress::Mode, screen::Screen};
use crate::migrate::{Exit, Failure};

/// How long a run that was told to end at once may take for it. It takes longer only if it is
/// stuck in something that can't be dropped, such as a write to a pipe that nobody reads.
const AT_ONCE: Duration = Duration::from_secs(3);

const STOPPING: &str = "stopping at the next safe point; interrupt again to stop at once";
const KEPT: &str = "stopped; what was committed is kept, and the same command goes on from there";

/// What the signals said so far.
#[derive(Debug)]
pub(super) struct Signals {
    count: watch::Receiver<u8>,
    interrupt: watch::Receiver<bool>,
}

impl Signals {
    /// Begins to listen, which must happen in the runtime.
    pub(super) fn listen(mode: Mode, screen: &Screen) -> Result<Self, Failure> {
        let open = |kind| {
            signal(kind).map_err(|error| {
                Failure::refused(
                    format!("can't listen to signals: {error}"),
                    "see whether the limit on open files (ulimit -n) is used up",
                )
            })
        };
        let (interrupt, terminate) =
            (open(SignalKind::interrupt())?, open(SignalKind::terminate())?);
        let (tell_count, count) = watch::channel(0);
        let (tell, told) = watch::channel(false);
        tokio::spawn(heed(
            Heard(interrupt, terminate),
            tell,
            tell_count,
            (mode != Mode::Off).then(|| screen.clone()),
        ));
        Ok(Self { count, interrupt: told })
    }

    /// Becomes true with the first signal.
    pub(super) fn interrupt(&self) -> watch::Receiver<bool> {
        self.interrupt.clone()
    }

    /// Returns with the second signal.
    pub(super) async fn at_once(&mut self) {
        if self.count.wait_for(|count| *count >= 2).await.is_err() {
            // Nobody listens any more, so that no second one can come.
            std::future::pending::<()>().await;
        }
    }
}

struct Heard(Signal, Signal);

impl Heard {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

async fn heed(
    mut heard: Heard,
    tell: watch::Sender<bool>,
    count: watch::Sender<u8>,
    screen: Option<Screen>,
) {
    heard.next().await;
    if let Some(screen) = &screen {
        screen.note(STOPPING);
    }
    tell.send_replace(true);
    count.send_replace(1);
    heard.next().await;
    count.send_replace(2);
    // The run is dropped now and the process ends; a third signal, or time, ends it anyhow.
    let _ = timeout(AT_ONCE, heard.next()).await;
    if let Some(screen) = &screen {
        screen.note(KEPT);
    }
    process::exit(i32::from(Exit::Stopped.code()));
}
