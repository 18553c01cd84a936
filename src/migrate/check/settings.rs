//! The servers' settings and sizes: what they keep for a slot, what is left of their limits, how
//! much there is to move and what it needs.

use super::{
    IDLE_TIMEOUT, KEEP_SIZE,
    finding::{At, Findings},
    look::look_at_standby,
};
use crate::{
    conn::{Error, PATH_AGAIN, Row},
    migrate::{
        Failure, MigrationSpec, grouped, plan::PlannedTable, servers::Servers, watch::slot_view,
    },
};

/// A setting that this release does not have is NULL.
const SOURCE: &str = "
SELECT current_setting('max_replication_slots')::integer AS slots,
       (SELECT count(*) FROM pg_replication_slots) AS slots_used,
       (SELECT nullif(setting::bigint, -1) FROM pg_settings
         WHERE name = 'max_slot_wal_keep_size') AS keeps,
       (SELECT nullif(setting::bigint, 0) FROM pg_settings
         WHERE name = 'idle_replication_slot_timeout') AS idle,
       current_setting('synchronous_standby_names') AS synchronous";

const SENDERS: &str = "
SELECT current_setting('max_wal_senders')::integer AS senders,
       (SELECT count(*) FROM pg_stat_replication) AS senders_used";

/// Log is written at the average rate since the statistics were last reset. Not answered by Aurora.
const LOG_WRITTEN: &str = "
SELECT pg_size_pretty((wal_bytes / since * 3600)::bigint) AS log_an_hour,
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
    // What is only told comes beside it: no server that is silent about that is refused.
    let source = &mut servers.source;
    source.queue_query(&format!("{PATH_AGAIN}; {SOURCE}"));
    source.queue_query(SENDERS);
    source.queue_query(LOG_WRITTEN);
    let (needed, senders, log) =
        (source.result().await, source.result().await, source.result().await);
    let result = needed.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    left("max_replication_slots", ("slots", "slots_used"), row, findings).map_err(failed)?;
    match Error::if_answered(senders).map_err(failed)? {
        Ok(senders) => {
            let of = ("senders", "senders_used");
            let row = senders.row().map_err(failed)?;
            left("max_wal_senders", of, row, findings).map_err(failed)?;
        }
        Err(no) => findings.ok(
            At::source("max_wal_senders"),
            format!("how many of max_wal_senders are in use is not known: {no}"),
        ),
    }
    let log = match Error::if_answered(log).map_err(failed)? {
        Ok(log) => log.row().and_then(LogWritten::of).map_err(failed)?,
        Err(no) => LogWritten { an_hour: Err(no.to_string()), hours: None },
    };
    kept(row, &log, slot, findings).map_err(failed)?;
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

/// How much log the source writes.
struct LogWritten {
    /// Or why that is not known.
    an_hour: Result<String, String>,
    /// How many hours of it the source keeps.
    hours: Option<f64>,
}

impl LogWritten {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self { an_hour: Ok(row.get("log_an_hour")?), hours: row.get("hours")? })
    }
}

/// What is left of a limit of the source.
fn left(
    about: &'static str,
    (most, used): (&str, &str),
    row: &Row,
    findings: &mut Findings,
) -> Result<(), Error> {
    // That none is left refuses the slot, or has refused the connection.
    let (most, used) = (row.get::<i64>(most)?, row.get::<i64>(used)?);
    if used < most {
        findings.ok(At::source(about), format!("{used} of {about} = {most} are in use"));
    }
    Ok(())
}

/// What the source keeps.
fn kept(row: &Row, log: &LogWritten, slot: &str, findings: &mut Findings) -> Result<(), Error> {
    let at = At::source(KEEP_SIZE);
    match row.get::<Option<u64>>("keeps")? {
        Some(megabytes) => {
            let lasts = match (&log.an_hour, log.hours) {
                (Ok(an_hour), Some(hours)) => format!(
                    "; it writes {an_hour} an hour on average, so that this lasts {hours:.1} hours"
                ),
                (Ok(_), None) => String::new(),
                (Err(no), _) => format!("; how much it writes is not known: {no}"),
            };
            findings.warn(
                at,
                format!("{}{lasts}", slot_view::keeps_little(megabytes, slot)),
                "ALTER SYSTEM SET max_slot_wal_keep_size = -1, and SELECT pg_reload_conf(), on \
                 the source",
            );
        }
        None => {
            let an_hour = match &log.an_hour {
                Ok(an_hour) => format!("{an_hour} an hour on average"),
                Err(no) => format!("and how much that is is not known ({no})"),
            };
            findings.ok(
                at,
                format!(
                    "the source keeps all log that the slot needs, {an_hour}: its disk must have \
                     room for it until the changes are read"
                ),
            );
        }
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
        let answer = servers.source.query(&sql).await;
        let size = match Error::if_answered(answer).map_err(failed)? {
            Ok(result) => {
                let row = result.row().map_err(failed)?;
                let size = |column| row.get::<String>(column).map_err(failed);
                format!("{}, {} with its indexes", size("rows")?, size("all")?)
            }
            Err(no) => format!("a size that is not known ({no})"),
        };
        let rows = table.source.estimated_rows;
        let rows =
            rows.map_or_else(|| "uncounted".into(), |rows| format!("about {}", grouped(rows)));
        findings.ok(
            At::source("size").of(&table.source.name),
            format!("{} has {rows} rows in {size}", table.source.name.plain()),
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
    let answer = servers.source.query(&sql).await;
    let all: String = match Error::if_answered(answer).map_err(failed)? {
        Ok(result) => result.row().and_then(|row| row.get("all")).map_err(failed)?,
        Err(_) => "the size of the source's tables".into(),
    };
    let failed = |error: Error| Failure::refused_by("asking where the target keeps data", &error);
    // NULL where the role may not know.
    let sql = "SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS directory";
    let answer = servers.target.query(sql).await;
    let directory: Option<String> = match Error::if_answered(answer).map_err(failed)? {
        Ok(result) => result.row().and_then(|row| row.get("directory")).map_err(failed)?,
        Err(_) => None,
    };
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
