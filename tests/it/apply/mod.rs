//! Changes of every kind, up to the checkpoint and after it.

pub(crate) mod altered_source;
pub(crate) mod changes;
pub(crate) mod interrupted;
pub(crate) mod lanes;
pub(crate) mod logical_messages;
pub(crate) mod moved_rows;
pub(crate) mod staging_tables;
pub(crate) mod unique;
