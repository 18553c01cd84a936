//! What is looked at before anything begins, and refused.

pub(crate) mod advisory_locks;
pub(crate) mod collation_versions;
pub(crate) mod command;
pub(crate) mod foreign_keys;
pub(crate) mod least_roles;
pub(crate) mod ledger;
pub(crate) mod managed_services;
pub(crate) mod merging_indexes;
pub(crate) mod refusals;
pub(crate) mod strangers;
pub(crate) mod trial;
pub(crate) mod unlogged_targets;
