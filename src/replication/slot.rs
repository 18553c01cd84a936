//! Replication slots: making, finding and dropping them; and who the server is.
//!
//! The legacy spelling of CREATE_REPLICATION_SLOT is used: 14 knows no other, and 15 to 18 still
//! take it.

use std::fmt;

use crate::{
    conn::{Connection, Error},
    pg::{Ident, Lsn, SqlState},
    sql::quote_literal,
};

/// Who a server is, as IDENTIFY_SYSTEM tells: the same after a restart, another after a restore
/// into a new cluster or a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Made by initdb; unique for a cluster.
    pub system_id: String,
    /// Counts promotions.
    pub timeline: i32,
    /// The database we are connected to.
    pub database: String,
}

/// Asks who the server is. Needs a replication connection.
pub async fn identify_system(walsender: &mut Connection) -> Result<SystemIdentity, Error> {
    let result = walsender.query("IDENTIFY_SYSTEM").await?;
    let row = result.row()?;
    Ok(SystemIdentity {
        system_id: row.get("systemid")?,
        timeline: row.get("timeline")?,
        database: row.get("dbname")?,
    })
}

/// A slot that was just made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Every transaction that commits from here on will be sent.
    pub consistent_point: Lsn,
}

/// A slot to be made. `Display` writes the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSlot<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it sends transactions when they are prepared; 15 and later. Its streams must all
    /// ask for that: it sends them also to one that does not.
    pub two_phase: bool,
}

impl fmt::Display for NewSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Ident::new(self.name);
        write!(f, "CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput NOEXPORT_SNAPSHOT")?;
        f.write_str(if self.two_phase { " TWO_PHASE" } else { "" })
    }
}

/// Makes a pgoutput slot without exporting a snapshot: nothing on the source is held back but
/// what the slot itself holds. Waits for the transactions that are open on the whole server.
/// Needs a replication connection.
pub async fn create_slot(
    walsender: &mut Connection,
    slot: NewSlot<'_>,
) -> Result<CreatedSlot, Error> {
    let result = walsender.query(&slot.to_string()).await?;
    Ok(CreatedSlot { consistent_point: result.row()?.get("consistent_point")? })
}

/// What `pg_replication_slots` says of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `pgoutput` for ours.
    pub plugin: Option<String>,
    /// The database it decodes.
    pub database: Option<String>,
    /// The walsender that uses it.
    pub active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Why it can't be read any more, as servers from 17 on tell it.
    pub invalidation_reason: Option<String>,
    /// What its consumer has acknowledged. A hint only: it can go backwards over a crash.
    pub confirmed_flush: Option<Lsn>,
    /// From here on the log is kept for it.
    pub restart_lsn: Option<Lsn>,
    /// The end of the log when it was asked; `None` on a standby.
    pub wal_end: Option<Lsn>,
    /// How much more log can be written before it may be lost; `None` without a limit.
    pub safe_wal_size: Option<i64>,
    /// Whether standbys keep a copy of it, as servers from 17 on tell it.
    pub failover: Option<bool>,
    /// Whether it can still be read.
    pub usable: bool,
}

/// Looks a slot up; `None` if there is none of that name.
pub async fn find_slot(connection: &mut Connection, name: &str) -> Result<Option<Slot>, Error> {
    // As JSON, a column that this release does not have is NULL.
    let sql = "SELECT plugin, database, active_pid, wal_status, confirmed_flush_lsn, restart_lsn,
                      safe_wal_size, to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
                      (to_jsonb(s) ->> 'failover')::boolean AS failover,
                      CASE WHEN NOT pg_is_in_recovery()
                           THEN pg_current_wal_insert_lsn() END AS wal_end,
                      restart_lsn IS NOT NULL AND wal_status <> 'lost'
                          AND to_jsonb(s) ->> 'invalidation_reason' IS NULL AS usable
                 FROM pg_replication_slots s WHERE slot_name = $1";
    let result = connection.query_with(sql, &[Some(name)]).await?;
    let Some(row) = result.rows().first() else {
        return Ok(None);
    };
    Ok(Some(Slot {
        plugin: row.get("plugin")?,
        database: row.get("database")?,
        active_pid: row.get("active_pid")?,
        wal_status: row.get("wal_status")?,
        invalidation_reason: row.get("invalidation_reason")?,
        confirmed_flush: row.get("confirmed_flush_lsn")?,
        restart_lsn: row.get("restart_lsn")?,
        wal_end: row.get("wal_end")?,
        safe_wal_size: row.get("safe_wal_size")?,
        failover: row.get("failover")?,
        usable: row.get::<Option<bool>>("usable")?.unwrap_or(false),
    }))
}

/// Has a slot that nobody reads count as read just now, without moving it: taking and releasing it
/// sets `inactive_since` (18 gives up slots that idle for `idle_replication_slot_timeout`).
pub async fn touch_slot(connection: &mut Connection, name: &str) -> Result<(), Error> {
    let sql = "SELECT pg_replication_slot_advance(slot_name, confirmed_flush_lsn)
                 FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NULL";
    match connection.query_with(sql, &[Some(name)]).await {
        // Somebody has just begun to read it, which is as good.
        Err(error) if error.sqlstate() == Some(SqlState::OBJECT_IN_USE) => Ok(()),
        touched => touched.map(drop),
    }
}

/// How long a walsender may take to end.
const ENDING: &str = "10000";

/// Drops a slot over an ordinary connection; no slot of that name is fine. A walsender that uses
/// it, or is still making it, is ended first.
pub async fn drop_slot(connection: &mut Connection, name: &str) -> Result<(), Error> {
    let name = quote_literal(name);
    // In two statements, since what is looked up in one is what was there when it began.
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid, {ENDING})
           FROM pg_replication_slots WHERE slot_name = {name} AND active_pid IS NOT NULL;
         SELECT pg_drop_replication_slot(slot_name)
           FROM pg_replication_slots WHERE slot_name = {name}"
    );
    connection.query(&sql).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_that_every_release_takes_is_used() {
        let plain = "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput NOEXPORT_SNAPSHOT";
        let command = |two_phase| NewSlot { name: "s", two_phase }.to_string();
        assert_eq!(command(false), plain);
        assert_eq!(command(true), format!("{plain} TWO_PHASE"));
    }
}
