//! How many pages of a table may stand before its locks.
//!
//! A page waits for two tables before it is read: the target's, and the source's. If somebody has
//! locked one of them, every worker would sooner or later stand there with a page of it, and no
//! other table would come any further. So the finders share the workers out among their tables,
//! and give out no more pages of one than that while they stand.

use std::sync::Arc;

use tokio::sync::watch;

/// How many pages of a table were given out and do not have their locks yet.
#[derive(Debug, Default)]
pub(super) struct Door(watch::Sender<usize>);

/// A page that stands before a door, until this is dropped.
#[derive(Debug)]
pub(super) struct Standing(Arc<Door>);

/// Those who share: the workers there are, and the finders that still look for pages.
#[derive(Debug)]
pub(super) struct Crew {
    workers: usize,
    finders: watch::Sender<usize>,
}

impl Crew {
    pub(super) fn new(workers: usize, finders: usize) -> Self {
        Self { workers, finders: watch::Sender::new(finders) }
    }

    /// A finder has come to the end of its last table; the others share what it had.
    pub(super) fn finder_ended(&self) {
        self.finders.send_modify(|finders| *finders = finders.saturating_sub(1));
    }

    /// Waits until one more page may stand before a table's door. Only its finder asks.
    pub(super) async fn place_at(&self, door: &Arc<Door>) -> Standing {
        let (mut finders, mut pages) = (self.finders.subscribe(), door.0.subscribe());
        while *pages.borrow_and_update() >= share(self.workers, *finders.borrow_and_update()) {
            tokio::select! {
                _ = finders.changed() => {}
                _ = pages.changed() => {}
            }
        }
        door.0.send_modify(|pages| *pages += 1);
        Standing(door.clone())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.0.send_modify(|pages| *pages = pages.saturating_sub(1));
    }
}

/// A table that has all finders' attention has no other to hold up.
fn share(workers: usize, finders: usize) -> usize {
    if finders > 1 { (workers / finders).max(1) } else { usize::MAX }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn shares_are_equal_and_leave_nobody_out() {
        let table = [(4, 2, 2), (6, 4, 1), (18, 16, 1), (18, 5, 3), (1, 2, 1)];
        for (workers, finders, expected) in table {
            assert_eq!(share(workers, finders), expected, "{workers} {finders}");
        }
        assert_eq!([share(4, 1), share(4, 0)], [usize::MAX; 2]);
    }

    #[tokio::test]
    async fn a_page_that_has_its_locks_makes_room_and_so_does_a_finder_that_ends() {
        let (crew, door) = (Crew::new(4, 2), Arc::new(Door::default()));
        let full = async || timeout(Duration::from_millis(1), crew.place_at(&door)).await.is_err();
        let first = crew.place_at(&door).await;
        let _second = crew.place_at(&door).await;
        assert!(full().await);
        drop(first);
        let _third = crew.place_at(&door).await;
        assert!(full().await);
        // Another table has a door of its own.
        let _other = crew.place_at(&Arc::new(Door::default())).await;
        let waiting = crew.place_at(&door);
        let (_fourth, ()) = tokio::join!(waiting, async { crew.finder_ended() });
        assert!(!full().await);
    }
}
