//! What the tests share: the releases they run on, databases of their own, and migrations run in the
//! test's own process.

pub(crate) mod bed;
pub(crate) mod limit;
pub(crate) mod login_servers;
pub(crate) mod moments;
pub(crate) mod own_servers;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod shared_servers;

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use pghost::{
    backfill::Paging,
    cluster::{self, Binaries, Server},
    config::Config,
    conn::{Connection, QueryResult, SessionKind, parse_dsn},
    ledger::LedgerSchema,
    migrate::{Event, Failure, MigrationSpec, MigrationStatus, StatusSpec, TableSpec, Then, Trust},
    pg::{QualifiedName, ServerVersion},
};
use tokio::sync::watch;

use crate::support::limit::within;
pub(crate) use crate::support::shared_servers::server;

/// The major releases pghost works with.
const ALL: std::ops::RangeInclusive<u32> = 14..=18;

/// The releases to test against: those in `GHOST_PG_VERSIONS` (`14,15`), or the oldest and the newest
/// that pghost works with. For what may differ from one release to the next.
///
/// One that is not to be had is skipped, and that is said loudly. With `CI` set it fails the
/// test: there nobody reads what a passing test says.
pub(crate) fn versions_to_test() -> Vec<Binaries> {
    majors_to_test().into_iter().filter_map(version_to_test).collect()
}

fn majors_to_test() -> Vec<u32> {
    limit::of_this_test();
    cluster::prefer_memory();
    match env::var("GHOST_PG_VERSIONS") {
        Ok(list) if !list.trim().is_empty() => list
            .split(',')
            .map(|major| {
                let wrong = |_| panic!("GHOST_PG_VERSIONS={list:?} is not of the form 14,15");
                major.trim().parse().unwrap_or_else(wrong)
            })
            .collect(),
        _ => vec![*ALL.start(), *ALL.end()],
    }
}

/// The oldest and the newest of the releases to test, where what is tested is pghost's own doing and
/// a release could differ only in what it answers.
pub(crate) fn oldest_and_newest() -> Vec<Binaries> {
    let mut versions = versions_to_test();
    if versions.len() > 2 {
        versions.drain(1..versions.len() - 1);
    }
    versions
}

/// The oldest and the newest of the releases to test, and one of those between, drawn by the test's
/// name: where releases are not known to differ, every one is tried by some tests, and none by all.
pub(crate) fn some_releases() -> Vec<Binaries> {
    let mut versions = versions_to_test();
    if versions.len() > 3 {
        let name = thread::current().name().map(str::to_owned).unwrap_or_default();
        let drawn = name.bytes().map(usize::from).sum::<usize>() % (versions.len() - 2);
        let between = versions.swap_remove(1 + drawn);
        let newest = versions.pop();
        versions.truncate(1);
        versions.push(between);
        versions.extend(newest);
    }
    versions
}

/// One release if it is among those to test.
pub(crate) fn selected(major: u32) -> Option<Binaries> {
    majors_to_test().contains(&major).then(|| version_to_test(major)).flatten()
}

/// One release, or a loud skip; see [`versions_to_test`].
pub(crate) fn version_to_test(major: u32) -> Option<Binaries> {
    match Binaries::of_major(major, &mut |line| eprintln!("{line}")) {
        Ok(binaries) => Some(binaries),
        Err(error) if in_ci() => panic!("PostgreSQL {major} must be tested in CI: {error}"),
        Err(error) => {
            eprintln!("\n=== SKIPPED: nothing was tested on PostgreSQL {major} ===\n{error}\n");
            None
        }
    }
}

pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// All that a server has said; [`Server::log_tail`] looks at the end only.
pub(crate) fn whole_log(server: &Server) -> String {
    String::from_utf8_lossy(&fs::read(server.data_dir().with_file_name("log")).unwrap())
        .into_owned()
}

/// Copying files is all that it takes where nobody else is at work, and half the work of 15's new
/// way, by the WAL.
fn create_database(version: &ServerVersion, name: &str) -> String {
    let strategy = if version.major() < 15 { "" } else { " STRATEGY file_copy" };
    format!("CREATE DATABASE \"{name}\"{strategy}")
}

/// A database of a test's own.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) server: Arc<Server>,
    pub(crate) name: String,
}

impl Database {
    /// Makes one on a shared server.
    pub(crate) async fn create(server: &Arc<Server>, what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{what}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let database = Self { server: server.clone(), name: "postgres".into() };
        database.sql(&create_database(&server.version(), &name)).await;
        Self { name, ..database }
    }

    pub(crate) fn dsn(&self) -> String {
        self.server.dsn(&self.name)
    }

    /// The same for another role.
    pub(crate) fn dsn_as(&self, role: &str) -> String {
        self.dsn().replacen("user=postgres", &format!("user={role}"), 1)
    }

    /// The same over TCP by another port, such as a proxy's.
    pub(crate) fn dsn_by(&self, port: u16) -> String {
        let dsn = self.server.tcp_dsn(&self.name);
        dsn.replace(&format!(":{}", self.server.port()), &format!(":{port}"))
    }

    pub(crate) fn config(&self) -> Config {
        parse_dsn(&self.dsn()).unwrap()
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.config()).await
    }

    /// Runs statements on a connection of their own.
    pub(crate) async fn sql(&self, sql: &str) -> QueryResult {
        query(&self.config(), sql).await
    }

    /// One value as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        value(&self.config(), sql).await
    }
}

pub(crate) async fn connect(config: &Config) -> Connection {
    let connected = Connection::connect(config, SessionKind::Sql);
    let mut connection = within("a connection", connected).await.unwrap();
    // pghost's sessions find nothing by accident; the tests' own statements may.
    connection.query("SET search_path = public; SET application_name = 'test'").await.unwrap();
    connection.leave_search_path();
    connection
}

