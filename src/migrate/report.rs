//! The end of a run: what was done over all runs, as the ledger has it.

use super::{
    Event, Failure, PhaseName, Seconds, TableReport,
    run::{Journey, at_ledger},
    servers::Servers,
};
use crate::ledger::Ledger;

impl Journey<'_, '_> {
    /// The sum of it all, from the ledger.
    pub(super) async fn report(mut self) -> Result<(), Failure> {
        self.reload().await?;
        let (target, migration) = (&mut self.servers.target, &self.migration);
        let copied = Ledger::of(target, &migration.name).rows_copied().await;
        let copied = copied.map_err(|error| at_ledger(&error))?;
        let mut skipped = migration.skipped;
        let tables: Vec<_> = (migration.tables.iter())
            .map(|table| TableReport {
                source: table.source.plain(),
                target: table.target.plain(),
                rows_copied: copied.get(&table.ordinal).copied().unwrap_or(0),
                inserted: table.counts.inserted,
                updated: table.counts.updated,
                deleted: table.counts.deleted,
                truncated: table.counts.truncated,
                skipped: std::mem::take(&mut skipped),
            })
            .collect();
        let applied: u64 = migration.tables.iter().map(|table| table.counts.total()).sum();
        let finished = Event::Finished {
            name: migration.name.to_string(),
            checkpoint_lsn: self.checkpoint(),
            applied_lsn: migration.applied.unwrap_or_default(),
            changes_received: applied + migration.skipped,
            tables,
            seconds: Seconds {
                backfill: migration.backfill_seconds,
                catch_up: migration.catch_up_seconds,
                ..self.seconds
            },
            longest_snapshot_seconds: migration.longest_snapshot_seconds,
        };
        self.enter(PhaseName::Done);
        self.desk.tell(&finished);
        let Servers { source, target, .. } = self.servers;
        source.close().await;
        target.close().await;
        Ok(())
    }
}
