//! What crosses a socket, told line by line to whoever listens for it.
//!
//! Lines are events of [`TRACE_TARGET`], so that the core opens no file and prints nothing: the
//! command line writes them where `--trace-protocol` says. Nothing is rendered, and a socket costs
//! nothing more, unless somebody listens when it is opened. How messages look, and what is hidden,
//! is `wire`'s.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{config::Password, wire::Trace};

/// The target of the events that carry the lines. Not below `pghost`: a log of everything is not
/// meant to hold everybody's rows.
pub const TRACE_TARGET: &str = "postgres_protocol";

/// The trace of one socket.
#[derive(Debug)]
pub(super) struct Tracer {
    trace: Trace,
    /// Tells one socket's lines from another's.
    number: u64,
}

impl Tracer {
    /// A tracer if somebody listens. The password is hidden wherever it stands.
    pub(super) fn start(password: Option<&Password>) -> Option<Box<Self>> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        if !tracing::enabled!(target: TRACE_TARGET, tracing::Level::TRACE) {
            return None;
        }
        let secrets = password.map(|password| password.reveal().to_vec()).into_iter().collect();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(Self { trace: Trace::new(secrets), number }))
    }

    /// Hides one more password, from here on.
    pub(super) fn hide(&mut self, password: &Password) {
        self.trace.hide(password.reveal());
    }

    /// Tells of whole messages that we send; how many bytes they were.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> usize {
        let number = self.number;
        self.trace.sent(bytes, &mut |line| tell(number, line))
    }

    /// Tells of whole frames that came.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let number = self.number;
        self.trace.received(bytes, &mut |line| tell(number, line));
    }

    /// Tells of the answer to an SSLRequest.
    pub(super) fn ssl_response(&mut self, answer: u8) {
        let line = self.trace.ssl_response(answer);
        tell(self.number, &line);
    }
}

fn tell(number: u64, line: &str) {
    tracing::trace!(target: TRACE_TARGET, "{number}\t{line}");
}
