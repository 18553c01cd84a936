//! Which server processes serve a migration. Each session of a run holds an advisory lock in the
//! migration's name, on either server: it keeps nobody out, and tells whose the session is. (The
//! application's name is the person's to choose, and the same for all runs.)

use super::{
    look::migration_lock,
    store::{advisory_key, writers_key},
};
use crate::{
    conn::{Connection, Error},
    pg::SqlState,
};

/// Makes a session one of those that read the source for a migration. A role that may not take
/// such locks goes without.
pub async fn join_readers(source: &mut Connection, migration: &str) -> Result<(), Error> {
    let sql = format!("SELECT pg_advisory_lock_shared({})", readers_key(migration));
    match source.query(&sql).await {
        Err(error) if error.sqlstate() != Some(SqlState::INSUFFICIENT_PRIVILEGE) => Err(error),
        _ => Ok(()),
    }
}

/// A query for the processes that serve a migration, on whichever server it is asked.
#[must_use]
pub fn processes(migration: &str) -> String {
    let run = advisory_key(&migration_lock(migration));
    holders(&[run, writers_key(migration), readers_key(migration)])
}

/// A query for the processes that hold one of these keys, or wait for it.
pub(super) fn holders(keys: &[String]) -> String {
    // As `pg_locks` shows a 64-bit advisory key: its halves, and 1.
    format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32 | objid::bigint) IN ({})",
        keys.join(", ")
    )
}

fn readers_key(migration: &str) -> String {
    advisory_key(&format!("pghost reader {migration}"))
}
