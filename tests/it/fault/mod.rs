//! Faults: what becomes of a run that is killed, cut off, blocked, or finds things changed.

pub(crate) mod async_commit;
pub(crate) mod changed_between_runs;
#[cfg(target_os = "linux")]
pub(crate) mod dead_networks;
pub(crate) mod disk_full;
pub(crate) mod errors_by_cause;
pub(crate) mod every_code;
pub(crate) mod killed;
pub(crate) mod killed_at_events;
pub(crate) mod ledger_identity;
pub(crate) mod lock_waits;
pub(crate) mod locks;
pub(crate) mod patience;
pub(crate) mod position_gone_back;
pub(crate) mod refused_sessions;
pub(crate) mod restarts;
pub(crate) mod sessions_ended;
pub(crate) mod signals;
pub(crate) mod slot_watch;
pub(crate) mod soak;
pub(crate) mod stalls;
pub(crate) mod swapped_tables;
pub(crate) mod verdicts;
pub(crate) mod verdicts_by_cause;
pub(crate) mod verdicts_covered;
