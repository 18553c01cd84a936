//! A server that streams, made of any bytes: what it sends, and what one that does not stream
//! would have sent. For tests and fuzzing only, and without a server's reasons: it streams, rolls
//! back and prepares whenever the bytes say so.
//!
//! The plain order is found in another way than the assembler finds it: a rollback cuts off all
//! that came since the savepoint, because subtransactions nest; no id is looked at.

#![allow(clippy::indexing_slicing, reason = "tests and fuzz targets may panic")]

mod files;
mod harness;
mod messages;

use std::collections::HashSet;

pub use files::{MemoryFile, MemorySpill};
pub use harness::{assemble, torment};
pub(super) use messages::change_bytes;
use messages::{gid, origin};

use super::Limits;
use crate::{
    pg::{Lsn, PgTimestamp, Xid},
    pgoutput::{
        Begin, BeginPrepare, Commit, CommitPrepared, LogicalMessage, Message, Prepare,
        RollbackPrepared, StreamAbort, StreamCommit, StreamStart, encode::to_bytes,
    },
};

const TIME: PgTimestamp = PgTimestamp(776_000_000_000_000);

/// How many transactions may run at once: enough for every interleaving of a few.
const RUNNING: usize = 6;

/// What happens on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message comes.
    Message(Vec<u8>),
    /// The connection is lost and made again.
    Reconnect,
}

/// A run of the server.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What happens.
    pub steps: Vec<Step>,
    /// The messages of a server that does not stream.
    pub plain: Vec<Vec<u8>>,
    /// How many streamed transactions are open at the end.
    pub open: usize,
}

impl Script {
    /// Both have this message.
    fn both(&mut self, message: &Message<'_>) {
        self.streamed(message);
        self.plain.push(to_bytes(message));
    }

    fn streamed(&mut self, message: &Message<'_>) {
        self.steps.push(Step::Message(to_bytes(message)));
    }
}

/// Decisions, a byte each; all are 0 when the bytes end.
#[derive(Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// Limits, often so small that what is kept goes to files and is rewritten.
    pub fn limits(&mut self) -> Limits {
        const MEMORY: [usize; 8] = [0, 7, 150, 400, 1000, 4000, 20_000, 1 << 20];
        let memory = MEMORY.get(self.below(MEMORY.len())).copied().unwrap_or(0);
        Limits { memory, open: RUNNING, aborted: self.below(6) }
    }
}

/// A transaction that has not ended.
#[derive(Debug)]
struct Running {
    xid: Xid,
    origin: bool,
    /// A block of it was sent, on this connection.
    streams: bool,
    /// What was not rolled back, and how much of that was sent in blocks.
    changes: Vec<Change>,
    sent: usize,
    /// The transaction and its savepoints, innermost last.
    levels: Vec<Level>,
    /// Subtransactions of which a change was sent.
    seen: HashSet<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    number: u32,
    xid: Xid,
}

#[derive(Debug, Default)]
struct Level {
    xid: Option<Xid>,
    /// Where its changes begin.
    start: usize,
    /// Subtransactions that ended inside of it.
    ended: Vec<Xid>,
}

#[derive(Debug)]
struct Server<'a> {
    choices: Choices<'a>,
    running: Vec<Running>,
    prepared: Vec<(Xid, Lsn)>,
    next_xid: u32,
    next_change: u32,
    lsn: u64,
    script: Script,
}

/// Runs the server until the choices end.
#[must_use]
pub fn script(choices: Choices<'_>) -> Script {
    let mut server = Server {
        choices,
        running: Vec::new(),
        prepared: Vec::new(),
        // Such that ids wrap around and share words.
        next_xid: u32::MAX - 50,
        next_change: 0,
        lsn: 0x1000,
        script: Script::default(),
    };
    while !server.choices.0.is_empty() {
        server.step();
    }
    server.script.open = server.running.iter().filter(|running| running.streams).count();
    server.script
}

