//! Whether triggers, rules and foreign keys of the target keep still while pghost writes there.
//!
//! They do under `session_replication_role = replica`, which every session that writes sets if its
//! role may: a superuser, or from 15 on one with `GRANT SET ON PARAMETER`. Where it may not there
//! must be none: a trigger would do again what it did on the source, ON DELETE CASCADE would take
//! rows away whose deletes are still to come, and a foreign key would refuse a child that comes
//! before its parent. So what pghost makes is made without them then, and what is there is refused.
//!
//! Not here: those that fire all the same (ENABLE ALWAYS, REPLICA), which are `target`'s.

use super::{Failure, plan::PlannedTable};
use crate::{
    catalog::ObjectKind,
    conn::{Connection, Error},
    pg::SqlState,
};

/// Why an object of this kind is left out where it would act, if it would.
pub(super) const fn why_left_out(kind: ObjectKind) -> Option<&'static str> {
    match kind {
        ObjectKind::Trigger => Some(
            "the role may not set session_replication_role, so it would fire for every change that \
             later runs apply",
        ),
        ObjectKind::ForeignKey => Some(
            "the role may not set session_replication_role, so it would act on the changes that \
             later runs apply, and refuse some of them",
        ),
        _ => None,
    }
}

/// The server's refusal to let the role keep them still, if it refuses.
pub(super) async fn refusal(target: &mut Connection) -> Result<Option<Error>, Error> {
    let tried = target.query("BEGIN; SET LOCAL session_replication_role = replica; ROLLBACK").await;
    if target.in_transaction() {
        target.query("ROLLBACK").await?;
    }
    match tried {
        Ok(_) => Ok(None),
        Err(error) if error.sqlstate() == Some(SqlState::INSUFFICIENT_PRIVILEGE) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// What lets the role do it.
pub(super) async fn grant(target: &mut Connection) -> Result<String, Error> {
    if target.server_version()?.major() < 15 {
        return Ok("use a superuser as the role of --target (14 has no grant for that)".into());
    }
    let me = target.query("SELECT quote_ident(current_user) AS me").await?;
    let me: String = me.row()?.get("me")?;
    Ok(format!("GRANT SET ON PARAMETER session_replication_role TO {me} on the target"))
}

/// What acts by itself on these tables, and on what they are partitioned into. Foreign keys whose
/// triggers are disabled, or that are not enforced (18), have none that fire.
const ACTS: &str = "
WITH given AS (SELECT unnest($1::oid[]) AS oid),
     tree AS (SELECT oid FROM given
              UNION SELECT relid FROM given, pg_partition_tree(given.oid))
SELECT coalesce(string_agg(what, ', ' ORDER BY what), '') AS acts FROM (
    SELECT format('trigger %I of %s', tgname, tgrelid::regclass) FROM pg_trigger
     WHERE tgrelid IN (TABLE tree) AND NOT tgisinternal AND tgenabled <> 'D'
     UNION ALL
    SELECT format('rule %I of %s', rulename, ev_class::regclass) FROM pg_rewrite
     WHERE ev_class IN (TABLE tree) AND ev_enabled <> 'D'
     UNION ALL
    SELECT format('foreign key %I of %s', conname, conrelid::regclass) FROM pg_constraint c
     WHERE contype = 'f' AND conparentid = 0
       AND (conrelid IN (TABLE tree) OR confrelid IN (TABLE tree))
       AND EXISTS (SELECT FROM pg_trigger WHERE tgconstraint = c.oid AND tgenabled <> 'D')
    ) AS found (what)";

/// Nothing acts on the tables of a migration that goes on, or the role can keep it still. The right
/// may have been taken away since, or somebody may have made what was left out.
pub(super) async fn is_kept(
    target: &mut Connection,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let Some(error) = refusal(target).await.map_err(failed)? else { return Ok(()) };
    let oids: Vec<_> =
        tables.iter().filter_map(|t| t.target.as_ref()).map(|t| t.oid.to_string()).collect();
    let list = format!("{{{}}}", oids.join(","));
    let found = target.query_with(ACTS, &[Some(list.as_str())]).await.map_err(failed)?;
    let acts: String = found.row().and_then(|row| row.get("acts")).map_err(failed)?;
    if acts.is_empty() {
        return Ok(());
    }
    let grant = grant(target).await.map_err(failed)?;
    let what = format!("what is on the target would act on the changes that are applied ({acts})");
    let hint = format!("{grant}; or drop or disable that, and make it again at the change-over");
    let failure = Failure::refused(format!("{what}: {error}"), hint);
    Err(Failure { sqlstate: error.sqlstate(), ..failure })
}
