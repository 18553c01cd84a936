//! Where events are handed in: by the run and by those who watch over it at the same time. Notes
//! whether anything has moved forward.
//!
//! It tells and remembers, and asks nothing but the clock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Event, Listener, PhaseName, outlook::Outlook};
use crate::pg::Lsn;

/// A listener that several may tell.
pub(super) struct Desk<'a> {
    inner: Mutex<Inner<'a>>,
    moves: AtomicU64,
    streaming: AtomicBool,
    streamed: AtomicBool,
}

struct Inner<'a> {
    listener: &'a mut dyn Listener,
    moved: bool,
    outlook: Outlook,
    applied: Lsn,
    received: Lsn,
}

impl<'a> Desk<'a> {
    pub(super) fn new(listener: &'a mut dyn Listener) -> Self {
        let (applied, received) = (Lsn::INVALID, Lsn::INVALID);
        let outlook = Outlook::default();
        let inner = Mutex::new(Inner { listener, moved: false, outlook, applied, received });
        let (streaming, streamed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, moves: AtomicU64::new(0), streaming, streamed }
    }

    pub(super) fn tell(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.moves(event) {
            inner.moved = true;
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        inner.listener.on(event);
        if let Some(warning) = inner.outlook.on(event, Instant::now()) {
            inner.listener.on(&warning);
        }
    }

    /// Whether anything has moved forward since the question was last asked.
    pub(super) fn has_moved(&self) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.moved)
    }

    /// How often something has moved forward. Asking changes nothing.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// Whether pghost itself reads the slot just now, or is about to.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Whether pghost has read the slot since this was made.
    pub(super) fn has_streamed(&self) -> bool {
        self.streamed.load(Ordering::Relaxed)
    }

    pub(super) fn set_streaming(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
        self.streamed.fetch_or(streaming, Ordering::Relaxed);
    }
}

impl Inner<'_> {
    /// Positions are told over and over; only those that are further than ever are progress.
    fn moves(&mut self, event: &Event) -> bool {
        match event {
            // Comparing begins anew with each attempt.
            Event::Progress { phase: PhaseName::Verify, .. } => false,
            Event::Progress { .. }
            | Event::Checkpoint { .. }
            | Event::Verified { .. }
            | Event::Finished { .. } => true,
            Event::Step { step, .. } => step.lasts(),
            Event::CatchUp { applied_lsn, received_lsn, .. } => {
                let moved = *applied_lsn > self.applied || *received_lsn > self.received;
                self.applied = self.applied.max(*applied_lsn);
                self.received = self.received.max(*received_lsn);
                moved
            }
            _ => false,
        }
    }
}

/// Whoever has a desk is a listener.
impl Listener for &Desk<'_> {
    fn on(&mut self, event: &Event) {
        self.tell(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_further_than_ever_is_progress() {
        let mut told = 0;
        let mut listener = |_: &Event| told += 1;
        let desk = Desk::new(&mut listener);
        let catch_up = |applied, received| {
            desk.tell(&Event::CatchUp {
                applied_lsn: Lsn(applied),
                checkpoint_lsn: Lsn(9),
                received_lsn: Lsn(received),
                changes: 0,
                changes_per_second: 0.0,
                lag_bytes: 0,
                lag_seconds: None,
                eta_seconds: None,
            });
            desk.has_moved()
        };
        assert!(catch_up(3, 3));
        assert!(!catch_up(3, 3) && !catch_up(2, 3));
        assert!(catch_up(3, 4) && catch_up(4, 4));
        desk.tell(&Event::Phase { phase: PhaseName::CatchUp });
        assert!(!desk.has_moved());
        desk.tell(&Event::Checkpoint { lsn: Lsn(1) });
        assert!(desk.has_moved() && !desk.has_moved());
        assert_eq!(desk.moves(), 4);
        assert_eq!(told, 7);
    }
}
