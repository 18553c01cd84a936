//! The loop that keeps everything moving, from the stream to the lane and back.
//!
//! One task owns the stream, the folds and the lane. It reads while the lane has room, answers
//! the walsender on time whether it reads or not, and hands over what has been folded as soon as
//! the lane has nothing to do, or when the folds are full.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time::MissedTickBehavior};

use super::{
    Apply, ApplyError, Moment, Outcome,
    driver::{Driver, TICK},
    error::TARGET,
};
use crate::{
    conn::{Connection, Error},
    ledger::Ledger,
    pg::Lsn,
    replication::{Chunk, ReplicationStream},
};

/// How long more is let come where little has come. A Unix socket holds some 250 messages however
/// small they are, each being charged its kernel buffer, and a walsender makes up to 500 in a
/// millisecond: after a whole one, the clock's own step, it was waiting most of the time (a million
/// deletes took 10 s instead of 4).
const GATHER: Duration = Duration::from_micros(100);
/// How long lanes that are idle are left so while complete transactions wait for more to come.
const HAND_OVER: Duration = Duration::from_millis(1);
/// What is little.
const LITTLE_BYTES: usize = 64 * 1024;
/// How often lanes that were given up are looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Apply {
    /// Streams from the ledger's position and applies until told to stop, or until what was asked
    /// for is reached. `source` and `target` are ordinary sessions; `interrupt` turns true when it
    /// is to stop.
    ///
    /// A batch that meets a conflict is not an error yet: two rows may have exchanged a value of
    /// another unique index, and a row that was taken for new may have been brought by a page. It
    /// begins again from the ledger's position, as after a crash, and writes one change at a time
    /// in the order of the log until the place is passed. What a staging table refuses comes again
    /// in the same way, and goes without one.
    ///
    /// Errors: the stream, the target or a table is not as it must be. What was committed stays,
    /// and the position in the ledger tells how far that is.
    pub async fn run(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        interrupt: watch::Receiver<bool>,
        mut listen: impl FnMut(Moment) + Send,
    ) -> Result<Outcome, ApplyError> {
        let mut apply = self.clone();
        let mut careful = Careful::default();
        loop {
            let mut driver = Driver::start(
                &apply,
                source,
                target,
                interrupt.clone(),
                careful.until,
                &mut listen,
            )
            .await?;
            let driven = drive(&mut driver, interrupt.clone()).await;
            let (received, checkpoint) = (driver.received(), driver.checkpoint());
            let ended = match driven {
                Ok(outcome) => driver.finish().await.map(|()| outcome),
                Err(error) => {
                    drop(driver);
                    Err(error)
                }
            };
            let error = match ended {
                Err(error) if error.is_conflict() || error.unstaged().is_some() => error,
                ended => return ended,
            };
            // What met it is rolled back, and the next run begins before it.
            if *interrupt.borrow() {
                return Ok(Outcome::Interrupted);
            }
            if let Some(table) = error.unstaged().and_then(|at| apply.tables.get_mut(at)) {
                table.staged = false;
                tracing::info!("{error}; now without a staging table");
            } else if careful.widen(received) {
                tracing::info!("{error}; now one change at a time up to {}", careful.until);
            } else {
                return Err(error);
            }
            apply.checkpoint = checkpoint;
            no_writers_left(target, &apply, interrupt.clone()).await?;
        }
    }
}

/// Up to where changes are written one at a time.
#[derive(Debug, Default)]
struct Careful {
    until: Lsn,
    /// How much further than the conflict: twice as far each time, since where rows exchange
    /// values they do so again.
    bytes: u64,
}

/// From there on it is no longer made twice as far: some minutes of a busy source.
const CAREFUL_MAX: u64 = 256 * 1024 * 1024;

impl Careful {
    /// Whether there is more to be careful with than before.
    fn widen(&mut self, received: Lsn) -> bool {
        if received <= self.until {
            return false;
        }
        self.until = Lsn(received.0.saturating_add(self.bytes));
        self.bytes = (self.bytes * 2).clamp(64 * 1024, CAREFUL_MAX);
        true
    }
}

/// Waits until nothing of the lanes that were given up is in the target's hands any more: what
/// they had sent may still be committed, and must not come on top of what is applied anew.
async fn no_writers_left(
    target: &mut Connection,
    apply: &Apply,
    interrupt: watch::Receiver<bool>,
) -> Result<(), ApplyError> {
    let failed = |error| ApplyError::Target { place: TARGET.into(), after: Lsn::INVALID, error };
    let since = Instant::now();
    while let Some(writers) =
        Ledger::of(target, &apply.migration).writers().await.map_err(failed)?
    {
        if since.elapsed() > apply.stall {
            return Err(failed(Error::Result(format!(
                "sessions that may still write for it have not ended for {} s: {writers}",
                apply.stall.as_secs()
            ))));
        }
        if *interrupt.borrow() {
            return Err(ApplyError::Interrupted);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Keeps everything moving until there is nothing more to do.
async fn drive(
    driver: &mut Driver<'_>,
    mut interrupt: watch::Receiver<bool>,
) -> Result<Outcome, ApplyError> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut little = false;
    loop {
        if driver.is_finished() {
            return Ok(Outcome::Reached);
        }
        let can_take = driver.lanes.can_take() && !driver.is_stopping();
        let step = tokio::select! {
            biased;
            true = stopped(&mut interrupt) => return Ok(Outcome::Interrupted),
            durable = driver.lanes.durable(&driver.inbox.tables), if !driver.lanes.is_idle() => {
                durable.map(|durable| durable.into_iter().for_each(|d| driver.is_durable(d)))
            }
            chunk = gather(&mut driver.stream, little), if can_take => match chunk {
                Ok(chunk) => {
                    little = chunk.bytes() < LITTLE_BYTES;
                    driver.take(&chunk).await
                }
                Err(error) => Err(ApplyError::Stream(error)),
            },
            () = tokio::time::sleep(HAND_OVER), if driver.has_to_hand_over() => Ok(()),
            _ = tick.tick() => {
                driver.tell_progress();
                Ok(())
            }
        };
        match step.and(driver.hand_over_if_idle().await).and(driver.report().await) {
            Err(ApplyError::Interrupted) => return Ok(Outcome::Interrupted),
            step => step?,
        }
    }
}

/// The next chunk of the stream. A walsender sends each message by itself, and to be woken for
/// each costs both sides more than the message; so where little came the last time, more is let
/// come first.
async fn gather(stream: &mut ReplicationStream, little: bool) -> Result<Chunk, Error> {
    if little {
        // The runtime's clock steps by milliseconds, and nothing else of this task has a use for
        // a tenth of one.
        std::thread::sleep(GATHER);
    }
    stream.chunk().await
}

/// Returns once the run is told to stop, or, with `false`, once nobody can tell it any more.
///
/// What the receiver's own `wait_for` gives holds a lock as long as it lives, and so would keep
/// whoever goes on waiting from moving between threads.
pub async fn stopped(interrupt: &mut watch::Receiver<bool>) -> bool {
    interrupt.wait_for(|stop| *stop).await.is_ok()
}
