//! What a handover waits for: the slot to be free, and the subscription to have applied.

use std::time::{Duration, Instant};

use super::{
    super::{Failure, failure::Exit, servers::Servers, verdict::Verdict},
    HandoffRecord, Handover, Subscription, judge_slot, subscription,
};
use crate::{apply, conn::Error, pg::Lsn, replication::take_checkpoint};

/// How often it is looked.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long something may take before a person is told what it waits for.
const TELL_AFTER: Duration = Duration::from_secs(15);

impl Handover<'_, '_> {
    /// Waits until nobody reads the slot, and makes sure that it was never told of more than the
    /// target has. Gives its `failover`, if both servers know the word.
    pub(super) async fn slot_is_free(
        &mut self,
        servers: &mut Servers,
        position: Lsn,
    ) -> Result<Option<bool>, Failure> {
        let (since, mut told) = (Instant::now(), false);
        loop {
            let source = &mut servers.source;
            let slot = judge_slot(source, self.migration, Some(position)).await?;
            let Some(pid) = slot.active_pid else {
                let failed = |error: Error| Failure::stopped_by("looking at the servers", &error);
                let both = [&servers.source, &servers.target];
                let versions = both.map(|side| side.server_version().map(|v| v.major()));
                let [source, target] = versions;
                let known = source.map_err(failed)? >= 17 && target.map_err(failed)? >= 17;
                return Ok(slot.failover.filter(|_| known));
            };
            if since.elapsed() > TELL_AFTER && !told {
                told = true;
                self.notice(format!(
                    "waiting for the source's server process {pid} to let go of the slot {}",
                    self.migration.slot
                ));
            }
            self.pause().await?;
        }
    }

    /// Waits until the subscription has made everything durable on the target that was committed on
    /// the source before now.
    ///
    /// Errors: it does not get on.
    pub(super) async fn applies(
        &mut self,
        servers: &mut Servers,
        record: &HandoffRecord,
        subscription: &Subscription,
    ) -> Result<(), Failure> {
        let failed = |error: Error| Failure {
            state: enabled(record),
            ..Failure::stopped_by("watching the subscription", &error)
        };
        let mark = take_checkpoint(&mut servers.source).await.map_err(failed)?;
        let mut seen = (Instant::now(), Lsn::INVALID);
        let mut told = Instant::now();
        loop {
            let slot = judge_slot(&mut servers.source, self.migration, None).await?;
            let confirmed = slot.confirmed_flush.unwrap_or_default();
            let oid = subscription.oid;
            let applied = subscription::progress(&mut servers.target, oid).await.map_err(failed)?;
            // The position itself was confirmed by pghost, and on an idle source it is the mark:
            // only beyond it is the subscription at work.
            let is_its_own = confirmed > record.position;
            if is_its_own && confirmed >= mark && applied >= Some(record.position) {
                return Ok(());
            }
            if confirmed > seen.1 {
                seen = (Instant::now(), confirmed);
            }
            if seen.0.elapsed() > self.spec.stall {
                return Err(stands_still(record, seen.0.elapsed(), confirmed, mark));
            }
            if told.elapsed() > TELL_AFTER {
                told = Instant::now();
                let errors =
                    subscription::errors(&mut servers.target, oid).await.map_err(failed)?;
                let errors = match errors {
                    Some(errors) if errors > 0 => {
                        format!("; its worker has failed {errors} times, see the target's log")
                    }
                    _ => String::new(),
                };
                self.notice(format!(
                    "the subscription {} has confirmed {confirmed}, and is waited for up to \
                     {mark}{errors}",
                    record.subscription
                ));
            }
            self.pause().await?;
        }
    }

    async fn pause(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(()),
            true = apply::stopped(&mut self.interrupt) => Err(Failure::interrupted()),
        }
    }
}

fn enabled(record: &HandoffRecord) -> String {
    format!(
        "the subscription {} is enabled and has the slot; pghost applies nothing any more",
        record.subscription
    )
}

fn stands_still(record: &HandoffRecord, since: Duration, confirmed: Lsn, mark: Lsn) -> Failure {
    let name = &record.subscription;
    let message = format!(
        "the subscription {name} has not moved for {} s: it has confirmed {confirmed}, and {mark} \
         is waited for",
        since.as_secs()
    );
    Failure {
        exit: Exit::Stopped,
        verdict: Verdict::Stop,
        state: enabled(record),
        ..Failure::refused(
            message,
            "the target's log says what its worker meets; mend that and give the same command \
             again, which waits once more",
        )
    }
}
