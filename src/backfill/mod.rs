//! The first transfer of rows: page by page, each page in a short transaction on the source and
//! an atomic one on the target.
//!
//! ```text
//!   Pager ── pages ──> bounded queue ──> worker ─┬─ source: BEGIN; snapshot; COPY page OUT; COMMIT
//!   short reads of the key's index      (N of    │             │ CopyData, forwarded unread
//!                                       them)    └─ target: BEGIN; COPY IN; ledger line; COMMIT
//! ```
//!
//! What changes while this runs is in the slot, and `apply`'s to bring. Pages are written before
//! any change is applied: only then does replaying everything on top end in the same state.

mod page;
mod pager;
mod run;
mod size;

pub use page::PageError;
pub use pager::{Page, Pager, Step};
pub use run::{Backfill, Origin, PageCopied, PageRows, Progress, TablePlan, run};
pub use size::rows_per_page;
