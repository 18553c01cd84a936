//! Giving slot and position to a native subscription, which goes on from there.
//!
//! ```text
//!   the target is exact at X; nothing reads the slot, and it is not beyond X
//!     │ ledger: begun. pghost applies nothing any more
//!     v
//!   CREATE SUBSCRIPTION, disabled, with the slot, no copy ── one transaction with: made
//!     v
//!   its origin to X ─────────────────────────────────────── then: advanced
//!     v
//!   ENABLE ──────────────────────────────────────────────── one transaction with: enabled
//!     v                                                     (from here on no way back)
//!   it has confirmed a position taken after that ────────── then the phase: handed_off
//! ```
//!
//! A run that dies anywhere in it is taken up by the next one with the step that is missing. Exact,
//! because the subscription asks the slot for what comes after X and the slot has never been told
//! of more than X. If the slot were beyond X, changes would be missing without a sign, so that is
//! looked at before every step. Until it is enabled the handover can be taken back: then
//! `--then stop` or `follow` drops the subscription, and pghost applies again.

pub(super) mod check;
mod conninfo;
mod origin;
pub(super) mod subscription;
mod waiting;

use tokio::sync::watch;

use super::{
    Event, Failure, MigrationSpec, StepName, Then,
    desk::Desk,
    failure::Exit,
    plan::PlannedTable,
    servers::Servers,
    verdict::Sign,
    watch::slot_view::{Known, why_lost},
};
use crate::{
    catalog::load_table,
    conn::{Connection, Error},
    ledger::{HandoffRecord, HandoffStep, Ledger, Migration, Phase},
    pg::Oid,
    replication::find_slot,
};
pub use conninfo::Conninfo;
use subscription::{New, Subscription};

/// How a slot is handed over.
#[derive(Clone, Debug, Default)]
pub struct HandoffSpec {
    /// The subscription's name, if one was given.
    pub subscription: Option<String>,
    /// How the target reaches the source, if it was given.
    pub conninfo: Option<Conninfo>,
}

/// The name that a spec gives or implies: the slot's default, so that they are told to belong
/// together.
fn subscription_of(spec: &MigrationSpec, migration: &str) -> String {
    let given = spec.handoff.subscription.clone();
    given.unwrap_or_else(|| format!("pghost_{migration}"))
}

/// How the target reaches the source: as it was given, else as we do, without a password.
fn conninfo(spec: &MigrationSpec) -> Conninfo {
    let given = spec.handoff.conninfo.clone();
    given.unwrap_or_else(|| Conninfo::of_source(&spec.source))
}

/// Judges a migration whose handover has begun: whether this run is to go on with it.
///
/// Gives the migration as it stands then: once more one whose changes are applied, if the handover
/// was taken back.
pub(super) async fn take_up(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: Migration,
    desk: &Desk<'_>,
) -> Result<Migration, Failure> {
    let record = load(&mut servers.target, &migration).await?;
    let name = &record.subscription;
    if spec.handoff.subscription.as_ref().is_some_and(|asked| asked != name) {
        return Err(Failure::refused(
            format!(
                "the migration {} is handed over to another subscription: {name}",
                migration.name
            ),
            "give the same --subscription as before",
        ));
    }
    if spec.then == Then::Handoff {
        return Ok(migration);
    }
    if record.step >= HandoffStep::Enabled {
        if spec.then == Then::Stop {
            return Ok(migration);
        }
        return Err(Failure::refused(
            format!(
                "the migration {} was handed over to the subscription {name} at {}: the slot is \
                 its own, and pghost applies nothing any more",
                migration.name, record.position
            ),
            "the subscription follows the source by itself; `pghost cleanup` removes the ledger",
        ));
    }
    let found = ours(&mut servers.target, &record).await.map_err(|error| at_target(&error))?;
    if let Some(found) = found {
        origin::is_not_beyond(&mut servers.target, &record, found.oid).await?;
    }
    take_back(&mut servers.target, &migration, &record)
        .await
        .map_err(|error| Failure::stopped_by("taking back the handover that had begun", &error))?;
    let message = "the handover that had begun is taken back; pghost applies again".into();
    desk.tell(&Event::Notice { message });
    Ok(Migration { phase: Phase::Done, ..migration })
}

