//! The whole journey.
//!
//! ```text
//!   check     ──> prepare ──> backfill ──> checkpoint ──> catch up ──> finish ──> stop | follow
//!   changes       ledger,     pages        insert LSN     apply to    sequences,
//!   nothing       publication              after the      the         indexes,
//!                 then slot                last page      checkpoint  constraints .., verify
//! ```
//!
//! Or, in the place of stop and follow, the handoff to a native subscription.
//!
//! Each phase is stored in the ledger when it begins ([`crate::ledger::Phase`]), and a run takes up
//! the journey where the ledger says it is. The core does not print: it emits [`Event`]s.

mod altered;
mod backfill_phase;
mod build_key;
mod check;
mod cleanup;
mod composition;
mod cutover;
mod defer;
mod desk;
mod earlier;
mod event;
mod failure;
mod finish;
mod generated;
mod ground;
mod handoff;
mod headway;
mod load_ledger;
mod make_table;
mod names;
mod number;
mod objects;
mod outlook;
mod patience;
mod persist;
mod plan;
mod preflight;
mod prepare;
mod publication;
mod report;
mod resume;
mod run;
mod sequences;
mod servers;
mod spec;
mod standby;
mod status;
mod status_source;
mod still;
mod target;
mod target_owner;
pub mod verdict;
mod verify;
mod verify_phase;
mod watch;

pub use check::{Checked, Finding, Planned, Severity, Side, check};
pub use cleanup::{Cleaned, CleanupSpec, cleanup};
pub use cutover::{CutoverSpec, cutover_sequences};
pub use event::{Event, Listener, PhaseName, Seconds, StepName, TableReport};
pub use failure::{Exit, Failure};
pub use handoff::{Conninfo, HandoffSpec};
pub use names::{default_name, is_slot_name};
pub(crate) use number::grouped;
pub use persist::run;
pub use sequences::SequenceReport;
pub use spec::{MigrationSpec, TableSpec, Then, Trust};
pub use status::{
    FailureStatus, MigrationStatus, StatusSpec, SubscriptionStatus, TableStatus, WishStatus, status,
};
pub use status_source::{SlotStatus, SourceStatus};
pub use verdict::Verdict;
pub use verify::{VerifySpec, verify};
