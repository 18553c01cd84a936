//! What a table has besides its rows.

pub(crate) mod catalogs;
pub(crate) mod deferred;
pub(crate) mod definitions;
pub(crate) mod objects;