impl Server<'_> {
    fn step(&mut self) {
        let action = self.choices.byte();
        let which = self.choices.below(RUNNING);
        if which >= self.running.len() {
            return self.start(action);
        }
        match action {
            0..=119 => self.change(which, usize::from(action % 4) + 1),
            120..=144 => self.savepoint(which),
            145..=159 => self.release(which),
            160..=179 => self.roll_back_to_savepoint(which),
            180..=214 => self.send_block(which),
            215..=234 => self.commit(which),
            235..=240 => self.roll_back(which),
            241..=245 => self.prepare(which),
            246..=249 => self.finish_prepared(),
            250..=251 => self.logical(),
            252 => self.unasked_abort(which),
            253..=255 => self.reconnect(which),
        }
    }

    fn xid(&mut self) -> Xid {
        // 0 to 2 are not given to transactions.
        self.next_xid = self.next_xid.wrapping_add(1).max(3);
        Xid(self.next_xid)
    }

    fn lsn(&mut self) -> Lsn {
        self.lsn += 16;
        Lsn(self.lsn)
    }

    fn start(&mut self, action: u8) {
        let xid = self.xid();
        self.running.push(Running {
            xid,
            origin: action.is_multiple_of(3),
            streams: false,
            changes: Vec::new(),
            sent: 0,
            levels: vec![Level { xid: Some(xid), ..Level::default() }],
            seen: HashSet::new(),
        });
    }

    fn change(&mut self, which: usize, times: usize) {
        for level in 0..self.running[which].levels.len() {
            // Outer subtransactions have their ids before inner ones.
            if self.running[which].levels[level].xid.is_none() {
                let xid = self.xid();
                self.running[which].levels[level].xid = Some(xid);
            }
        }
        let running = &mut self.running[which];
        let xid = running.levels.last().and_then(|level| level.xid).unwrap_or(running.xid);
        for _ in 0..times {
            self.next_change += 1;
            running.changes.push(Change { number: self.next_change, xid });
        }
    }

    fn savepoint(&mut self, which: usize) {
        let running = &mut self.running[which];
        let start = running.changes.len();
        running.levels.push(Level { start, ..Level::default() });
    }

    fn release(&mut self, which: usize) {
        let levels = &mut self.running[which].levels;
        if levels.len() > 1
            && let Some(inner) = levels.pop()
            && let Some(outer) = levels.last_mut()
        {
            outer.ended.extend(inner.ended);
            outer.ended.extend(inner.xid);
        }
    }

    fn roll_back_to_savepoint(&mut self, which: usize) {
        let unseen_too = self.choices.below(8) == 0;
        let running = &mut self.running[which];
        if running.levels.len() < 2 {
            return;
        }
        let depth = 1 + self.choices.below(running.levels.len() - 1);
        let start = running.levels[depth].start;
        for level in running.levels.drain(depth..).rev() {
            for subxid in level.ended.into_iter().chain(level.xid) {
                if running.seen.contains(&subxid.0) || unseen_too {
                    let abort = StreamAbort { xid: running.xid, subxid, info: None };
                    self.script.streamed(&Message::StreamAbort(abort));
                }
            }
        }
        running.changes.truncate(start);
        running.sent = running.sent.min(start);
    }

    /// Sends as a block what was not sent.
    fn send_block(&mut self, which: usize) {
        let running = &mut self.running[which];
        let (xid, first) = (running.xid, !running.streams);
        self.script.streamed(&Message::StreamStart(StreamStart { xid, first }));
        if first && running.origin {
            self.script.streamed(&origin());
        }
        for change in running.changes.iter().skip(running.sent) {
            let bytes = change_bytes(change.number, Some(change.xid));
            self.script.steps.push(Step::Message(bytes));
            running.seen.insert(change.xid.0);
        }
        self.script.streamed(&Message::StreamStop);
        (running.streams, running.sent) = (true, running.changes.len());
    }

    fn commit(&mut self, which: usize) {
        let (commit_lsn, end_lsn) = (self.lsn(), self.lsn());
        let commit_time = TIME;
        let xid = self.running[which].xid;
        let begin = Message::Begin(Begin { final_lsn: commit_lsn, commit_time, xid });
        let commit = Message::Commit(Commit { commit_lsn, end_lsn, commit_time });
        let streamed =
            Message::StreamCommit(StreamCommit { xid, commit_lsn, end_lsn, commit_time });
        self.end(which, &begin, &commit, &streamed);
    }

    fn prepare(&mut self, which: usize) {
        let (prepare_lsn, end_lsn) = (self.lsn(), self.lsn());
        let prepare_time = TIME;
        let xid = self.running[which].xid;
        let gid = &gid(xid);
        let begin = BeginPrepare { prepare_lsn, end_lsn, prepare_time, xid, gid };
        let prepare = Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid };
        let (begin, end) = (Message::BeginPrepare(begin), Message::Prepare(prepare));
        self.end(which, &begin, &end, &Message::StreamPrepare(prepare));
        self.prepared.push((xid, end_lsn));
    }

    fn end(
        &mut self,
        which: usize,
        begin: &Message<'_>,
        end: &Message<'_>,
        streamed: &Message<'_>,
    ) {
        let last = &self.running[which];
        if last.streams && (last.sent < last.changes.len() || self.choices.below(2) == 0) {
            self.send_block(which);
        }
        let running = self.running.swap_remove(which);
        let mut whole = vec![to_bytes(begin)];
        whole.extend(running.origin.then(|| to_bytes(&origin())));
        whole.extend(running.changes.iter().map(|change| change_bytes(change.number, None)));
        whole.push(to_bytes(end));
        if running.streams {
            self.script.streamed(streamed);
        } else {
            self.script.steps.extend(whole.iter().cloned().map(Step::Message));
        }
        self.script.plain.extend(whole);
    }

    fn roll_back(&mut self, which: usize) {
        let running = self.running.swap_remove(which);
        let xid = running.xid;
        let all = running.levels.into_iter().rev();
        for subxid in all.flat_map(|level| level.ended.into_iter().chain(level.xid)) {
            if subxid != xid && running.seen.contains(&subxid.0) {
                let abort = StreamAbort { xid, subxid, info: None };
                self.script.streamed(&Message::StreamAbort(abort));
            }
        }
        if running.streams {
            let abort = StreamAbort { xid, subxid: xid, info: None };
            self.script.streamed(&Message::StreamAbort(abort));
        }
    }

    fn finish_prepared(&mut self) {
        let Some((xid, prepare_end_lsn)) = self.prepared.pop() else { return };
        let (commit_lsn, end_lsn) = (self.lsn(), self.lsn());
        let gid = &gid(xid);
        let message = if self.choices.below(2) == 0 {
            let commit_time = TIME;
            Message::CommitPrepared(CommitPrepared { commit_lsn, end_lsn, commit_time, xid, gid })
        } else {
            Message::RollbackPrepared(RollbackPrepared {
                prepare_end_lsn,
                rollback_end_lsn: end_lsn,
                prepare_time: TIME,
                rollback_time: TIME,
                xid,
                gid,
            })
        };
        self.script.both(&message);
    }

    /// A message that is part of no transaction.
    fn logical(&mut self) {
        let lsn = self.lsn();
        let content = b"at once";
        self.script.both(&Message::Logical(LogicalMessage {
            xid: None,
            transactional: false,
            lsn,
            prefix: "p",
            content,
        }));
    }

    /// Of a transaction, or subtransaction, of which no change was sent.
    fn unasked_abort(&mut self, which: usize) {
        let nobody = self.xid();
        let xid = if self.choices.below(2) == 0 { nobody } else { self.running[which].xid };
        let abort = StreamAbort { xid, subxid: nobody, info: None };
        self.script.streamed(&Message::StreamAbort(abort));
    }

    /// The connection is lost, perhaps inside a block; all of a transaction is sent again.
    fn reconnect(&mut self, which: usize) {
        if self.choices.below(2) == 0 {
            let before = self.script.steps.len();
            self.send_block(which);
            let sent = self.choices.below(self.script.steps.len() - before);
            self.script.steps.truncate(before + sent);
        }
        self.script.steps.push(Step::Reconnect);
        for running in &mut self.running {
            (running.streams, running.sent) = (false, 0);
            running.seen.clear();
        }
    }
}
