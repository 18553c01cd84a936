//! What was asked for.

use std::time::Duration;

use super::HandoffSpec;
use crate::{backfill::Paging, config::Config, ledger::LedgerSchema, pg::QualifiedName};

/// A migration as it was asked for; nothing of it has been checked against a server.
#[derive(Clone, Debug)]
pub struct MigrationSpec {
    /// The source.
    pub source: Config,
    /// The target.
    pub target: Config,
    /// A hot standby of the source to read pages from, if one was given.
    pub copy_from: Option<Config>,
    /// The tables. May be empty when a migration of that name exists.
    pub tables: Vec<TableSpec>,
    /// The migration's name, if one was given.
    pub name: Option<String>,
    /// Where the target keeps the ledger.
    pub ledger: LedgerSchema,
    /// An existing publication to use.
    pub publication: Option<String>,
    /// The name of the slot to make.
    pub slot: Option<String>,
    /// How the bounds of pages are found.
    pub paging: Paging,
    /// Rows in a page, if it was given.
    pub page_rows: Option<u64>,
    /// Pages read at once, whichever tables they are of.
    pub copy_jobs: usize,
    /// Sessions that apply changes at once, up to the checkpoint.
    pub apply_jobs: usize,
    /// Whether existing targets go without their secondary indexes, unique and exclusion
    /// constraints and foreign keys until the checkpoint.
    pub defer_indexes: bool,
    /// Who is to own the tables that are made, if it is not the role that makes them.
    pub target_owner: Option<String>,
    /// Where the tables that are made go with their indexes, if not where the database has its own.
    pub target_tablespace: Option<String>,
    /// Whether all that is to be made is made on trial before anything begins, and rolled back.
    pub trial: bool,
    /// Whether both sides are compared before the end.
    pub verify: bool,
    /// What happens at the end.
    pub then: Then,
    /// To which subscription the slot is given, if it is.
    pub handoff: HandoffSpec,
    /// How long a server that goes away in mid-run is waited for; zero for not at all. Counts
    /// anew whenever something has moved forward.
    pub wait_for_server: Duration,
    /// How long a page may stand still before it is given up, so that its snapshot is not held for
    /// ever. What else is given a time of its own (a walsender that says nothing, a slot that is in
    /// use, a commit that is not shown) is given no more than this.
    pub stall: Duration,
    /// Whether columns that the source's tables get in mid-run are left out.
    pub ignore_new_columns: bool,
    /// Whose code may run with whatever rights the roles have.
    pub trust: Trust,
}

/// Owners of tables and functions whose code may run with all rights of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Whoever owns them.
    pub all: bool,
    /// These roles, by name.
    pub owners: Vec<String>,
}

impl Trust {
    /// Whether a role is trusted.
    pub(super) fn holds_for(&self, role: &str) -> bool {
        self.all || self.owners.iter().any(|owner| owner == role)
    }
}

impl MigrationSpec {
    /// How long a server is waited for if nobody says: a restart or a failover is over by then.
    pub const WAIT_FOR_SERVER: Duration = Duration::from_mins(5);
    /// How long a page may stand still.
    pub const STALL: Duration = Duration::from_mins(5);
}

/// A table and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// On the source.
    pub source: QualifiedName,
    /// On the target.
    pub target: QualifiedName,
}

/// What happens at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The run ends; the slot stays, and a later run goes on.
    Stop,
    /// Changes are applied until told to stop.
    Follow,
    /// The slot is given to a native subscription.
    Handoff,
}