/// Runs statements on a connection of their own.
pub(crate) async fn query(config: &Config, sql: &str) -> QueryResult {
    let mut connection = connect(config).await;
    let result = within(sql, connection.query(sql)).await;
    connection.close().await;
    result.unwrap_or_else(|error| panic!("{sql:.500}: {error}"))
}

/// One value as text.
pub(crate) async fn value(config: &Config, sql: &str) -> String {
    let result = query(config, sql).await;
    let value = result.row().unwrap().values()[0].clone().unwrap_or_default();
    String::from_utf8(value.to_vec()).unwrap()
}

/// What is open in a database that is not a test's: a line for each session with what it holds, for
/// each slot that is in use or holds a snapshot, and for each prepared transaction.
const OPEN: &str = "SELECT concat_ws(chr(10),
    (SELECT string_agg(concat_ws(' ', backend_type, pid, state, 'xmin ' || backend_xmin, query), chr(10))
       FROM pg_stat_activity WHERE datname = current_database() AND application_name NOT LIKE 'test%'
        AND backend_type IN ('client backend', 'walsender')),
    (SELECT string_agg(concat_ws(' ', 'slot', slot_name, active_pid, 'xmin ' || xmin), chr(10))
       FROM pg_replication_slots
      WHERE database = current_database() AND (active OR temporary OR xmin IS NOT NULL)),
    (SELECT string_agg('prepared ' || gid, chr(10)) FROM pg_prepared_xacts
      WHERE database = current_database()))";

/// Panics unless a database is rid of every session of pghost's soon after a run has ended, and so
/// of each open transaction, snapshot, lock and walsender.
pub(crate) async fn nothing_is_left_open(config: &Config) {
    let mut open = String::new();
    let looking = Box::pin(async {
        loop {
            open = value(config, OPEN).await;
            if open.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    if limit::of(looking).await.is_none() {
        panic!("left open on {}: {open}", config.dbname);
    }
}

/// A migration's slot.
pub(crate) fn slot_of(spec: &MigrationSpec) -> String {
    let name = spec.name.as_deref().unwrap();
    spec.slot.clone().unwrap_or_else(|| format!("pghost_{name}"))
}

/// Waits until nobody reads a slot: a walsender notices a little later that nobody listens any more.
pub(crate) async fn nobody_reads(source: &Config, slot: &str) {
    let read = "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name =";
    let read = format!("{read} '{slot}'");
    let looking = Box::pin(async {
        while value(source, &read).await != "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    within("the end of a slot's reader", looking).await;
}

/// A migration of `public.source` to `public.target`.
pub(crate) fn spec(from: &Database, to: &Database, source: &str, target: &str) -> MigrationSpec {
    MigrationSpec {
        source: from.config(),
        target: to.config(),
        tables: vec![TableSpec {
            source: QualifiedName::new("public", source),
            target: QualifiedName::new("public", target),
        }],
        // Slots are of the whole server; the database's name is a test's own.
        name: Some(from.name.clone()),
        publication: None,
        slot: None,
        ledger: LedgerSchema::default(),
        paging: Paging::Auto,
        page_rows: None,
        copy_from: None,
        copy_jobs: 2,
        apply_jobs: 2,
        defer_indexes: false,
        target_owner: None,
        target_tablespace: None,
        trial: true,
        verify: false,
        then: Then::Stop,
        handoff: pghost::migrate::HandoffSpec::default(),
        wait_for_server: MigrationSpec::WAIT_FOR_SERVER,
        stall: MigrationSpec::STALL,
        ignore_new_columns: false,
        trust: Trust::default(),
    }
}

/// Runs a migration to its end and gives its events.
pub(crate) async fn migrate(spec: &MigrationSpec) -> Result<Vec<Event>, Failure> {
    let (_stay, interrupt) = watch::channel(false);
    let mut events = Vec::new();
    let listener = &mut |event: &Event| events.push(event.clone());
    let ended = limit::of(pghost::migrate::run(spec, interrupt, listener)).await;
    ended.unwrap_or_else(|| panic!("the run hangs after {:#?}", events.last()))?;
    Ok(events)
}

/// What is known on a target, its source not being asked.
pub(crate) async fn status(
    target: &Config,
    name: Option<&str>,
) -> Result<Vec<MigrationStatus>, Failure> {
    let (target, name) = (target.clone(), name.map(str::to_owned));
    pghost::migrate::status(&StatusSpec {
        target,
        source: None,
        name,
        ledger: LedgerSchema::default(),
    })
    .await
}

/// All of a table's rows as one text, in the key's order.
pub(crate) async fn rows(database: &Database, table: &str, key: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg((t.*)::text, chr(10) ORDER BY {key}), '') FROM {table} t"
    );
    database.value(&sql).await
}

/// Panics unless both tables hold the same rows.
pub(crate) async fn assert_same(
    (a, table_a): (&Database, &str),
    (b, table_b): (&Database, &str),
    key: &str,
) {
    let (left, right) = (rows(a, table_a, key).await, rows(b, table_b, key).await);
    if left != right {
        let only = |x: &str, y: &str| {
            let y: std::collections::HashSet<_> = y.lines().collect();
            x.lines().filter(|l| !y.contains(l)).take(5).map(str::to_owned).collect::<Vec<_>>()
        };
        panic!(
            "{table_a} and {table_b} differ: {} and {} rows; only left {:#?}; only right {:#?}",
            left.lines().count(),
            right.lines().count(),
            only(&left, &right),
            only(&right, &left)
        );
    }
}
