//! What a backfill is asked to do, and what it tells while it does.

use std::time::Duration;

use super::{KeyRange, PageRows};
use crate::{
    catalog::Foundation,
    config::Config,
    ledger::{MigrationName, PageRecord},
    pg::{Ident, Lsn, QualifiedName},
    sql::KeyColumn,
    wire::Format,
};

/// A backfill of a migration's tables.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// The migration's name in the ledger.
    pub migration: MigrationName,
    /// Where pages are read: the source, or a hot standby of it.
    pub source: Config,
    /// Which server that must be.
    pub origin: Origin,
    /// Where they are written.
    pub target: Config,
    /// How many pages are read at once, whichever tables they are of.
    pub jobs: usize,
    /// How long a page may stand still.
    pub stall: Duration,
}

/// The server that pages come from. Settings with several hosts, a name with several addresses or
/// a promotion can lead one session to the right server and the next to another: so each is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's identifier, the same on a primary and its standbys.
    pub system_id: String,
    /// What a standby must have replayed: the slot's start, before which the slot brings nothing.
    /// `None` if it is to be the primary.
    pub standby_from: Option<Lsn>,
}

/// A page that was just committed.
#[derive(Clone, Debug)]
pub struct PageCopied {
    /// Its line in the ledger.
    pub record: PageRecord,
    /// How long its transaction was open on the source.
    pub snapshot_held: Duration,
}

/// What to copy and how.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table's place in the migration.
    pub ordinal: usize,
    /// Its name on the source.
    pub source: QualifiedName,
    /// What must be so on the source whenever rows are read.
    pub foundation: Foundation,
    /// Its name on the target.
    pub target: QualifiedName,
    /// What must be so on the target whenever rows are written, once `lock` was taken.
    pub ground: Foundation,
    /// The statement after which that stays so to the end of a transaction.
    pub lock: String,
    /// The columns that travel, by name on both sides.
    pub columns: Vec<Ident>,
    /// The key it is paged by.
    pub key: Vec<KeyColumn>,
    /// Whether pages are cut by arithmetic; only for a key of one integer column.
    pub is_arithmetic: bool,
    /// How the rows travel.
    pub format: Format,
    /// Rows in a page.
    pub page_rows: PageRows,
}

/// A table that is to be copied, and what was copied of it before.
#[derive(Clone, Debug)]
pub struct TableLeft<'a> {
    /// The table.
    pub plan: TablePlan,
    /// Its pages that the ledger lists, in their order.
    pub done: &'a [PageRecord],
}

/// What a backfill tells of a table while it runs.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Its pages are being looked for from now on.
    Begun,
    /// A read of a bound, or a page that was given up, held a snapshot for so long.
    SnapshotHeld(Duration),
    /// The least and the greatest key as the run begins, before any page; of a key of one integer
    /// column, and of a table that has rows.
    KeyRange(KeyRange),
    /// The end of the key was seen: there are this many pages in all, former runs' included. Told
    /// once of each table, before the last of its pages is copied.
    AllFound {
        /// How many.
        pages: u64,
    },
    /// The rows of the page of this number are with the target, which has not committed them yet.
    Read(u64),
    /// A page is on the target.
    Copied(PageCopied),
}
