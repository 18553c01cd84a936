//! Verifying, handing over, cleaning up.

pub(crate) mod cleanup;
pub(crate) mod handoff;
pub(crate) mod verify;
