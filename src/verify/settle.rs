//! Looking at the rows that were seen to differ until it is known whether they do.
//!
//! Rows wait together, so that what a look costs, the wait for the target above all, is paid for
//! many at once. Each has its own pauses all the same: a row that does not settle is to be looked
//! at over some seconds, in which a commit may become visible that waits for a standby. Hurried on
//! by rows that were just found it would have had its looks at once, and be said to differ; and
//! were they to wait for it, a single row that never settles would cost each of them a second.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
    time::{Duration, Instant},
};

use super::{
    DifferentRow, Follower, Found, VerifyError, VerifyProgress,
    position::Wait,
    side::Sides,
    suspect::{Judgement, Kind, Shown, Suspect},
};
use crate::pg::Ident;

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

/// A row that waits, and until when.
struct Waiting {
    suspect: Suspect,
    due: Instant,
}

impl Waiting {
    /// For its first look, or the next one.
    fn new(suspect: Suspect, now: Instant) -> Self {
        let due = now + pause(suspect.looks());
        Self { suspect, due }
    }
}

/// Takes the rows whose next look is due.
fn take_due(waiting: &mut Vec<Waiting>, now: Instant) -> Vec<Suspect> {
    let (due, later) = std::mem::take(waiting).into_iter().partition(|row| row.due <= now);
    *waiting = later;
    let due: Vec<Waiting> = due;
    due.into_iter().map(|row| row.suspect).collect()
}

/// The rows that wait, and what became of the others.
pub(super) struct Settler<'a> {
    pub(super) tell: &'a mut (dyn FnMut(VerifyProgress) + Send),
    pub(super) found: Found,
    /// How often each row is walked past, and how many were in all.
    pub(super) passes: u64,
    walked: u64,
    follower: &'a Follower,
    waiting: Vec<Waiting>,
    last: Instant,
    /// Rows whose key the two sides spell differently, and that are told: by either spelling they
    /// are found. Hashes of their versions, of which there may be very many.
    told: HashSet<u64>,
    hasher: RandomState,
}

