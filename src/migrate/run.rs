//! The shell that moves a migration from phase to phase.

use std::time::Instant;

use tokio::sync::watch;

use super::{
    Event, Failure, Listener, MigrationSpec, PhaseName, Seconds, Then,
    check::{self, Findings},
    desk::Desk,
    earlier::no_writers_left,
    finish::finish,
    handoff::{self, Handover},
    load_ledger,
    names::may_remove,
    objects::Making,
    plan::PlannedTable,
    preflight, prepare, publication, resume,
    servers::{self, Servers},
    standby,
    watch::{
        apply::{ApplyView, left_out},
        source::Watch,
    },
};
use crate::{
    apply::{Apply, ApplyError, ApplyTable, Moment, Outcome, Stop},
    conn::Error,
    ledger::{Access, Ledger, Migration, MigrationName, Phase},
    pg::Lsn,
    replication::take_checkpoint,
};

/// Connects, takes the lock, and prepares a new migration or checks an old one.
/// `is_first` unless the run has begun before and was cut off.
pub(super) async fn begin<'a, 'l>(
    spec: &'a MigrationSpec,
    mut interrupt: watch::Receiver<bool>,
    desk: &'a Desk<'l>,
    is_first: bool,
) -> Result<Journey<'a, 'l>, Failure> {
    let mut teller = desk;
    let listener: &mut dyn Listener = &mut teller;
    if is_first {
        listener.on(&Event::Phase { phase: PhaseName::Prepare });
    }
    desk.set_streaming(false);
    let mut findings = Findings::for_run();
    let mut servers = tokio::select! {
        servers = servers::connect(spec, &mut findings) => servers?,
        Ok(_) = interrupt.wait_for(|stop| *stop) => return Err(Failure::interrupted_early()),
    };
    let name = preflight::name_of(spec)?;
    let failed = |error: Error| Failure::refused_by("reading the ledger on the target", &error);
    let held = Ledger::of(&mut servers.target, &name).lock_migration().await.map_err(failed)?;
    if let Some(holders) = held {
        return Err(Failure::is_run(&name, &holders));
    }
    no_writers_left(spec, &mut servers, &name, &mut interrupt, listener).await?;
    let mut spec_now = spec.clone();
    let mut found = load_ledger::load(&mut servers.target, &name, Access::Write).await?;
    // Before a new one begins it is looked at with all else.
    let has_pages_left = found.as_ref().is_some_and(|found| found.phase <= Phase::Backfill);
    if let Some(standby) = spec.copy_from.as_ref().filter(|_| has_pages_left) {
        standby::check(standby, &servers.identity).await?;
    }
    let both = (&mut servers.source, &mut servers.target);
    let owners = check::owners_before_run(spec, both, found.as_ref(), &mut findings).await?;
    findings.refused()?;
    if let Some(left) = found.take_if(|migration| migration.phase == Phase::Prepare) {
        clear_away(&mut spec_now, &mut servers, &left).await?;
    }
    if let Some(migration) = found.take_if(|migration| migration.phase >= Phase::Handoff) {
        resume::is_the_same(&spec_now, &mut servers, &migration).await?;
        let migration = handoff::take_up(&spec_now, &mut servers, migration, desk).await?;
        if migration.phase >= Phase::Handoff {
            up_to_date(&mut servers, &migration.name).await?;
            // The subscription may read the slot, and be beyond what the ledger has.
            desk.set_streaming(true);
            return Ok(Journey::new(spec, servers, (migration, Vec::new()), interrupt, desk));
        }
        found = Some(migration);
    }
    let (migration, tables) = match found {
        Some(migration) => {
            let tables = resume::check(&spec_now, &mut servers, &migration).await?;
            up_to_date(&mut servers, &migration.name).await?;
            for table in tables.iter().filter(|table| !table.new_columns.is_empty()) {
                listener.on(&left_out(&table.source.name, &table.new_columns));
            }
            (migration, tables)
        }
        None => {
            let new = check::all_well(&spec_now, &mut servers, (name, &owners), findings, listener)
                .await?;
            for table in &new.tables {
                listener.on(&Event::Notice { message: table.explanation() });
            }
            prepare::prepare(&mut servers, new, &mut interrupt, listener).await?
        }
    };
    Ok(Journey::new(spec, servers, (migration, tables), interrupt, desk))
}

