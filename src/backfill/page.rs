//! One page, from COPY to COPY.

use std::time::{Duration, Instant};

use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{
    Backfill, Page, PageError, Progress, TablePlan,
    door::Standing,
    named::keys_of,
    session::{locked, queue_lock},
};
use crate::{
    catalog::Foundation,
    conn::{Connection, CopyIn, CopyOut, Error, PATH_AGAIN, Row},
    ledger::{self, Ledger, PageRecord},
    pg::{Lsn, QualifiedName},
    replication::take_checkpoint,
    sql::{copy_page_in, copy_page_out},
};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Where steps are told, each with its table's place in the migration.
pub(super) type Tell = mpsc::Sender<(usize, Progress)>;

/// Copies a page and commits it with its line in the ledger. Also gives how long its
/// snapshot was held on the source; where the page fails that is told. It stops `standing` once
/// it waits for nobody's locks any more, and only then takes its turn among the `readers`: a table
/// that somebody has locked is to hold up no other.
///
/// Errors: nothing of the page is on the target. The connections are not to be used again.
pub(super) async fn copy_page(
    (source, target): (&mut Connection, &mut Connection),
    (readers, standing): (&Semaphore, &mut Option<Standing>),
    backfill: &Backfill,
    plan: &TablePlan,
    page: Page,
    tell: &Tell,
) -> Result<(PageRecord, Duration), PageError> {
    let (migration, ordinal) = (&backfill.migration, plan.ordinal);
    let (number, keys) = (page.number, keys_of(&page));
    let of = |table: &QualifiedName| format!("page {number} of {} ({keys})", table.plain());
    let at_source = |error| PageError::Source { what: of(&plan.source), error };
    let altered = || PageError::Altered { what: of(&plan.source), table: plan.source.plain() };
    let at_target = |error| PageError::Target { what: of(&plan.target), error };

    // A receiver that is gone means that the run is over. One that is slow is waited for now: while
    // the page's transaction is open nothing waits for anybody but the servers.
    let told = tell.reserve().await.ok();
    ledger::begin_page(target);
    target.queue_query(&format!("{}; SELECT {} AS holds", plan.lock, plan.ground.assertion()));
    target.queue_query(&copy_page_in(&plan.target, &plan.columns, plan.format));

    // Whatever the target waits for, a lock say, is over before the source is asked for anything,
    // and what the source waits for is over before the snapshot begins.
    target.result().await.map_err(at_target)?;
    target.result().await.map_err(|error| match Foundation::fails(&error) {
        true => PageError::Reshaped { what: of(&plan.source), table: plan.target.plain() },
        false => at_target(error),
    })?;
    let mut into = target.copy_in().await.map_err(at_target)?;

    let mut open = Duration::ZERO;
    let read = async {
        queue_lock(source, BEGIN, &plan.source);
        locked(source).await.map_err(Side::Source)?;
        drop(standing.take());
        let _reading = readers.acquire().await;
        let opened = Instant::now();
        let read = read_page(source, &mut into, backfill, plan, page).await;
        open = opened.elapsed();
        read
    };
    let record = match read.await {
        Ok(record) => record,
        Err(side) => {
            told.into_iter().for_each(|told| told.send((ordinal, Progress::SnapshotHeld(open))));
            let failure = match side {
                Side::Target(error) => return Err(at_target(error)),
                Side::Source(error) => at_source(error),
                Side::Altered => altered(),
            };
            // Half a page must never be committed: the target is told to undo it. Whether it hears
            // of that or not, the first error is the one to tell.
            let undo = into.fail("the source failed in the middle of the page");
            let _ = within(backfill.stall, undo).await;
            return Err(failure);
        }
    };

    let (sent, taken) = (record.rows, into.finish().await.map_err(at_target)?);
    if sent != taken {
        return Err(PageError::Counts { what: of(&plan.target), sent, taken });
    }
    if !within(backfill.stall, stays(source, record.lsn)).await.map_err(at_source)? {
        return Err(altered());
    }
    told.into_iter().for_each(|told| told.send((ordinal, Progress::Read(record.number))));
    Ledger::of(target, migration).commit_page(ordinal, &record).await.map_err(at_target)?;
    Ok((record, open))
}

