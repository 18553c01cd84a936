//! Where the migrations that a target knows of stand, as their ledger has it and the source, if it
//! is named. Changes nothing.

use serde::Serialize;

use super::{
    Failure, handoff, load_ledger,
    status_source::{Asked, SourceStatus},
};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{self, Access, Ledger, LedgerSchema, Migration, MigrationName, Wish},
};

/// Where a migration stands.
#[derive(Clone, Debug, Serialize)]
pub struct MigrationStatus {
    /// Its name.
    pub name: String,
    /// `prepare`, `backfill`, `catch_up`, `done`, `handoff` or `handed_off`.
    pub phase: &'static str,
    /// Whether a pghost is at it just now.
    pub running: bool,
    /// Its slot on the source.
    pub slot: String,
    /// The publication it reads.
    pub publication: String,
    /// The checkpoint, once there is one.
    pub checkpoint_lsn: Option<String>,
    /// Everything that was committed on the source before this is on the target.
    pub applied_lsn: Option<String>,
    /// The native subscription that it is or was handed over to.
    pub subscription: Option<SubscriptionStatus>,
    /// What the source says of it; `null` if no source was named.
    pub source: Option<SourceStatus>,
    /// The error that its last run has ended with; `null` also as soon as there is another run.
    pub last_failure: Option<FailureStatus>,
    /// What operators wish of it.
    pub wishes: Vec<WishStatus>,
    /// Its tables.
    pub tables: Vec<TableStatus>,
}

/// What somebody wishes of a migration.
#[derive(Clone, Debug, Serialize)]
pub struct WishStatus {
    /// For what.
    pub wish: String,
    /// What exactly, where there is a choice.
    pub value: Option<String>,
    /// The role that made it.
    pub role: String,
    /// The address that it came from; `null` by a Unix socket.
    pub host: Option<String>,
    /// When, in ISO 8601.
    pub at: String,
}

/// How a run has ended that did not come to its end.
#[derive(Clone, Debug, Serialize)]
pub struct FailureStatus {
    /// When, in ISO 8601.
    pub at: String,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub next: String,
}

impl WishStatus {
    fn of(wish: Wish) -> Self {
        let Wish { name, value, role, host, at } = wish;
        Self { wish: name, value, role, host, at }
    }
}

/// Which migrations, and who is asked.
#[derive(Clone, Debug)]
pub struct StatusSpec {
    /// The target, which has the ledger.
    pub target: Config,
    /// The source, if it is to be asked too.
    pub source: Option<Config>,
    /// One migration only.
    pub name: Option<String>,
    /// Where the target keeps the ledger.
    pub ledger: LedgerSchema,
}

/// What became of the subscription.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// The position of the source that it has begun at.
    pub from_lsn: String,
    /// Whether it is enabled now; `null` if it is not there.
    pub enabled: Option<bool>,
    /// Whether its worker runs; `null` if the server does not tell.
    pub running: Option<bool>,
    /// How much of the source's log its worker has received, while it runs.
    pub received_lsn: Option<String>,
}

/// Where one of its tables stands.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// On the source.
    pub source: String,
    /// On the target.
    pub target: String,
    /// Rows copied so far.
    pub rows_copied: u64,
    /// How many there are on the source by the planner's estimate, if it was asked and has one.
    pub estimated_rows: Option<u64>,
    /// Whether that is all of them.
    pub backfilled: bool,
    /// Changes received and applied since.
    pub inserted: u64,
    /// The same.
    pub updated: u64,
    /// The same.
    pub deleted: u64,
    /// The same.
    pub truncated: u64,
}

