//! A run that waits for servers that go away in the middle of it, and goes on.

use std::{thread::JoinHandle, time::Duration};

use pghost::{
    cluster::{Binaries, StopMode},
    conn::{Connection, SessionKind},
    migrate::{self, Event, Failure, MigrationSpec, PhaseName},
};
use tokio::sync::watch;

use crate::support::{
    moments::{Following, begins, migrate_with},
    oldest_and_newest,
    own_servers::{Own, Two},
    some_releases,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n int NOT NULL, v text);
    ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
    INSERT INTO source SELECT i, 0, repeat(i::text, 700) FROM generate_series(1, 2000) i;
    CREATE INDEX ON source (n)";

/// A moment of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Some pages are copied.
    Backfill,
    /// The checkpoint was just taken; some changes wait to be applied.
    CatchUp,
}

impl When {
    fn is(self, event: &Event) -> bool {
        match self {
            Self::Backfill => matches!(event, Event::Progress { pages_done: 5.., .. }),
            Self::CatchUp => begins(event, PhaseName::CatchUp),
        }
    }
}

fn waited(events: &[Event]) -> (usize, usize) {
    let count = |is: fn(&&Event) -> bool| events.iter().filter(is).count();
    let waits = count(|event| matches!(event, Event::Waiting { .. }));
    (waits, count(|event| matches!(event, Event::Resumed { .. })))
}

/// Runs a migration with an outage at a moment.
async fn with_outage(
    spec: &MigrationSpec,
    when: When,
    outage: impl FnOnce() -> JoinHandle<()> + Send,
) -> Result<Vec<Event>, Failure> {
    let (mut outage, mut under_way) = (Some(outage), None);
    let events = migrate_with(spec, |event| {
        if when.is(event)
            && let Some(outage) = outage.take()
        {
            under_way = Some(outage());
        }
    })
    .await;
    under_way.expect("the moment has come").join().unwrap();
    events
}

async fn survives(two: &Two, server: &Own, how: StopMode, when: When) {
    two.source.sql("DROP TABLE IF EXISTS source").await;
    two.source.sql(TABLE).await;
    let spec = two.spec();
    let changes =
        "UPDATE source SET n = n + 1 WHERE id % 3 = 0; UPDATE source SET id = -id WHERE id % 7 = 0";
    let (server, source) = (server.clone(), two.source.clone());
    let outage = move || {
        crate::support::moments::now(source.sql(changes));
        server.restart(how, Duration::from_millis(300))
    };
    let events = with_outage(&spec, when, outage).await;
    let events = events.unwrap_or_else(|failure| panic!("{how:?} {when:?}: {failure}"));
    let (waits, resumed) = waited(&events);
    assert!(waits > 0 && resumed > 0, "{how:?} {when:?} {waits} {resumed}");
    migrate::run(&spec, watch::channel(false).1, &mut |_: &Event| {}).await.unwrap();
    two.are_equal().await;
    let (source, target) = (spec.source.clone(), spec.target.clone());
    let cleanup = migrate::CleanupSpec::new(source, target, "outage");
    migrate::cleanup(&cleanup).await.unwrap();
    two.target.sql("DROP TABLE target").await;
    two.nothing_is_left_open().await;
}

async fn all_ways(binaries: &Binaries, how: StopMode) {
    let two = Two::start(binaries);
    for when in [When::Backfill, When::CatchUp] {
        for server in [&two.source, &two.target] {
            survives(&two, server, how, when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_fast_restarts_of_either_server() {
    for binaries in some_releases() {
        all_ways(&binaries, StopMode::Fast).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_crashes_of_either_server() {
    for binaries in some_releases() {
        all_ways(&binaries, StopMode::Immediate).await;
    }
}

/// It waits for the last session, a walsender's too, and lets none in meanwhile: what is there goes
/// on, and what is told to stop lets it stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smart_shutdown_of_the_source_goes_by_a_run_that_follows_until_that_is_told_to_stop() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql("CREATE TABLE source (id int PRIMARY KEY, v text)").await;
        two.source.sql("INSERT INTO source VALUES (1, 'old')").await;
        let following = Following::start(&two.spec()).await;
        let streams = "SELECT count(*) > 0 FROM pg_replication_slots WHERE active";
        two.source.until(streams).await;
        let mut session = two.source.connect().await;
        let source = two.source.clone();
        let stopping = std::thread::spawn(move || source.stop(StopMode::Smart));
        // Who comes now is told so.
        loop {
            let connected = Connection::connect(&two.source.config(), SessionKind::Sql).await;
            let Ok(connection) = connected else { break };
            connection.close().await;
        }
        session.query("UPDATE source SET v = 'new'").await.unwrap();
        two.target.until("SELECT v = 'new' FROM target").await;
        session.close().await;
        assert!(!stopping.is_finished());
        following.end().await;
        tokio::task::spawn_blocking(|| stopping.join().unwrap()).await.unwrap();
        two.source.start_again();
        two.source.sql("INSERT INTO source VALUES (2, 'more')").await;
        let events = migrate_with(&two.spec(), |_| {}).await.unwrap();
        assert_eq!(waited(&events), (0, 0));
        two.are_equal().await;
    }
}
