//! Pages: their keys and bounds, values of every type, tables of every shape, partitions, standbys.

pub(crate) mod binary;
pub(crate) mod encodings;
pub(crate) mod keys;
pub(crate) mod made_targets;
pub(crate) mod odd_tables;
pub(crate) mod paging;
pub(crate) mod partitions;
pub(crate) mod rows_crossing_pages;
pub(crate) mod standby;
pub(crate) mod tables;
pub(crate) mod types;
