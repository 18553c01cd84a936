//! Reading and writing the ledger over an ordinary connection to the target.

use std::time::{Duration, Instant};

use super::{
    model::{LEDGER_VERSION, Migration, Phase, TableCounts, TableRecord},
    sessions::holders,
    target::stand,
};
use crate::{
    conn::{Connection, Error, Row},
    pg::{Ident, Lsn, Oid, QualifiedName, SqlState},
    replication::{DurableLsn, SystemIdentity},
    sql::quote_literal,
};

/// How long a lock that somebody has is asked for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// The two rows that every batch updates are kept in pages with room, so that each update is a
/// HOT one and touches no index.
const CREATE: &str = "
CREATE SCHEMA IF NOT EXISTS pghost;
CREATE TABLE IF NOT EXISTS pghost.migration (
    name text PRIMARY KEY,
    ledger_version integer NOT NULL,
    phase text NOT NULL,
    source_system_id text NOT NULL,
    source_timeline integer NOT NULL,
    source_database text NOT NULL,
    slot text NOT NULL,
    publication text NOT NULL,
    publication_made boolean NOT NULL,
    publication_shape text,
    slot_start_lsn pg_lsn,
    checkpoint_lsn pg_lsn,
    applied_lsn pg_lsn,
    skipped bigint NOT NULL DEFAULT 0,
    longest_snapshot_seconds double precision NOT NULL DEFAULT 0,
    backfill_seconds double precision NOT NULL DEFAULT 0,
    catch_up_seconds double precision NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS pghost.migration_table (
    migration text REFERENCES pghost.migration ON DELETE CASCADE,
    ordinal integer,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    source_oid oid NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    target_oid oid,
    target_made boolean NOT NULL DEFAULT false,
    key_columns text[] NOT NULL,
    key_order text NOT NULL,
    columns text[] NOT NULL,
    target_columns smallint[],
    shape text NOT NULL,
    backfilled boolean NOT NULL DEFAULT false,
    inserted bigint NOT NULL DEFAULT 0,
    updated bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    truncated bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (migration, ordinal)
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS pghost.page (
    migration text,
    ordinal integer,
    number bigint,
    lower_bound text[],
    upper_bound text[],
    row_count bigint NOT NULL,
    byte_count bigint NOT NULL,
    snapshot text NOT NULL,
    lsn pg_lsn NOT NULL,
    PRIMARY KEY (migration, ordinal, number),
    FOREIGN KEY (migration, ordinal) REFERENCES pghost.migration_table ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS pghost.object (
    migration text,
    ordinal integer,
    position integer,
    kind text NOT NULL,
    name text NOT NULL,
    statements text[] NOT NULL,
    done boolean NOT NULL DEFAULT false,
    skipped text,
    PRIMARY KEY (migration, ordinal, position),
    FOREIGN KEY (migration, ordinal) REFERENCES pghost.migration_table ON DELETE CASCADE
);";

/// Sets a session up for writing what the source has, as one of the migration's writers.
///
/// Triggers and rules of the target must not fire again, and foreign keys are the source's to
/// check. That needs superuser, or from 15 on `GRANT SET ON PARAMETER session_replication_role`;
/// without it the session stays as it is, which is right for tables that have no triggers
/// (`migrate` refuses the others then).
///
/// A killed pghost's last requests may still be in a server's hands. The lock that every writer
/// holds lets the next run wait until they are done ([`writers`]).
pub async fn prepare_writer(target: &mut Connection, migration: &str) -> Result<(), Error> {
    join_writers(target, migration).await?;
    match target.query("SET session_replication_role = replica").await {
        Err(error) if error.sqlstate() != Some(SqlState::INSUFFICIENT_PRIVILEGE) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a session one of the migration's writers, and changes nothing else about it.
pub async fn join_writers(target: &mut Connection, migration: &str) -> Result<(), Error> {
    let key = writers_key(migration);
    target.query(&format!("SELECT pg_advisory_lock_shared({key})")).await.map(drop)
}

/// The server processes that still write for a migration; empty once there are none.
pub async fn writers(target: &mut Connection, migration: &str) -> Result<Vec<i32>, Error> {
    let key = writers_key(migration);
    let sql = format!(
        "SELECT pg_try_advisory_lock({key}) AS free, pg_advisory_unlock({key}) AS unlocked"
    );
    if target.query(&sql).await?.row()?.get("free")? {
        return Ok(Vec::new());
    }
    target.query(&holders(&[key])).await?.rows().iter().map(|row| row.get("pid")).collect()
}

pub(super) fn writers_key(migration: &str) -> String {
    advisory_key(&format!("pghost writer {migration}"))
}

pub(super) fn advisory_key(what: &str) -> String {
    format!("hashtextextended({}, 0)", quote_literal(what))
}

/// Takes a name for this session, on the server of `connection`; `false` if another session has
/// it. Given back when the session ends, however it ends.
pub async fn lock(connection: &mut Connection, what: &str) -> Result<bool, Error> {
    let sql = format!("SELECT pg_try_advisory_lock({}) AS free", advisory_key(what));
    patiently(connection, &sql).await
}

/// Whether a name could be taken; it is not, for longer than the asking.
pub async fn could_lock(connection: &mut Connection, what: &str) -> Result<bool, Error> {
    patiently(connection, &is_free(what)).await
}

/// Asks whether a name is `free`, and has it for so short that nobody is kept from taking it who
/// asks patiently.
pub(super) fn is_free(what: &str) -> String {
    let key = advisory_key(what);
    format!(
        "SELECT CASE WHEN pg_try_advisory_lock({key}) THEN pg_advisory_unlock({key})
                     ELSE false END AS free"
    )
}

async fn patiently(connection: &mut Connection, sql: &str) -> Result<bool, Error> {
    // A run that has just ended may have its session on the server for a moment longer. Asking
    // again, rather than waiting there, holds no snapshot.
    let since = Instant::now();
    loop {
        let free = connection.query(sql).await?.row()?.get("free")?;
        if free || since.elapsed() > LOCK_PATIENCE {
            return Ok(free);
        }
        tokio::time::sleep(LOCK_AGAIN).await;
    }
}

/// The migration of that name; `None` if there is none, or no ledger at all.
///
/// Errors: the ledger was written by another version of pghost.
pub async fn load(target: &mut Connection, name: &str) -> Result<Option<Migration>, Error> {
    let exists = "SELECT to_regclass('pghost.migration') IS NOT NULL AS found";
    if !target.query(exists).await?.row()?.get::<bool>("found")? {
        return Ok(None);
    }
    let name = quote_literal(name);
    let sql = format!("SELECT * FROM pghost.migration WHERE name = {name}");
    let result = target.query(&sql).await?;
    let Some(row) = result.rows().first() else {
        return Ok(None);
    };
    let version: i32 = row.get("ledger_version")?;
    if version != LEDGER_VERSION {
        return Err(Error::Result(format!(
            "the ledger has layout {version}, this pghost reads layout {LEDGER_VERSION}; \
             go on with the pghost that began the migration"
        )));
    }
    let mut migration = read_migration(row)?;
    let sql = format!(
        "SELECT *, to_json(key_columns) AS key_json, to_json(columns) AS columns_json
           FROM pghost.migration_table WHERE migration = {name} ORDER BY ordinal"
    );
    let tables = target.query(&sql).await?;
    migration.tables = tables.rows().iter().map(read_table).collect::<Result<_, _>>()?;
    Ok(Some(migration))
}

/// Makes the ledger's tables if they are missing, and the migration's first lines.
pub async fn begin(target: &mut Connection, migration: &Migration) -> Result<(), Error> {
    // Two runs that make the schema at once would fail each other.
    let mut sql = format!(
        "BEGIN; SET LOCAL synchronous_commit = on;
         SELECT pg_advisory_xact_lock(hashtextextended('pghost ledger', 0));{CREATE}
         INSERT INTO pghost.migration (name, ledger_version, phase, source_system_id,
             source_timeline, source_database, slot, publication, publication_made)
         VALUES ({}, {LEDGER_VERSION}, '{}', {}, {}, {}, {}, {}, {});",
        quote_literal(&migration.name),
        migration.phase.as_str(),
        quote_literal(&migration.source.system_id),
        migration.source.timeline,
        quote_literal(&migration.source.database),
        quote_literal(&migration.slot),
        quote_literal(&migration.publication),
        migration.publication_made,
    );
    for table in &migration.tables {
        let names = |names: &[Ident]| {
            sql_list(&names.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>())
        };
        sql += &format!(
            "INSERT INTO pghost.migration_table (migration, ordinal, source_schema, source_name,
                 source_oid, target_schema, target_name, target_oid, key_columns, key_order,
                 columns, shape)
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});",
            quote_literal(&migration.name),
            table.ordinal,
            quote_literal(table.source.schema.as_str()),
            quote_literal(table.source.name.as_str()),
            table.source_oid,
            quote_literal(table.target.schema.as_str()),
            quote_literal(table.target.name.as_str()),
            table.target_oid.map_or_else(|| "NULL".to_owned(), |oid| oid.to_string()),
            names(&table.key),
            quote_literal(&table.key_order),
            names(&table.columns),
            quote_literal(&table.shape),
        );
    }
    sql += &format!(
        "UPDATE pghost.migration_table SET {} WHERE migration = {} AND target_oid IS NOT NULL;
         COMMIT",
        stand("target_oid"),
        quote_literal(&migration.name)
    );
    finish(target, &sql).await
}

/// Runs statements that end a transaction; whatever fails, none is left open.
pub(super) async fn finish(target: &mut Connection, sql: &str) -> Result<(), Error> {
    match target.query(sql).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if target.in_transaction() {
                target.query("ROLLBACK").await?;
            }
            Err(error)
        }
    }
}

