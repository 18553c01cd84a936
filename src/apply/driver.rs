//! What a run of applying holds in its hands, and what it does with each thing that happens.
//!
//! The loop that waits for things to happen is [`super::run`]'s.

mod fetching;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Apply, ApplyError, ApplyProgress, ApplyTable, Fold, Moment, Stop, error,
    lane::{Lane, ROWS_BY_THEIR_KEY},
    lanes::Lanes,
    messages::{Ask, Inbox, key_bytes},
    open::open_stream,
};
use crate::{
    conn::{Connection, SessionKind},
    ledger::{Ledger, Position},
    pg::Lsn,
    pgoutput::{Decoder, Update},
    replication::{Chunk, DurableLsn, ReplicationStream, StreamMessage},
};

/// How often progress is told, and how late at most an answer to the walsender is.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How full the folds may get before they are handed over at the next commit. Statements of a
/// thousand rows are as cheap per row as they get; a few of them make a batch.
const FULL_ROWS: usize = 8 * 1024;
/// The same in bytes.
const FULL_BYTES: usize = 4 * 1024 * 1024;
/// How much further a single transaction may fill them before it is handed over in parts.
const OVERFULL: usize = 4;

/// How long a position without changes may wait to be stored.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);
/// From how many rows on a batch is handed over as soon as the lanes are idle.
const WORTHWHILE_ROWS: usize = 2 * 1024;
/// From how long after the one before.
const WORTHWHILE_WAIT: Duration = Duration::from_millis(50);
/// How long positions may be committed without being durable. Until they are, the source keeps its
/// log; each time costs the target a write to the disk that its lane waits for.
const DURABLE_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait for the lane at a time. Short: the parts of a large transaction make room
/// without making anything durable.
const LANE_WAIT: Duration = Duration::from_millis(20);
/// How long the end of the stream may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a run holds in its hands.
pub(super) struct Driver<'a> {
    apply: &'a Apply,
    pub(super) stream: ReplicationStream,
    decoder: Decoder,
    pub(super) inbox: Inbox,
    pub(super) lanes: Lanes,
    /// One change at a time, in the order of the log, up to here.
    careful_until: Lsn,
    /// For fetching rows and raising the checkpoint.
    source: &'a mut Connection,
    /// For what the ledger must know before a batch.
    target: &'a mut Connection,
    checkpoint: Lsn,
    /// Keys of rows that were fetched from the source, and the position from which on such a row
    /// is no longer ahead of the others; `None` while it is still to be fetched.
    fetched: HashMap<Vec<u8>, Option<Lsn>>,
    /// Turns true when the run is to stop.
    interrupt: watch::Receiver<bool>,
    /// Whether it was told that the checkpoint is passed.
    told_passed: bool,
    durable: DurableLsn,
    position_queued: Lsn,
    last_position: Instant,
    last_durable: Instant,
    /// Hears each moment, also those that come while something is waited for.
    listen: &'a mut (dyn FnMut(Moment) + Send),
    /// When progress was last told.
    told: Instant,
}

impl<'a> Driver<'a> {
    pub(super) async fn start(
        apply: &'a Apply,
        source: &'a mut Connection,
        target: &'a mut Connection,
        interrupt: watch::Receiver<bool>,
        careful_until: Lsn,
        listen: &'a mut (dyn FnMut(Moment) + Send),
    ) -> Result<Self, ApplyError> {
        let at_target =
            |error| ApplyError::Target { place: error::TARGET.into(), after: Lsn::INVALID, error };
        source.query(ROWS_BY_THEIR_KEY).await.map_err(ApplyError::Stream)?;
        let from =
            Ledger::of(target, &apply.migration).durable_position().await.map_err(at_target)?;
        let is_strict = from.lsn() >= apply.checkpoint;
        // The source's transactions stay whole, which only one can do.
        let jobs = if is_strict { 1 } else { apply.jobs.max(1) };
        let mut lanes = Vec::new();
        for _ in 0..jobs {
            let config = &apply.target;
            let lane = Connection::connect(config, SessionKind::Sql).await.map_err(at_target)?;
            let lane = Lane::new(lane, &apply.migration, from.lsn()).await.map_err(at_target)?;
            lanes.push(lane);
        }
        let mut lanes = Lanes::new(lanes);
        if is_strict {
            lanes.be_strict();
        }
        let stream = open_stream(apply, from).await?;
        Ok(Self {
            apply,
            decoder: stream.decoder(),
            stream,
            inbox: Inbox::new(apply.tables.clone(), from.lsn()),
            told_passed: is_strict,
            lanes,
            careful_until,
            source,
            target,
            checkpoint: apply.checkpoint,
            fetched: HashMap::new(),
            interrupt,
            durable: from,
            position_queued: from.lsn(),
            last_position: Instant::now(),
            last_durable: Instant::now(),
            listen,
            told: Instant::now(),
        })
    }

