//! Everything that could stop or hurt a migration, looked at on both servers before it begins.
//!
//! ```text
//!   servers::look   connections, versions, wal_level, encodings
//!        v
//!   owners          whose code would run; before the tables are asked anything
//!        v
//!   look            settings, privileges, tables, slot, publication ..   ──>  findings
//!        v                                                                      │
//!   NewMigration ──> prepare (a run)      plan (what a run would make)          v
//!                                                                     a run: the first refuses it
//!                                                                     pghost check: all are told
//! ```
//!
//! One list for both: whatever `pghost check` finds refuses a run, and nothing else does before
//! something is made. The looks that refuse are `preflight`'s, `target`'s and `publication`'s; what
//! a look finds besides, and in which order they come, stands here. Nothing is changed.

mod ask;
mod finding;
mod locale;
mod look;
mod missing;
mod object_names;
mod order;
mod owners;
mod plan;
mod privileges;
mod published;
mod sessions;
mod settings;
mod strangers;
mod tables;
mod trial;
mod unmade;
mod waits;

pub use ask::{Checked, check};
pub(super) use finding::{At, Findings};
pub use finding::{Finding, Severity, Side};
pub(super) use look::{NewMigration, all_well};
pub(super) use order::is_kept as order_is_kept;
pub(super) use owners::{
    KnownOwners, before_run as owners_before_run, has_strangers, look as look_at_owners, tables_of,
};
pub use plan::Planned;
pub(super) use strangers::trust_option;

/// How much log the source keeps for a slot.
const KEEP_SIZE: &str = "max_slot_wal_keep_size";
/// How long the source keeps a slot that nobody reads.
const IDLE_TIMEOUT: &str = "idle_replication_slot_timeout";
