//! The subscription's origin: from where on it applies.
//!
//! It is at the position before the subscription runs. Less would bring changes twice and more
//! would leave some out, so what stands there is looked at before it is set. It is no part of a
//! transaction: what was set stays, and what a `DROP SUBSCRIPTION` took away is gone, also where
//! that was rolled back.

use super::{Failure, HandoffRecord, Handover, NOT_ENABLED, Servers, Subscription, subscription};
use crate::{
    conn::{Connection, Error},
    ledger::{HandoffStep, Ledger},
    migrate::StepName,
    pg::{Lsn, Oid},
};

impl Handover<'_, '_> {
    /// Brings the subscription's origin to the position.
    pub(super) async fn advance(
        &mut self,
        servers: &mut Servers,
        record: &HandoffRecord,
        subscription: &Subscription,
    ) -> Result<(), Failure> {
        let (target, oid) = (&mut servers.target, subscription.oid);
        is_there(target, record, oid).await?;
        self.step(StepName::OriginAdvanced, &record.position.to_string());
        target.query("SET synchronous_commit = on").await.map_err(|error| failed(&error))?;
        let (name, step) = (&self.migration.name, HandoffStep::Advanced);
        Ledger::of(target, name).advance_handoff(step, oid).await.map_err(|error| failed(&error))
    }
}

/// Sets it unless it is there. As durable as the next commit.
pub(super) async fn is_there(
    target: &mut Connection,
    record: &HandoffRecord,
    of: Oid,
) -> Result<(), Failure> {
    if is_not_beyond(target, record, of).await? != Some(record.position) {
        let set = subscription::set_progress(target, of, record.position).await;
        set.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Gives where it is, if anywhere.
///
/// Errors: it is beyond the position, where pghost has not set it.
pub(super) async fn is_not_beyond(
    target: &mut Connection,
    record: &HandoffRecord,
    of: Oid,
) -> Result<Option<Lsn>, Failure> {
    let (name, position) = (&record.subscription, record.position);
    let progress = subscription::progress(target, of).await.map_err(|error| failed(&error))?;
    match progress {
        Some(at) if at > position => Err(Failure::cannot_resume(
            format!(
                "the origin of the subscription {name} is at {at}, and the target at {position}: \
                 somebody has set it, or the subscription was enabled for a while"
            ),
            format!(
                "find out which. If it never ran, set it back on the target with SELECT \
                 pg_replication_origin_advance('pg_{of}', '{position}') and give the same command \
                 again. If it ran, compare both sides; `pghost cleanup` removes the ledger, and \
                 the subscription only if it is not enabled"
            ),
        )),
        progress => Ok(progress),
    }
}

fn failed(error: &Error) -> Failure {
    Failure {
        state: NOT_ENABLED.into(),
        ..Failure::stopped_by("setting the subscription's origin", error)
    }
}