    /// Where to stop, if anywhere.
    fn stop_at(&self) -> Option<Lsn> {
        match self.apply.stop {
            Stop::At(lsn) => Some(lsn.max(self.checkpoint)),
            Stop::WhenTold => None,
        }
    }

    /// Whether everything that was asked for has been taken from the stream and queued.
    pub(super) fn is_stopping(&self) -> bool {
        self.lanes.is_strict() && self.stop_at().is_some_and(|stop| self.position_queued >= stop)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_stopping() && self.lanes.is_idle() && self.durable.lsn() >= self.position_queued
    }

    /// The ledger has committed a position. (It also moves the migration's phase then.)
    pub(super) fn is_durable(&mut self, durable: DurableLsn) {
        self.durable = durable;
        self.stream.feedback().durable(durable);
        self.tell_passed();
    }

    /// Tells, once, that the checkpoint is passed and that this stays.
    fn tell_passed(&mut self) {
        let passed = self.lanes.is_strict() && self.durable.lsn() >= self.checkpoint;
        if passed && !self.told_passed {
            self.told_passed = true;
            (self.listen)(Moment::CheckpointPassed(self.checkpoint));
        }
    }

    /// Answers the walsender where that is due.
    pub(super) async fn report(&mut self) -> Result<(), ApplyError> {
        self.stream.report(Instant::now()).await.map_err(ApplyError::Stream)
    }

    pub(super) fn tell_progress(&mut self) {
        self.told = Instant::now();
        (self.listen)(Moment::Progress(ApplyProgress {
            applied: self.durable.lsn(),
            received: self.stream.received(),
            checkpoint: self.checkpoint,
            changes: self.inbox.received(),
            committed_at: self.inbox.committed_at,
        }));
    }

    /// Takes what has arrived.
    pub(super) async fn take(&mut self, chunk: &Chunk) -> Result<(), ApplyError> {
        for message in chunk.messages() {
            match message? {
                StreamMessage::Keepalive { wal_end, reply_requested, .. } => {
                    self.inbox.accountant.keepalive(wal_end);
                    self.stream.feedback().received(wal_end);
                    if reply_requested {
                        self.stream.feedback().reply_requested();
                    }
                    self.pass_checkpoint().await?;
                }
                StreamMessage::XLogData { start, payload, .. } => {
                    self.stream.feedback().received(start);
                    self.change(start, payload).await?;
                }
            }
            if self.is_stopping() {
                // What follows belongs to a later run.
                break;
            }
        }
        Ok(())
    }

