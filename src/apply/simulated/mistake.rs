//! Rules that can be broken, one at a time. Many are named after what lost somebody's data.

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    // The journey.
    /// The slot is made, then the publication.
    SlotBeforePublication,
    /// The slot is made after the pages are read.
    SlotAfterPages,
    /// The checkpoint is taken before the last page.
    CheckpointBeforeLastPage,
    /// The checkpoint is the position up to which the log is flushed.
    CheckpointFromFlush,

    // Pages.
    /// A page whose reading fails in the middle is committed as far as it came.
    HalfPage,
    /// A page's rows are committed, then its line in the ledger.
    LineAfterPage,
    /// A page is committed before what it shows is flushed on the source.
    UnflushedPage,

    // Positions.
    /// The position is stored, then its rows.
    PositionBeforeRows,
    /// The position is stored when the first lane has committed.
    FirstLaneDecides,
    /// A keepalive within a transaction counts.
    KeepaliveInTransaction,
    /// Changes that lie before the stored position are taken for applied.
    ChangesBeforePositionSkipped,
    /// What was received is acknowledged.
    ReceivedAcknowledged,
    /// What is committed on the target is acknowledged before it is durable there.
    CommittedAcknowledged,
    /// The slot says where to go on.
    SlotSaysWhere,
    /// What was counted is stored apart from the position.
    CountsApart,

    // What a change comes to.
    /// A change whose commit lies before its page's position is taken for contained in the page.
    PagePositionSkips,
    /// A truncate before the checkpoint is taken for copied.
    TruncateSkipped,
    /// An insert only updates.
    InsertUpdates,
    /// A conflict is settled by doing nothing.
    ConflictDoesNothing,
    /// A value that is not in the log is written as NULL.
    UnchangedIsNull,
    /// The row under the old key is forgotten when a key changes.
    OldKeyForgotten,
    /// Deletes come after a batch's rows, those of keys that were used again too.
    DeletesLast,
    /// The target is taken for exact before the checkpoint.
    StrictTooSoon,

    // Moved rows whose big value is not in the log.
    /// The value is taken from the target before the checkpoint.
    MovedFromTarget,
    /// .. and after it too from a row that was fetched.
    FetchedTakenForExact,
    /// The source is asked before it shows the change.
    FetchedTooSoon,
    /// The checkpoint stays.
    CheckpointStays,
    /// The checkpoint is raised, but not in the ledger.
    CheckpointRaisedInMemory,

    // Lanes.
    /// Each batch goes to the next lane.
    LanesByBatch,
    /// Several lanes after the checkpoint.
    LanesAfterCheckpoint,
    /// Strict before all lanes have passed the checkpoint.
    LanesPassApart,
    /// After a conflict it is careful up to what was received, which can be less than the
    /// transaction that met it.
    CarefulUpToReceived,
    /// A run begins before what the last one had sent is committed or void.
    WritersLinger,
    /// A truncate does not wait for the other lanes.
    TruncateDoesNotWait,
    /// A move of a row on the target does not wait for the other lanes.
    MoveDoesNotWait,
}
