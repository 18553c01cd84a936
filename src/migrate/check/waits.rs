//! Who would hold up the making of the slot, which waits for every transaction that is open on the
//! source, in any of its databases.

use super::finding::{At, Findings};
use crate::{
    conn::{Connection, Error, PATH_AGAIN, QueryResult},
    migrate::Failure,
    pg::Ident,
    sql::quote_literal,
};

/// Only transactions that have written something have an xid, and only for these it waits. How
/// long those of other roles are open is shown to few.
const OPEN: &str = "
SELECT pid, usename::text AS role, datname::text AS database, state,
       extract(epoch FROM clock_timestamp() - xact_start)::bigint AS seconds
  FROM pg_stat_activity
 WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
   AND coalesce(clock_timestamp() - xact_start > interval '2 seconds', true)
 ORDER BY xact_start NULLS LAST LIMIT 50";

const PREPARED: &str = "
SELECT gid, owner::text AS role, database::text AS database,
       extract(epoch FROM clock_timestamp() - prepared)::bigint AS seconds
  FROM pg_prepared_xacts ORDER BY prepared LIMIT 50";

/// Looks for transactions that have been open for longer than a moment.
pub(super) async fn look(source: &mut Connection, findings: &mut Findings) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source's sessions", &error);
    let at = At::source("open_transactions");
    let (mut seen, mut hidden) = (0_u32, Vec::new());
    source.queue_query(&format!("{PATH_AGAIN}; {OPEN}"));
    source.queue_query(PREPARED);
    let (open, prepared) = (source.result().await, source.result().await);
    let open = Error::if_answered(open).map_err(failed)?;
    let prepared = Error::if_answered(prepared).map_err(failed)?;
    let unknown = open.as_ref().err().or_else(|| prepared.as_ref().err()).map(ToString::to_string);
    for row in open.iter().flat_map(QueryResult::rows) {
        let pid: i32 = row.get("pid").map_err(failed)?;
        let Some(seconds) = row.get::<Option<i64>>("seconds").map_err(failed)? else {
            hidden.push(pid.to_string());
            continue;
        };
        seen += 1;
        let told = |column| row.get::<Option<String>>(column).map(Option::unwrap_or_default);
        let (role, database, state) = (
            told("role").map_err(failed)?,
            told("database").map_err(failed)?,
            told("state").map_err(failed)?,
        );
        findings.warn(
            at,
            format!(
                "making the slot would wait for a transaction that is open for {seconds} s: \
                 pid {pid} ({role} in {database}, {state})"
            ),
            format!("let it end, or end it: SELECT pg_terminate_backend({pid}) on the source"),
        );
    }
    if let Ok(prepared) = &prepared {
        seen += tell_prepared(prepared, at, findings).map_err(failed)?;
    }
    if let Some(no) = unknown {
        findings.ok(
            at,
            format!(
                "whether transactions are open for long, so that the slot waits: unknown, {no}"
            ),
        );
    } else if !hidden.is_empty() {
        findings.ok(
            at,
            format!(
                "transactions of other roles are open, how long is not shown to this one: pids {} \
                 (GRANT pg_read_all_stats TO it would tell)",
                hidden.join(", ")
            ),
        );
    } else if seen == 0 {
        findings.ok(at, "no transaction is open for long; the slot can be made at once");
    }
    Ok(())
}

/// Warns of prepared transactions, and counts them.
fn tell_prepared(
    prepared: &QueryResult,
    at: At<'_>,
    findings: &mut Findings,
) -> Result<u32, Error> {
    let mut seen = 0;
    for row in prepared.rows() {
        seen += 1;
        let told = |column| row.get::<String>(column);
        let (gid, seconds) = (told("gid")?, row.get::<i64>("seconds")?);
        findings.warn(
            at,
            format!(
                "making the slot would wait for a prepared transaction: {gid} ({} in {}), \
                 {seconds} s old",
                told("role")?,
                told("database")?
            ),
            format!(
                "COMMIT PREPARED {0} or ROLLBACK PREPARED {0}, in the database {1}",
                quote_literal(&gid).trim_start(),
                Ident::new(told("database")?)
            ),
        );
    }
    Ok(seen)
}