/// All that could refuse the run has been looked at: from here on it writes to the ledger.
async fn up_to_date(servers: &mut Servers, name: &MigrationName) -> Result<(), Failure> {
    let upgraded = Ledger::of(&mut servers.target, name).upgrade().await;
    upgraded.map_err(|error| Failure::refused_by("bringing the ledger up to date", &error))
}

/// An earlier run ended before anything was copied: its beginnings are cleared away.
async fn clear_away(
    spec: &mut MigrationSpec,
    servers: &mut Servers,
    left: &Migration,
) -> Result<(), Failure> {
    if spec.tables.is_empty() {
        spec.tables = (left.tables.iter())
            .map(|t| super::TableSpec { source: t.source.clone(), target: t.target.clone() })
            .collect();
    }
    let (slot, publication) = (spec.slot.as_deref(), spec.publication.as_deref());
    may_remove(left, slot, publication)?;
    prepare::undo(servers, left)
        .await
        .map(drop)
        .map_err(|error| Failure::stopped_by("clearing away what an earlier run had begun", &error))
}

/// A run under way.
pub(super) struct Journey<'a, 'l> {
    pub(super) spec: &'a MigrationSpec,
    pub(super) servers: Servers,
    pub(super) migration: Migration,
    pub(super) tables: Vec<PlannedTable>,
    pub(super) interrupt: watch::Receiver<bool>,
    pub(super) desk: &'a Desk<'l>,
    pub(super) seconds: Seconds,
}

impl<'a, 'l> Journey<'a, 'l> {
    fn new(
        spec: &'a MigrationSpec,
        servers: Servers,
        (migration, tables): (Migration, Vec<PlannedTable>),
        interrupt: watch::Receiver<bool>,
        desk: &'a Desk<'l>,
    ) -> Self {
        let seconds = Seconds::default();
        Self { spec, servers, migration, tables, interrupt, desk, seconds }
    }

    /// The migration as it stood when it was begun or taken up.
    pub(super) const fn migration(&self) -> &Migration {
        &self.migration
    }

    /// Goes to the end that the spec asks for. The run began at `started`.
    pub(super) async fn go(mut self, started: Instant) -> Result<(), Failure> {
        if self.migration.phase < Phase::Handoff {
            self.backfill().await?;
            self.catch_up().await?;
            self.finish().await?;
            self.verify().await?;
        }
        match self.spec.then {
            Then::Stop if self.migration.phase < Phase::Handoff => {}
            Then::Follow => self.follow().await?,
            Then::Stop | Then::Handoff => self.hand_over().await?,
        }
        self.seconds.total = started.elapsed().as_secs_f64();
        self.report().await
    }

    pub(super) fn enter(&self, phase: PhaseName) {
        self.desk.tell(&Event::Phase { phase });
    }

    /// Reads the ledger again after something has written to it.
    pub(super) async fn reload(&mut self) -> Result<(), Failure> {
        let loaded = Ledger::of(&mut self.servers.target, &self.migration.name).load().await;
        self.migration = loaded
            .map_err(|error| at_ledger(&error))?
            .ok_or_else(|| at_ledger(&Error::Result("the migration's line is gone".into())))?;
        Ok(())
    }

