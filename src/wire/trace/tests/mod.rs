//! What lines say, and what they never say.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod conversations;
mod masking;
mod messages;
mod random;

use super::{Trace, line::FIELD_BYTES_MAX};
use crate::wire::{ProtocolVersion, Writer};

/// A connection whose startup phase is over, and its secrets.
fn started(secrets: &[&str]) -> Trace {
    let mut trace = Trace::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect());
    let startup = written(|w| w.startup(ProtocolVersion::V3_0, &[]));
    assert_eq!(trace.sent(&startup, &mut |_| {}), startup.len());
    trace
}

/// What a writer makes.
fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::new();
    write(&mut w);
    w.buffer().to_vec()
}

/// A message with a tag.
fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    written(|w| {
        let mut m = w.message(tag);
        m.bytes(body);
        m.finish();
    })
}

/// A message without a tag.
fn untagged(body: &[u8]) -> Vec<u8> {
    written(|w| {
        let mut m = w.untagged();
        m.bytes(body);
        m.finish();
    })
}

impl Trace {
    /// The one line about a message that we send.
    fn one_sent(&mut self, bytes: &[u8]) -> String {
        let mut lines = Vec::new();
        assert_eq!(self.sent(bytes, &mut |line| lines.push(line.to_owned())), bytes.len());
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// The one line about a message that the server sends.
    fn one_received(&mut self, bytes: &[u8]) -> String {
        let mut lines = Vec::new();
        assert_eq!(self.received(bytes, &mut |line| lines.push(line.to_owned())), bytes.len());
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}
