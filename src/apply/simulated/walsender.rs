//! The stream: transactions in the order of their commits, each once it is flushed.

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;

use super::{Failure, Outcome, message, source::Source};
use crate::pg::Lsn;

/// What comes.
#[derive(Debug)]
pub(super) enum Event {
    Keepalive(Lsn),
    Message(Lsn, Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Walsender {
    /// The next transaction's place in the log.
    next: usize,
    queue: VecDeque<(Lsn, Vec<u8>)>,
    /// Tables that were described.
    known: BTreeSet<usize>,
}

impl Walsender {
    /// Starts where it is asked to, or later, where the slot has been told to forget.
    pub(super) fn start(source: &Source, from: Lsn) -> Self {
        let next = source.commits_before(from.max(source.slot.confirmed));
        Self { next, queue: VecDeque::new(), known: BTreeSet::new() }
    }

    /// What comes next, if anything does.
    pub(super) fn event(&mut self, source: &Source, rng: &mut Rng) -> Outcome<Event> {
        if rng.u8(..100) < 10 {
            return Ok(Event::Keepalive(self.wal_end(source)));
        }
        while self.queue.is_empty() {
            let Some(transaction) = source.log.get(self.next) else { break };
            if transaction.end_lsn > source.flushed {
                break;
            }
            self.next += 1;
            // Before 15 one that changed nothing is sent too.
            if !transaction.records.is_empty() || rng.bool() {
                self.enqueue(source, rng)?;
            }
        }
        Ok(match self.queue.pop_front() {
            Some((lsn, payload)) => Event::Message(lsn, payload),
            None => Event::Keepalive(self.wal_end(source)),
        })
    }

    /// Outside of a transaction, everything before this was sent; within one it may be anything.
    fn wal_end(&self, source: &Source) -> Lsn {
        match source.log.get(self.next) {
            Some(next) if self.queue.is_empty() => next.commit_lsn.min(source.flushed),
            _ => source.flushed,
        }
    }

    fn enqueue(&mut self, source: &Source, rng: &mut Rng) -> Outcome<()> {
        let transaction = &source.log[self.next - 1];
        let (commit_lsn, end_lsn) = (transaction.commit_lsn, transaction.end_lsn);
        let first = transaction.records.first().map_or(commit_lsn, |record| record.lsn);
        self.queue.push_back((first, message::begin(transaction.xid, commit_lsn)));
        for record in &transaction.records {
            if record.lsn < source.publication {
                return Err(Failure::Refused("the publication does not exist".into()));
            }
            for &table in &record.tables {
                if self.known.insert(table) || rng.u8(..20) == 0 {
                    self.queue.push_back((record.lsn, source.tables[table].relation()));
                }
            }
            self.queue.push_back((record.lsn, record.payload.clone()));
        }
        self.queue.push_back((end_lsn, message::commit(commit_lsn, end_lsn)));
        Ok(())
    }
}