    /// No table was altered since the migration began.
    pub(super) async fn not_altered(&mut self) -> Result<(), Failure> {
        let ignores_new = self.spec.ignore_new_columns;
        for (record, table) in self.migration.tables.iter().zip(&self.tables) {
            let (source, there) = (&mut self.servers.source, table.target.as_ref());
            let (source, _) = resume::unaltered(source, record, there, ignores_new).await?;
            resume::identities(&source, &table.key)?;
            let of = (record, &source, &table.key);
            resume::same_order(&mut self.servers.source, of.0, of.1, of.2).await?;
            resume::founded(&mut self.servers.source, table).await?;
        }
        let source = &mut self.servers.source;
        publication::still_brings_all(source, &self.migration, &self.tables).await
    }

    /// A table is not what it was when this attempt began: says how, if that can still be seen.
    async fn altered(&mut self, failure: Failure) -> Failure {
        self.not_altered().await.map_or_else(Failure::in_mid_run, |()| failure)
    }

    /// Applies changes up to the checkpoint; or, when that was passed long ago, up to now.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        if self.migration.phase == Phase::Done && self.spec.then == Then::Follow {
            return Ok(());
        }
        self.enter(PhaseName::CatchUp);
        let stop = match self.migration.phase {
            Phase::Done => take_checkpoint(&mut self.servers.source)
                .await
                .map_err(|error| Failure::stopped_by("asking the source's position", &error))?,
            _ => self.checkpoint(),
        };
        match self.apply(Stop::At(stop)).await? {
            Outcome::Reached => {
                self.not_altered().await?;
                self.not_emptied().await
            }
            Outcome::Interrupted => Err(Failure::interrupted()),
        }
    }

    /// No partition was emptied by itself: one that may have been is judged once all is applied
    /// that was there when it was looked at.
    async fn not_emptied(&mut self) -> Result<(), Failure> {
        let mut looked = Vec::new();
        for record in &self.migration.tables {
            let source = preflight::load_source(&mut self.servers.source, &record.source).await?;
            looked.push(source);
        }
        let judge = |migration: &Migration| {
            let ledger = &migration.name.ledger;
            let mut tables = looked.iter().zip(&migration.tables);
            tables.try_for_each(|(s, r)| resume::not_emptied(s, r, ledger))
        };
        if judge(&self.migration).is_ok() {
            return Ok(());
        }
        let now = take_checkpoint(&mut self.servers.source)
            .await
            .map_err(|error| Failure::stopped_by("asking the source's position", &error))?;
        match self.apply(Stop::At(now)).await? {
            Outcome::Reached => judge(&self.migration),
            Outcome::Interrupted => Err(Failure::interrupted()),
        }
    }

    /// Applies changes until told to stop.
    async fn follow(&mut self) -> Result<(), Failure> {
        self.enter(PhaseName::Follow);
        self.apply(Stop::WhenTold).await?;
        // Weeks may have passed. The session may not have outlived them; that is no reason to fail.
        let desk = &mut &*self.desk;
        if let Err(failure) = finish(&mut self.servers, &self.migration, &self.tables, desk).await {
            let message = format!("{}; `pghost cutover-sequences` sets them", failure.message);
            self.desk.tell(&Event::Notice { message });
        }
        Ok(())
    }

    /// Gives the slot to a native subscription.
    async fn hand_over(&mut self) -> Result<(), Failure> {
        if self.migration.phase < Phase::Handoff {
            // Indexes may have taken long; what has come meanwhile pghost applies faster.
            self.catch_up().await?;
        }
        self.enter(PhaseName::Handoff);
        let (spec, migration, desk) = (self.spec, &self.migration, self.desk);
        let interrupt = self.interrupt.clone();
        let handover = Handover { spec, migration, tables: &self.tables, interrupt, desk };
        handover.go(&mut self.servers).await
    }

    async fn apply(&mut self, stop: Stop) -> Result<Outcome, Failure> {
        let interrupt = self.interrupt.clone();
        self.apply_until(stop, interrupt).await
    }

    async fn what_to_apply(&mut self, stop: Stop) -> Result<Apply, Failure> {
        self.take_ground().await?;
        let (target, name) = (&mut self.servers.target, &self.migration.name);
        let until =
            Ledger::of(target, name).pages_until().await.map_err(|error| at_ledger(&error))?;
        let ignores_new = self.spec.ignore_new_columns;
        let of_table =
            |table: &PlannedTable| table.for_apply(until.get(&table.ordinal).copied(), ignores_new);
        let tables: Vec<ApplyTable> = (self.tables.iter().map(of_table))
            .collect::<Option<_>>()
            .ok_or_else(|| at_ledger(&Error::Result("a table has no key on the target".into())))?;
        let checkpoint = self.checkpoint();
        Ok(Apply {
            migration: self.migration.name.clone(),
            source: self.spec.source.clone(),
            identity: self.migration.source.clone(),
            target: self.spec.target.clone(),
            slot: self.migration.slot.clone(),
            publication: self.migration.publication.clone(),
            jobs: self.spec.apply_jobs,
            binary: self.tables.iter().all(PlannedTable::binary),
            tables,
            checkpoint,
            stop,
            stall: self.spec.stall,
        })
    }

    /// The same until `interrupt` turns true.
    pub(super) async fn apply_until(
        &mut self,
        stop: Stop,
        interrupt: watch::Receiver<bool>,
    ) -> Result<Outcome, Failure> {
        let started = Instant::now();
        let apply = self.what_to_apply(stop).await?;
        let mut view = ApplyView::new();
        let desk = self.desk;
        let Servers { source, target, .. } = &mut self.servers;
        let (tell_applied, applied) = watch::channel(Lsn::INVALID);
        let watch = Watch {
            source: &self.spec.source,
            target: &self.spec.target,
            migration: &self.migration,
            tables: &self.tables,
            applied,
            ignores_new: self.spec.ignore_new_columns,
        };
        desk.set_streaming(true);
        let applying = apply.run(source, target, interrupt, |moment| {
            if let Moment::Progress(progress) = &moment {
                tell_applied.send_replace(progress.applied);
            }
            view.on(&moment).iter().for_each(|event| desk.tell(event));
        });
        let outcome = tokio::select! {
            outcome = applying => outcome.map_err(|error| {
                (Failure::apply(&error), matches!(error, ApplyError::TableChanged { .. }))
            }),
            failure = watch.run(), if stop == Stop::WhenTold => Err((failure, false)),
        };
        desk.set_streaming(false);
        let outcome = match outcome {
            Err((failure, true)) => Err(self.altered(failure).await),
            Err((failure, false)) => Err(self.reshaped(failure).await),
            Ok(outcome) => Ok(outcome),
        };
        if stop == Stop::WhenTold && outcome.is_ok() {
            let again = self.servers.open_again(self.spec).await;
            again.map_err(|error| Failure::stopped_by("connecting once more", &error))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let (target, name) = (&mut self.servers.target, &self.migration.name);
        let noted = Ledger::of(target, name).add_seconds(0.0, seconds, 0.0).await;
        let outcome = outcome?;
        noted.map_err(|error| at_ledger(&error))?;
        self.reload().await?;
        Ok(outcome)
    }

    /// The checkpoint; it was taken before anything was applied.
    pub(super) fn checkpoint(&self) -> Lsn {
        self.migration.checkpoint.unwrap_or(Lsn(u64::MAX))
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        self.enter(PhaseName::Finish);
        let started = Instant::now();
        finish(&mut self.servers, &self.migration, &self.tables, &mut &*self.desk).await?;
        let making = Making {
            target: &self.spec.target,
            migration: &self.migration,
            jobs: self.spec.copy_jobs,
        };
        making.make(&mut self.servers.target, &mut self.interrupt, &mut &*self.desk).await?;
        self.seconds.finish = started.elapsed().as_secs_f64();
        Ok(())
    }
}

pub(super) fn at_ledger(error: &Error) -> Failure {
    Failure::stopped_by("reading or writing the ledger on the target", error)
}
