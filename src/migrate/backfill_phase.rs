//! The phase of a run in which the rows are copied: all tables side by side, and the checkpoint
//! after the last page.
//!
//! ```text
//!   pages of all tables ──> all of a table are on the target ──> its key, if pghost made the table
//!   (backfill)              (one by one, while those of others   its line in the ledger
//!                           are copied)
//! ```

use std::{collections::BTreeMap, pin::pin, time::Instant};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    Event, Exit, Failure, PhaseName, StepName, Verdict,
    build_key::{build_key, has_gap},
    check::order_is_kept,
    resume::still_to_copy,
    run::{Journey, at_ledger},
    standby,
    verdict::Sign,
    watch::backfill::BackfillView,
};
use crate::{
    backfill::{self, Backfill, Origin, PageError, TableLeft},
    ledger::{Ledger, PageRecord, Phase},
    replication::take_checkpoint,
};

impl Journey<'_, '_> {
    /// Copies the pages that are missing, and takes the checkpoint after the last one.
    pub(super) async fn backfill(&mut self) -> Result<(), Failure> {
        if self.migration.phase > Phase::Backfill {
            return Ok(());
        }
        self.enter(PhaseName::Backfill);
        let started = Instant::now();
        let has_pages_left = self.migration.tables.iter().any(|table| !table.backfilled);
        if let (Some(standby), Some(start)) = (&self.spec.copy_from, self.migration.slot_start)
            && has_pages_left
        {
            let mut teller = self.desk;
            tokio::select! {
                ready = standby::caught_up(standby, start, &mut teller) => ready?,
                Ok(_) = self.interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted()),
            }
            // Only now does it surely have the tables.
            let left = still_to_copy(&self.tables, &self.migration);
            order_is_kept(&mut self.servers.source, Some(standby), left).await.map_err(
                |found| match found.verdict {
                    Verdict::Refused => Failure {
                        message: found.message,
                        hint: found.hint,
                        ..Failure::interrupted()
                    },
                    _ => found.in_mid_run(),
                },
            )?;
        }
        let mut longest_snapshot = 0.0;
        let copied = self.copy_tables(&mut longest_snapshot).await;
        let (target, name) = (&mut self.servers.target, &self.migration.name);
        let seconds = started.elapsed().as_secs_f64();
        let noted = Ledger::of(target, name).add_seconds(seconds, 0.0, longest_snapshot).await;
        if let Err(failure) = copied {
            // What can't be read or written as it was may have been altered; that says more.
            let is_altered = failure.is_of(Sign::Altered);
            let is_strange = failure.verdict == Verdict::Stop && failure.sqlstate.is_some();
            let look = is_altered || is_strange;
            let why = if look { self.not_altered().await } else { Ok(()) };
            return Err(match why {
                Err(why) if why.exit == Exit::CannotResume => why.in_mid_run(),
                Ok(()) if is_altered => failure.restored(),
                // It could not be moved at all now.
                Err(why) if is_altered && why.rule.is_none() => {
                    Failure { message: why.message, ..failure }
                }
                _ => self.reshaped(failure).await,
            });
        }
        noted.map_err(|error| at_ledger(&error))?;

