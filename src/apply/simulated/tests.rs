//! Runs as they must be, and runs with a mistake.

use super::{
    Failure,
    mistake::Mistake,
    run::{run, story},
    world::Seen,
};

/// The runs. What a mistake does to them is found within these too.
const SEEDS: u64 = 3000;

/// The end of what happened in a run, and the seed to see all of it.
fn told(seed: u64, mistake: Option<Mistake>, failure: &Failure) -> String {
    let story = story(seed, mistake);
    let end = story.len().saturating_sub(60);
    format!("seed {seed}: {failure:?}\n{}", story[end..].join("\n"))
}

/// Runs some of the seeds, all that leave this remainder.
fn runs(remainder: u64) -> Seen {
    let mut seen = Seen::default();
    for seed in (0..SEEDS).filter(|seed| seed % 2 == remainder) {
        match run(seed, None) {
            Ok(more) => seen.add(&more),
            Err(failure) => panic!("{}", told(seed, None, &failure)),
        }
    }
    seen
}

/// What a generator never makes is never tested, so each thing must occur, and often.
#[test]
fn every_run_ends_equal_and_everything_occurs() {
    let other = std::thread::spawn(|| runs(1));
    let mut seen = runs(0);
    seen.add(&other.join().unwrap());
    for (what, times) in seen.each() {
        assert!(times >= 50, "{what}: {times} in {seen:?}");
    }
}

#[test]
fn a_run_is_always_the_same_for_its_seed() {
    for seed in 0..100 {
        assert_eq!(story(seed, None), story(seed, None));
    }
}

/// A mistake must show in a run that ends well without it.
fn is_found(mistake: Mistake) {
    let seed = (0..SEEDS).find(|seed| run(*seed, Some(mistake)).is_err());
    let seed = seed.unwrap_or_else(|| panic!("{mistake:?} does no harm in any run"));
    if let Err(failure) = run(seed, None) {
        panic!("{}", told(seed, None, &failure));
    }
}

macro_rules! mistakes {
    ($($name:ident: $mistake:ident,)+) => {
        mod mistakes {
            use super::{Mistake, is_found};
            $(
                #[test]
                fn $name() {
                    is_found(Mistake::$mistake);
                }
            )+
        }
    };
}

mistakes! {
    slot_before_publication: SlotBeforePublication,
    slot_after_pages: SlotAfterPages,
    checkpoint_before_last_page: CheckpointBeforeLastPage,
    checkpoint_from_flush: CheckpointFromFlush,
    half_page: HalfPage,
    line_after_page: LineAfterPage,
    unflushed_page: UnflushedPage,
    position_before_rows: PositionBeforeRows,
    first_lane_decides: FirstLaneDecides,
    keepalive_in_transaction: KeepaliveInTransaction,
    changes_before_position_skipped: ChangesBeforePositionSkipped,
    received_acknowledged: ReceivedAcknowledged,
    committed_acknowledged: CommittedAcknowledged,
    slot_says_where: SlotSaysWhere,
    counts_apart: CountsApart,
    page_position_skips: PagePositionSkips,
    truncate_skipped: TruncateSkipped,
    insert_updates: InsertUpdates,
    conflict_does_nothing: ConflictDoesNothing,
    unchanged_is_null: UnchangedIsNull,
    old_key_forgotten: OldKeyForgotten,
    deletes_last: DeletesLast,
    strict_too_soon: StrictTooSoon,
    moved_from_target: MovedFromTarget,
    fetched_taken_for_exact: FetchedTakenForExact,
    fetched_too_soon: FetchedTooSoon,
    checkpoint_stays: CheckpointStays,
    checkpoint_raised_in_memory: CheckpointRaisedInMemory,
    lanes_by_batch: LanesByBatch,
    lanes_after_checkpoint: LanesAfterCheckpoint,
    lanes_pass_apart: LanesPassApart,
    careful_up_to_received: CarefulUpToReceived,
    writers_linger: WritersLinger,
    truncate_does_not_wait: TruncateDoesNotWait,
    move_does_not_wait: MoveDoesNotWait,
}