/// Notes where the slot began, which is also the position everything starts from, and moves the
/// migration from preparing to copying; and what the publication is made of.
pub async fn start_backfill(
    target: &mut Connection,
    migration: &str,
    slot_start: Lsn,
    publication_shape: &str,
) -> Result<(), Error> {
    let set = format!(
        "slot_start_lsn = '{slot_start}', applied_lsn = '{slot_start}', phase = '{}',
         publication_shape = {}",
        Phase::Backfill.as_str(),
        quote_literal(publication_shape)
    );
    update(target, migration, &set).await
}

/// Notes that all pages of a table are there.
pub async fn table_backfilled(
    target: &mut Connection,
    migration: &str,
    ordinal: usize,
) -> Result<(), Error> {
    update_table(target, migration, ordinal, "backfilled = true").await
}

/// Sets the checkpoint and moves the migration from copying to catching up.
pub async fn start_catch_up(
    target: &mut Connection,
    migration: &str,
    checkpoint: Lsn,
) -> Result<(), Error> {
    // Where nothing at all was written since the slot was made, there is nothing to catch up
    // with, and no position will come that could move the phase.
    let set = format!(
        "checkpoint_lsn = '{checkpoint}',
         phase = CASE WHEN applied_lsn >= '{checkpoint}' THEN '{}' ELSE '{}' END",
        Phase::Done.as_str(),
        Phase::CatchUp.as_str()
    );
    update(target, migration, &set).await
}

