//! The tables of a migration side by side: one crew of workers for all of them, each with its own
//! connection to either side, and a few finders, each with one to the source.
//!
//! A worker takes whatever page comes next. So a table of few rows does not wait for one of many,
//! and the last one has every worker to itself; and however many tables there are, no more pages
//! are read at once, and no more sessions are open, than for one.

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    Backfill, PageCopied, PageError, Pager, Progress, TableLeft,
    door::Crew,
    find::{PageOf, Table, Waiting, find},
    pace::Pace,
    page::{Tell, copy_page},
    session::{CONFLICT_WAIT, CONFLICTS_MAX, connect_for_pages, connect_to_target},
};

/// How many pages there may be between BEGIN and COMMIT on the target. More than are being read:
/// while the target commits one, or is still a round trip away, the source sends another. Through
/// 10 ms of delay in each direction a single one made the source wait a third of the time. Who asks
/// for one page at a time gets one page after the other.
const fn under_way(jobs: usize) -> usize {
    if jobs == 1 { 1 } else { jobs + 2 }
}

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