/// The page's transaction on the source, from its snapshot to its end; its rows are sent on.
async fn read_page(
    source: &mut Connection,
    into: &mut CopyIn<'_>,
    backfill: &Backfill,
    plan: &TablePlan,
    page: Page,
) -> Result<PageRecord, Side> {
    queue_reading(source, plan, &page);
    let (snapshot, mut from) = begin_reading(source, backfill).await?;
    let bytes = forward(&mut from, into, backfill.stall).await?;
    let rows = within(backfill.stall, from.finish()).await.map_err(Side::Source)?;
    within(backfill.stall, source.result()).await.map_err(Side::Source)?;
    Ok(PageRecord {
        number: page.number,
        lower: page.lower,
        upper: page.upper,
        rows,
        bytes,
        snapshot: snapshot.get("snapshot").map_err(Side::Source)?,
        lsn: snapshot.get::<Lsn>("lsn").map_err(Side::Source)?,
    })
}

/// Takes the page's snapshot and waits for its data to begin.
async fn begin_reading<'a>(
    source: &'a mut Connection,
    backfill: &Backfill,
) -> Result<(Row, CopyOut<'a>), Side> {
    let result = source.result().await.map_err(|error| match Foundation::fails(&error) {
        true => Side::Altered,
        false => Side::Source(error),
    })?;
    let snapshot = result.row().map_err(Side::Source)?.clone();
    // Asked after the snapshot, so a standby's is one from before any promotion.
    let standby: bool = snapshot.get("standby").map_err(Side::Source)?;
    if standby != backfill.origin.standby_from.is_some() {
        let what = "the server that pages are read from was promoted meanwhile".to_owned();
        return Err(Side::Source(Error::Settings(what)));
    }
    Ok((snapshot, source.copy_out().await.map_err(Side::Source)?))
}

/// Puts the reading on its way, all at once: the snapshot is held for one round trip.
///
/// A table that is not the one that was planned is an error before anything of it is read: it may
/// be a view, whose functions would be called by us. What can change in spite of the table's lock
/// (a schema's name, the partitions, a type) is looked at once more when all is read.
fn queue_reading(source: &mut Connection, plan: &TablePlan, page: &Page) {
    source.queue_query(&format!(
        "SELECT pg_current_snapshot()::text AS snapshot,
                CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                     ELSE pg_current_wal_insert_lsn() END AS lsn,
                pg_is_in_recovery() AS standby, {} AS holds",
        plan.foundation.assertion()
    ));
    let bounds = (page.lower.as_deref(), page.upper.as_deref());
    let out = copy_page_out(&plan.source, &plan.columns, &plan.key, bounds, plan.format);
    source.queue_query(&out);
    source.queue_query("COMMIT");
    // How far the log is flushed; a standby has only flushed log.
    source.queue_query(&format!(
        "{PATH_AGAIN};
         SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
                     ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn, {} AS holds",
        plan.foundation.holds()
    ));
}

/// Makes sure that the source will never lose what a page has shown. With asynchronous commit a
/// row is seen before its commit is on the disk, and a crash in between takes it back without a
/// trace in the log: nothing would ever remove it from the target.
///
/// `false` if the table is not any more what was to be read.
async fn stays(source: &mut Connection, read_at: Lsn) -> Result<bool, Error> {
    let result = source.result().await?;
    let flushed: Option<Lsn> = result.row()?.get("lsn")?;
    if result.row()?.get::<Option<bool>>("holds")? != Some(true) {
        return Ok(false);
    }
    if flushed.is_some_and(|flushed| flushed < read_at) {
        // Its commit flushes the log.
        take_checkpoint(source).await?;
    }
    Ok(true)
}

/// On which side the reading or forwarding failed.
enum Side {
    Source(Error),
    /// The table on the source is not what it was.
    Altered,
    Target(Error),
}

/// Sends on what the source sends, to its end, and gives the number of bytes.
///
/// Errors: among others, either side stands still for `stall`: the page's snapshot must not be held
/// for ever.
async fn forward(
    from: &mut CopyOut<'_>,
    into: &mut CopyIn<'_>,
    stall: Duration,
) -> Result<u64, Side> {
    let mut bytes = 0;
    while let Some(frames) = within(stall, from.next()).await.map_err(Side::Source)? {
        bytes += frames.len() as u64;
        within(stall, into.forward(&frames)).await.map_err(Side::Target)?;
    }
    Ok(bytes)
}

async fn within<T>(
    stall: Duration,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let silent = |_| Err(Error::Silent { seconds: stall.as_secs() });
    timeout(stall, step).await.unwrap_or_else(silent)
}
