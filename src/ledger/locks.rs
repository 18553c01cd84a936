//! Advisory locks, by which sessions tell each other what they are at.
//!
//! Anybody who can connect may take any of them, so none is ever waited for without an end, and
//! whoever has one is named: a lock alone doesn't say that it is a pghost that holds it.
//!
//! ```text
//!   migration NAME   target   exclusive     the run that is at it: one at a time
//!   writer NAME      target   shared        each session that writes for it
//!   reader NAME      source   shared        each session that reads for it
//!   slot NAME        source   exclusive     the run that works with a slot
//!   ledger           target   transaction   making and removing the ledger's tables
//! ```
//!
//! (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>)

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    handle::Ledger,
    name::{LedgerSchema, MigrationName},
};
use crate::{
    conn::{Connection, Error, Row},
    pg::SqlState,
    sql::quote_literal,
};

/// How long a lock that somebody has is asked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same for the ledger's: other runs have it for as long as it takes to make some tables.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

const AGAIN: Duration = Duration::from_millis(20);

/// How pghost's sessions are called unless a person has called them otherwise.
const APPLICATION: &str = "pghost";

/// An advisory lock's key, as an SQL expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn new(what: &str) -> Self {
        Self(format!("pg_catalog.hashtextextended({}, 0)", quote_literal(what)))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A session that holds an advisory lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its server process.
    pub pid: i32,
    role: Option<String>,
    application: Option<String>,
    /// Whether its role may write to the ledger that the lock is about: one that may not is no
    /// pghost of that ledger. True where there is no ledger to ask.
    may_write: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.as_deref().unwrap_or("unknown");
        let application = self.application.as_deref().unwrap_or_default();
        write!(f, "pid {} (role {role}, application_name {application:?})", self.pid)
    }
}

/// Who holds a lock that was not to be had. May be nobody any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(pub Vec<Holder>);

impl Holders {
    /// Whether all that is known of them says that they are pghost's sessions.
    #[must_use]
    pub fn are_pghosts(&self) -> bool {
        let is_one = |h: &Holder| h.may_write && h.application.as_deref() == Some(APPLICATION);
        self.0.iter().all(is_one)
    }

    /// Whether none of them can be at what the lock is about.
    #[must_use]
    pub fn are_strangers(&self) -> bool {
        !self.0.is_empty() && !self.0.iter().any(|holder| holder.may_write)
    }

    /// What happened, where `busy` is what it means if a pghost holds the lock of `what`.
    #[must_use]
    pub fn told(&self, busy: &str, what: &str) -> String {
        match self.are_pghosts() {
            true => format!("{busy}: {self}"),
            false => format!(
                "the advisory lock of {what} is held by {self}, which does not look like a pghost"
            ),
        }
    }

    /// What to do about it, where `busy` is what helps if a pghost holds it.
    #[must_use]
    pub fn next(&self, busy: &str) -> String {
        match self.are_pghosts() {
            true => busy.to_owned(),
            false => format!("find out what it is (pg_stat_activity); {}", self.ended()),
        }
    }

    /// The statement that ends them.
    #[must_use]
    pub fn ended(&self) -> String {
        let end = |holder: &Holder| format!("SELECT pg_terminate_backend({})", holder.pid);
        if self.0.is_empty() {
            return "pg_terminate_backend ends it and gives the lock back".to_owned();
        }
        let all: Vec<_> = self.0.iter().map(end).collect();
        format!("{} ends it and gives the lock back", all.join("; "))
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("a session that has ended since, or that the server does not show");
        }
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

/// Takes a name for this session, on the server of `connection`; gives who has it if that is
/// another session. Given back when the session ends, however it ends.
pub async fn lock(connection: &mut Connection, what: &str) -> Result<Option<Holders>, Error> {
    take(connection, &Key::new(&format!("pghost {what}")), Take::Keep, None).await
}

/// Who has a name; `None` if it could be taken. It is not, for longer than the asking.
pub async fn could_lock(connection: &mut Connection, what: &str) -> Result<Option<Holders>, Error> {
    take(connection, &Key::new(&format!("pghost {what}")), Take::Look, None).await
}

impl Ledger<'_> {
    /// Takes a migration for this session; gives who has it if that is another session.
    pub async fn lock_migration(&mut self) -> Result<Option<Holders>, Error> {
        take(self.session, &migration_key(self.migration), Take::Keep, Some(&self.migration.ledger))
            .await
    }