/// Raises the checkpoint.
pub async fn raise_checkpoint(
    target: &mut Connection,
    migration: &str,
    checkpoint: Lsn,
) -> Result<(), Error> {
    let set = format!("checkpoint_lsn = greatest(checkpoint_lsn, '{checkpoint}')");
    update(target, migration, &set).await
}

/// Adds to the times that a migration has taken, and keeps its longest snapshot.
pub async fn add_seconds(
    target: &mut Connection,
    migration: &str,
    backfill: f64,
    catch_up: f64,
    longest_snapshot: f64,
) -> Result<(), Error> {
    let set = format!(
        "backfill_seconds = backfill_seconds + {backfill},
         catch_up_seconds = catch_up_seconds + {catch_up},
         longest_snapshot_seconds = greatest(longest_snapshot_seconds, {longest_snapshot})"
    );
    update(target, migration, &set).await
}

/// The position that a load from the ledger has shown: committed, and made sure of by a
/// synchronous commit after it.
pub async fn durable_position(
    target: &mut Connection,
    migration: &str,
) -> Result<DurableLsn, Error> {
    // What is read may have been committed asynchronously by a server that is configured so. A
    // synchronous commit after it makes both durable: the log is flushed in order.
    let sql = format!(
        "UPDATE pghost.migration SET applied_lsn = applied_lsn WHERE name = {}
         RETURNING applied_lsn",
        quote_literal(migration)
    );
    target.query("SET synchronous_commit = on").await?;
    let position = target.query(&sql).await?.row()?.get("applied_lsn")?;
    Ok(DurableLsn::assertion(position))
}

