//! The tables of a migration side by side: one crew of workers for all of them, each with its own
//! connection to either side, and a few finders, each with one to the source.
//!
//! A worker takes whatever page comes next. So a table of few rows does not wait for one of many,
//! and the last one has every worker to itself; and however many tables there are, no more pages
//! are read at once, and no more sessions are open, than for one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    KeyRange, Page, Pager,
    door::{Crew, Door, Standing},
    find::find,
    pace::Pace,
    page::{PageError, copy_page},
};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{self, PageRecord},
    pg::{Ident, Lsn, QualifiedName},
    sql::KeyColumn,
    wire::Format,
};

/// How often a page is read again that a standby gave up, and how much longer each time it waits:
/// a minute in all, twice the longest that a standby lets a query hold up its log by default
/// (`max_standby_streaming_delay`).
pub(super) const CONFLICTS_MAX: u32 = 15;
pub(super) const CONFLICT_WAIT: Duration = Duration::from_millis(500);

/// What to copy and how.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// The table's place in the migration.
    pub ordinal: usize,
    /// Its name on the source.
    pub source: QualifiedName,
    /// Its name on the target.
    pub target: QualifiedName,
    /// The columns that travel, by name on both sides.
    pub columns: Vec<Ident>,
    /// The key it is paged by.
    pub key: Vec<KeyColumn>,
    /// Whether pages are cut by arithmetic; only for a key of one integer column.
    pub is_arithmetic: bool,
    /// How the rows travel.
    pub format: Format,
    /// Rows in a page.
    pub page_rows: PageRows,
}

/// How many rows a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRows {
    /// Always this many.
    Fixed(u64),
    /// This many to begin with, then as the pages before have taught.
    Adapting(u64),
}

/// How many pages there may be between BEGIN and COMMIT on the target. More than are being read:
/// while the target commits one, or is still a round trip away, the source sends another. Through
/// 10 ms of delay in each direction a single one made the source wait a third of the time. Who asks
/// for one page at a time gets one page after the other.
const fn under_way(jobs: usize) -> usize {
    if jobs == 1 { 1 } else { jobs + 2 }
}

/// A backfill of a migration's tables.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// The migration's name in the ledger.
    pub migration: String,
    /// Where pages are read: the source, or a hot standby of it.
    pub source: Config,
    /// Which server that must be.
    pub origin: Origin,
    /// Where they are written.
    pub target: Config,
    /// How many pages are read at once, whichever tables they are of.
    pub jobs: usize,
    /// How long a page may stand still.
    pub stall: Duration,
}

/// The server that pages come from. Settings with several hosts, a name with several addresses or
/// a promotion can lead one session to the right server and the next to another: so each is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's identifier, the same on a primary and its standbys.
    pub system_id: String,
    /// What a standby must have replayed: the slot's start, before which the slot brings nothing.
    /// `None` if it is to be the primary.
    pub standby_from: Option<Lsn>,
}

/// A page that was just committed.
#[derive(Clone, Debug)]
pub struct PageCopied {
    /// Its line in the ledger.
    pub record: PageRecord,
    /// How long its transaction was open on the source.
    pub snapshot_held: Duration,
}

/// A table that is to be copied, and what was copied of it before.
#[derive(Clone, Debug)]
pub struct TableLeft<'a> {
    /// The table.
    pub plan: TablePlan,
    /// Its pages that the ledger lists, in their order.
    pub done: &'a [PageRecord],
}

/// What a backfill tells of a table while it runs.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Its pages are being looked for from now on.
    Begun,
    /// A read of a bound, or a page that was given up, held a snapshot for so long.
    SnapshotHeld(Duration),
    /// The least and the greatest key as the run begins, before any page; of a key of one integer
    /// column, and of a table that has rows.
    KeyRange(KeyRange),
    /// The end of the key was seen: there are this many pages in all, former runs' included. Told
    /// once of each table, before the last of its pages is copied.
    AllFound {
        /// How many.
        pages: u64,
    },
    /// The rows of the page of this number are with the target, which has not committed them yet.
    Read(u64),
    /// A page is on the target.
    Copied(PageCopied),
}

/// A table that is being copied: what is fixed, and what its pages teach.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) plan: TablePlan,
    pub(super) pace: Pace,
    pub(super) door: Arc<Door>,
}

/// A table that nobody looks for pages of yet, and how many of them there are already.
pub(super) type Waiting = (Arc<Table>, Pager, u64);

/// Where steps are told, each with its table's place in the migration.
pub(super) type Tell = mpsc::Sender<(usize, Progress)>;

/// A page on its way to the workers.
pub(super) type PageOf = (Arc<Table>, Page, Standing);

