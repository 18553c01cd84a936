//! What the ledger knows.

use super::name::MigrationName;
use crate::{
    pg::{Ident, Lsn, Oid, QualifiedName},
    replication::SystemIdentity,
};

/// How far a migration has come. Each is set by the transition into it and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Publication, slot and tables are being made. A crash here: the slot is made again, since
    /// nothing has been copied yet.
    Prepare,
    /// Pages are being copied. A crash here: what the ledger lists is not copied again.
    Backfill,
    /// Changes up to the checkpoint are being applied. A crash here: goes on from the position.
    CatchUp,
    /// The checkpoint was passed: the target is what the source was at the position. Later runs
    /// go on from there.
    Done,
    /// The slot is being handed over to a native subscription; `pghost.handoff` tells how far that
    /// is. Nothing is applied any more. A crash here: goes on with the step that is missing.
    Handoff,
    /// The subscription has applied past the position. The slot is its own now.
    HandedOff,
}

impl Phase {
    const ALL: [(Self, &str); 6] = [
        (Self::Prepare, "prepare"),
        (Self::Backfill, "backfill"),
        (Self::CatchUp, "catch_up"),
        (Self::Done, "done"),
        (Self::Handoff, "handoff"),
        (Self::HandedOff, "handed_off"),
    ];

    /// As the ledger spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(phase, _)| *phase == self).map_or("", |(_, name)| name)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(phase, _)| *phase)
    }
}

/// A migration.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// Its name, unique in its ledger.
    pub name: MigrationName,
    /// How far it has come.
    pub phase: Phase,
    /// The source it belongs to.
    pub source: SystemIdentity,
    /// Its slot on the source.
    pub slot: String,
    /// The publication it reads.
    pub publication: String,
    /// Whether pghost made that.
    pub publication_made: bool,
    /// What it was made of once the slot was there (`migrate`'s to read); `None` before.
    pub publication_shape: Option<String>,
    /// Where the slot began: every transaction that commits from here on is in the stream.
    pub slot_start: Option<Lsn>,
    /// The checkpoint that was taken after the last page, raised by every row that had to be
    /// fetched from the source later.
    pub checkpoint: Option<Lsn>,
    /// Everything that was committed on the source before this is on the target.
    pub applied: Option<Lsn>,
    /// Changes that were received and rightly not applied: those of tables of the publication
    /// that are not part of the migration.
    pub skipped: u64,
    /// The longest time that a transaction of pghost's was open on the source, in seconds.
    pub longest_snapshot_seconds: f64,
    /// Seconds spent copying pages, over all runs.
    pub backfill_seconds: f64,
    /// Seconds spent catching up, over all runs.
    pub catch_up_seconds: f64,
    /// Its tables.
    pub tables: Vec<TableRecord>,
}

impl Migration {
    /// How long the source's log was at least, at some time: all of these were flushed there.
    #[must_use]
    pub fn seen(&self) -> Option<Lsn> {
        self.applied.max(self.checkpoint).max(self.slot_start)
    }
}

/// One table of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRecord {
    /// Its place in the migration.
    pub ordinal: usize,
    /// Its name on the source.
    pub source: QualifiedName,
    /// Its object id there: another one means another table of the same name.
    pub source_oid: Oid,
    /// Its name on the target.
    pub target: QualifiedName,
    /// Its object id there; `None` until pghost has made it.
    pub target_oid: Option<Oid>,
    /// Whether pghost made the target table.
    pub target_made: bool,
    /// The key's columns.
    pub key: Vec<Ident>,
    /// What their order depends on (`catalog::load_key_order`).
    pub key_order: String,
    /// The columns that travel.
    pub columns: Vec<Ident>,
    /// What the source table was made of when the migration began.
    pub shape: String,
    /// Whether all of its pages are copied.
    pub backfilled: bool,
    /// What the stream has done to it.
    pub counts: TableCounts,
}

/// Changes of one table that were received and applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Insert messages.
    pub inserted: u64,
    /// Update messages.
    pub updated: u64,
    /// Delete messages.
    pub deleted: u64,
    /// Truncate messages that named the table.
    pub truncated: u64,
}

impl TableCounts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.inserted + self.updated + self.deleted + self.truncated
    }

    /// Adds another table's, or another batch's.
    pub const fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.truncated += other.truncated;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_keep_their_names() {
        for (phase, name) in Phase::ALL {
            assert_eq!(Phase::parse(name), Some(phase));
            assert_eq!(phase.as_str(), name);
        }
        assert_eq!(Phase::parse("backfil"), None);
    }
}
