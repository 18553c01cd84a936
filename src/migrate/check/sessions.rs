//! How many sessions the role may have on each side, and whether a run can do with that.
//!
//! Superusers have no such limit.
//! <https://www.postgresql.org/docs/current/sql-alterrole.html>

use super::finding::{At, Findings, Side};
use crate::{
    conn::{Connection, Error},
    migrate::{Failure, MigrationSpec, servers::Servers},
};

/// The limit of the role and that of the database, and how many sessions count against each.
const LIMITS: &str = "
SELECT quote_ident(rolname) AS role, quote_ident(datname) AS database,
       CASE WHEN NOT rolsuper THEN nullif(rolconnlimit, -1) END AS of_role,
       CASE WHEN NOT rolsuper THEN nullif(datconnlimit, -1) END AS of_database,
       (SELECT count(*) FROM pg_stat_activity a
         WHERE a.usesysid = r.oid AND backend_type IN ('client backend', 'walsender')) AS by_role,
       (SELECT count(*) FROM pg_stat_activity a
         WHERE a.datid = d.oid AND backend_type IN ('client backend', 'walsender')) AS in_database
  FROM pg_roles r, pg_database d
 WHERE r.rolname = session_user AND d.datname = current_database()";

/// Looks at both sides. Where both are one server the sessions of both count, which nothing here
/// tells apart.
pub(super) async fn look(
    spec: &MigrationSpec,
    servers: &mut Servers,
    findings: &mut Findings,
) -> Result<(), Failure> {
    // Of the source: one that asks, one that watches the slot, and one a page; until the pages
    // begin, and once they are done, the walsender. Each page has one on the target, too; each
    // lane has one there; and objects are made by as many as read pages.
    let (pages, lanes) = (spec.copy_jobs.max(1), spec.apply_jobs.max(1));
    let walsender = usize::from(servers.walsender.is_some());
    let pages_of_source = if spec.copy_from.is_some() { 0 } else { pages };
    let source = (2 + pages_of_source.max(1), 1 + walsender);
    one(&mut servers.source, Side::Source, source, findings).await?;
    one(&mut servers.target, Side::Target, (1 + pages.max(lanes), 1), findings).await
}

async fn one(
    connection: &mut Connection,
    side: Side,
    (needed, ours): (usize, usize),
    findings: &mut Findings,
) -> Result<(), Failure> {
    let name = side.as_str();
    let failed =
        |error: Error| Failure::refused_by(&format!("looking at the {name}'s limits"), &error);
    let result = match Error::if_answered(connection.query(LIMITS).await).map_err(failed)? {
        Ok(result) => result,
        Err(error) => {
            let at = At::new(side, "connection_limit");
            findings.ok(at, format!("the {name} does not tell how many sessions it has: {error}"));
            return Ok(());
        }
    };
    let row = result.row().map_err(failed)?;
    let number = |column| row.get::<Option<usize>>(column).map_err(failed);
    let text = |column| row.get::<String>(column).map_err(failed);
    for (what, limit, used, named) in [
        ("ROLE", number("of_role")?, number("by_role")?, text("role")?),
        ("DATABASE", number("of_database")?, number("in_database")?, text("database")?),
    ] {
        let Some(limit) = limit else { continue };
        let others = used.unwrap_or_default().saturating_sub(ours);
        let at = At::new(side, "connection_limit");
        if others + needed <= limit {
            findings.ok(
                at,
                format!(
                    "the {name}'s CONNECTION LIMIT {limit} of {named} leaves room for the {needed} \
                     sessions of the run"
                ),
            );
            continue;
        }
        let message = format!(
            "the run needs {needed} sessions on the {name}, and the CONNECTION LIMIT {limit} of \
             {named} leaves {}",
            limit.saturating_sub(others)
        );
        let hint = format!(
            "ALTER {what} {named} CONNECTION LIMIT {} on the {name}; or fewer --copy-jobs and \
             --apply-jobs",
            others + needed
        );
        findings.refuse(at, Failure::refused(message, hint));
    }
    Ok(())
}
