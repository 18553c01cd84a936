//! The handing over to a native subscription: to which one, from which position, how far it is.
//!
//! The line comes with the first step and stays, so that it can be told later what became of the
//! migration.

use super::{
    Phase,
    handle::Ledger,
    store::{end, exists, make_table, one_row},
};
use crate::{
    conn::Error,
    pg::{Lsn, Oid},
    sql::quote_literal,
};

/// How far it is; what a step needs is done before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandoffStep {
    /// Nothing is applied any more. A crash here: there is no subscription yet.
    Begun,
    /// The subscription is there, disabled. Stored in the transaction that makes it.
    Made,
    /// Its origin is at the position. A crash just before: it is set there once more.
    Advanced,
    /// It is enabled. Stored in the transaction that does it: from here on only the subscription
    /// may read the slot.
    Enabled,
}

impl HandoffStep {
    const ALL: [(Self, &str); 4] = [
        (Self::Begun, "begun"),
        (Self::Made, "made"),
        (Self::Advanced, "advanced"),
        (Self::Enabled, "enabled"),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(step, _)| *step)
    }
}

/// A handing over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoffRecord {
    /// The subscription's name.
    pub subscription: String,
    /// Its object id, once it is there.
    pub subscription_oid: Option<Oid>,
    /// The target is what the source was here, and the subscription begins here.
    pub position: Lsn,
    /// How far it is.
    pub step: HandoffStep,
}

impl Ledger<'_> {
    /// Begins: nothing is applied from here on. `position` must be what the ledger has.
    pub async fn begin_handoff(
        &mut self,
        subscription: &str,
        position: Lsn,
    ) -> Result<HandoffRecord, Error> {
        self.session.query("BEGIN; SET LOCAL synchronous_commit = on").await?;
        let begun = self.note_begun(subscription, position).await;
        end(self.session, begun).await?;
        self.load_handoff().await?.ok_or_else(|| {
            Error::Result("the migration's position is not what it was a moment ago".into())
        })
    }

    async fn note_begun(&mut self, subscription: &str, position: Lsn) -> Result<(), Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        make_table(self.session, ledger, "handoff").await?;
        let sql = format!(
            "INSERT INTO {ledger}.handoff (migration, subscription, position_lsn, step)
             SELECT name, {}, applied_lsn, '{}' FROM {ledger}.migration
              WHERE name = {name} AND phase = '{}' AND applied_lsn = '{position}';
             UPDATE {ledger}.migration SET phase = '{}'
              WHERE name = {name}
                AND EXISTS (SELECT FROM {ledger}.handoff WHERE migration = {name})",
            quote_literal(subscription),
            HandoffStep::Begun.as_str(),
            Phase::Done.as_str(),
            Phase::Handoff.as_str(),
        );
        self.session.query(&sql).await.map(drop)
    }

    /// A migration's handing over, if it has begun.
    pub async fn load_handoff(&mut self) -> Result<Option<HandoffRecord>, Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        if !exists(self.session, ledger, "handoff").await? {
            return Ok(None);
        }
        let sql = format!("SELECT * FROM {ledger}.handoff WHERE migration = {name}");
        let result = self.session.query(&sql).await?;
        let Some(row) = result.rows().first() else {
            return Ok(None);
        };
        let step: String = row.get("step")?;
        Ok(Some(HandoffRecord {
            subscription: row.get("subscription")?,
            subscription_oid: row.get("subscription_oid")?,
            position: row.get("position_lsn")?,
            step: HandoffStep::parse(&step)
                .ok_or_else(|| Error::Result(format!("the ledger has an unknown step {step:?}")))?,
        }))
    }

    /// Notes a step, and what subscription there is. Meant for the transaction that takes it, if it
    /// has one.
    pub async fn advance_handoff(
        &mut self,
        step: HandoffStep,
        subscription: Oid,
    ) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        let sql = format!(
            "UPDATE {ledger}.handoff SET step = '{}', subscription_oid = {subscription}
              WHERE migration = {}",
            step.as_str(),
            quote_literal(self.migration.as_str())
        );
        one_row(self.session, &sql).await
    }

    /// It is over: the slot is the subscription's.
    pub async fn end_handoff(&mut self) -> Result<(), Error> {
        let ledger = &self.migration.ledger;
        let sql = format!(
            "UPDATE {ledger}.migration SET phase = '{}' WHERE name = {}",
            Phase::HandedOff.as_str(),
            quote_literal(self.migration.as_str())
        );
        one_row(self.session, &sql).await
    }

    /// It is not to be: changes may be applied again. Meant for the transaction that drops the
    /// subscription, if there is one.
    ///
    /// Errors: the subscription was enabled.
    pub async fn take_back_handoff(&mut self) -> Result<(), Error> {
        let (ledger, name) = (&self.migration.ledger, quote_literal(self.migration.as_str()));
        let sql = format!(
            "DELETE FROM {ledger}.handoff WHERE migration = {name} AND step <> '{}'",
            HandoffStep::Enabled.as_str()
        );
        one_row(self.session, &sql).await?;
        let sql = format!(
            "UPDATE {ledger}.migration SET phase = '{}' WHERE name = {name}",
            Phase::Done.as_str()
        );
        one_row(self.session, &sql).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_names() {
        for (step, name) in HandoffStep::ALL {
            assert_eq!(HandoffStep::parse(name), Some(step));
            assert_eq!(step.as_str(), name);
        }
        assert_eq!(HandoffStep::parse("enable"), None);
        assert!(HandoffStep::Advanced < HandoffStep::Enabled);
    }
}