    /// Who has a migration for itself; `None` if nobody does.
    pub async fn who_runs(&mut self) -> Result<Option<Holders>, Error> {
        let key = migration_key(self.migration);
        if self.session.query(&is_free(&key)).await?.row()?.get("free")? {
            return Ok(None);
        }
        holders(self.session, &key, Some(&self.migration.ledger)).await.map(Some)
    }

    /// Whether a pghost is at a migration: a session that may write to the ledger has it.
    pub async fn is_running(&mut self) -> Result<bool, Error> {
        let holders = self.who_runs().await?;
        Ok(holders.is_some_and(|holders| !holders.are_strangers()))
    }

    /// Makes a session one of the migration's writers, and changes nothing else about it.
    ///
    /// Errors: among others, somebody holds the lock in a way that no pghost does.
    pub async fn join_writers(&mut self) -> Result<(), Error> {
        let key = writers_key(self.migration);
        match take(self.session, &key, Take::Share, Some(&self.migration.ledger)).await? {
            None => Ok(()),
            Some(holders) => Err(Error::Result(format!(
                "the advisory lock that tells the migration's writers apart is held by {holders}: \
                 {}",
                holders.ended()
            ))),
        }
    }

    /// The sessions that still write for a migration; `None` once there are none.
    pub async fn writers(&mut self) -> Result<Option<Holders>, Error> {
        let key = writers_key(self.migration);
        if self.session.query(&is_free(&key)).await?.row()?.get("free")? {
            return Ok(None);
        }
        holders(self.session, &key, Some(&self.migration.ledger)).await.map(Some)
    }
}

/// Makes a session one of those that read the source for a migration: it keeps nobody out, and
/// tells whose the session is. A role that may not take such locks goes without, and so does one
/// that is kept from it: the lock is never waited for.
pub async fn join_readers(source: &mut Connection, migration: &MigrationName) -> Result<(), Error> {
    let key = readers_key(migration);
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock_shared({key})");
    match source.query(&sql).await {
        Err(error) if error.sqlstate() != Some(SqlState::INSUFFICIENT_PRIVILEGE) => Err(error),
        _ => Ok(()),
    }
}

/// Within a transaction: keeps other runs from making or removing the ledger's tables until it
/// ends.
///
/// Errors: among others, somebody has the lock for longer than any run has it.
pub(super) async fn lock_ledger(
    target: &mut Connection,
    ledger: &LedgerSchema,
) -> Result<(), Error> {
    let key = ledger.key("ledger");
    match take(target, &key, Take::UntilCommit, Some(ledger)).await? {
        None => Ok(()),
        Some(holders) => Err(Error::Result(format!(
            "the advisory lock of the ledger is held by {holders}, for longer than a pghost needs \
             it: {}",
            holders.ended()
        ))),
    }
}

/// A query for the processes that serve a migration, on whichever server it is asked.
#[must_use]
pub fn processes(migration: &MigrationName) -> String {
    let keys = [migration_key(migration), writers_key(migration), readers_key(migration)];
    held("pid", "", &keys)
}

fn migration_key(migration: &MigrationName) -> Key {
    migration.ledger.key(&format!("migration {migration}"))
}

fn writers_key(migration: &MigrationName) -> Key {
    migration.ledger.key(&format!("writer {migration}"))
}

fn readers_key(migration: &MigrationName) -> Key {
    migration.ledger.key(&format!("reader {migration}"))
}

/// How a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    /// For as long as the session lives.
    Keep,
    /// The same, beside others that share it.
    Share,
    /// Until the transaction ends.
    UntilCommit,
    /// For so short that nobody is kept from taking it who asks patiently.
    Look,
}