/// Every migration known to the target, or the one of that name. A source that can't be asked is
/// no error: it is told.
///
/// Errors: the target can't be reached or read, or has no migration of that name.
pub async fn status(spec: &StatusSpec) -> Result<Vec<MigrationStatus>, Failure> {
    let failed = |error: Error| Failure::refused_by("reading the ledger on the target", &error);
    let mut connection = Connection::connect(&spec.target, SessionKind::Sql)
        .await
        .map_err(|error| Failure::refused_by("connecting to the target", &error))?;
    let mut asked = match &spec.source {
        Some(source) => Some(Asked::connect(source).await),
        None => None,
    };
    load_ledger::is_fit(&mut connection, &spec.ledger, Access::Read).await?;
    let names = match &spec.name {
        Some(name) => vec![MigrationName::new(&spec.ledger, name)],
        None => ledger::names(&mut connection, &spec.ledger).await.map_err(failed)?,
    };
    let mut all = Vec::new();
    for name in names {
        let Some(migration) = Ledger::of(&mut connection, &name).load().await.map_err(failed)?
        else {
            return Err(Failure::refused(
                format!("the target knows no migration called {name}"),
                "leave --name out to see all it knows",
            ));
        };
        all.push(of(&mut connection, asked.as_mut(), migration).await.map_err(failed)?);
    }
    connection.close().await;
    if let Some(asked) = asked {
        asked.close().await;
    }
    Ok(all)
}

async fn of(
    target: &mut Connection,
    asked: Option<&mut Asked>,
    migration: Migration,
) -> Result<MigrationStatus, Error> {
    let (source, estimates) = match asked {
        Some(asked) => {
            let (source, estimates) = asked.of(&migration).await;
            (Some(source), estimates)
        }
        None => (None, Vec::new()),
    };
    let failure = Ledger::of(target, &migration.name).last_failure().await?;
    let copied = Ledger::of(target, &migration.name).rows_copied().await?;
    let running = Ledger::of(target, &migration.name).is_running().await?;
    let wishes = Ledger::of(target, &migration.name).wishes().await?;
    let subscription = subscription_of(target, &migration).await?;
    let tables = migration.tables.iter().enumerate().map(|(at, table)| TableStatus {
        source: table.source.plain(),
        target: table.target.plain(),
        rows_copied: copied.get(&table.ordinal).copied().unwrap_or(0),
        estimated_rows: estimates.get(at).copied().flatten(),
        backfilled: table.backfilled,
        inserted: table.counts.inserted,
        updated: table.counts.updated,
        deleted: table.counts.deleted,
        truncated: table.counts.truncated,
    });
    Ok(MigrationStatus {
        phase: migration.phase.as_str(),
        running,
        checkpoint_lsn: migration.checkpoint.map(|lsn| lsn.to_string()),
        applied_lsn: migration.applied.map(|lsn| lsn.to_string()),
        subscription,
        source,
        last_failure: failure.map(|failure| FailureStatus {
            at: failure.at,
            message: failure.message,
            next: failure.hint,
        }),
        wishes: wishes.0.into_iter().map(WishStatus::of).collect(),
        tables: tables.collect(),
        name: migration.name.name,
        slot: migration.slot,
        publication: migration.publication,
    })
}

async fn subscription_of(
    target: &mut Connection,
    migration: &Migration,
) -> Result<Option<SubscriptionStatus>, Error> {
    let Some(record) = Ledger::of(target, &migration.name).load_handoff().await? else {
        return Ok(None);
    };
    let found = handoff::ours(target, &record).await?;
    let sql = format!(
        "SELECT count(pid) > 0 AS running, max(received_lsn::text) AS received
           FROM pg_stat_subscription WHERE relid IS NULL AND subid = {}",
        found.as_ref().map_or(0, |found| found.oid.0)
    );
    let (running, received_lsn) = match Error::if_answered(target.query(&sql).await)? {
        Ok(result) => {
            let row = result.row()?;
            (Some(row.get("running")?), row.get("received")?)
        }
        Err(_) => (None, None),
    };
    Ok(Some(SubscriptionStatus {
        name: record.subscription,
        from_lsn: record.position.to_string(),
        enabled: found.map(|found| found.enabled),
        running,
        received_lsn,
    }))
}
