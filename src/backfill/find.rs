//! Looking for pages ahead of the copying.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, mpsc};

use super::{
    Backfill, KeyRange, Page, PageError, Pager, Progress, Search, Step, TablePlan,
    door::{Crew, Door, Standing},
    named::bound_of,
    pace::Pace,
    page::Tell,
    range::{Bound, integer},
    session::{CONFLICT_WAIT, CONFLICTS_MAX, connect_for_pages, locked, queue_lock},
};
use crate::{
    catalog::Foundation,
    conn::{Connection, Error, QueryResult},
    sql::{bound_within, key_ends},
};

/// How soon a lock is there that nobody else has, from far away too.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A table that is being copied: what is fixed, and what its pages teach.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) plan: TablePlan,
    pub(super) pace: Pace,
    pub(super) door: Arc<Door>,
}

/// A table that nobody looks for pages of yet, and how many of them there are already.
pub(super) type Waiting = (Arc<Table>, Pager, u64);

/// A page on its way to the workers.
pub(super) type PageOf = (Arc<Table>, Page, Standing);

/// Looks for the pages of one table after the other, for as long as tables are waiting.
pub(super) async fn find(
    backfill: Arc<Backfill>,
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
    crew: Arc<Crew>,
    tell: Tell,
    pages: mpsc::Sender<PageOf>,
) -> Result<(), PageError> {
    let mut idle = None;
    loop {
        let next = waiting.lock().await.pop_front();
        let Some((table, pager, found)) = next else { break };
        let source = match idle.take() {
            Some(source) => source,
            None => (connect_for_pages(&backfill).await)
                .map_err(|error| PageError::Session { side: "source", error })?,
        };
        let finder =
            Finder { backfill: &backfill, table: &table, tell: &tell, source, range: None };
        idle = Some(finder.run(pager, found, (&crew, &pages)).await?);
    }
    crew.finder_ended();
    if let Some(source) = idle {
        source.close().await;
    }
    Ok(())
}

/// Looks for the pages of a table.
struct Finder<'a> {
    backfill: &'a Backfill,
    table: &'a Arc<Table>,
    tell: &'a Tell,
    source: Connection,
    /// The ends of an integer key, as they were read last.
    range: Option<KeyRange>,
}

impl Finder<'_> {
    /// Gives out every page that is left; `found` are there already. Gives the connection back.
    async fn run(
        mut self,
        mut pager: Pager,
        mut found: u64,
        (crew, pages): (&Crew, &mpsc::Sender<PageOf>),
    ) -> Result<Connection, PageError> {
        self.tell(Progress::Begun).await;
        if pager.is_finished() {
            self.tell(Progress::AllFound { pages: found }).await;
            return Ok(self.source);
        }
        self.read_ends().await?;
        if let Some(range) = self.range {
            self.tell(Progress::KeyRange(range)).await;
        }
        loop {
            let page = match pager.step() {
                Step::Copy(page) => Some(page),
                Step::FindBound(search) => {
                    let upper = self.bound(&search).await?;
                    pager.bound_found(upper)
                }
                Step::End => break,
            };
            if let Some(page) = page {
                found += 1;
                if pager.is_finished() {
                    self.tell(Progress::AllFound { pages: found }).await;
                }
                let standing = crew.place_at(&self.table.door).await;
                if pages.send((self.table.clone(), page, standing)).await.is_err() {
                    break;
                }
            }
        }
        Ok(self.source)
    }

    /// A receiver that is gone means that the run is over.
    async fn tell(&self, progress: Progress) {
        let _ = self.tell.send((self.table.plan.ordinal, progress)).await;
    }

    /// Where a page ends; `None` if it is the last one, of the table or before others' pages.
    async fn bound(&mut self, search: &Search) -> Result<Bound, PageError> {
        let Search { lower, gap } = search;
        let Table { plan: table, pace, .. } = &**self.table;
        let rows = pace.rows();
        if table.is_arithmetic && self.range.is_some() && !pace.is_sparse() {
            let after = integer(lower);
            if let Some((upper, pages)) = gap
                && let Some(upper) = integer(&Some(upper.clone()))
            {
                let cut = self.range.and_then(|r| r.cut_within(after, (upper, *pages), rows));
                return Ok(cut.map(|bound| vec![bound.to_string()]));
            }
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
        let upper = gap.as_ref().map(|(upper, _)| upper.as_slice());
        let sql = bound_within(&table.source, &table.key, (lower.as_deref(), upper), rows);
        let result = self.ask(lower, &sql).await?;
        let upper = result.rows().first().map(|row| row.texts(0)).transpose();
        let upper = upper.map_err(|error| self.at_source(lower, error))?;
        pace.bounds_found(lower, &upper, rows);
        Ok(upper)
    }

    /// Reads the ends of the key, if it is a single integer.
    async fn read_ends(&mut self) -> Result<(), PageError> {
        let table = &self.table.plan;
        let [only] = table.key.as_slice() else { return Ok(()) };
        if !only.is_integer() {
            return Ok(());
        }
        let sql = key_ends(&table.source, only);
        let result = self.ask(&None, &sql).await?;
        self.range = ends(&result).map_err(|error| self.at_source(&None, error))?;
        Ok(())
    }

    fn at_source(&self, after: &Bound, error: Error) -> PageError {
        let plan = &self.table.plan;
        let what = bound_of(&plan.source, after);
        match Foundation::fails(&error) {
            true => PageError::Altered { what, table: plan.source.plain() },
            false => PageError::Source { what, error },
        }
    }

    /// Asks the source once. The lock comes before the snapshot, so that none is held while
    /// somebody has locked the table; both are on their way at once. Gives also for how long a
    /// snapshot was held.
    async fn ask_once(&mut self, sql: &str) -> (Result<QueryResult, Error>, Duration) {
        let asked = Instant::now();
        queue_lock(&mut self.source, "BEGIN READ ONLY", &self.table.plan.source);
        let foundation = &self.table.plan.foundation;
        self.source.queue_query(&format!("SELECT {} AS holds", foundation.assertion()));
        self.source.queue_query(sql);
        self.source.queue_query("COMMIT");
        if let Err(error) = locked(&mut self.source).await {
            return (Err(error), Duration::ZERO);
        }
        // Who answers at once has perhaps looked before we could see that it has the lock.
        let since = if asked.elapsed() < AT_ONCE { asked } else { Instant::now() };
        let holds = self.source.result().await;
        let found = self.source.result().await;
        let held = since.elapsed();
        let ended = self.source.result().await;
        (holds.and(found).and_then(|found| ended.map(|_| found)), held)
    }

    /// Asks the source, again if a standby gave the question up.
    async fn ask(&mut self, after: &Bound, sql: &str) -> Result<QueryResult, PageError> {
        let mut conflicts = 0;
        loop {
            let (found, held) = self.ask_once(sql).await;
            let found = found.map_err(|error| self.at_source(after, error));
            self.tell(Progress::SnapshotHeld(held)).await;
            match found {
                Err(error) if error.is_recovery_conflict() && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
                    let again = connect_for_pages(self.backfill).await;
                    self.source = again.map_err(|error| self.at_source(after, error))?;
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
