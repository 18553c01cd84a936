//! Where the target stands, as the one who brings it the changes tells.

use std::time::{Duration, Instant};

use super::VerifyError;
use crate::{
    conn::{Connection, Error},
    ledger::{Ledger, MigrationName},
    pg::Lsn,
    replication::find_slot,
};

/// Who brings the target the source's changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// A pghost, which stores its position in the ledger together with the changes. The
    /// migration's name.
    Ledger(MigrationName),
    /// Somebody who reads a slot of the source and acknowledges what is durable on the target, as
    /// a native subscription does. The slot's name.
    Slot(String),
    /// Nobody: what the source has changed since then differs.
    Nobody,
}

/// How long a subscription's position may stand still: as long as a large transaction takes, before
/// whose end nothing is confirmed. A pghost that is there is waited for as long as it is.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is asked whether anybody is there.
const ANYBODY: Duration = Duration::from_secs(1);

/// The first and the longest pause between two looks at a position.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// A wait for a position.
#[derive(Debug)]
pub(super) struct Wait {
    wanted: Lsn,
    position: Lsn,
    moved: Instant,
    asked: Instant,
    pause: Duration,
}

impl Wait {
    pub(super) fn new(wanted: Lsn) -> Self {
        let (now, pause) = (Instant::now(), PAUSES.0);
        Self { wanted, position: Lsn::INVALID, moved: now, asked: now, pause }
    }

    /// How long to wait before it is asked again.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        pause
    }

    /// Whether the target has passed the position.
    ///
    /// Errors: it does not come there. `table` is for the message.
    pub(super) async fn is_over(
        &mut self,
        follower: &Follower,
        source: &mut Connection,
        target: &mut Connection,
        table: &str,
    ) -> Result<bool, VerifyError> {
        let failed = |side, error| VerifyError::Server { table: table.to_owned(), side, error };
        let position = match follower {
            Follower::Nobody => return Ok(true),
            Follower::Ledger(name) => {
                Ledger::of(target, name).applied().await.map_err(|e| failed("target", e))?
            }
            Follower::Slot(name) => find_slot(source, name)
                .await
                .map_err(|e| failed("source", e))?
                .and_then(|slot| slot.confirmed_flush),
        };
        let position = position.unwrap_or(Lsn::INVALID);
        if position >= self.wanted {
            return Ok(true);
        }
        let now = Instant::now();
        if position > self.position {
            (self.position, self.moved) = (position, now);
        }
        let is_slot = matches!(follower, Follower::Slot(_));
        let why = if is_slot && now - self.moved > PATIENCE {
            Some(format!("it has not moved for {} s", PATIENCE.as_secs()))
        } else if now - self.asked > ANYBODY {
            self.asked = now;
            nobody(follower, source, target).await.map_err(|e| failed("target", e))?
        } else {
            None
        };
        match why {
            None => Ok(false),
            Some(why) => Err(VerifyError::NotFollowed { position, wanted: self.wanted, why }),
        }
    }
}

/// Why nothing will come, if that is so.
async fn nobody(
    follower: &Follower,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Option<String>, Error> {
    match follower {
        Follower::Nobody => Ok(None),
        Follower::Ledger(name) => {
            let running = Ledger::of(target, name).is_running().await?;
            Ok((!running).then(|| format!("the pghost of the migration {name} has ended")))
        }
        // A subscription's worker comes back by itself; how long it may take is PATIENCE.
        Follower::Slot(name) => {
            let slot = find_slot(source, name).await?;
            Ok(slot.is_none().then(|| format!("the slot {name} is gone")))
        }
    }
}
