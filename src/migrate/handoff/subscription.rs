//! The subscription on the target: finding, making, enabling and dropping it, and its origin.
//!
//! Statements only; what is done when is the handover's.

use super::Conninfo;
use crate::{
    conn::{Connection, Error},
    pg::{Ident, Lsn, Oid},
    sql::quote_literal,
};

/// A subscription of the target database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::migrate) struct Subscription {
    pub(in crate::migrate) oid: Oid,
    pub(in crate::migrate) name: String,
    pub(in crate::migrate) enabled: bool,
    pub(in crate::migrate) slot: Option<String>,
}

/// Looks a subscription of the current database up.
pub(in crate::migrate) async fn find(
    target: &mut Connection,
    name: &str,
) -> Result<Option<Subscription>, Error> {
    find_by(target, &format!("subname = {}", quote_literal(name))).await
}

/// The subscription of the current database that reads this slot.
pub(in crate::migrate) async fn find_reader(
    target: &mut Connection,
    slot: &str,
) -> Result<Option<Subscription>, Error> {
    find_by(target, &format!("subslotname = {}", quote_literal(slot))).await
}

async fn find_by(target: &mut Connection, which: &str) -> Result<Option<Subscription>, Error> {
    let sql = format!(
        "SELECT oid, subname, subenabled, subslotname FROM pg_subscription
          WHERE {which} AND subdbid = (SELECT oid FROM pg_database
                                        WHERE datname = current_database())"
    );
    let result = target.query(&sql).await?;
    let Some(row) = result.rows().first() else {
        return Ok(None);
    };
    Ok(Some(Subscription {
        oid: row.get("oid")?,
        name: row.get("subname")?,
        enabled: row.get("subenabled")?,
        slot: row.get("subslotname")?,
    }))
}

/// What a subscription is made of.
pub(super) struct New<'a> {
    pub(super) name: &'a str,
    pub(super) conninfo: &'a Conninfo,
    pub(super) publication: &'a str,
    /// `None` for a trial.
    pub(super) slot: Option<&'a str>,
    /// What the slot has, where both servers know the word (17 and later).
    pub(super) failover: Option<bool>,
}

/// Begins the transaction that makes one. Its statement holds a password, which the server's log
/// and statistics need not have; whether a transaction is sampled is drawn as it begins.
pub(super) async fn begin(target: &mut Connection) -> Result<(), Error> {
    keep_quiet(target, &[("log_transaction_sample_rate", "0")], false).await?;
    target.query("BEGIN").await.map(drop)
}

/// What else would note a statement.
const NOTED_BY: &[(&str, &str)] = &[
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_min_error_statement", "panic"),
    ("pg_stat_statements.track_utility", "off"),
];

/// Changes the settings that this role may change: a superuser all of them, any other (who can make
/// subscriptions from 16 on) those that it was granted.
async fn keep_quiet(
    target: &mut Connection,
    settings: &[(&str, &str)],
    local: bool,
) -> Result<(), Error> {
    let literal = |(name, value): &(&str, &str)| {
        format!("({}, {})", quote_literal(name), quote_literal(value))
    };
    let may = match target.parameter("is_superuser") {
        Some("on") => "true",
        _ if target.server_version()?.major() < 15 => "false",
        _ => "has_parameter_privilege(name, 'SET')",
    };
    let sql = format!(
        "SELECT set_config(name, value, {local}) FROM (VALUES {}) AS s (name, value) WHERE {may}",
        settings.iter().map(literal).collect::<Vec<_>>().join(", ")
    );
    target.query(&sql).await.map(drop)
}

/// Makes it, disabled, without copying, with the slot that is there. Within a transaction, see
/// [`begin`], which is left open on an error.
///
/// The server connects to the source by the conninfo and takes the publication's tables for
/// subscribed.
pub(super) async fn make(target: &mut Connection, new: &New<'_>) -> Result<(), Error> {
    if let Some(password) = new.conninfo.password() {
        target.hide_in_trace(password);
    }
    keep_quiet(target, NOTED_BY, true).await?;
    let slot = new.slot.map_or_else(|| "NONE".into(), quote_literal);
    let failover = new.failover.map(|on| format!(", failover = {on}")).unwrap_or_default();
    let sql = format!(
        "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}
           WITH (create_slot = false, slot_name = {slot}, copy_data = false,
                 enabled = false{failover})",
        Ident::new(new.name),
        quote_literal(new.conninfo.reveal()),
        Ident::new(new.publication),
    );
    target.query(&sql).await.map(drop)
}

/// Makes it and undoes that.
pub(super) async fn tried(target: &mut Connection, new: &New<'_>) -> Result<(), Error> {
    begin(target).await?;
    let made = make(target, new).await;
    undo(target).await?;
    made
}

/// Ends whatever transaction is open.
pub(super) async fn undo(target: &mut Connection) -> Result<(), Error> {
    if target.in_transaction() {
        target.query("ROLLBACK").await?;
    }
    Ok(())
}

/// The tables that a subscription brings, as `schema.table`, in order.
pub(super) async fn tables(target: &mut Connection, of: Oid) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname AS name
           FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE r.srsubid = {of} AND r.srsubstate = 'r' ORDER BY 1"
    );
    target.query(&sql).await?.rows().iter().map(|row| row.get("name")).collect()
}

/// Where a subscription is: the source's position up to which it has applied, durable here.
pub(super) async fn progress(target: &mut Connection, of: Oid) -> Result<Option<Lsn>, Error> {
    let sql = format!("SELECT pg_replication_origin_progress('pg_{of}', true) AS progress");
    target.query(&sql).await?.row()?.get("progress")
}

/// Has a subscription begin at a position, also where that is further back. At once, whatever
/// becomes of the transaction; in the log with it, and so as durable as the next commit.
pub(super) async fn set_progress(
    target: &mut Connection,
    of: Oid,
    position: Lsn,
) -> Result<(), Error> {
    let sql = format!("SELECT pg_replication_origin_advance('pg_{of}', '{position}')");
    target.query(&sql).await.map(drop)
}

/// Lets it run. Within a transaction.
pub(super) async fn enable(target: &mut Connection, name: &str) -> Result<(), Error> {
    let sql = format!("ALTER SUBSCRIPTION {} ENABLE", Ident::new(name));
    target.query(&sql).await.map(drop)
}

/// Drops it and leaves its slot alone. May be within a transaction.
pub(in crate::migrate) async fn drop_without_slot(
    target: &mut Connection,
    name: &str,
) -> Result<(), Error> {
    let name = Ident::new(name);
    let sql = format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}");
    target.query(&sql).await.map(drop)
}

/// What its worker has met so far; `None` where the server does not count (14), or tell.
pub(super) async fn errors(target: &mut Connection, of: Oid) -> Result<Option<u64>, Error> {
    let sql = "SELECT to_regclass('pg_catalog.pg_stat_subscription_stats') IS NOT NULL AS counts";
    if !target.query(sql).await?.row()?.get::<bool>("counts")? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT coalesce(sum(apply_error_count), 0) AS errors FROM pg_stat_subscription_stats
          WHERE subid = {of}"
    );
    match Error::if_answered(target.query(&sql).await)? {
        Ok(result) => result.row()?.get("errors"),
        Err(_) => Ok(None),
    }
}
