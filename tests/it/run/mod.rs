//! Whole runs, and what must always be true of them.

pub(crate) mod invariants;
pub(crate) mod journey;
pub(crate) mod many_migrations;
pub(crate) mod state;
pub(crate) mod versions;
