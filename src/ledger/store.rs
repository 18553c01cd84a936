//! Reading and writing the ledger over an ordinary connection to the target.

use super::{
    handle::Ledger,
    inspect::look,
    integrity::{Access, Present},
    layout::{LEDGER_VERSION, OLDEST_VERSION, TABLES, Table},
    locks::lock_ledger,
    model::{Migration, Phase, TableCounts, TableRecord},
    name::{LedgerSchema, MigrationName},
    target::stand,
};
use crate::{
    conn::{Connection, Error, PATH_AGAIN, Row},
    pg::{Ident, Lsn, Oid, QualifiedName, SqlState},
    replication::{DurableLsn, SystemIdentity},
    sql::quote_literal,
};

impl Ledger<'_> {
    /// Sets a session up for writing what the source has, as one of the migration's writers.
    ///
    /// Triggers and rules of the target must not fire again, and foreign keys are the source's to
    /// check. That needs superuser, or from 15 on `GRANT SET ON PARAMETER
    /// session_replication_role`; without it the session stays as it is, which is right for tables
    /// that have no triggers (`migrate` refuses the others then).
    ///
    /// A killed pghost's last requests may still be in a server's hands. The lock that every writer
    /// holds lets the next run wait until they are done ([`Self::writers`]).
    pub async fn prepare_writer(&mut self) -> Result<(), Error> {
        self.join_writers().await?;
        match self.session.query("SET session_replication_role = replica").await {
            Err(error) if error.sqlstate() != Some(SqlState::INSUFFICIENT_PRIVILEGE) => Err(error),
            _ => Ok(()),
        }
    }

    /// The migration of that name; `None` if there is none, or no ledger at all.
    ///
    /// Errors: the ledger was written by another version of pghost.
    pub async fn load(&mut self) -> Result<Option<Migration>, Error> {
        let ledger = &self.migration.ledger;
        if !exists(self.session, ledger, "migration").await? {
            return Ok(None);
        }
        let name = quote_literal(self.migration.as_str());
        let sql = format!("SELECT * FROM {ledger}.migration WHERE name = {name}");
        let result = self.session.query(&sql).await?;
        let Some(row) = result.rows().first() else {
            return Ok(None);
        };
        let version: i32 = row.get("ledger_version")?;
        if !(OLDEST_VERSION..=LEDGER_VERSION).contains(&version) {
            return Err(Error::Result(format!(
                "the ledger has layout {version}, this pghost reads layouts {OLDEST_VERSION} to \
                 {LEDGER_VERSION}; go on with the pghost that began the migration"
            )));
        }
        let mut found = read_migration(row, ledger)?;
        let sql = format!(
            "SELECT *, to_json(key_columns) AS key_json, to_json(columns) AS columns_json
               FROM {ledger}.migration_table WHERE migration = {name} ORDER BY ordinal"
        );
        let tables = self.session.query(&sql).await?;
        found.tables = tables.rows().iter().map(read_table).collect::<Result<_, _>>()?;
        Ok(Some(found))
    }

    /// Makes what of the ledger is missing, brings what is there up to date, and writes the
    /// migration's first lines.
    ///
    /// Errors: among others, what is there is not pghost's own.
    pub async fn begin(&mut self, migration: &Migration) -> Result<(), Error> {
        let ledger = &migration.name.ledger;
        // Two runs that make the schema at once would fail each other.
        self.session.query("BEGIN; SET LOCAL synchronous_commit = on").await?;
        let first = |table: &&Table| table.is_first;
        let begun = async {
            self.bring_up_to_date().await?;
            make_missing(self.session, ledger, first).await?;
            self.session.query(&first_lines(migration)).await.map(drop)
        };
        let begun = begun.await;
        end(self.session, begun).await
    }

    /// Notes where the slot began, which is also the position everything starts from, and moves the
    /// migration from preparing to copying; and what the publication is made of.
    pub async fn start_backfill(
        &mut self,
        slot_start: Lsn,
        publication_shape: &str,
    ) -> Result<(), Error> {
        let set = format!(
            "slot_start_lsn = '{slot_start}', applied_lsn = '{slot_start}', phase = '{}',
             publication_shape = {}",
            Phase::Backfill.as_str(),
            quote_literal(publication_shape)
        );
        self.update(&set).await
    }

    /// Sets the checkpoint and moves the migration from copying to catching up.
    ///
    /// Errors: among others, a table was not closed.
    pub async fn start_catch_up(&mut self, checkpoint: Lsn) -> Result<(), Error> {
        // Where nothing at all was written since the slot was made, there is nothing to catch up
        // with, and no position will come that could move the phase.
        let ledger = &self.migration.ledger;
        let name = quote_literal(self.migration.as_str());
        let sql = format!(
            "UPDATE {ledger}.migration
                SET checkpoint_lsn = '{checkpoint}',
                    phase = CASE WHEN applied_lsn >= '{checkpoint}' THEN '{}' ELSE '{}' END
              WHERE name = {name} AND NOT EXISTS (
                    SELECT FROM {ledger}.migration_table
                     WHERE migration = {name} AND NOT backfilled)",
            Phase::Done.as_str(),
            Phase::CatchUp.as_str()
        );
        match one_row(self.session, &sql).await {
            Err(Error::Result(_)) => {
                Err(Error::Result("not every table of the migration has all of its pages".into()))
            }
            moved => moved,
        }
    }

    /// Raises the checkpoint.
    pub async fn raise_checkpoint(&mut self, checkpoint: Lsn) -> Result<(), Error> {
        let set = format!("checkpoint_lsn = greatest(checkpoint_lsn, '{checkpoint}')");
        self.update(&set).await
    }

    /// Adds to the times that a migration has taken, and keeps its longest snapshot.
    pub async fn add_seconds(
        &mut self,
        backfill: f64,
        catch_up: f64,
        longest_snapshot: f64,
    ) -> Result<(), Error> {
        let set = format!(
            "backfill_seconds = backfill_seconds + {backfill},
             catch_up_seconds = catch_up_seconds + {catch_up},
             longest_snapshot_seconds = greatest(longest_snapshot_seconds, {longest_snapshot})"
        );
        self.update(&set).await
    }

    /// The position that a load from the ledger has shown: committed, and made sure of by a
    /// synchronous commit after it.
    pub async fn durable_position(&mut self) -> Result<DurableLsn, Error> {
        // What is read may have been committed asynchronously by a server that is configured so. A
        // synchronous commit after it makes both durable: the log is flushed in order.
        let ledger = &self.migration.ledger;
        let sql = format!(
            "UPDATE {ledger}.migration SET applied_lsn = applied_lsn WHERE name = {}
             RETURNING applied_lsn",
            quote_literal(self.migration.as_str())
        );
        self.session.query("SET synchronous_commit = on").await?;
        let position = self.session.query(&sql).await?.row()?.get("applied_lsn")?;
        Ok(DurableLsn::assertion(position))
    }

    /// Forgets a migration, and the ledger itself when it was the last one.
    pub async fn forget(&mut self) -> Result<(), Error> {
        self.session.query("BEGIN").await?;
        let forgotten = self.remove().await;
        end(self.session, forgotten).await
    }

    async fn remove(&mut self) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        lock_ledger(self.session, ledger).await?;
        fit(self.session, ledger).await?;
        let name = quote_literal(self.migration.as_str());
        self.session.query(&format!("DELETE FROM {ledger}.migration WHERE name = {name}")).await?;
        let empty = format!("SELECT NOT EXISTS (SELECT FROM {ledger}.migration) AS empty");
        if self.session.query(&empty).await?.row()?.get("empty")? {
            let mut sql = String::new();
            for table in TABLES.iter().rev() {
                sql += &format!("DROP TABLE IF EXISTS {ledger}.{};", table.name);
            }
            self.session.query(&format!("{sql}DROP SCHEMA {ledger}")).await?;
        }
        Ok(())
    }

    async fn update(&mut self, set: &str) -> Result<(), Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        let sql = format!("UPDATE {ledger}.migration SET {set} WHERE name = {name}");
        one_row(self.session, &sql).await
    }

    pub(super) async fn update_table(&mut self, ordinal: usize, set: &str) -> Result<(), Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        let sql = format!(
            "UPDATE {ledger}.migration_table SET {set}
              WHERE migration = {name} AND ordinal = {ordinal}"
        );
        one_row(self.session, &sql).await
    }
}

