//! Looking at what a run does and at what may befall it: the slot, the source, locks in the way.
//! Each looks on a session of its own, or at what the work tells, and makes events of it; nothing
//! here does any of the work.

pub(super) mod apply;
pub(super) mod backfill;
pub(super) mod blocked;
mod blocked_view;
pub(super) mod index;
pub(super) mod slot;
pub(super) mod slot_view;
pub(super) mod source;
