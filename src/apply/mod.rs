//! The stream of changes into the target.
//!
//! ```text
//!   ReplicationStream ──> Driver ──> Fold ──> Lanes ──┬─> Lane ──> BEGIN; rows; COMMIT
//!                           ^      one row    by key  ├─> Lane ──> BEGIN; rows; COMMIT
//!                           │      per key            └─> .. ───── then BEGIN; position; COMMIT
//!                           └──────────── DurableLsn: status updates <───────────┘
//! ```
//!
//! Until the checkpoint is passed, a change may find its effect already on the target, brought by
//! a page that was read later; so writing is lax: upserts, and updates and deletes that may find
//! nothing. After it the target is exactly the source at the position, and writing is strict: an
//! insert that conflicts, an update or delete that finds nothing is an error, and the source's
//! transactions stay whole, in one lane.
//!
//! Batches form by themselves: while one is on its way, the next one gathers whatever the source
//! sends, folded so that no statement names a key twice. Each is written by COPY into a staging
//! table and a statement for each kind of change, pipelined (`staged.rs`). One that meets a
//! conflict is replayed change by change before that is called an error (`run.rs`).

mod driver;
mod error;
mod fetch;
mod fold;
mod lane;
mod lanes;
mod look;
mod messages;
mod open;
mod plan;
mod run;
#[cfg(test)]
mod simulated;
mod staged;
mod table;
mod work;
mod writer;

pub use error::ApplyError;
pub use fold::{Cell, Entry, Fold, Folded, Span, State};
pub use plan::{Apply, ApplyProgress, Moment, Outcome, Stop};
pub use run::stopped;
pub use table::{ApplyColumn, ApplyTable};