/// Copies what the ledger does not list yet, and tells each step to `listen`, with its table's
/// place in the migration. Returns when every page is committed.
///
/// Tables are begun in their order, as many at once as there are jobs.
///
/// Errors: the first failure. Pages that were committed stay and are listed; nothing of the
/// others is on the target.
pub async fn run(
    backfill: Backfill,
    tables: Vec<TableLeft<'_>>,
    mut listen: impl FnMut(usize, Progress),
) -> Result<(), PageError> {
    if tables.is_empty() {
        return Ok(());
    }
    let jobs = backfill.jobs.max(1);
    let finders = jobs.min(tables.len());
    let waiting: VecDeque<Waiting> = (tables.into_iter())
        .map(|TableLeft { plan, done }| {
            let pace = Pace::new(plan.page_rows);
            let table = Table { plan, pace, door: Arc::default() };
            (Arc::new(table), Pager::new(done), done.len() as u64)
        })
        .collect();
    let waiting = Arc::new(Mutex::new(waiting));
    let backfill = Arc::new(backfill);
    let crew = Arc::new(Crew::new(under_way(jobs), finders));
    // Enough pages ahead that no worker waits for a bound, few enough to stay near the copying.
    // Who waits for room in it gets it in turn, so each table that was begun has its share.
    let (pages, queue) = mpsc::channel(jobs * 2);
    let queue = Arc::new(Mutex::new(queue));
    let readers = Arc::new(Semaphore::new(jobs));
    let (tell, mut told) = mpsc::channel(under_way(jobs) * 4);

    let mut tasks = JoinSet::new();
    for _ in 0..finders {
        let (waiting, crew) = (waiting.clone(), crew.clone());
        tasks.spawn(find(backfill.clone(), waiting, crew, tell.clone(), pages.clone()));
    }
    drop(pages);
    for _ in 0..under_way(jobs) {
        let (queue, readers) = (queue.clone(), readers.clone());
        tasks.spawn(work(backfill.clone(), queue, readers, tell.clone()));
    }
    drop(tell);
    drop(queue);

    loop {
        tokio::select! {
            Some((ordinal, progress)) = told.recv() => listen(ordinal, progress),
            Some(finished) = tasks.join_next() => {
                let finished =
                    finished.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                if finished.is_err() {
                    // What it told before it failed counts.
                    while let Ok((ordinal, progress)) = told.try_recv() {
                        listen(ordinal, progress);
                    }
                }
                // Dropping the others closes their connections, and the servers roll back.
                finished?;
            }
            else => return Ok(()),
        }
    }
}

async fn work(
    backfill: Arc<Backfill>,
    queue: Arc<Mutex<mpsc::Receiver<PageOf>>>,
    readers: Arc<Semaphore>,
    tell: Tell,
) -> Result<(), PageError> {
    let connected = tokio::join!(connect_for_pages(&backfill), connect_to_target(&backfill));
    let at = |side| move |error| PageError::Session { side, error };
    let mut source = connected.0.map_err(at("source"))?;
    let mut target = connected.1.map_err(at("target"))?;
    loop {
        let next = queue.lock().await.recv().await;
        let Some((table, page, standing)) = next else { break };
        let mut standing = Some(standing);
        let ordinal = table.plan.ordinal;
        let mut conflicts = 0;
        let (record, snapshot_held) = loop {
            let (sessions, turn) = ((&mut source, &mut target), (&*readers, &mut standing));
            match copy_page(sessions, turn, &backfill, &table.plan, page.clone(), &tell).await {
                Err(error) if error.is_recovery_conflict() && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    let name = table.plan.source.plain();
                    tracing::warn!("page {} of {name} is read again: {error}", page.number);
                    tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
                    source = connect_for_pages(&backfill).await.map_err(at("source"))?;
                    target = connect_to_target(&backfill).await.map_err(at("target"))?;
                }
                copied => break copied?,
            }
        };
        table.pace.page_copied(&record, snapshot_held);
        let copied = Progress::Copied(PageCopied { record, snapshot_held });
        let _ = tell.send((ordinal, copied)).await;
    }
    source.close().await;
    target.close().await;
    Ok(())
}

/// A session on the source whose plans are what paging needs: a walk of the key's index for
/// every page, never a scan of the whole table, and no workers besides.
pub(super) async fn connect_for_pages(backfill: &Backfill) -> Result<Connection, Error> {
    let mut connection = Connection::connect(&backfill.source, SessionKind::Sql).await?;
    backfill.origin.check(&mut connection).await?;
    ledger::join_readers(&mut connection, &backfill.migration).await?;
    connection
        .query("SET enable_seqscan = off; SET max_parallel_workers_per_gather = 0; SET jit = off")
        .await?;
    Ok(connection)
}

impl Origin {
    async fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
                          pg_is_in_recovery() AS standby,
                          CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END AS lsn";
        let result = connection.query(sql).await?;
        let row = result.row()?;
        let replayed: Option<Lsn> = row.get("lsn")?;
        let wrong = if row.get::<String>("system_id")? != self.system_id {
            "belongs to another cluster"
        } else if row.get::<bool>("standby")? != self.standby_from.is_some() {
            "is a standby where the primary was meant, or the other way round"
        } else if self.standby_from.is_some_and(|from| replayed.is_none_or(|lsn| lsn < from)) {
            "has not replayed the log up to where the slot begins"
        } else {
            return Ok(());
        };
        Err(Error::Settings(format!(
            "the server that was reached for reading pages {wrong}; name exactly one host"
        )))
    }
}

/// A session on the target in which nothing but the rows is written.
async fn connect_to_target(backfill: &Backfill) -> Result<Connection, Error> {
    let mut connection = Connection::connect(&backfill.target, SessionKind::Sql).await?;
    ledger::prepare_writer(&mut connection, &backfill.migration).await?;
    Ok(connection)
}
