//! Looking at the rows that were seen to differ until it is known whether they do.
//!
//! Rows wait together, so that what a look costs, the wait for the target above all, is paid for
//! many at once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    DifferentRow, Follower, Found, VerifyError, VerifyProgress,
    position::Wait,
    side::Sides,
    suspect::{Judgement, Kind, Shown, Suspect},
    table::DIFFERENT_MAX,
};

/// The most rows that wait.
const SUSPECTS_MAX: usize = 1000;

/// The most hashes of one answer: rows times columns.
const HASHES_MAX: usize = 20_000;

/// The most rows in one statement.
const LOOK_ROWS_MAX: usize = 250;

/// So few rows are read again and again while the target is waited for: those that are left are
/// the ones that change all the time, and this is how a value is caught that the target will have.
const WATCHED_MAX: usize = 16;

/// How long rows wait while there is something else to do.
const ROUND_EVERY: Duration = Duration::from_secs(1);

/// The first pause before a row is looked at again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The rows that wait, and what became of the others.
pub(super) struct Settler<'a> {
    pub(super) found: Found,
    pub(super) tell: &'a mut (dyn FnMut(VerifyProgress) + Send),
    follower: &'a Follower,
    suspects: Vec<Suspect>,
    last: Instant,
    /// Versions of rows that are told: two spellings of a key may lead to one row.
    told: HashSet<(Option<String>, Option<String>)>,
}

impl<'a> Settler<'a> {
    pub(super) fn new(
        follower: &'a Follower,
        tell: &'a mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Self {
        let (found, last) = (Found::default(), Instant::now());
        Self { found, tell, follower, suspects: Vec::new(), last, told: HashSet::new() }
    }

    /// Whether there is no need to know more.
    pub(super) const fn is_enough(&self) -> bool {
        self.found.different >= DIFFERENT_MAX
    }

    /// Adds rows that were seen to differ.
    pub(super) async fn add(
        &mut self,
        sides: &mut Sides<'_>,
        keys: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<(), VerifyError> {
        for key in keys {
            while self.suspects.len() >= SUSPECTS_MAX && !self.is_enough() {
                self.round(sides).await?;
            }
            if self.is_enough() {
                return Ok(());
            }
            self.suspects.push(Suspect::new(key));
        }
        Ok(())
    }

    /// A round if the last one is long ago.
    pub(super) async fn now_and_then(&mut self, sides: &mut Sides<'_>) -> Result<(), VerifyError> {
        if self.last.elapsed() >= ROUND_EVERY {
            self.round(sides).await?;
        }
        Ok(())
    }

    /// Rounds until no row waits.
    pub(super) async fn all(&mut self, sides: &mut Sides<'_>) -> Result<(), VerifyError> {
        while !self.suspects.is_empty() && !self.is_enough() {
            self.round(sides).await?;
        }
        Ok(())
    }

    /// Looks once at every row that waits.
    async fn round(&mut self, sides: &mut Sides<'_>) -> Result<(), VerifyError> {
        if self.suspects.is_empty() {
            self.last = Instant::now();
            return Ok(());
        }
        tokio::time::sleep(pause(self.suspects.iter().map(Suspect::looks).min().unwrap_or(0)))
            .await;
        let keys: Vec<_> = self.suspects.iter().map(|suspect| suspect.key.clone()).collect();
        let at_once = (HASHES_MAX / sides.table.columns.len().max(1)).clamp(1, LOOK_ROWS_MAX);
        let snapshot = sides.snapshot().await?;
        let mut source = Vec::new();
        for keys in keys.chunks(at_once) {
            let asked = Instant::now();
            source.extend(sides.look_at_source(keys).await?);
            (self.tell)(VerifyProgress::SnapshotHeld(asked.elapsed()));
        }
        self.wait(sides, &keys).await?;
        let mut target = Vec::new();
        for keys in keys.chunks(at_once) {
            target.extend(sides.look_at_target(keys).await?);
        }
        let rows = source.into_iter().zip(target);
        let suspects = std::mem::take(&mut self.suspects);
        for (mut suspect, (source, target)) in suspects.into_iter().zip(rows) {
            match suspect.look(&snapshot, source.as_ref(), target.as_ref()) {
                Judgement::Open => self.suspects.push(suspect),
                Judgement::Equal => {}
                Judgement::Moving => self.found.moving += 1,
                Judgement::Differs(kind, columns) => {
                    let key = suspect.key;
                    self.differs(sides, key, kind, &columns, (source, target)).await?;
                }
            }
        }
        self.last = Instant::now();
        Ok(())
    }

    /// Waits until the target has passed all that was seen of the source.
    async fn wait(
        &mut self,
        sides: &mut Sides<'_>,
        keys: &[Vec<String>],
    ) -> Result<(), VerifyError> {
        if *self.follower == Follower::Nobody {
            return Ok(());
        }
        let mut wait = Wait::new(sides.checkpoint().await?);
        let table = sides.table.target.plain();
        while !wait.is_over(self.follower, sides.source, sides.target, &table).await? {
            tokio::time::sleep(wait.pause()).await;
            if keys.len() <= WATCHED_MAX {
                let seen = sides.look_at_source(keys).await?;
                for (suspect, row) in self.suspects.iter_mut().zip(seen) {
                    suspect.source_had(row.as_ref());
                }
            }
        }
        Ok(())
    }

    async fn differs(
        &mut self,
        sides: &mut Sides<'_>,
        key: Vec<String>,
        kind: Kind,
        columns: &[usize],
        (source, target): (Option<Shown>, Option<Shown>),
    ) -> Result<(), VerifyError> {
        if kind == Kind::Different
            && let Some(target) = &target
            && sides.is_respelled(&key, columns, target).await?
        {
            self.found.respelled += 1;
            return Ok(());
        }
        let version = |row: Option<Shown>| row.map(|row| row.version);
        if !self.told.insert((version(source), version(target))) {
            return Ok(());
        }
        self.found.different += 1;
        let table = sides.table;
        let names = table.source_key.iter().map(|column| column.name.clone());
        let row = DifferentRow {
            key: names.zip(key).collect(),
            kind,
            columns: columns.iter().filter_map(|&i| table.columns.get(i).cloned()).collect(),
        };
        (self.tell)(VerifyProgress::Differs(row));
        Ok(())
    }
}

/// How long to wait before rows are looked at once more that were looked at so often.
fn pause(looks: u32) -> Duration {
    match looks {
        0 => Duration::ZERO,
        looks => PAUSES.0.saturating_mul(1 << (looks - 1).min(16)).min(PAUSES.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::suspect::LOOKS_MAX;

    #[test]
    fn a_row_that_never_settles_is_looked_at_for_some_seconds() {
        assert_eq!([0, 1, 2, 3].map(pause), [0, 10, 20, 40].map(Duration::from_millis));
        let all: Duration = (0..LOOKS_MAX).map(pause).sum();
        assert!(all > Duration::from_secs(5) && all < Duration::from_secs(15), "{all:?}");
    }
}
