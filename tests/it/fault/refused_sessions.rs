//! Servers that turn a run away in its middle, by their genuine causes: a source that lets the role
//! in no more, or has no room for its sessions; and a table of locks that is full.

use std::{sync::Mutex, time::Duration};

use pghost::{
    cluster::Binaries,
    conn::{Connection, parse_dsn},
    migrate::{
        Event, Exit, Failure, MigrationSpec, PhaseName,
        verdict::{Place, rule_of_state},
    },
    pg::SqlState,
};
use tokio::task::JoinSet;

use crate::{
    fault::killed_at_events::forget,
    support::{
        Database, migrate,
        moments::{begins, migrate_with, now},
        nothing_is_left_open, oldest_and_newest,
        own_servers::Own,
        server, spec, value,
    },
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 600) i";

const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name NOT LIKE 'test%' AND usename IS NOT NULL AND pid <> pg_backend_pid()";

/// A run in which something is done at a moment, and something else as soon as it waits because of
/// `code`.
async fn run(
    spec: &MigrationSpec,
    is_time: impl Fn(&Event) -> bool + Send + Sync,
    harm: impl FnOnce() + Send,
    (code, mend): (&str, impl FnOnce() + Send),
) -> (Result<Vec<Event>, Failure>, Option<String>) {
    let (mut harm, mut mend, mut waited) = (Some(harm), Some(mend), None);
    let ended = migrate_with(spec, |event| match event {
        Event::Waiting { reason, .. } if reason.contains(code) => {
            waited.get_or_insert_with(|| reason.clone());
            if let Some(mend) = mend.take() {
                mend();
            }
        }
        event if is_time(event) => drop(harm.take().map(|harm| harm())),
        _ => {}
    })
    .await;
    assert!(harm.is_none(), "the moment never came: {ended:?}");
    (ended, waited)
}

const fn is_page(event: &Event) -> bool {
    matches!(event, Event::Progress { .. })
}

/// It has ended as the table says of this code.
fn judged(ended: Result<Vec<Event>, Failure>, code: &str) -> Failure {
    let failure = ended.map(|_| code).unwrap_err();
    let state = SqlState::from_bytes(code.as_bytes()).unwrap();
    let rule = rule_of_state(state, Place::Anywhere);
    assert_eq!(failure.sqlstate, Some(state), "{failure}");
    assert_eq!((failure.exit, &*failure.hint), (Exit::Stopped, rule.next), "{failure}");
    failure
}

const OPEN: &str = "local all all trust\nhost all all 127.0.0.1/32 trust";
const ASKS: &str = "local all all trust\nhost all mover 127.0.0.1/32 scram-sha-256\n\
    host all all 127.0.0.1/32 trust";
const KEEPS_OUT: &str = "local all all trust\nhost all mover 127.0.0.1/32 reject\n\
    host all all 127.0.0.1/32 trust";

/// Panics unless both sides are the same, and rid of every session.
async fn are_equal(spec: &MigrationSpec) {
    let rows = async |config, table| {
        let sql = "SELECT string_agg(t::text, chr(10) ORDER BY id) FROM public.";
        value(config, &format!("{sql}{table} t")).await
    };
    assert_eq!(rows(&spec.source, "source").await, rows(&spec.target, "target").await);
    for config in [&spec.source, &spec.target] {
        nothing_is_left_open(config).await;
    }
}

const MOVER: &str =
    "CREATE ROLE mover LOGIN REPLICATION PASSWORD 'secret' IN ROLE pg_read_all_stats;
    ALTER TABLE source OWNER TO mover; GRANT CREATE ON DATABASE postgres TO mover";