/// Drops a subscription that was not enabled, and has changes applied again.
pub(super) async fn take_back(
    target: &mut Connection,
    migration: &Migration,
    record: &HandoffRecord,
) -> Result<(), Error> {
    target.query("BEGIN; SET LOCAL synchronous_commit = on").await?;
    let taken = async {
        if let Some(found) = ours(target, record).await? {
            if found.enabled {
                let what = "the subscription was enabled by somebody else";
                return Err(Error::Result(what.into()));
            }
            subscription::drop_without_slot(target, &found.name).await?;
        }
        Ledger::of(target, &migration.name).take_back_handoff().await?;
        target.query("COMMIT").await.map(drop)
    };
    let taken = taken.await;
    subscription::undo(target).await?;
    taken
}

/// The subscription that the ledger knows, if it is there.
pub(super) async fn ours(
    target: &mut Connection,
    record: &HandoffRecord,
) -> Result<Option<Subscription>, Error> {
    let found = subscription::find(target, &record.subscription).await?;
    Ok(found.filter(|found| Some(found.oid) == record.subscription_oid))
}

async fn load(target: &mut Connection, migration: &Migration) -> Result<HandoffRecord, Failure> {
    let found =
        Ledger::of(target, &migration.name).load_handoff().await.map_err(|e| at_ledger(&e))?;
    found.ok_or_else(|| {
        let what = format!("the ledger does not say to whom {} is handed over", migration.name);
        Failure::seen(Sign::Ledger, what)
    })
}

/// A handover under way.
pub(super) struct Handover<'a, 'l> {
    pub(super) spec: &'a MigrationSpec,
    pub(super) migration: &'a Migration,
    pub(super) tables: &'a [PlannedTable],
    pub(super) interrupt: watch::Receiver<bool>,
    pub(super) desk: &'a Desk<'l>,
}

impl Handover<'_, '_> {
    /// Takes every step that is missing.
    pub(super) async fn go(mut self, servers: &mut Servers) -> Result<(), Failure> {
        // The slot is the subscription's to read from now on, and not for the watch to judge.
        self.desk.set_streaming(true);
        let mut record = match self.migration.phase {
            Phase::Handoff | Phase::HandedOff => load(&mut servers.target, self.migration).await?,
            _ => self.begin(servers).await?,
        };
        if self.migration.phase == Phase::HandedOff {
            return self.told_before(servers, &record).await;
        }
        if record.step < HandoffStep::Made {
            record.subscription_oid = Some(self.make(servers, &record).await?);
            record.step = HandoffStep::Made;
        }
        let subscription = self.still_there(servers, &record).await?;
        if record.step < HandoffStep::Advanced {
            self.advance(servers, &record, &subscription).await?;
            record.step = HandoffStep::Advanced;
        }
        if record.step < HandoffStep::Enabled {
            self.enable(servers, &record, &subscription).await?;
        }
        self.applies(servers, &record, &subscription).await?;
        self.step(StepName::SubscriptionApplied, &record.subscription);
        let (target, name) = (&mut servers.target, &self.migration.name);
        Ledger::of(target, name).end_handoff().await.map_err(|error| at_ledger(&error))?;
        self.notice(format!(
            "handed over: the subscription {} follows the source from {} on, with the slot {} and \
             the publication {}",
            record.subscription, record.position, self.migration.slot, self.migration.publication
        ));
        Ok(())
    }

    fn step(&self, step: StepName, of: &str) {
        self.desk.tell(&Event::Step { step, of: of.to_owned() });
    }

    fn notice(&self, message: String) {
        self.desk.tell(&Event::Notice { message });
    }

