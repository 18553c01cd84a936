//! The sequences of tables that pghost made, once the rows are there.
//!
//! Not here: what else belongs to a table, which is `objects`'.

use super::{Failure, plan::PlannedTable, servers::Servers};
use crate::{conn::Error, ledger::Migration, sql::quote_literal};

/// Brings the target's sequences to where the source's are. Can be done again.
///
/// Only in tables that pghost made: others have been set up by somebody who knows. A sequence
/// that is ahead already stays.
pub(super) async fn finish(
    servers: &mut Servers,
    migration: &Migration,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    for (table, record) in tables.iter().zip(&migration.tables) {
        if record.target_made {
            sequences(servers, table).await.map_err(|error| {
                let what = format!("setting the sequences of {}", table.target_name.plain());
                Failure::stopped_by(&what, &error)
            })?;
        }
    }
    Ok(())
}

async fn sequences(servers: &mut Servers, table: &PlannedTable) -> Result<(), Error> {
    for column in &table.source.columns {
        let Some(sequence) = &column.sequence else {
            continue;
        };
        let sql = format!(
            "SELECT last_value, is_called, seqincrement > 0 AS ascending
               FROM {0}, pg_sequence WHERE seqrelid = {1}::regclass",
            sequence.name,
            quote_literal(&sequence.name.to_string())
        );
        let result = servers.source.query(&sql).await?;
        let row = result.row()?;
        if !row.get::<bool>("is_called")? {
            continue;
        }
        let last_value: i64 = row.get("last_value")?;
        let is_behind = if row.get("ascending")? { "<" } else { ">" };
        let of_target = format!(
            "pg_get_serial_sequence({}, {})",
            quote_literal(&table.target_name.to_string()),
            quote_literal(column.name.as_str())
        );
        let sql = format!(
            "SELECT setval({of_target}::regclass, {last_value})
              WHERE coalesce(pg_sequence_last_value({of_target}::regclass) {is_behind} {last_value},
                             true)"
        );
        servers.target.query(&sql).await?;
    }
    Ok(())
}
