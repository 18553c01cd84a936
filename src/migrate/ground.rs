//! What rows rest on at the target, taken down when a phase begins to write, and what became of it.

use super::{
    Failure,
    plan::PlannedTable,
    run::{Journey, at_ledger},
    still,
    verdict::Sign,
};
use crate::{
    catalog::{Foundation, Written},
    conn::{Connection, Error},
    ledger::Phase,
    pg::Ident,
};

impl Journey<'_, '_> {
    /// Takes down what the rows of all targets rest on from now on. Until the target is exact
    /// nothing may fire on them; later its owner decides, and pghost has made triggers of the
    /// source's.
    pub(super) async fn take_ground(&mut self) -> Result<(), Failure> {
        let target = &mut self.servers.target;
        let is_replica = still::refusal(target).await.map_err(|error| at_ledger(&error))?.is_none();
        let is_quiet = self.migration.phase < Phase::Done;
        let columns: Vec<Vec<Ident>> = self.tables.iter().map(PlannedTable::columns).collect();
        let written: Option<Vec<_>> = (self.tables.iter().zip(&columns))
            .map(|(table, columns)| {
                let table = table.target.as_ref()?;
                Some(Written { table, columns, is_replica, is_quiet })
            })
            .collect();
        let written = written.ok_or_else(|| at_ledger(&Error::Result("no target".into())))?;
        let grounds =
            Foundation::of_targets(target, &written).await.map_err(|error| match error {
                Error::Settings(what) => Failure::met(Sign::Reshaped, what),
                error => Failure::stopped_by("looking at the target", &error),
            })?;
        for (table, ground) in self.tables.iter_mut().zip(grounds) {
            table.ground = ground;
        }
        Ok(())
    }

    /// The same failure with what became of a target's table, if it can be told.
    pub(super) async fn reshaped(&mut self, failure: Failure) -> Failure {
        if !failure.is_of(Sign::Reshaped) {
            return failure;
        }
        let message = match difference(&mut self.servers.target, &self.tables).await {
            Some(what) => format!("{}: {what}", failure.message),
            None => failure.message,
        };
        Failure { message, ..failure }
    }
}

async fn difference(target: &mut Connection, tables: &[PlannedTable]) -> Option<String> {
    for table in tables {
        if let Ok(Some(what)) = table.ground.difference(target).await {
            return Some(format!("{} {what}", table.target_name.plain()));
        }
    }
    None
}
