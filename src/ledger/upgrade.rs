//! Bringing a ledger of an older layout up to date: in one transaction, for all migrations that it
//! knows, before a run writes to it for the first time. Commands that only read it leave it as it
//! is.

use super::{
    handle::Ledger,
    layout::{self, LEDGER_VERSION},
    locks::lock_ledger,
    look::names,
    store::{end, fit},
};
use crate::conn::Error;

/// How long others' statements on the ledger's tables are waited for. They take a moment; who holds
/// them longer would have every other run stand behind us.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '10s'";

impl Ledger<'_> {
    /// Gives the ledger this version's layout, if it has an older one.
    ///
    /// Errors: among others, a run of another of its migrations is under way.
    pub async fn upgrade(&mut self) -> Result<(), Error> {
        self.session.query("BEGIN; SET LOCAL synchronous_commit = on").await?;
        let done = self.bring_up_to_date().await;
        end(self.session, done).await
    }

    /// The same within a transaction.
    pub(super) async fn bring_up_to_date(&mut self) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        lock_ledger(self.session, ledger).await?;
        let present = fit(self.session, ledger).await?;
        if present.layout == LEDGER_VERSION {
            return Ok(());
        }
        self.nobody_else_runs(present.layout).await?;
        let sql = layout::upgrade(present.layout, ledger, |table| present.has(table));
        self.session.query(LOCK_TIMEOUT).await?;
        self.session.query(&sql).await?;
        self.session.query("SET LOCAL lock_timeout = 0").await?;
        // Default privileges may have let others write to what is new.
        fit(self.session, ledger).await.map(drop)
    }

    /// An older pghost that is at work would find a ledger that it does not know.
    async fn nobody_else_runs(&mut self, layout: i32) -> Result<(), Error> {
        for other in names(self.session, &self.migration.ledger).await? {
            if other == *self.migration {
                continue;
            }
            if let Some(holders) = Ledger::of(self.session, &other).who_runs().await? {
                return Err(Error::Result(format!(
                    "the ledger has layout {layout} and is to be brought up to {LEDGER_VERSION}, \
                     while an older pghost may be running the migration {other}: {holders}; stop \
                     it or let it end first, and go on with it by this version"
                )));
            }
        }
        Ok(())
    }
}
