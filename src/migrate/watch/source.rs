//! A look at the source's tables now and then while changes are followed without end: what becomes
//! of them that the stream does not tell must not wait for the next run to be noticed.

use std::time::Duration;

use tokio::sync::watch;

use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{Ledger, Migration},
    migrate::{Failure, failure::Exit, plan::PlannedTable, publication, resume},
    pg::Lsn,
    replication::take_checkpoint,
};

/// How often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is watched.
#[derive(Debug)]
pub(in crate::migrate) struct Watch<'a> {
    pub(in crate::migrate) source: &'a Config,
    pub(in crate::migrate) target: &'a Config,
    pub(in crate::migrate) migration: &'a Migration,
    pub(in crate::migrate) tables: &'a [PlannedTable],
    /// Everything before it is on the target.
    pub(in crate::migrate) applied: watch::Receiver<Lsn>,
    /// Whether new columns are left out.
    pub(in crate::migrate) ignores_new: bool,
}

impl Watch<'_> {
    /// Ends when something is seen. What can't be looked at is looked at again later: whether the
    /// servers can be reached, others find out.
    pub(in crate::migrate) async fn run(mut self) -> Failure {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            match self.look().await {
                Err(failure) if failure.exit == Exit::CannotResume => return failure,
                Err(failure) => tracing::warn!("looking at the tables: {}", failure.message),
                Ok(()) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let failed = |error: Error| Failure::refused_by("looking at the tables", &error);
        let mut source =
            Connection::connect(self.source, SessionKind::Source).await.map_err(failed)?;
        let mut looked = Vec::new();
        for (record, table) in self.migration.tables.iter().zip(self.tables) {
            let there = table.target.as_ref();
            let (found, _) =
                resume::unaltered(&mut source, record, there, self.ignores_new).await?;
            resume::identities(&found, &table.key)?;
            resume::founded(&mut source, table).await?;
            looked.push(found);
        }
        publication::still_brings_all(&mut source, self.migration, self.tables).await?;
        let judge = |migration: &Migration| {
            let ledger = &migration.name.ledger;
            let mut tables = looked.iter().zip(&migration.tables);
            tables.try_for_each(|(s, r)| resume::not_emptied(s, r, ledger))
        };
        if judge(self.migration).is_ok() {
            return Ok(());
        }
        // It is judged once all is applied that was there when it was looked at.
        let now = take_checkpoint(&mut source).await.map_err(failed)?;
        source.close().await;
        if self.applied.wait_for(|applied| *applied >= now).await.is_err() {
            return Ok(());
        }
        let mut target =
            Connection::connect(self.target, SessionKind::Sql).await.map_err(failed)?;
        let ledger = Ledger::of(&mut target, &self.migration.name).load().await.map_err(failed)?;
        target.close().await;
        ledger.map_or(Ok(()), |migration| judge(&migration))
    }
}