/// By the role's own limit, then by its password and by the list of who may come.
async fn by_the_source(own: &Own, shared: &Database) {
    own.sql(&format!("{TABLE}; {MOVER}")).await;
    let source = parse_dsn(&own.dsn().replace("postgres@", "mover:secret@")).unwrap();
    let spec = spec(shared, shared, "source", "target");
    let spec = MigrationSpec { source, page_rows: Some(25), ..spec };
    let do_ = |sql: &str| drop(now(own.sql(sql)));

    let full = format!("ALTER ROLE mover CONNECTION LIMIT 0; {END_ALL}");
    let mend = || do_("ALTER ROLE mover CONNECTION LIMIT -1");
    let (ended, waited) = run(&spec, is_page, || do_(&full), ("53300", mend)).await;
    ended.unwrap();
    assert!(waited.is_some_and(|reason| reason.contains("mover")));

    for (hba, code, password) in [(ASKS, "28P01", "another"), (KEEPS_OUT, "28000", "secret")] {
        own.sql("UPDATE source SET v = v || '!' WHERE id % 7 = 0").await;
        let harm = || {
            own.server(|server| server.set_hba(hba).unwrap());
            do_(&format!("ALTER ROLE mover PASSWORD '{password}'; {END_ALL}"));
        };
        let is_time = |event: &Event| begins(event, PhaseName::CatchUp);
        let (ended, _) = run(&spec, is_time, harm, ("never", || {})).await;
        let failure = judged(ended, code);
        assert!(failure.message.contains("source"), "{failure}");
        own.server(|server| server.set_hba(OPEN).unwrap());
        own.sql("ALTER ROLE mover PASSWORD 'secret'").await;
        nothing_is_left_open(&own.config()).await;
    }
    migrate(&spec).await.unwrap();
    are_equal(&spec).await;
    forget(&spec).await;
}

/// More partitions than a session can lock without the table of locks that all share.
const PARTED: &str = "CREATE TABLE source (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    DO $$ BEGIN FOR i IN 0..29 LOOP
        EXECUTE format('CREATE TABLE part_%s PARTITION OF source FOR VALUES FROM (%s) TO (%s)',
                       i, i * 50, i * 50 + 50);
    END LOOP; END $$;
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(0, 1499) i";

/// Takes every lock that is left.
async fn hog(server: &Own) -> Connection {
    let mut hog = server.connect().await;
    let all = "SELECT count(pg_advisory_lock(i)) FROM generate_series(1, 10000000) i";
    let full = hog.query(all).await.unwrap_err();
    assert_eq!(full.sqlstate().map(|code| code.to_string()).as_deref(), Some("53200"), "{full}");
    hog
}

async fn by_the_table_of_locks(own: &Own, shared: &Database) {
    let spec = spec(shared, shared, "source", "target");
    let mut spec = MigrationSpec { page_rows: Some(10), ..spec };
    spec.source = own.config();
    own.sql(&format!("DROP TABLE source; {PARTED}")).await;
    shared.sql(&format!("DROP TABLE target; {PARTED}")).await;
    for is_source in [true, false] {
        if !is_source {
            (spec.source, spec.target) = (shared.config(), own.config());
        }
        let mut holder = None;
        let wait_for_server = spec.wait_for_server;
        spec.wait_for_server = Duration::ZERO;
        let harm = || holder = Some(now(hog(own)));
        let (ended, _) = run(&spec, is_page, harm, ("never", || {})).await;
        let failure = judged(ended, "53200");
        for said in [&failure.message, &failure.hint] {
            assert!(said.contains("max_locks_per_transaction"), "{failure}");
        }
        holder.unwrap().close().await;
        nothing_is_left_open(&spec.source).await;
        nothing_is_left_open(&spec.target).await;

        // It is waited out.
        spec.wait_for_server = wait_for_server;
        let holder = Mutex::new(None);
        let harm = || *holder.lock().unwrap() = Some(now(hog(own)));
        let mend = || drop(holder.lock().unwrap().take());
        let (ended, waited) = run(&spec, is_page, harm, ("53200", mend)).await;
        ended.unwrap();
        let place = if is_source { "from the source" } else { "target" };
        assert!(waited.is_some_and(|reason| reason.contains(place)));
        are_equal(&spec).await;
        forget(&spec).await;
    }
}

/// A server with a small table of locks.
async fn turns_away(binaries: Binaries) {
    let own = Own::start(&binaries, &[("max_locks_per_transaction", "10")]);
    let shared = Database::create(&server(&binaries), "turned_away").await;
    by_the_source(&own, &shared).await;
    by_the_table_of_locks(&own, &shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_turns_the_run_away_stops_it_or_is_waited_for() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(turns_away(binaries));
    }
    scenes.join_all().await;
}
