//! The judgement, on chosen looks and on random histories of a row.

use proptest::prelude::*;

use super::*;

fn row(version: u32, columns: &[i64]) -> Shown {
    Shown { version: version.to_string(), columns: columns.to_vec() }
}

fn snapshot(xmin: u64, xmax: u64) -> Snapshot {
    format!("{xmin}:{xmax}:").parse().unwrap()
}

fn suspect() -> Suspect {
    Suspect::new(vec!["1".into()])
}

#[test]
fn a_row_that_arrives_later_is_equal() {
    let mut suspect = suspect();
    let (old, new) = (row(1, &[1, 1]), row(2, &[1, 2]));
    assert_eq!(suspect.look(&snapshot(9, 9), Some(&new), Some(&old)), Judgement::Open);
    let later = row(3, &[1, 3]);
    // The target has what the source had a look before.
    assert_eq!(suspect.look(&snapshot(10, 10), Some(&later), Some(&new)), Judgement::Equal);
}

#[test]
fn what_the_source_had_between_two_looks_counts() {
    let mut suspect = suspect();
    suspect.source_had(Some(&row(5, &[5])));
    suspect.source_had(None);
    let target = row(7, &[5]);
    assert_eq!(suspect.look(&snapshot(9, 9), Some(&row(6, &[6])), Some(&target)), Judgement::Equal);
}

#[test]
fn rows_that_stand_still_differ_at_the_third_look() {
    for (source, target, kind, columns) in [
        (Some(row(1, &[1, 2])), Some(row(1, &[1, 3])), Kind::Different, vec![1]),
        (Some(row(1, &[1, 2])), None, Kind::MissingOnTarget, vec![]),
        (None, Some(row(1, &[1, 2])), Kind::ExtraOnTarget, vec![]),
    ] {
        let mut suspect = suspect();
        let mut look = |at| suspect.look(&snapshot(at, at), source.as_ref(), target.as_ref());
        assert_eq!(look(9), Judgement::Open);
        assert_eq!(look(9), Judgement::Open);
        assert_eq!(look(9), Judgement::Differs(kind, columns));
    }
}

#[test]
fn a_transaction_that_is_open_may_be_on_the_target_already() {
    let mut suspect = suspect();
    let (source, target) = (row(1, &[1]), row(1, &[2]));
    for _ in 0..8 {
        // 9 is open all the time.
        let found = suspect.look(&snapshot(9, 20), Some(&source), Some(&target));
        assert_eq!(found, Judgement::Open);
    }
    let found = suspect.look(&snapshot(20, 20), Some(&source), Some(&target));
    assert!(matches!(found, Judgement::Differs(..)), "{found:?}");
}

#[test]
fn a_row_written_anew_with_the_same_values_has_not_stood_still() {
    let mut suspect = suspect();
    let target = row(1, &[2]);
    for at in 0..6 {
        let found = suspect.look(&snapshot(9, 9), Some(&row(at, &[1])), Some(&target));
        assert_eq!(found, Judgement::Open);
    }
}

#[test]
fn of_a_row_that_never_stands_still_only_what_does_can_differ() {
    let looks = |of: &dyn Fn(i64) -> (Vec<i64>, Vec<i64>)| {
        let mut suspect = suspect();
        let mut found = Judgement::Open;
        for at in 0..LOOKS_MAX {
            let (source, target) = of(i64::from(at));
            let (source, target) = (row(at, &source), row(at, &target));
            assert_eq!(found, Judgement::Open);
            found = suspect.look(&snapshot(9, 9), Some(&source), Some(&target));
        }
        found
    };
    assert_eq!(looks(&|at| (vec![at, 7], vec![at - 100, 7])), Judgement::Moving);
    assert_eq!(
        looks(&|at| (vec![at, 7, 8], vec![at - 100, 6, 8])),
        Judgement::Differs(Kind::Different, vec![1])
    );
}

/// A source whose one row is written by transactions that commit, are visible only some time
/// later, and reach the target whenever they have committed.
#[derive(Default)]
struct World {
    /// What each commit made of the row, in order; the number of a commit is its position.
    commits: Vec<Option<i64>>,
    /// How many of them can be seen. The next one that writes the row waits for the one before.
    visible: usize,
    /// How many of them are on the target.
    applied: usize,
    /// The one that the target loses, if any.
    lost: Option<usize>,
    /// The last position that was taken.
    position: usize,
}

impl World {
    fn step(&mut self, what: u8) {
        match what % 8 {
            // A row's next writer waits until it can see the last one.
            0 | 1 if self.visible == self.commits.len() => {
                let there = self.commits.last().copied().flatten();
                let value = match (there, what / 8 % 3) {
                    (Some(_), 0) => None,
                    // Few values, so that they come again.
                    _ => Some(i64::from(what / 32)),
                };
                self.commits.push(value);
            }
            2 => self.visible = self.commits.len(),
            3..=5 => self.applied = (self.applied + 1).min(self.commits.len()),
            _ => {}
        }
    }

    fn row(&self, upto: usize, lost: Option<usize>) -> Option<Shown> {
        let mut commits = self.commits[..upto].iter().enumerate();
        let (version, value) = commits.rfind(|(at, _)| Some(*at) != lost)?;
        value.map(|value| row(u32::try_from(version).unwrap(), &[value]))
    }

    /// As the server takes it: `xmax` is one more than the last id that has ended, the positions'
    /// own among them, and who is in progress at or above that is not told. The commit of number n
    /// has the id 10 + 2n, and a position that was taken behind n commits the one before.
    fn snapshot(&self) -> Snapshot {
        let xmax = (9 + 2 * self.visible).max(10 + 2 * self.position);
        let writer = 10 + 2 * self.visible;
        let xmin = if self.visible < self.commits.len() { writer.min(xmax) } else { xmax };
        snapshot(xmin as u64, xmax as u64)
    }

    /// Looks until it is judged; `steps` are what happens meanwhile, then nothing more does.
    fn judge(&mut self, steps: &mut impl Iterator<Item = u8>) -> Judgement {
        let mut suspect = suspect();
        loop {
            self.some(steps);
            let snapshot = self.snapshot();
            self.some(steps);
            let source = self.row(self.visible, None);
            self.some(steps);
            let position = self.commits.len();
            self.position = position;
            while self.applied < position {
                match steps.next() {
                    Some(step) => self.step(step),
                    None => self.applied = position,
                }
            }
            self.some(steps);
            let target = self.row(self.applied, self.lost);
            let found = suspect.look(&snapshot, source.as_ref(), target.as_ref());
            if found != Judgement::Open {
                return found;
            }
        }
    }

    fn some(&mut self, steps: &mut impl Iterator<Item = u8>) {
        let pause = steps.next().unwrap_or(0) % 4;
        (0..pause).for_each(|_| {
            if let Some(step) = steps.next() {
                self.step(step);
            }
        });
        if steps.next().is_none() {
            self.visible = self.commits.len();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens meanwhile, a row that is followed is never said to differ.
    #[test]
    fn a_followed_row_never_differs(steps in prop::collection::vec(any::<u8>(), 0..250)) {
        let found = World::default().judge(&mut steps.into_iter());
        prop_assert!(!matches!(found, Judgement::Differs(..)), "{found:?}");
    }

    /// A change that the target has lost is found once the row has come to rest.
    #[test]
    fn a_lost_change_is_found(steps in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.step(step));
        world.visible = world.commits.len();
        world.commits.push(Some(99));
        world.lost = Some(world.commits.len() - 1);
        let found = world.judge(&mut std::iter::empty());
        prop_assert!(matches!(found, Judgement::Differs(..)), "{found:?}");
    }
}