    /// It was over before this run.
    async fn told_before(
        &self,
        servers: &mut Servers,
        record: &HandoffRecord,
    ) -> Result<(), Failure> {
        let found = ours(&mut servers.target, record).await.map_err(|error| at_target(&error))?;
        let now = match found {
            Some(found) if found.enabled => "which follows the source",
            Some(_) => "which is disabled just now",
            None => "which is not there any more",
        };
        self.notice(format!(
            "{} was handed over to the subscription {} at {}, {now}; there is nothing to do",
            self.migration.name, record.subscription, record.position
        ));
        Ok(())
    }

    /// Keys and identities are as a subscription needs them. When this run began the target may not
    /// have had them yet, and somebody may have altered them since.
    async fn rows_are_found(&self, servers: &mut Servers) -> Result<(), Failure> {
        let mut tables = self.tables.to_vec();
        for table in &mut tables {
            let loaded = load_table(&mut servers.target, &table.target_name).await;
            table.target = loaded.map_err(|error| at_target(&error))?;
        }
        check::rows_are_found(&tables).map_err(Failure::in_mid_run)
    }

    /// From here on pghost applies nothing.
    async fn begin(&mut self, servers: &mut Servers) -> Result<HandoffRecord, Failure> {
        let Some(position) = self.migration.applied else {
            let what = format!("the ledger has no position of {}", self.migration.name);
            return Err(Failure::seen(Sign::Ledger, what));
        };
        self.rows_are_found(servers).await?;
        self.slot_is_free(servers, position).await?;
        let name = subscription_of(self.spec, self.migration.name.as_str());
        let (target, migration) = (&mut servers.target, &self.migration.name);
        let record = Ledger::of(target, migration)
            .begin_handoff(&name, position)
            .await
            .map_err(|error| at_ledger(&error))?;
        self.step(StepName::HandoffBegun, &position.to_string());
        Ok(record)
    }

    /// Makes the subscription, in one transaction with its mark.
    async fn make(
        &mut self,
        servers: &mut Servers,
        record: &HandoffRecord,
    ) -> Result<Oid, Failure> {
        let failover = self.slot_is_free(servers, record.position).await?;
        let conninfo = conninfo(self.spec);
        let new = New {
            name: &record.subscription,
            conninfo: &conninfo,
            publication: &self.migration.publication,
            slot: Some(&self.migration.slot),
            failover,
        };
        let made = self.make_marked(&mut servers.target, &new).await;
        subscription::undo(&mut servers.target).await.map_err(|error| at_target(&error))?;
        let oid = made.map_err(|error| {
            let failure = Failure::stopped_by("making the subscription", &error);
            Failure {
                message: conninfo.hide_in(failure.message),
                state: NOT_ENABLED.into(),
                hint: format!(
                    "mend the cause and give the same command again with --then handoff; or give \
                     --then stop or follow, which takes the handover back. ({})",
                    conninfo.hide_in(failure.hint)
                ),
                ..failure
            }
        })?;
        self.step(StepName::SubscriptionMade, &record.subscription);
        Ok(oid)
    }

    async fn make_marked(&self, target: &mut Connection, new: &New<'_>) -> Result<Oid, Error> {
        subscription::begin(target).await?;
        target.query("SET LOCAL synchronous_commit = on").await?;
        subscription::make(target, new).await?;
        let found = subscription::find(target, new.name).await?;
        let oid = found.map(|found| found.oid).ok_or_else(|| {
            Error::Result("the subscription is not there although it was made".into())
        })?;
        // A conninfo that leads to another server finds no such publication there, or another one.
        let mut expected: Vec<_> =
            self.migration.tables.iter().map(|table| table.target.plain()).collect();
        expected.sort();
        let found = subscription::tables(target, oid).await?;
        if found != expected {
            return Err(Error::Result(format!(
                "where its conninfo leads, the publication {} has the tables {found:?}, and they \
                 should be {expected:?}: is it the source?",
                new.publication
            )));
        }
        let name = &self.migration.name;
        Ledger::of(target, name).advance_handoff(HandoffStep::Made, oid).await?;
        target.query("COMMIT").await?;
        Ok(oid)
    }

