//! The first transfer of rows: page by page, each page in a short transaction on the source and
//! an atomic one on the target.
//!
//! ```text
//!   Finders ── pages ──> bounded queue ──> worker ─┬─ source: BEGIN; LOCK; COPY OUT; COMMIT
//!   one a table: short reads   of all     (N of    │             │ CopyData, forwarded unread
//!   of its key's index,        tables     them)    └─ target: BEGIN; COPY IN; ledger; COMMIT
//!   or arithmetic
//! ```
//!
//! What changes while this runs is in the slot, and `apply`'s to bring. Pages are written before
//! any change is applied: only then does replaying everything on top end in the same state.

mod door;
mod error;
mod find;
mod named;
mod pace;
mod page;
mod pager;
mod paging;
mod plan;
mod range;
mod run;
mod session;
mod size;

pub use error::PageError;
pub use pace::PageRows;
pub use pager::{Page, Pager, Search, Step};
pub use paging::Paging;
pub use plan::{Backfill, Origin, PageCopied, Progress, TableLeft, TablePlan};
pub use range::KeyRange;
pub use run::run;
pub use size::rows_per_page;
