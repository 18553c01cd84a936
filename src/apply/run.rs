//! The loop that keeps everything moving, from the stream to the lane and back.
//!
//! One task owns the stream, the folds and the lane. It reads while the lane has room, answers
//! the walsender on time whether it reads or not, and hands over what has been folded as soon as
//! the lane has nothing to do, or when the folds are full.

use std::time::Duration;

use tokio::{sync::watch, time::MissedTickBehavior};

use super::{ApplyError, ApplyTable, driver::Driver};
use crate::{
    config::Config,
    conn::Connection,
    pg::{Lsn, PgTimestamp},
};

/// How often progress is told, and how late at most an answer to the walsender is.
const TICK: Duration = Duration::from_millis(250);

/// An applying of changes.
#[derive(Clone, Debug)]
pub struct Apply {
    /// The migration's name in the ledger.
    pub migration: String,
    /// Where the slot is.
    pub source: Config,
    /// Where the changes go.
    pub target: Config,
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Lanes up to the checkpoint, at least one.
    pub jobs: usize,
    /// Whether values may come in binary.
    pub binary: bool,
    /// The tables.
    pub tables: Vec<ApplyTable>,
    /// The checkpoint, from which on the target is exact.
    pub checkpoint: Lsn,
    /// When to stop.
    pub stop: Stop,
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Once everything that was committed before this position, and before the checkpoint, is on
    /// the target.
    At(Lsn),
    /// When told to.
    WhenTold,
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is on the target.
    Reached,
    /// It was told to; the position is stored.
    Interrupted,
}

/// What it tells while it runs.
#[derive(Clone, Debug)]
pub enum Moment {
    /// How far it is.
    Progress(ApplyProgress),
    /// A row had to be fetched; the target will be exact only here.
    CheckpointRaised(Lsn),
    /// The target is what the source was at this position, and that is committed.
    CheckpointPassed(Lsn),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyProgress {
    /// Durable on the target.
    pub applied: Lsn,
    /// Received.
    pub received: Lsn,
    /// The checkpoint.
    pub checkpoint: Lsn,
    /// Changes received in this run.
    pub changes: u64,
    /// When the last durable transaction was committed on the source.
    pub committed_at: Option<PgTimestamp>,
}

impl Apply {
    /// Streams from the ledger's position and applies until told to stop, or until what was asked
    /// for is reached. `source` and `target` are ordinary sessions; `interrupt` turns true when it
    /// is to stop.
    ///
    /// Errors: the stream, the target or a table is not as it must be. What was committed stays,
    /// and the position in the ledger tells how far that is.
    pub async fn run(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        mut interrupt: watch::Receiver<bool>,
        mut listen: impl FnMut(Moment),
    ) -> Result<Outcome, ApplyError> {
        let mut driver = Driver::start(self, source, target, interrupt.clone()).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            if driver.is_finished() {
                break Outcome::Reached;
            }
            let can_take = driver.lanes.can_take() && !driver.is_stopping();
            let step = tokio::select! {
                biased;
                Ok(_) = interrupt.wait_for(|stop| *stop) => break Outcome::Interrupted,
                durable = driver.lanes.durable(&driver.inbox.tables), if !driver.lanes.is_idle() => {
                    durable.map(|durable| durable.into_iter().for_each(|d| driver.is_durable(d)))
                }
                chunk = driver.stream.chunk(), if can_take => match chunk {
                    Ok(chunk) => driver.take(&chunk).await,
                    Err(error) => Err(ApplyError::Stream(error)),
                },
                _ = tick.tick() => {
                    driver.tell_progress();
                    Ok(())
                }
            };
            match step.and(driver.hand_over_if_idle().await).and(driver.report().await) {
                Err(ApplyError::Interrupted) => break Outcome::Interrupted,
                step => step?,
            }
            driver.moments.drain(..).for_each(&mut listen);
        };
        driver.finish(&mut listen).await?;
        Ok(outcome)
    }
}
