//! The servers' settings and sizes: what they keep for a slot, what is left of their limits, how
//! much there is to move and what it needs.

use super::{
    IDLE_TIMEOUT, KEEP_SIZE,
    finding::{At, Findings},
    look::look_at_standby,
};
use crate::{
    conn::{Error, Row},
    migrate::{
        Failure, MigrationSpec, grouped, plan::PlannedTable, servers::Servers, watch::slot_view,
    },
};

/// A setting that this release does not have is NULL. Log is written at the average rate since the
/// statistics were last reset.
const SOURCE: &str = "
SELECT current_setting('max_replication_slots')::integer AS slots,
       (SELECT count(*) FROM pg_replication_slots) AS slots_used,
       current_setting('max_wal_senders')::integer AS senders,
       (SELECT count(*) FROM pg_stat_replication) AS senders_used,
       (SELECT nullif(setting::bigint, -1) FROM pg_settings
         WHERE name = 'max_slot_wal_keep_size') AS keeps,
       (SELECT nullif(setting::bigint, 0) FROM pg_settings
         WHERE name = 'idle_replication_slot_timeout') AS idle,
       current_setting('synchronous_standby_names') AS synchronous,
       pg_size_pretty((wal_bytes / since * 3600)::bigint) AS log_an_hour,
       (SELECT setting::bigint * 1024 * 1024 * since / nullif(wal_bytes, 0) / 3600 FROM pg_settings
         WHERE name = 'max_slot_wal_keep_size')::float8 AS hours
  FROM pg_stat_wal, greatest(1, extract(epoch FROM
       now() - coalesce(stats_reset, pg_postmaster_start_time()))::numeric) AS since";

/// Looks at the settings of both servers.
pub(super) async fn look(
    spec: &MigrationSpec,
    servers: &mut Servers,
    slot: &str,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source's settings", &error);
    let result = servers.source.query(SOURCE).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    left(row, slot, findings).map_err(failed)?;
    let at = At::source("synchronous_standby_names");
    let names: String = row.get("synchronous").map_err(failed)?;
    let own = &spec.source.application_name;
    if names.contains('*') || names.to_lowercase().contains(&own.to_lowercase()) {
        findings.warn(
            at,
            format!(
                "synchronous_standby_names ({names}) takes pghost's connection for a synchronous \
                 standby: commits on the source would wait for the target"
            ),
            "name the standbys in it one by one, or give --source another application_name",
        );
    }
    look_at_standby(spec, servers, findings).await?;
    let failed = |error: Error| Failure::refused_by("looking at the target's settings", &error);
    let sql = "SELECT pg_is_in_recovery() AS standby";
    let result = servers.target.query(sql).await.map_err(failed)?;
    if result.row().and_then(|row| row.get::<bool>("standby")).map_err(failed)? {
        let hint = "name its primary as the target";
        let failure = Failure::refused("the target is a standby", hint);
        findings.refuse(At::target("recovery"), failure);
    }
    Ok(())
}

/// What the source keeps and what is left of its limits.
fn left(row: &Row, slot: &str, findings: &mut Findings) -> Result<(), Error> {
    let number = |column| row.get::<i64>(column);
    for (about, most, used) in [
        ("max_replication_slots", "slots", "slots_used"),
        ("max_wal_senders", "senders", "senders_used"),
    ] {
        // That none is left refuses the slot, or has refused the connection.
        let (most, used) = (number(most)?, number(used)?);
        if used < most {
            findings.ok(At::source(about), format!("{used} of {about} = {most} are in use"));
        }
    }
    let log_an_hour: String = row.get("log_an_hour")?;
    let at = At::source(KEEP_SIZE);
    match row.get::<Option<u64>>("keeps")? {
        Some(megabytes) => {
            let hours: Option<f64> = row.get("hours")?;
            let lasts = hours.map_or_else(String::new, |hours| {
                format!(
                    "; it writes {log_an_hour} an hour on average, so that this lasts {hours:.1} \
                     hours"
                )
            });
            findings.warn(
                at,
                format!("{}{lasts}", slot_view::keeps_little(megabytes, slot)),
                "ALTER SYSTEM SET max_slot_wal_keep_size = -1, and SELECT pg_reload_conf(), on \
                 the source",
            );
        }
        None => findings.ok(
            at,
            format!(
                "the source keeps all log that the slot needs, {log_an_hour} an hour on average: \
                 its disk must have room for it until the changes are read"
            ),
        ),
    }
    let at = At::source(IDLE_TIMEOUT);
    if let Some(seconds) = row.get::<Option<u64>>("idle")? {
        findings.warn(
            at,
            slot_view::keeps_not_idle(seconds, slot),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0, and SELECT pg_reload_conf(), on \
             the source",
        );
    }
    Ok(())
}

/// How much there is to move, and what the target needs for it.
pub(super) async fn size(
    servers: &mut Servers,
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("asking for the tables' sizes", &error);
    let mut oids = Vec::new();
    for table in tables {
        let own: Vec<_> = (table.source.partitions.iter().map(|partition| partition.oid))
            .chain([table.source.oid])
            .map(|oid| oid.to_string())
            .collect();
        let list = own.join(", ");
        let sql = format!(
            "SELECT pg_size_pretty(sum(pg_table_size(oid))) AS rows,
                    pg_size_pretty(sum(pg_total_relation_size(oid))) AS all
               FROM pg_class WHERE oid IN ({list})"
        );
        let result = servers.source.query(&sql).await.map_err(failed)?;
        let row = result.row().map_err(failed)?;
        let size = |column| row.get::<String>(column).map_err(failed);
        let rows = table.source.estimated_rows;
        let rows =
            rows.map_or_else(|| "uncounted".into(), |rows| format!("about {}", grouped(rows)));
        findings.ok(
            At::source("size").of(&table.source.name),
            format!(
                "{} has {rows} rows in {}, {} with its indexes",
                table.source.name.plain(),
                size("rows")?,
                size("all")?
            ),
        );
        oids.extend(own);
    }
    if oids.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_size_pretty(sum(pg_total_relation_size(oid))) AS all FROM pg_class
          WHERE oid IN ({})",
        oids.join(", ")
    );
    let result = servers.source.query(&sql).await.map_err(failed)?;
    let all: String = result.row().and_then(|row| row.get("all")).map_err(failed)?;
    let failed = |error: Error| Failure::refused_by("asking where the target keeps data", &error);
    // NULL where the role may not know.
    let sql = "SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS directory";
    let result = servers.target.query(sql).await.map_err(failed)?;
    let directory: Option<String> =
        result.row().and_then(|row| row.get("directory")).map_err(failed)?;
    findings.ok(
        At::target("disk"),
        format!(
            "the target's disk needs room for about {all}, the same again for a while as log, and \
             for sorting its largest index; a server does not tell what is free (df -h {})",
            directory.as_deref().unwrap_or("of its data directory")
        ),
    );
    Ok(())
}