/// Forgets a migration, and the ledger itself when it was the last one.
pub async fn forget(target: &mut Connection, name: &str) -> Result<(), Error> {
    let sql = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock(hashtextextended('pghost ledger', 0));
         DELETE FROM pghost.migration WHERE name = {};",
        quote_literal(name)
    );
    target.query(&sql).await?;
    let empty = "SELECT NOT EXISTS (SELECT FROM pghost.migration) AS empty";
    let drop = match target.query(empty).await?.row()?.get("empty")? {
        true => {
            "DROP TABLE IF EXISTS pghost.object, pghost.handoff, pghost.failure;
                 DROP TABLE pghost.page, pghost.migration_table, pghost.migration;
                 DROP SCHEMA pghost; COMMIT"
        }
        false => "COMMIT",
    };
    finish(target, drop).await
}

async fn update(target: &mut Connection, migration: &str, set: &str) -> Result<(), Error> {
    let name = quote_literal(migration);
    let sql = format!("UPDATE pghost.migration SET {set} WHERE name = {name}");
    one_row(target, &sql).await
}

pub(super) async fn update_table(
    target: &mut Connection,
    migration: &str,
    ordinal: usize,
    set: &str,
) -> Result<(), Error> {
    let name = quote_literal(migration);
    let sql = format!(
        "UPDATE pghost.migration_table SET {set} WHERE migration = {name} AND ordinal = {ordinal}"
    );
    one_row(target, &sql).await
}

pub(super) async fn one_row(target: &mut Connection, sql: &str) -> Result<(), Error> {
    match target.query(sql).await?.statements.last().map(|s| s.affected) {
        Some(1) => Ok(()),
        _ => Err(Error::Result(
            "the migration's line is gone from the ledger (pghost.migration on the target)".into(),
        )),
    }
}

fn read_migration(row: &Row) -> Result<Migration, Error> {
    let phase: String = row.get("phase")?;
    Ok(Migration {
        name: row.get("name")?,
        phase: Phase::parse(&phase)
            .ok_or_else(|| Error::Result(format!("the ledger has an unknown phase {phase:?}")))?,
        source: SystemIdentity {
            system_id: row.get("source_system_id")?,
            timeline: row.get("source_timeline")?,
            database: row.get("source_database")?,
        },
        slot: row.get("slot")?,
        publication: row.get("publication")?,
        publication_made: row.get("publication_made")?,
        publication_shape: row.get("publication_shape")?,
        slot_start: row.get("slot_start_lsn")?,
        checkpoint: row.get("checkpoint_lsn")?,
        applied: row.get("applied_lsn")?,
        skipped: row.get("skipped")?,
        longest_snapshot_seconds: row.get("longest_snapshot_seconds")?,
        backfill_seconds: row.get("backfill_seconds")?,
        catch_up_seconds: row.get("catch_up_seconds")?,
        tables: Vec::new(),
    })
}

fn read_table(row: &Row) -> Result<TableRecord, Error> {
    let names = |column: &str| -> Result<Vec<Ident>, Error> {
        Ok(json_list(&row.get::<String>(column)?)?.into_iter().map(Ident::new).collect())
    };
    Ok(TableRecord {
        ordinal: row.get("ordinal")?,
        source: QualifiedName::new(
            row.get::<String>("source_schema")?,
            row.get::<String>("source_name")?,
        ),
        source_oid: row.get::<Oid>("source_oid")?,
        target: QualifiedName::new(
            row.get::<String>("target_schema")?,
            row.get::<String>("target_name")?,
        ),
        target_oid: row.get::<Option<Oid>>("target_oid")?,
        target_made: row.get("target_made")?,
        key: names("key_json")?,
        key_order: row.get("key_order")?,
        columns: names("columns_json")?,
        shape: row.get("shape")?,
        backfilled: row.get("backfilled")?,
        counts: TableCounts {
            inserted: row.get("inserted")?,
            updated: row.get("updated")?,
            deleted: row.get("deleted")?,
            truncated: row.get("truncated")?,
        },
    })
}

/// A `text[]` literal.
pub(super) fn sql_list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|v| quote_literal(v)).collect();
    format!("ARRAY[{}]::text[]", quoted.join(", "))
}

/// What `to_json` made of a `text[]`.
pub(super) fn json_list(text: &str) -> Result<Vec<String>, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::Result(format!("the ledger holds a damaged list: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_quoted_value_by_value() {
        let values = ["a'b".to_owned(), r"c\d".to_owned()];
        assert_eq!(sql_list(&values), r"ARRAY['a''b',  E'c\\d']::text[]");
        assert_eq!(json_list(r#"["a'b", "c\\d"]"#).unwrap(), values);
        assert!(json_list("{}").is_err());
    }
}