/// Asks for a lock patiently; gives who has it in the end.
async fn take(
    connection: &mut Connection,
    key: &Key,
    how: Take,
    ledger: Option<&LedgerSchema>,
) -> Result<Option<Holders>, Error> {
    let (sql, patience) = match how {
        Take::Keep => (format!("SELECT pg_catalog.pg_try_advisory_lock({key}) AS free"), PATIENCE),
        Take::Share => {
            (format!("SELECT pg_catalog.pg_try_advisory_lock_shared({key}) AS free"), PATIENCE)
        }
        Take::UntilCommit => {
            (format!("SELECT pg_catalog.pg_try_advisory_xact_lock({key}) AS free"), LEDGER_PATIENCE)
        }
        Take::Look => (is_free(key), PATIENCE),
    };
    // A run that has just ended may have its session on the server for a moment longer. Asking
    // again, rather than waiting there, holds no snapshot.
    let since = Instant::now();
    loop {
        if connection.query(&sql).await?.row()?.get("free")? {
            return Ok(None);
        }
        if since.elapsed() > patience {
            return holders(connection, key, ledger).await.map(Some);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks whether a lock is `free`, and gives back what it has taken: where it has taken nothing,
/// the server would warn of giving it back.
fn is_free(key: &Key) -> String {
    format!(
        "SELECT CASE WHEN pg_catalog.pg_try_advisory_lock({key})
                     THEN pg_catalog.pg_advisory_unlock({key}) ELSE false END AS free"
    )
}

async fn holders(
    connection: &mut Connection,
    key: &Key,
    ledger: Option<&LedgerSchema>,
) -> Result<Holders, Error> {
    let may_write = ledger.map_or_else(
        || "true".to_owned(),
        |ledger| {
            let table = quote_literal(&format!("{ledger}.migration"));
            format!(
                "coalesce(pg_catalog.has_table_privilege(a.usesysid,
                              pg_catalog.to_regclass({table})::oid, 'UPDATE'), true)"
            )
        },
    );
    let what = format!(
        "DISTINCT l.pid, a.usename::text AS role, a.application_name AS application,
         {may_write} AS may_write"
    );
    let from = "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid";
    let sql = held(&what, from, std::slice::from_ref(key));
    let holder = |row: &Row| {
        Ok(Holder {
            pid: row.get("pid")?,
            role: row.get("role")?,
            application: row.get("application")?,
            may_write: row.get("may_write")?,
        })
    };
    match connection.query(&sql).await {
        // It is only told: not every server shows its sessions.
        Err(error) if error.sqlstate().is_some() => Ok(Holders::default()),
        found => found?.rows().iter().map(holder).collect::<Result<_, _>>().map(Holders),
    }
}

/// A query of the sessions of this database that hold one of these keys, or wait for it.
fn held(what: &str, from: &str, keys: &[Key]) -> String {
    let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
    // As `pg_locks` shows a 64-bit advisory key: its halves, and 1.
    format!(
        "SELECT {what} FROM pg_catalog.pg_locks l {from}
          WHERE l.locktype = 'advisory' AND l.objsubid = 1
            AND l.database = (SELECT oid FROM pg_catalog.pg_database
                               WHERE datname = pg_catalog.current_database())
            AND (l.classid::bigint << 32 | l.objid::bigint) IN ({})",
        keys.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(role: &str, application: &str, may_write: bool) -> Holder {
        let (role, application) = (Some(role.to_owned()), Some(application.to_owned()));
        Holder { pid: 7, role, application, may_write }
    }

    #[test]
    fn only_what_may_be_a_pghost_is_called_one() {
        let told = |holder: Holder| Holders(vec![holder]).told("another pghost runs x", "x");
        let ours = told(holder("app", "pghost", true));
        assert_eq!(ours, "another pghost runs x: pid 7 (role app, application_name \"pghost\")");
        for stranger in [holder("low", "pghost", false), holder("app", "psql", true)] {
            let holders = Holders(vec![stranger.clone()]);
            assert!(holders.next("wait").contains("pg_terminate_backend(7)"));
            let text = told(stranger);
            assert!(!text.contains("another pghost") && text.contains("pid 7 (role "), "{text}");
        }
        assert!(Holders(vec![holder("low", "pghost", false)]).are_strangers());
        assert!(!Holders::default().are_strangers());
    }
}
