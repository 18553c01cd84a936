//! Durable progress, kept in the target: pages with their rows, the position with the changes.
//!
//! ```text
//!   pghost.migration         one row a migration: where it belongs, its phase, its positions
//!   pghost.migration_table   one row a table: its names, its key, what was done to it
//!   pghost.page              one row a page that was copied: its bounds, rows and snapshot
//!   pghost.object            one row an index, constraint .. to be made, and whether it is there
//!   pghost.handoff           one row a migration that is handed over to a native subscription
//!   pghost.failure           one row a migration whose last run ended with an error
//!   pghost.wish              one row a wish of an operator's: what, whose, since when
//! ```
//!
//! Everything is written in the target transaction that writes the rows it speaks of, so it can
//! never say more or less than what is there. The slot's `confirmed_flush_lsn` and replication
//! origins are not asked: the first can go backwards over a crash, the second advances on a
//! failed commit (16 to 18).
//!
//! The tables are in the schema `pghost`, or another one ([`LedgerSchema`]); whether they are
//! pghost's own is looked at before anything else ([`inspect`]).
//!
//! The only maker of [`DurableLsn`](crate::replication::DurableLsn): from what a transaction of
//! this ledger has committed.

mod accountant;
mod chain;
mod failure;
mod handle;
mod handoff;
mod inspect;
mod integrity;
mod layout;
mod locks;
mod look;
mod model;
mod name;
mod object;
mod page;
mod position;
mod store;
mod target;
mod upgrade;
mod whole;
mod wish;

pub use accountant::Accountant;
pub use chain::Gap;
pub use failure::LastFailure;
pub use handle::Ledger;
pub use handoff::{HandoffRecord, HandoffStep};
pub use inspect::inspect;
pub use integrity::{Access, Unfit};
pub use locks::{Holder, Holders, could_lock, join_readers, lock, processes};
pub use look::names;
pub use model::{Migration, Phase, TableCounts, TableRecord};
pub use name::{LedgerSchema, MigrationName};
pub use object::ObjectRecord;
pub use page::{PageRecord, begin_page};
pub use position::{Position, PositionWriter};
pub use wish::{Cutover, Wish, WishName, Wishes};
