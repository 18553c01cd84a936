//! The whole journey.
//!
//! ```text
//!   preflight ──> prepare ──> backfill ──> checkpoint ──> catch up ──> finish ──> stop | follow
//!   changes       ledger,     pages        insert LSN     apply to    sequences,
//!   nothing       publication              after the      the         indexes,
//!                 then slot                last page      checkpoint  constraints ..
//! ```
//!
//! Each phase is stored in the ledger when it begins ([`crate::ledger::Phase`]), and a run takes up
//! the journey where the ledger says it is. The core does not print: it emits [`Event`]s.

mod altered;
mod build_key;
mod cleanup;
mod defer;
mod desk;
mod event;
mod failure;
mod finish;
mod load_ledger;
mod make_table;
mod names;
mod objects;
mod outlook;
mod patience;
mod persist;
mod plan;
mod preflight;
mod prepare;
mod publication;
mod resume;
mod run;
mod servers;
mod slot_view;
mod spec;
mod standby;
mod status;
mod target;
pub mod verdict;
mod watch_apply;
mod watch_backfill;
mod watch_index;
mod watch_slot;
mod watch_source;

pub use cleanup::{Cleaned, CleanupSpec, cleanup};
pub use event::{Event, Listener, PhaseName, Seconds, StepName, TableReport};
pub use failure::{Exit, Failure};
pub use names::{default_name, is_slot_name};
pub use persist::run;
pub use spec::{MigrationSpec, TableSpec, Then};
pub use status::{MigrationStatus, TableStatus, status};
pub use verdict::Verdict;