impl<'a> Settler<'a> {
    pub(super) fn new(
        follower: &'a Follower,
        tell: &'a mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Self {
        Self {
            tell,
            found: Found::default(),
            passes: 1,
            walked: 0,
            follower,
            waiting: Vec::new(),
            last: Instant::now(),
            told: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// A page with so many rows of the source is compared.
    pub(super) fn page(&mut self, rows: u64) {
        (self.found.rows, self.found.pages) = (self.found.rows + rows, self.found.pages + 1);
        self.walked(rows);
    }

    /// So many rows more were walked past.
    pub(super) fn walked(&mut self, rows: u64) {
        self.walked += rows;
        let (Found { rows, pages, .. }, walked, passes) = (self.found, self.walked, self.passes);
        (self.tell)(VerifyProgress::Page { rows, pages, walked, passes });
    }

    /// Adds rows that were seen to differ.
    pub(super) async fn add(
        &mut self,
        sides: &mut Sides<'_>,
        keys: impl IntoIterator<Item = Vec<String>>,
    ) -> Result<(), VerifyError> {
        for key in keys {
            while self.waiting.len() >= SUSPECTS_MAX {
                self.round(sides).await?;
            }
            self.waiting.push(Waiting::new(Suspect::new(key), Instant::now()));
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
        while !self.waiting.is_empty() {
            self.round(sides).await?;
        }
        Ok(())
    }

    /// Looks once at every row that is due, and waits until one is.
    async fn round(&mut self, sides: &mut Sides<'_>) -> Result<(), VerifyError> {
        let Some(earliest) = self.waiting.iter().map(|row| row.due).min() else {
            self.last = Instant::now();
            return Ok(());
        };
        tokio::time::sleep(earliest.saturating_duration_since(Instant::now())).await;
        let mut suspects = take_due(&mut self.waiting, Instant::now());
        let keys: Vec<_> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        let at_once = (HASHES_MAX / sides.table.columns.len().max(1)).clamp(1, LOOK_ROWS_MAX);
        let snapshot = sides.snapshot().await?;
        let mut source = Vec::new();
        for keys in keys.chunks(at_once) {
            let asked = Instant::now();
            source.extend(sides.look_at_source(keys).await?);
            (self.tell)(VerifyProgress::SnapshotHeld(asked.elapsed()));
        }
        wait(self.follower, sides, &keys, &mut suspects).await?;
        let mut target = Vec::new();
        for keys in keys.chunks(at_once) {
            target.extend(sides.look_at_target(keys).await?);
        }
        let rows = source.into_iter().zip(target);
        for (mut suspect, (source, target)) in suspects.into_iter().zip(rows) {
            match suspect.look(&snapshot, source.as_ref(), target.as_ref()) {
                Judgement::Open => self.waiting.push(Waiting::new(suspect, Instant::now())),
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

    async fn differs(
        &mut self,
        sides: &mut Sides<'_>,
        key: Vec<String>,
        kind: Kind,
        columns: &[usize],
        (source, target): (Option<Shown>, Option<Shown>),
    ) -> Result<(), VerifyError> {
        let table = sides.table;
        let names: Vec<_> = columns.iter().filter_map(|&i| table.columns.get(i).cloned()).collect();
        let is_key = |name: &Ident| table.source_key.iter().any(|column| column.name == *name);
        if names.iter().any(is_key) {
            let version = |row: &Option<Shown>| row.as_ref().map(|row| row.version.clone());
            if !self.told.insert(self.hasher.hash_one((version(&source), version(&target)))) {
                return Ok(());
            }
        }
        if kind == Kind::Different
            && let Some(target) = &target
            && sides.is_respelled(&key, columns, target).await?
        {
            self.found.respelled += 1;
            return Ok(());
        }
        self.found.different += 1;
        let of_key = table.source_key.iter().map(|column| column.name.clone());
        let row = DifferentRow { key: of_key.zip(key).collect(), kind, columns: names };
        (self.tell)(VerifyProgress::Differs(row));
        Ok(())
    }
}

/// Waits until the target has passed all that was seen of the source.
async fn wait(
    follower: &Follower,
    sides: &mut Sides<'_>,
    keys: &[Vec<String>],
    suspects: &mut [Suspect],
) -> Result<(), VerifyError> {
    if *follower == Follower::Nobody {
        return Ok(());
    }
    let mut wait = Wait::new(sides.checkpoint().await?);
    let table = sides.table.target.plain();
    while !wait.is_over(follower, sides.source, sides.target, &table).await? {
        tokio::time::sleep(wait.pause()).await;
        if keys.len() <= WATCHED_MAX {
            let seen = sides.look_at_source(keys).await?;
            for (suspect, row) in suspects.iter_mut().zip(seen) {
                suspect.source_had(row.as_ref());
            }
        }
    }
    Ok(())
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

    /// A look that finds nothing out: the source's row is another one each time.
    fn look(suspect: &mut Suspect) -> Judgement {
        let shown = |version: u32, columns| Shown { version: version.to_string(), columns };
        let source = shown(suspect.looks(), vec![1]);
        let snapshot = "9:9:".parse().unwrap();
        suspect.look(&snapshot, Some(&source), Some(&shown(0, vec![2])))
    }

    #[test]
    fn a_row_keeps_its_pauses_beside_those_that_are_new_and_does_not_hold_them_up() {
        let began = Instant::now();
        let old = Suspect::new(vec!["old".into()]);
        let mut waiting = vec![Waiting::new(old, began)];
        let mut now = began;
        let mut looks = 0;
        while looks < LOOKS_MAX {
            waiting.push(Waiting::new(Suspect::new(vec!["new".into()]), now));
            // A round takes some time.
            now += Duration::from_millis(1);
            let due = take_due(&mut waiting, now);
            assert!(due.iter().any(|row| row.key == ["new"] && row.looks() == 0));
            for mut row in due.into_iter().filter(|row| row.key == ["old"]) {
                looks += 1;
                assert_eq!(look(&mut row) == Judgement::Open, looks < LOOKS_MAX);
                waiting.push(Waiting::new(row, now));
            }
        }
        let all: Duration = (0..LOOKS_MAX).map(pause).sum();
        assert!(now - began >= all, "{:?}", now - began);
    }
}
