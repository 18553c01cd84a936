//! What commands print and write.

pub(crate) mod status;
pub(crate) mod trace;
