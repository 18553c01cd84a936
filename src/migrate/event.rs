//! The named moments of a run. Progress bars, JSON lines, logs and tests are listeners.
//!
//! The serialised form is the promise of the command line's documentation: one object, its kind
//! in `event`.

use serde::{Serialize, Serializer};

use crate::{pg::Lsn, verify::Kind};

/// Something that is told every event, in order.
pub trait Listener: Send {
    /// Called for each event.
    fn on(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Listener for F {
    fn on(&mut self, event: &Event) {
        self(event);
    }
}

/// A phase as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// Publication, slot, target tables.
    Prepare,
    /// Pages.
    Backfill,
    /// Changes up to the checkpoint, or up to the newest position.
    CatchUp,
    /// What belongs to the tables besides their rows.
    Finish,
    /// Comparing both sides.
    Verify,
    /// Changes without end.
    Follow,
    /// Giving slot and position to a native subscription.
    Handoff,
    /// It is over.
    Done,
}

/// A step of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The ledger has the migration's lines.
    LedgerMade,
    /// A target table is there.
    TableMade,
    /// The publication is there.
    PublicationMade,
    /// The slot is there; the ledger does not know of it yet.
    SlotMade,
    /// All rows of a page are with the target; it is not committed yet.
    PageRead,
    /// The key of a table that pghost made is built; the ledger does not know of it yet.
    KeyBuilt,
    /// The checkpoint was taken; the ledger does not know of it yet.
    CheckpointTaken,
    /// The target is exact.
    CheckpointPassed,
    /// An index, a constraint or the like is there.
    ObjectMade,
    /// The ledger knows that the slot is being handed over, and from which position.
    HandoffBegun,
    /// The subscription is there, disabled.
    SubscriptionMade,
    /// Its origin is at the position; the ledger does not know of it yet.
    OriginAdvanced,
    /// The subscription is enabled.
    SubscriptionEnabled,
    /// The subscription has applied past the position; the ledger does not know of it yet.
    SubscriptionApplied,
}

impl StepName {
    /// Whether it stays done. What is made while preparing is undone when that fails.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(
            self,
            Self::LedgerMade
                | Self::TableMade
                | Self::PublicationMade
                | Self::SlotMade
                | Self::PageRead
                | Self::CheckpointTaken
        )
    }
}