    async fn change(&mut self, at: Lsn, payload: &[u8]) -> Result<(), ApplyError> {
        let message = self.decoder.decode(payload).map_err(|error| ApplyError::Undecodable {
            at,
            error,
            bytes: error::hexadecimal(payload),
        })?;
        let bounds = matches!(payload.first(), Some(b'B' | b'C'));
        let ask = self.inbox.take(at, message)?;
        for (table, columns) in self.inbox.left_out.drain(..) {
            let table = self.inbox.tables[table].source.clone();
            (self.listen)(Moment::LeftOut { table, columns });
        }
        if let Ask::Moved { table, update } = ask {
            self.moved(table, update).await?;
        }
        if bounds {
            self.pass_checkpoint().await?;
        }
        let careful = self.lanes.is_strict() && self.is_careful();
        let full = if careful && !self.inbox.is_empty() {
            OVERFULL
        } else {
            self.inbox.len() / FULL_ROWS + self.inbox.bytes() / FULL_BYTES
        };
        let in_transaction = self.inbox.accountant.in_transaction();
        // A part that was handed over is committed as soon as its transaction ends; what is written
        // change by change, with all that came with it.
        let ends_part = bounds && self.lanes.is_open() && !careful;
        if full >= OVERFULL || !in_transaction && (full > 0 || ends_part) {
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Whether each change is written by itself: a batch with one of these has met a conflict.
    fn is_careful(&self) -> bool {
        self.careful_until > self.inbox.since
    }

    /// A row that took another key and keeps a big value that the stream does not hold.
    ///
    /// Past the checkpoint that was known when this run began, the target's row under the old key
    /// is exactly what the source's was, and there is none under the new key; unless one of them
    /// was fetched, in this run, at a moment that is still ahead.
    async fn moved(&mut self, table: usize, update: Update<'_>) -> Result<(), ApplyError> {
        let alone = self.inbox.moved_alone(table, update);
        let [old, new] = alone.entries() else {
            return Err(ApplyError::OutOfPlace {
                at: self.inbox.accountant.complete(),
                what: "an update of the key without the old key".into(),
            });
        };
        let keys = [old, new].map(|entry| key_bytes(table, &alone, entry));
        let exact = self.lanes.is_strict()
            || self.inbox.accountant.has_passed(self.apply.checkpoint)
                && !keys.iter().any(|key| self.is_ahead(key));
        if exact {
            // After all that was folded before.
            self.write_folds().await?;
            self.settle_lanes().await?;
            self.lanes.move_row(table, &self.inbox.tables[table], &alone, (old, new));
        } else {
            let [_, new] = keys;
            self.fetched.insert(new, None);
            self.inbox.fetch_moved(table, update);
        }
        Ok(())
    }

    /// Whether the target's row of this key may be later than the position.
    fn is_ahead(&self, key: &[u8]) -> bool {
        match self.fetched.get(key) {
            None => false,
            Some(None) => true,
            Some(Some(fetched)) => !self.inbox.accountant.has_passed(*fetched),
        }
    }

    /// How far the stream has been received; beyond the commit of a transaction of which a part
    /// was.
    pub(super) fn received(&self) -> Lsn {
        self.stream.received().max(self.inbox.accountant.taken())
    }

    /// The checkpoint, as it was last raised.
    pub(super) const fn checkpoint(&self) -> Lsn {
        self.checkpoint
    }

    /// Everything up to the checkpoint has been taken: hands it over, and is strict from then on.
    async fn pass_checkpoint(&mut self) -> Result<(), ApplyError> {
        let mut due = self.stop_at().filter(|_| self.lanes.is_strict());
        if !self.lanes.is_strict() && self.inbox.accountant.has_passed(self.checkpoint) {
            // This may raise the checkpoint, and then it is not passed yet.
            self.write_folds().await?;
            due = Some(self.checkpoint);
        }
        let Some(position) = due.filter(|lsn| self.inbox.accountant.has_passed(*lsn)) else {
            if due.is_some() && !self.lanes.is_strict() {
                // Raised. What was written has its position all the same.
                self.commit(false);
            }
            return Ok(());
        };
        if self.lanes.is_strict() && self.position_queued >= position {
            return Ok(());
        }
        self.inbox.accountant.reach(position);
        self.write_folds().await?;
        self.commit(true);
        if !self.lanes.is_strict() {
            // Every lane comes there before the first one goes on alone.
            self.settle_lanes().await?;
            self.lanes.be_strict();
            self.fetched.clear();
            // Where several lanes were waited for, it is durable already.
            self.tell_passed();
        }
        Ok(())
    }

    /// Hands over what is folded: as a whole where no transaction is open, else as a part whose
    /// commit comes with the end of the transaction.
    async fn hand_over(&mut self) -> Result<(), ApplyError> {
        self.write_folds().await?;
        if !self.inbox.accountant.in_transaction() {
            self.commit(false);
        } else if !self.lanes.is_strict() {
            // Rows without a position: after a crash the whole transaction comes again.
            self.lanes.commit_rows();
        }
        Ok(())
    }

    /// Whether complete transactions wait for a batch to become worth its round.
    pub(super) fn has_to_hand_over(&self) -> bool {
        self.lanes.is_idle() && !self.inbox.is_empty() && !self.inbox.accountant.in_transaction()
    }

    /// Whether the batch is worth its own transaction: it is large, or old. What follows the
    /// checkpoint is wanted at once.
    fn is_worth_it(&self) -> bool {
        self.lanes.is_strict()
            || self.inbox.len() >= WORTHWHILE_ROWS
            || self.last_position.elapsed() >= WORTHWHILE_WAIT
    }

    /// Hands over whatever there is when the lanes have nothing to do.
    pub(super) async fn hand_over_if_idle(&mut self) -> Result<(), ApplyError> {
        let open = self.lanes.is_strict() && self.lanes.is_open();
        if !(open || self.lanes.is_idle()) || self.inbox.accountant.in_transaction() {
            return Ok(());
        }
        let moved = self.inbox.accountant.complete() > self.position_queued;
        let undurable = self.lanes.committed() > self.durable.lsn();
        let due = moved && self.last_position.elapsed() >= POSITION_INTERVAL
            || undurable && self.last_durable.elapsed() >= DURABLE_INTERVAL;
        if open || !self.inbox.is_empty() && self.is_worth_it() || due {
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Queues the folds' statements once the lane has room, after fetching what they wait for.
    async fn write_folds(&mut self) -> Result<(), ApplyError> {
        while !self.lanes.can_take() {
            self.wait_for_lane().await?;
            self.check_interrupt()?;
        }
        self.fetch_waiting().await?;
        self.ask_again().await?;
        // A TRUNCATE is for every key, so for every lane.
        let truncates = self.inbox.folds.iter().any(Fold::truncated);
        if truncates {
            self.settle_lanes().await?;
        }
        if !self.inbox.is_empty() {
            let from = if self.is_careful() { Lsn::INVALID } else { self.inbox.since };
            self.lanes.write(&self.inbox.tables, &self.inbox.folds, from);
        }
        self.inbox.clear();
        Ok(())
    }

    /// A table that the stream has described is still what was planned: the description has names
    /// and types of columns, and nothing of what these are made of, or of keys that hold no NULL.
    async fn ask_again(&mut self) -> Result<(), ApplyError> {
        while let Some(table) = self.inbox.described.pop_first() {
            let ApplyTable { foundation, source, .. } = &self.inbox.tables[table];
            let difference =
                foundation.difference(self.source).await.map_err(ApplyError::Stream)?;
            if let Some(difference) = difference {
                let (table, at) = (source.plain(), self.inbox.accountant.complete());
                return Err(ApplyError::TableChanged { table, at, difference });
            }
        }
        Ok(())
    }

    /// Waits until several lanes have nothing on their way.
    async fn settle_lanes(&mut self) -> Result<(), ApplyError> {
        while self.lanes.is_spread() && !self.lanes.is_idle() {
            self.wait_for_lane().await?;
            self.check_interrupt()?;
        }
        Ok(())
    }

    fn commit(&mut self, durable: bool) {
        let position = self.inbox.position();
        self.position_queued = position.applied;
        self.last_position = Instant::now();
        let durable = durable || self.last_durable.elapsed() >= DURABLE_INTERVAL;
        if durable {
            self.last_durable = Instant::now();
        }
        self.lanes.commit(position, durable);
    }

    fn check_interrupt(&self) -> Result<(), ApplyError> {
        if *self.interrupt.borrow() { Err(ApplyError::Interrupted) } else { Ok(()) }
    }

    /// Waits a little for the lanes to send and to make something durable, and keeps answering the
    /// walsender and telling how far it is.
    async fn wait_for_lane(&mut self) -> Result<(), ApplyError> {
        tokio::select! {
            durable = self.lanes.durable(&self.inbox.tables) => {
                durable?.into_iter().for_each(|durable| self.is_durable(durable));
            }
            () = tokio::time::sleep(LANE_WAIT) => {}
        }
        if self.told.elapsed() >= TICK {
            self.tell_progress();
        }
        self.report().await
    }

    /// Waits for what is on its way, tells the source how far we are, and frees the slot.
    ///
    /// What was asked for is done by then, so trouble with saying goodbye is not an error: a
    /// walsender may be in the middle of a huge transaction that it wants to finish first.
    pub(super) async fn finish(mut self) -> Result<(), ApplyError> {
        while self.lanes.has_commits() {
            self.wait_for_lane().await?;
        }
        // What is open is half of a transaction, and ends with the session.
        if self.lanes.committed() > self.durable.lsn() && !self.lanes.is_open() {
            let applied = self.lanes.committed();
            self.lanes.commit(Position { applied, ..Position::default() }, true);
            while self.lanes.has_commits() {
                self.wait_for_lane().await?;
            }
        }
        self.tell_progress();
        match tokio::time::timeout(GOODBYE, self.stream.close()).await {
            Ok(Ok(walsender)) => walsender.close().await,
            Ok(Err(error)) => tracing::info!("ending the stream: {error}"),
            Err(_) => tracing::info!("the walsender did not end the stream in time"),
        }
        self.lanes.close().await;
        Ok(())
    }
}
