//! Servers that turn a run away in its middle, by their genuine causes: a source that lets the role
//! in no more, or has no room for its sessions; and a table of locks that is full.

use std::time::Duration;

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
    outage::{Own, Two},
    stage::{begins, migrate_with, now},
    support::oldest_and_newest,
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

async fn by_the_source(binaries: Binaries) {
    let two = Two::start(&binaries);
    let mover = format!(
        "{TABLE}; CREATE ROLE mover LOGIN REPLICATION PASSWORD 'secret';
         ALTER TABLE source OWNER TO mover; GRANT CREATE ON DATABASE postgres TO mover"
    );
    two.source.sql(&mover).await;
    let dsn = two.source.dsn().replace("postgres@", "mover:secret@");
    let spec = MigrationSpec { source: parse_dsn(&dsn).unwrap(), ..two.spec() };
    let do_ = |sql: &str| drop(now(two.source.sql(sql)));

    let full = format!("ALTER ROLE mover CONNECTION LIMIT 0; {END_ALL}");
    let mend = || do_("ALTER ROLE mover CONNECTION LIMIT -1");
    let is_page = |event: &Event| matches!(event, Event::Progress { .. });
    let (ended, waited) = run(&spec, is_page, || do_(&full), ("53300", mend)).await;
    ended.unwrap();
    assert!(waited.is_some_and(|reason| reason.contains("mover")));

    for (hba, code, password) in
        [(ASKS, "28P01", "another"), (ASKS, "28P01", "a third"), (KEEPS_OUT, "28000", "secret")]
    {
        two.source.sql("UPDATE source SET v = v || '!' WHERE id % 7 = 0").await;
        let harm = || {
            two.source.server(|server| server.set_hba(hba).unwrap());
            do_(&format!("ALTER ROLE mover PASSWORD '{password}'; {END_ALL}"));
        };
        let is_time = |event: &Event| begins(event, PhaseName::CatchUp);
        let (ended, _) = run(&spec, is_time, harm, ("never", || {})).await;
        let failure = judged(ended, code);
        assert!(failure.message.contains("source"), "{failure}");
        two.nothing_is_left_open().await;
        two.source.server(|server| server.set_hba(OPEN).unwrap());
        two.source.sql("ALTER ROLE mover PASSWORD 'secret'").await;
    }
    migrate_with(&spec, |_| {}).await.unwrap();
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lets_nobody_in_stops_the_run_or_is_waited_for() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(by_the_source(binaries));
    }
    scenes.join_all().await;
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

async fn by_the_table_of_locks(binaries: Binaries) {
    let few = [("max_locks_per_transaction", "10")];
    let two = Two::with(&binaries, &few, &few);
    two.source.sql(PARTED).await;
    let is_page = |event: &Event| matches!(event, Event::Progress { .. });
    for server in [&two.source, &two.target] {
        let mut holder = None;
        let wait_for_server = Duration::ZERO;
        let spec = MigrationSpec { wait_for_server, page_rows: Some(10), ..two.spec() };
        let harm = || holder = Some(now(hog(server)));
        let (ended, _) = run(&spec, is_page, harm, ("never", || {})).await;
        let failure = judged(ended, "53200");
        assert!(failure.message.contains("max_locks_per_transaction"), "{failure}");
        assert!(failure.hint.contains("max_locks_per_transaction"), "{failure}");
        holder.unwrap().close().await;
        two.nothing_is_left_open().await;
    }
    // It is waited out.
    let holder = std::sync::Mutex::new(None);
    let harm = || *holder.lock().unwrap() = Some(now(hog(&two.source)));
    let mend = || drop(holder.lock().unwrap().take());
    let (ended, waited) = run(&two.spec(), is_page, harm, ("53200", mend)).await;
    ended.unwrap();
    assert!(waited.is_some_and(|reason| reason.contains("public.source")));
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_locks_that_is_full_is_waited_out() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(by_the_table_of_locks(binaries));
    }
    scenes.join_all().await;
}