/// A moment.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A phase begins.
    Phase {
        /// Which.
        phase: PhaseName,
    },
    /// A person may want to know: why something takes long, what was left as it is.
    Notice {
        /// What.
        message: String,
    },
    /// A step of a phase was taken, or is about to be.
    Step {
        /// Which.
        step: StepName,
        /// Of what: a table, a slot, an object.
        of: String,
    },
    /// A server is away, and the run waits for it.
    Waiting {
        /// What has failed.
        reason: String,
        /// How long it waits already.
        waited_seconds: f64,
        /// How long it waits at most.
        limit_seconds: f64,
        /// When it is tried again.
        next_try_seconds: f64,
    },
    /// The run goes on after it has waited.
    Resumed {
        /// How long.
        waited_seconds: f64,
    },
    /// How the slot is: what it makes the source keep.
    Slot {
        /// Its name.
        slot: String,
        /// `reserved`, `extended`, `unreserved` or `lost`.
        wal_status: String,
        /// How much log is kept for it.
        retained_bytes: u64,
        /// How much more the source will keep; `null` where it has no limit.
        safe_bytes: Option<u64>,
        /// How fast the source writes its log.
        bytes_per_second: f64,
        /// How long it may last at that rate; `null` where there is no limit.
        seconds_left: Option<f64>,
        /// How far the source's log is.
        #[serde(serialize_with = "as_text_or_null")]
        source_lsn: Option<Lsn>,
    },
    /// A page is on the target, or was compared.
    Progress {
        /// `backfill` or `verify`.
        phase: PhaseName,
        /// The source table.
        table: String,
        /// Rows copied, those of former runs included; or rows compared.
        rows: u64,
        /// Their bytes as COPY sent them; 0 for rows compared.
        bytes: u64,
        /// Pages copied or compared.
        pages_done: u64,
        /// Pages in all, once the end of the key has been seen.
        pages_total: Option<u64>,
        /// Of the key's range as the run began, for a key of one integer column; else by pages
        /// once their number is known, and before that by the planner's estimate of rows, while
        /// that holds. Never falls within a run, and is 100 with the last page.
        percent: Option<f64>,
        /// In this run.
        rows_per_second: f64,
        /// Until the last page.
        eta_seconds: Option<f64>,
    },
    /// How far an index is that is being built on the target.
    Index {
        /// The target table.
        table: String,
        /// The index, or its constraint.
        index: String,
        /// The server's word for what it is doing; `done` at the end.
        phase: String,
        /// Of that phase, where the server tells.
        percent: Option<f64>,
    },
    /// The checkpoint was taken, or raised.
    Checkpoint {
        /// Its position.
        #[serde(serialize_with = "as_text")]
        lsn: Lsn,
    },
    /// How far the changes are.
    CatchUp {
        /// Durable on the target.
        #[serde(serialize_with = "as_text")]
        applied_lsn: Lsn,
        /// The checkpoint.
        #[serde(serialize_with = "as_text")]
        checkpoint_lsn: Lsn,
        /// Received.
        #[serde(serialize_with = "as_text")]
        received_lsn: Lsn,
        /// Received in this run.
        changes: u64,
        /// Since the event before.
        changes_per_second: f64,
        /// Log between what is durable here and the furthest that is known of the source.
        lag_bytes: u64,
        /// Since the last applied transaction was committed on the source.
        lag_seconds: Option<f64>,
        /// Until the checkpoint, as fast as it goes now; `null` once it is passed.
        eta_seconds: Option<f64>,
    },
    /// A row differs.
    Different {
        /// The source table.
        table: String,
        /// Its key: each column's name and value.
        #[serde(serialize_with = "as_object")]
        key: Vec<(String, String)>,
        /// How.
        kind: Kind,
        /// In which columns, where both sides have the row.
        columns: Vec<String>,
    },
    /// A table was compared.
    Verified {
        /// The source table.
        table: String,
        /// The source's rows.
        rows: u64,
        /// Pages they were compared in.
        pages: u64,
        /// Rows that differ.
        different_rows: u64,
        /// Rows that are the same but for how the two servers spell their values.
        respelled_rows: u64,
        /// Rows that change faster than they can be looked at; nothing is said of them.
        moving_rows: u64,
    },
    /// The run is over and all that was asked for is on the target.
    Finished {
        /// The migration.
        name: String,
        /// From here on the target was exact.
        #[serde(serialize_with = "as_text")]
        checkpoint_lsn: Lsn,
        /// The target is what the source was here.
        #[serde(serialize_with = "as_text")]
        applied_lsn: Lsn,
        /// Table by table.
        tables: Vec<TableReport>,
        /// All changes that were received.
        changes_received: u64,
        /// How long it took.
        seconds: Seconds,
        /// The longest time that a transaction of pghost's was open on the source.
        longest_snapshot_seconds: f64,
    },
    /// The run ends without what was asked for.
    Error {
        /// The exit code.
        code: u8,
        /// The server's, if it was a server that said no.
        sqlstate: Option<String>,
        /// What happened.
        message: String,
        /// What state things are in.
        state: String,
        /// What to do next.
        hint: String,
    },
}

/// What was done to a table, over all runs.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// On the source.
    pub source: String,
    /// On the target.
    pub target: String,
    /// By pages.
    pub rows_copied: u64,
    /// Changes received and applied; together with `skipped` they are all that were received.
    pub inserted: u64,
    /// The same.
    pub updated: u64,
    /// The same.
    pub deleted: u64,
    /// The same.
    pub truncated: u64,
    /// Changes received and not applied, those of tables outside the migration; told with the
    /// first table, since they belong to none.
    pub skipped: u64,
}

/// Seconds, over all runs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seconds {
    /// Copying pages.
    pub backfill: f64,
    /// Applying changes.
    pub catch_up: f64,
    /// What comes after the rows, in this run.
    pub finish: f64,
    /// Comparing, in this run.
    pub verify: f64,
    /// This run.
    pub total: f64,
}

fn as_object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

fn as_text<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(lsn)
}

fn as_text_or_null<S: Serializer>(lsn: &Option<Lsn>, serializer: S) -> Result<S::Ok, S::Error> {
    match lsn {
        Some(lsn) => serializer.collect_str(lsn),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_object_with_their_kind_in_event() {
        let phase = Event::Phase { phase: PhaseName::CatchUp };
        assert_eq!(
            serde_json::to_string(&phase).unwrap(),
            r#"{"event":"phase","phase":"catch_up"}"#
        );
        let checkpoint = Event::Checkpoint { lsn: Lsn(0x16_B374_D848) };
        assert_eq!(
            serde_json::to_string(&checkpoint).unwrap(),
            r#"{"event":"checkpoint","lsn":"16/B374D848"}"#
        );
    }
}