/// Within a transaction: makes what is missing of the tables that are to be there, and the schema.
/// Nobody else does so until it ends, and what is there is looked at by it.
pub(super) async fn make_missing(
    target: &mut Connection,
    ledger: &LedgerSchema,
    is_needed: impl Fn(&&Table) -> bool,
) -> Result<(), Error> {
    lock_ledger(target, ledger).await?;
    let present = fit(target, ledger).await?;
    let mut sql = String::new();
    if !present.schema {
        sql += &format!("CREATE SCHEMA {ledger};");
    }
    for table in TABLES.iter().filter(is_needed).filter(|table| !present.has(table)) {
        // An event trigger's function may have set it for what comes before.
        sql += &format!("{PATH_AGAIN};{}", table.create(ledger));
    }
    if sql.is_empty() {
        return Ok(());
    }
    target.query(&sql).await?;
    // Default privileges may have let others write to it.
    fit(target, ledger).await.map(drop)
}

pub(super) async fn fit(target: &mut Connection, ledger: &LedgerSchema) -> Result<Present, Error> {
    look(target, ledger, Access::Write).await?.map_err(|unfit| Error::Result(unfit.to_string()))
}

/// The same for one table, which comes when there is something to be kept in it.
pub(super) async fn make_table(
    target: &mut Connection,
    ledger: &LedgerSchema,
    name: &str,
) -> Result<(), Error> {
    if exists(target, ledger, name).await? {
        return Ok(());
    }
    make_missing(target, ledger, |table| table.name == name).await
}

