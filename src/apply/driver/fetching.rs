//! What the driver does when a change came without its big values and nothing that is folded has
//! them: it fetches the rows, and raises the checkpoint past the moment of that.
//!
//! The queries are `fetch`'s.

use std::time::{Duration, Instant};

use super::{Driver, LANE_WAIT};
use crate::{
    apply::{ApplyError, Moment, error::TARGET, fetch, messages::key_bytes},
    catalog::Foundation,
    ledger::Ledger,
    replication::take_checkpoint,
};

/// How long the source may take to show a transaction that it has sent.
const SHOWN_PATIENCE: Duration = Duration::from_secs(60);

impl Driver<'_> {
    /// Fetches rows that the folds wait for and raises the checkpoint past that moment, in the
    /// ledger too, before anything of it can be committed.
    pub(super) async fn fetch_waiting(&mut self) -> Result<(), ApplyError> {
        let waiting: Vec<_> = self.inbox.folds.iter().map(fetch::waiting).collect();
        if waiting.iter().all(Vec::is_empty) {
            return Ok(());
        }
        if self.lanes.is_strict() {
            return Err(ApplyError::OutOfPlace {
                at: self.inbox.accountant.complete(),
                what: "an insert without one of its values".into(),
            });
        }
        self.wait_until_shown().await?;
        let mut keys = Vec::new();
        for (table, entries) in waiting.iter().enumerate() {
            for entries in entries.chunks(fetch::ROWS_AT_A_TIME) {
                let (of, fold) = (&self.inbox.tables[table], &mut self.inbox.folds[table]);
                keys.extend(entries.iter().map(|&at| key_bytes(table, fold, &fold.entries()[at])));
                let (plain, at) = (of.source.plain(), self.inbox.accountant.complete());
                fetch::fetch(self.source, of, fold, entries).await.map_err(|error| {
                    if Foundation::fails(&error) {
                        let difference = "it was not what it was when rows were fetched".into();
                        return ApplyError::TableChanged { table: plain.clone(), at, difference };
                    }
                    ApplyError::Fetch { table: plain.clone(), error }
                })?;
                // What its lock does not hold still is asked before the rows are committed.
                self.inbox.described.insert(table);
                self.report().await?;
            }
        }
        let checkpoint = take_checkpoint(self.source).await.map_err(ApplyError::Stream)?;
        Ledger::of(self.target, &self.apply.migration).raise_checkpoint(checkpoint).await.map_err(
            |error| ApplyError::Target { place: TARGET.into(), after: self.durable.lsn(), error },
        )?;
        self.checkpoint = self.checkpoint.max(checkpoint);
        self.fetched.extend(keys.into_iter().map(|key| (key, Some(checkpoint))));
        (self.listen)(Moment::CheckpointRaised(self.checkpoint));
        Ok(())
    }

    /// Waits until the source shows every transaction that is folded.
    async fn wait_until_shown(&mut self) -> Result<(), ApplyError> {
        let (started, patience) = (Instant::now(), SHOWN_PATIENCE.min(self.apply.stall));
        while !fetch::shows(self.source, self.inbox.xids()).await.map_err(ApplyError::Stream)? {
            if started.elapsed() > patience {
                return Err(ApplyError::NotShown { seconds: patience.as_secs() });
            }
            self.report().await?;
            self.check_interrupt()?;
            tokio::time::sleep(LANE_WAIT).await;
        }
        Ok(())
    }
}
