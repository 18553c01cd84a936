//! The phase of a run in which both sides are compared: page by page, while changes go on being
//! applied, so that the slot does not wait and rows that seem to differ can be looked at again.

use std::time::Instant;

use tokio::sync::watch;

use super::{
    Failure, PhaseName,
    run::{Journey, at_ledger},
    verify::Verifying,
};
use crate::{apply::Stop, ledger::Ledger};

impl Journey<'_, '_> {
    /// Compares both sides while changes are applied.
    pub(super) async fn verify(&mut self) -> Result<(), Failure> {
        if !self.spec.verify {
            return Ok(());
        }
        self.enter(PhaseName::Verify);
        let started = Instant::now();
        let (spec, desk) = (self.spec, self.desk);
        let name = self.migration.name.clone();
        let mut verifying = Verifying::prepare(spec, &name, &self.tables).await?;
        let mut interrupt = self.interrupt.clone();
        let (stop, stopped) = watch::channel(false);
        let mut applying = Box::pin(self.apply_until(Stop::WhenTold, stopped));
        let mut teller = desk;
        let compared = tokio::select! {
            compared = verifying.compare(&mut teller) => compared,
            Ok(_) = interrupt.wait_for(|stop| *stop) => Err(Failure::interrupted()),
            // It was not told to, so it has failed.
            ended = &mut applying => return ended.and_then(|_| Err(Failure::interrupted())),
        };
        stop.send_replace(true);
        applying.await?;
        self.seconds.verify = started.elapsed().as_secs_f64();
        let (target, longest) = (&mut self.servers.target, verifying.longest_snapshot_seconds());
        let noted = Ledger::of(target, &name).add_seconds(0.0, 0.0, longest).await;
        compared?;
        noted.map_err(|error| at_ledger(&error))
    }
}
