//! The sequences of tables that pghost made, once the rows are there.
//!
//! Not here: what else belongs to a table, which is `objects`'.

use super::{Event, Failure, Listener, plan::PlannedTable, sequences, servers::Servers};
use crate::ledger::Migration;

/// Brings the target's sequences to where the source's are. Can be done again.
///
/// Only in tables that pghost made: others have been set up by somebody who knows. A sequence
/// that is ahead already stays; one that can't be set is told of.
pub(super) async fn finish(
    servers: &mut Servers,
    migration: &Migration,
    tables: &[PlannedTable],
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    for (table, record) in tables.iter().zip(&migration.tables) {
        if !record.target_made {
            continue;
        }
        let names = (&table.source.name, &table.target_name);
        let brought = sequences::bring_up(&mut servers.source, &mut servers.target, names, 0).await;
        let brought = brought.map_err(|error| {
            let what = format!("setting the sequences of {}", table.target_name.plain());
            Failure::stopped_by(&what, &error)
        })?;
        for report in brought {
            if let Some(problem) = report.problem {
                let (column, table) = (report.column, report.table);
                let message = format!("the sequence of {table}.{column} is left alone: {problem}");
                listener.on(&Event::Notice { message });
            }
        }
    }
    Ok(())
}
