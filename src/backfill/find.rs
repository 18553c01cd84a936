//! Looking for pages ahead of the copying.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use super::{
    Backfill, KeyRange, Page, Pager, Progress, Step,
    pace::Pace,
    page::PageError,
    range::{Bound, integer},
    run::{CONFLICT_WAIT, CONFLICTS_MAX, connect_for_pages},
};
use crate::{
    conn::{Connection, Error, QueryResult},
    sql::{key_ends, next_bound},
};

/// Looks for pages.
pub(super) struct Finder {
    backfill: Arc<Backfill>,
    pace: Arc<Pace>,
    tell: mpsc::Sender<Progress>,
    source: Connection,
    /// The ends of an integer key, as they were read last.
    range: Option<KeyRange>,
}

impl Finder {
    pub(super) async fn connect(
        backfill: Arc<Backfill>,
        pace: Arc<Pace>,
        tell: mpsc::Sender<Progress>,
    ) -> Result<Self, PageError> {
        let source = connect_for_pages(&backfill).await;
        let at_source = |error| PageError::Source { table: backfill.table.source.plain(), error };
        let source = source.map_err(at_source)?;
        Ok(Self { backfill, pace, tell, source, range: None })
    }

    /// Gives out every page that is left; `found` are there already.
    pub(super) async fn run(
        mut self,
        mut pager: Pager,
        mut found: u64,
        pages: mpsc::Sender<Page>,
    ) -> Result<(), PageError> {
        self.read_ends().await?;
        if let Some(range) = self.range {
            let _ = self.tell.send(Progress::KeyRange(range)).await;
        }
        loop {
            let page = match pager.step() {
                Step::Copy(page) => Some(page),
                Step::FindBound(lower) => {
                    let upper = self.bound(&lower).await?;
                    pager.bound_found(upper)
                }
                Step::End => break,
            };
            if let Some(page) = page {
                found += 1;
                if pager.is_finished() {
                    let _ = self.tell.send(Progress::AllFound { pages: found }).await;
                }
                if pages.send(page).await.is_err() {
                    break;
                }
            }
        }
        self.source.close().await;
        Ok(())
    }

    /// Where a page that begins after `lower` ends; `None` if it is the last one.
    async fn bound(&mut self, lower: &Bound) -> Result<Bound, PageError> {
        let rows = self.pace.rows();
        let table = &self.backfill.table;
        if table.is_arithmetic && self.range.is_some() && !self.pace.is_sparse() {
            let after = integer(lower);
            let cut = |range: Option<KeyRange>| range.and_then(|range| range.cut(after, rows));
            let bound = match cut(self.range) {
                None => {
                    // Rows came meanwhile, perhaps more than a page of them.
                    self.read_ends().await?;
                    cut(self.range)
                }
                bound => bound,
            };
            return Ok(bound.map(|bound| vec![bound.to_string()]));
        }
        let sql = next_bound(&table.source, &table.key, lower.as_deref(), rows);
        let result = self.ask(&sql).await?;
        let upper = result.rows().first().map(|row| row.texts(0)).transpose();
        let upper = upper.map_err(|error| self.at_source(error))?;
        self.pace.bounds_found(lower, &upper, rows);
        Ok(upper)
    }

    /// Reads the ends of the key, if it is a single integer.
    async fn read_ends(&mut self) -> Result<(), PageError> {
        let table = &self.backfill.table;
        let [only] = table.key.as_slice() else { return Ok(()) };
        if !only.is_integer() {
            return Ok(());
        }
        let sql = key_ends(&table.source, only);
        let result = self.ask(&sql).await?;
        self.range = ends(&result).map_err(|error| self.at_source(error))?;
        Ok(())
    }

    fn at_source(&self, error: Error) -> PageError {
        PageError::Source { table: self.backfill.table.source.plain(), error }
    }

    /// Asks the source, again if a standby gave the question up.
    async fn ask(&mut self, sql: &str) -> Result<QueryResult, PageError> {
        let mut conflicts = 0;
        loop {
            let asked = Instant::now();
            let found = self.source.query(sql).await;
            let found = found.map_err(|error| self.at_source(error));
            // A receiver that is gone means that the run is over.
            let _ = self.tell.send(Progress::SnapshotHeld(asked.elapsed())).await;
            match found {
                Err(error) if error.is_recovery_conflict() && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
                    let again = connect_for_pages(&self.backfill).await;
                    self.source = again.map_err(|error| self.at_source(error))?;
                }
                found => return found,
            }
        }
    }
}

fn ends(result: &QueryResult) -> Result<Option<KeyRange>, Error> {
    let row = result.row()?;
    let (least, greatest) = (row.get::<Option<i64>>("least")?, row.get("greatest")?);
    Ok(least.zip(greatest).map(|(least, greatest)| KeyRange { least, greatest }))
}
