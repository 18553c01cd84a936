//! Where events are handed in: by the run and by those who watch over it at the same time. Has
//! noted what was got done.
//!
//! It tells and remembers, and asks nothing but the clock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Event, Listener,
    headway::{Headway, Way},
    outlook::Outlook,
};

/// A listener that several may tell.
pub(super) struct Desk<'a> {
    inner: Mutex<Inner<'a>>,
    moves: AtomicU64,
    streaming: AtomicBool,
    streamed: AtomicBool,
}

struct Inner<'a> {
    listener: &'a mut dyn Listener,
    way: Way,
    outlook: Outlook,
}

impl<'a> Desk<'a> {
    pub(super) fn new(listener: &'a mut dyn Listener) -> Self {
        let (way, outlook) = (Way::default(), Outlook::default());
        let inner = Mutex::new(Inner { listener, way, outlook });
        let (streaming, streamed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, moves: AtomicU64::new(0), streaming, streamed }
    }

    pub(super) fn tell(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if inner.way.on(event, now) {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        inner.listener.on(event);
        if let Some(warning) = inner.outlook.on(event, now) {
            inner.listener.on(&warning);
        }
    }

    /// What was got done since the question was last asked. `long` is how long a run must have
    /// followed a source at rest for that to count.
    pub(super) fn headway(&self, now: Instant, long: Duration) -> Headway {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.way.headway(now, long)
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

/// Whoever has a desk is a listener.
impl Listener for &Desk<'_> {
    fn on(&mut self, event: &Event) {
        self.tell(event);
    }
}