    /// The subscription is the one that was made, and in the state that the ledger tells.
    async fn still_there(
        &self,
        servers: &mut Servers,
        record: &HandoffRecord,
    ) -> Result<Subscription, Failure> {
        let found = ours(&mut servers.target, record).await.map_err(|error| at_target(&error))?;
        let name = &record.subscription;
        let (what, next) = match found {
            None => (
                format!("the subscription {name}, which pghost had made, is gone"),
                "if it was dropped with its slot, `pghost cleanup` and start again; if the slot is \
                 there and the subscription was never enabled, --then stop takes the handover back",
            ),
            Some(found) if found.slot.as_deref() != Some(self.migration.slot.as_str()) => (
                format!("the subscription {name} does not read the slot {}", self.migration.slot),
                "find out who has changed it; ALTER SUBSCRIPTION .. SET (slot_name = ..) mends it",
            ),
            Some(found) if found.enabled && record.step < HandoffStep::Enabled => (
                format!(
                    "somebody has enabled the subscription {name} before pghost did: it may have \
                     applied changes twice"
                ),
                "compare both sides; `pghost cleanup` removes the ledger and leaves the \
                 subscription alone",
            ),
            Some(found) => return Ok(found),
        };
        Err(Failure::cannot_resume(what, next))
    }

    /// Lets the subscription run. There is no way back from here.
    async fn enable(
        &mut self,
        servers: &mut Servers,
        record: &HandoffRecord,
        subscription: &Subscription,
    ) -> Result<(), Failure> {
        self.slot_is_free(servers, record.position).await?;
        let (target, oid) = (&mut servers.target, subscription.oid);
        origin::is_there(target, record, oid).await?;
        let mut committing = false;
        let enabled = async {
            target.query("BEGIN; SET LOCAL synchronous_commit = on").await?;
            subscription::enable(target, &record.subscription).await?;
            let (name, step) = (&self.migration.name, HandoffStep::Enabled);
            Ledger::of(target, name).advance_handoff(step, oid).await?;
            committing = true;
            target.query("COMMIT").await.map(drop)
        };
        let enabled = enabled.await;
        let undone = subscription::undo(target).await;
        enabled.and(undone).map_err(|error| Failure {
            state: if committing { PERHAPS_ENABLED } else { NOT_ENABLED }.into(),
            ..Failure::stopped_by("enabling the subscription", &error)
        })?;
        self.step(StepName::SubscriptionEnabled, &record.subscription);
        Ok(())
    }
}

const NOT_ENABLED: &str = "the target is exact, and nothing reads the slot; the ledger knows that \
                           the handover has begun, and the subscription is not enabled";

/// The commit was on its way.
const PERHAPS_ENABLED: &str = "the subscription is enabled or not, as the commit came through or \
                               not: if it is, the slot is its own, and pghost applies nothing any \
                               more; the ledger knows, and the next run looks";

/// The slot's state as a failure, if the handover can't go on with it.
async fn judge_slot(
    source: &mut Connection,
    migration: &Migration,
    position: Option<crate::pg::Lsn>,
) -> Result<crate::replication::Slot, Failure> {
    let failed = |error: Error| Failure::stopped_by("looking at the slot", &error);
    let slot = find_slot(source, &migration.slot).await.map_err(failed)?;
    let database = &migration.source.database;
    let known = Known { applied: position, seen: migration.seen().max(position) };
    match (why_lost(&migration.slot, slot.as_ref(), database, known), slot) {
        (None, Some(slot)) => Ok(slot),
        (why, _) => Err(Failure {
            exit: Exit::CannotResume,
            ..Failure::seen(Sign::Slot, why.unwrap_or_default())
        }),
    }
}

fn at_ledger(error: &Error) -> Failure {
    Failure::stopped_by("reading or writing the ledger on the target", error)
}

fn at_target(error: &Error) -> Failure {
    Failure::stopped_by("looking at the subscription", error)
}