/// Whether a table of the ledger is there.
pub(super) async fn exists(
    target: &mut Connection,
    ledger: &LedgerSchema,
    table: &str,
) -> Result<bool, Error> {
    let name = quote_literal(&format!("{ledger}.{table}"));
    let sql = format!("SELECT pg_catalog.to_regclass({name}) IS NOT NULL AS found");
    target.query(&sql).await?.row()?.get("found")
}

fn first_lines(migration: &Migration) -> String {
    let ledger = &migration.name.ledger;
    let mut sql = format!(
        "INSERT INTO {ledger}.migration (name, ledger_version, phase, source_system_id,
             source_timeline, source_database, slot, publication, publication_made)
         VALUES ({}, {LEDGER_VERSION}, '{}', {}, {}, {}, {}, {}, {});",
        quote_literal(migration.name.as_str()),
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
            "INSERT INTO {ledger}.migration_table (migration, ordinal, source_schema, source_name,
                 source_oid, target_schema, target_name, target_oid, key_columns, key_order,
                 columns, shape)
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});",
            quote_literal(migration.name.as_str()),
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
    sql + &format!(
        "UPDATE {ledger}.migration_table SET {} WHERE migration = {} AND target_oid IS NOT NULL",
        stand("target_oid"),
        quote_literal(migration.name.as_str())
    )
}

/// Ends a transaction in which something was `done`, or not; whatever fails, none is left open.
pub(super) async fn end(target: &mut Connection, done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Ok(()) => finish(target, "COMMIT").await,
        Err(error) => {
            if target.in_transaction() {
                target.query("ROLLBACK").await?;
            }
            Err(error)
        }
    }
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

pub(super) async fn one_row(target: &mut Connection, sql: &str) -> Result<(), Error> {
    match target.query(sql).await?.statements.last().map(|s| s.affected) {
        Some(1) => Ok(()),
        _ => Err(line_is_gone()),
    }
}

pub(super) fn line_is_gone() -> Error {
    Error::Result("the migration's line is gone from the ledger on the target".into())
}

fn read_migration(row: &Row, ledger: &LedgerSchema) -> Result<Migration, Error> {
    let phase: String = row.get("phase")?;
    Ok(Migration {
        name: MigrationName::new(ledger, row.get::<String>("name")?),
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
