//! The ledger of one migration, as a value: a session of the target that is lent to it, and the
//! migration's name. What it knows and keeps is in the other files of this room, each about one
//! table or question.
//!
//! It holds nothing: two values of one migration know the same, and what a value writes belongs to
//! whatever transaction its session is in.

use super::name::MigrationName;
use crate::conn::Connection;

/// A migration's ledger, for as long as a session is lent.
#[derive(Debug)]
pub struct Ledger<'a> {
    pub(super) session: &'a mut Connection,
    pub(super) migration: &'a MigrationName,
}

impl<'a> Ledger<'a> {
    /// The ledger of a migration, over a session of the target.
    pub const fn of(session: &'a mut Connection, migration: &'a MigrationName) -> Self {
        Self { session, migration }
    }
}