        self.not_altered().await?;
        let (target, name) = (&mut self.servers.target, &self.migration.name);
        let checkpoint = take_checkpoint(&mut self.servers.source)
            .await
            .map_err(|error| Failure::stopped_by("taking the checkpoint", &error))?;
        self.desk
            .tell(&Event::Step { step: StepName::CheckpointTaken, of: checkpoint.to_string() });
        Ledger::of(target, name)
            .start_catch_up(checkpoint)
            .await
            .map_err(|error| at_ledger(&error))?;
        self.desk.tell(&Event::Checkpoint { lsn: checkpoint });
        self.reload().await
    }

    fn how_to_copy(&self) -> Backfill {
        let (spec, migration) = (self.spec, &self.migration);
        Backfill {
            migration: migration.name.clone(),
            source: spec.copy_from.as_ref().unwrap_or(&spec.source).clone(),
            origin: Origin {
                system_id: migration.source.system_id.clone(),
                standby_from: spec.copy_from.as_ref().and(migration.slot_start),
            },
            target: spec.target.clone(),
            jobs: spec.copy_jobs,
            stall: spec.stall,
        }
    }

    /// The pages that the ledger has of the tables that it does not call copied.
    async fn pages_so_far(&mut self) -> Result<BTreeMap<usize, Vec<PageRecord>>, Failure> {
        let (target, migration) = (&mut self.servers.target, &self.migration);
        let mut pages = BTreeMap::new();
        for table in migration.tables.iter().filter(|table| !table.backfilled) {
            let of_table = Ledger::of(target, &migration.name).load_pages(table.ordinal).await;
            pages.insert(table.ordinal, of_table.map_err(|error| at_ledger(&error))?);
        }
        Ok(pages)
    }

    /// Copies all tables, and closes each as soon as all of its pages are there. `longest` is how
    /// long a snapshot was held, whatever becomes of it.
    async fn copy_tables(&mut self, longest: &mut f64) -> Result<(), Failure> {
        let pages = self.pages_so_far().await?;
        self.take_ground().await?;
        let (mut views, mut left) = (BTreeMap::new(), Vec::new());
        for table in &self.tables {
            if let Some(done) = pages.get(&table.ordinal) {
                views.insert(table.ordinal, BackfillView::new(&table.source, done));
                left.push(TableLeft { plan: table.for_backfill(self.spec.page_rows), done });
            }
        }
        let (tell_whole, whole) = mpsc::channel(left.len().max(1));
        let (desk, told) = (self.desk, &mut views);
        let copying = backfill::run(self.how_to_copy(), left, move |ordinal, progress| {
            let Some(view) = told.get_mut(&ordinal) else { return };
            let was_whole = view.is_whole();
            if let Some(event) = view.on(&progress) {
                desk.tell(&event);
            }
            if view.is_whole() && !was_whole {
                // There is room for each table. A receiver that is gone means that this is over.
                let _ = tell_whole.try_send(ordinal);
            }
        });
        let ended = self.copy_and_close(copying, whole).await;
        *longest = views.values().map(BackfillView::longest_snapshot_seconds).fold(0.0, f64::max);
        ended
    }

    /// Copies, and closes the tables that are `whole` meanwhile.
    async fn copy_and_close(
        &mut self,
        copying: impl Future<Output = Result<(), PageError>>,
        mut whole: mpsc::Receiver<usize>,
    ) -> Result<(), Failure> {
        let stall = self.spec.stall;
        let mut interrupt = self.interrupt.clone();
        let mut interrupted = interrupt.clone();
        let mut copying = pin!(async move {
            tokio::select! {
                copied = copying => copied.map_err(|error| Failure::backfill(&error)),
                Ok(_) = interrupted.wait_for(|stop| *stop) => Err(Failure::interrupted()),
            }
        });
        let (stop, mut stopped) = watch::channel(false);
        let mut closing = pin!(async {
            while let Some(ordinal) = whole.recv().await
                && !*stopped.borrow()
            {
                self.close(ordinal, &mut stopped).await?;
            }
            Ok(())
        });
        let copied = tokio::select! {
            copied = &mut copying => copied,
            // Dropping the copying closes its connections, and the servers roll back.
            Err(failure) = &mut closing => return Err(failure),
        };
        let failure = match copied {
            Err(failure) => failure,
            // The keys of the last tables are yet to be built.
            Ok(()) => tokio::select! {
                closed = &mut closing => return closed,
                Ok(_) = interrupt.wait_for(|stop| *stop) => Failure::interrupted(),
            },
        };
        // A key is not left to a server that may go on building it for nobody. One that is away is
        // not waited for.
        stop.send_replace(true);
        let _ = timeout(stall, closing).await;
        Err(failure)
    }

    /// Gives a table whose rows are there its key, if pghost has made the table, and notes that it
    /// has its rows. That its pages leave out no key is asserted each time.
    async fn close(
        &mut self,
        ordinal: usize,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let (target, name) = (&mut self.servers.target, &self.migration.name);
        let table = self.tables.iter_mut().find(|table| table.ordinal == ordinal);
        if let Some(table) = table.filter(|table| table.target_key.is_none()) {
            let of = table.target_name.plain();
            self.desk.tell(&Event::Notice { message: format!("building the key of {of}") });
            let (config, listener) = (&self.spec.target, &mut { self.desk });
            build_key(target, name, table, config, stop, listener).await?;
            self.desk.tell(&Event::Step { step: StepName::KeyBuilt, of });
        }
        match Ledger::of(target, name)
            .close_table(ordinal)
            .await
            .map_err(|error| at_ledger(&error))?
        {
            None => Ok(()),
            Some(gap) => {
                let table = self.tables.iter().find(|table| table.ordinal == ordinal);
                Err(table.map_or_else(Failure::interrupted, |t| has_gap(&t.source.name, &gap)))
            }
        }
    }
}
