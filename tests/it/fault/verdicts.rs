//! Lines of the table of verdicts, provoked on real servers by what brings them about: what becomes
//! of the run, its exit code, what it says, and that nothing is left open.
//!
//! Codes wherever a run may meet them are `every_code`'s; which test provokes what is `verdicts_covered`'s.

use std::time::Duration;

use pghost::{
    cluster::StopMode,
    conn::{Connection, SessionKind, parse_dsn},
    migrate::{
        Event, Exit, Failure, MigrationSpec,
        verdict::{Sign, rule_of},
    },
    pg::Lsn,
};

use crate::support::{
    limit::within,
    moments::{migrate_with, now, sums},
    nothing_is_left_open, oldest_and_newest,
    own_servers::{Own, Two},
    program::{Program, is},
    versions_to_test,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 600) i";

/// Whether it said so when it waited.
fn says(events: &[Event], word: &str) -> bool {
    events
        .iter()
        .any(|event| matches!(event, Event::Waiting { reason, .. } if reason.contains(word)))
}

fn waits(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Waiting { .. })).count()
}

/// A role's run between two servers; at the first page `harm` is done to the target, and `mend` as
/// soon as the run waits because of this code.
async fn harmed(
    two: &Two,
    spec: &MigrationSpec,
    code: &str,
    harm: impl FnOnce() + Send,
    mend: impl FnOnce() + Send,
) -> Result<Vec<Event>, Failure> {
    let (mut harm, mut mend) = (Some(harm), Some(mend));
    let ended = migrate_with(spec, |event| match event {
        Event::Progress { .. } => drop(harm.take().map(|harm| harm())),
        Event::Waiting { reason, .. } if reason.contains(code) => {
            if let Some(mend) = mend.take() {
                mend();
            }
        }
        _ => {}
    })
    .await;
    assert!(harm.is_none(), "the moment never came");
    if ended.is_ok() {
        assert!(mend.is_none(), "it never waited");
        two.are_equal().await;
    }
    two.nothing_is_left_open().await;
    ended
}

const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name NOT LIKE 'test%' AND usename IS NOT NULL AND backend_type = 'client backend'";

const ASKS_THE_MOVER: &str = "local all all trust\nhost all mover 127.0.0.1/32 scram-sha-256\n\
    host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust";

const TRUSTS_ALL: &str = "local all all trust\nhost all all 127.0.0.1/32 trust";

async fn of_a_role(binaries: &pghost::cluster::Binaries) -> (Two, MigrationSpec) {
    let two = Two::start(binaries);
    two.source.sql(TABLE).await;
    two.target.sql("CREATE ROLE mover LOGIN SUPERUSER PASSWORD 'secret'").await;
    let grants = "ALTER ROLE mover NOSUPERUSER; GRANT ALL ON DATABASE postgres TO mover;
        GRANT ALL ON SCHEMA public TO mover";
    two.target.sql(grants).await;
    let dsn = two.target.dsn().replace("postgres@", "mover:secret@");
    assert!(dsn.contains("mover"), "{dsn}");
    let spec = MigrationSpec { target: parse_dsn(&dsn).unwrap(), ..two.spec() };
    (two, spec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_waited_out() {
    for binaries in oldest_and_newest() {
        let (two, spec) = of_a_role(&binaries).await;
        let full = format!("ALTER ROLE mover CONNECTION LIMIT 0; {END_ALL}");
        let harm = || drop(now(two.target.sql(&full)));
        let mend = || drop(now(two.target.sql("ALTER ROLE mover CONNECTION LIMIT -1")));
        let events = harmed(&two, &spec, "53300", harm, mend).await.unwrap();
        assert!(says(&events, "53300"), "{events:?}");
    }
}

/// A password that is changed in mid-run: waiting would not mend it, and trying might lock it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_fails_in_mid_run_stops_it() {
    for binaries in oldest_and_newest() {
        let (two, spec) = of_a_role(&binaries).await;
        two.target.server(|server| server.set_hba(ASKS_THE_MOVER).unwrap());
        let change = format!("ALTER ROLE mover PASSWORD 'another'; {END_ALL}");
        let failure = harmed(&two, &spec, "28P01", || drop(now(two.target.sql(&change))), || {})
            .await
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert_eq!(failure.sqlstate.map(|s| s.to_string()).as_deref(), Some("28P01"), "{failure}");
        assert!(failure.hint.contains("goes on where it stopped"), "{failure}");
        two.target.sql("ALTER ROLE mover PASSWORD 'secret'").await;
        migrate_with(&spec, |_| {}).await.unwrap();
        two.are_equal().await;
        // At the start it is refused at once.
        two.target.sql("ALTER ROLE mover PASSWORD 'another'").await;
        let failure = migrate_with(&spec, panic_if_waiting()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        two.nothing_is_left_open().await;
    }
}

/// A server that begins to ask for a password, where there is none to give.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_fails_on_our_side_in_mid_run_stops_it() {
    for binaries in oldest_and_newest() {
        let (two, spec) = of_a_role(&binaries).await;
        let dsn = two.target.dsn().replace("postgres@", "mover@");
        let spec = MigrationSpec { target: parse_dsn(&dsn).unwrap(), ..spec };
        let harm = || {
            two.target.server(|server| server.set_hba(ASKS_THE_MOVER).unwrap());
            now(two.target.sql(END_ALL));
        };
        let failure = harmed(&two, &spec, "never", harm, || {}).await.unwrap_err();
        let rule = rule_of(Sign::Login);
        assert_eq!((failure.exit, &*failure.hint), (Exit::from(rule.verdict), rule.next));
        assert!(failure.message.contains("password"), "{failure}");
        two.target.server(|server| server.set_hba(TRUSTS_ALL).unwrap());
        migrate_with(&spec, |_| {}).await.unwrap();
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

fn panic_if_waiting() -> impl FnMut(&Event) {
    |event| assert!(!matches!(event, Event::Waiting { .. }))
}

/// A target that comes back as a standby can't be written to, until it is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_read_only_after_a_failover_is_waited_for() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql(TABLE).await;
        let harm = || {
            two.target.stop(StopMode::Fast);
            two.target.server(|server| {
                std::fs::write(server.data_dir().join("standby.signal"), "").unwrap()
            });
            two.target.start_again();
        };
        let (mut read_only, mut promoted) = (false, false);
        let mut harm = Some(harm);
        let spec = two.spec();
        let events = migrate_with(&spec, |event| match event {
            Event::Progress { .. } => drop(harm.take().map(|harm| harm())),
            Event::Waiting { reason, .. } if reason.contains("25006") => {
                read_only = true;
                if !std::mem::replace(&mut promoted, true) {
                    now(two.target.sql("SELECT pg_promote()"));
                }
            }
            _ => {}
        });
        events.await.unwrap();
        assert!(read_only);
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smart_shutdown_is_waited_out() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql(TABLE).await;
        let mut restart = None;
        let spec = two.spec();
        let events = migrate_with(&spec, |event| {
            if let Event::Progress { .. } = event
                && restart.is_none()
            {
                restart = Some(two.target.restart(StopMode::Smart, Duration::from_millis(200)));
                now(lets_nobody_in(&two.target));
            }
        });
        let events = events.await.unwrap();
        restart.unwrap().join().unwrap();
        assert!(waits(&events) > 0);
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

/// Waits until a server that is told to stop has heard of it.
async fn lets_nobody_in(server: &Own) {
    let knocking = async {
        while let Ok(session) = Connection::connect(&server.config(), SessionKind::Sql).await {
            session.close().await;
        }
    };
    within("a server that lets nobody in", knocking).await;
}

/// As a process: it says that it waits, gives up when the time is over, and is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_has_an_end_and_waiting_can_be_interrupted() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let source = Own::start(&binaries, &[]);
    source.sql(&TABLE.replace("600", "60000")).await;
    let target = Own::start(&binaries, &[]);
    let args = ["--table", "source", "--page-rows", "100", "--wait-for-server"];
    for (patience, code) in [("0", 1), ("3s", 1), ("5m", 1)] {
        let mut run = Program::migrate_between(
            source.dsn(),
            target.dsn(),
            &[&args[..], &[patience]].concat(),
        );
        run.event(|event| is(event, "progress")).await;
        target.stop(StopMode::Immediate);
        if patience == "5m" {
            let waiting = run.event(|event| is(event, "waiting")).await;
            assert_eq!(waiting["limit_seconds"], 300.0, "{waiting}");
            assert!(waiting["reason"].as_str().unwrap().contains("target"), "{waiting}");
            run.signal("-INT");
        }
        let ended = run.ends_with(code).await;
        let message = ended.error()["message"].as_str().unwrap().to_owned();
        let waited = ended.events.iter().filter(|event| is(event, "waiting")).count();
        match patience {
            "0" => assert_eq!(waited, 0, "{message}"),
            "3s" => assert!(waited > 1 && message.contains("--wait-for-server"), "{message}"),
            _ => assert_eq!(message, "interrupted"),
        }
        assert!(ended.error()["hint"].as_str().unwrap().contains("same command"));
        nothing_is_left_open(&source.config()).await;
        target.start_again();
        nothing_is_left_open(&target.config()).await;
    }
    Program::migrate_between(source.dsn(), target.dsn(), &args[..4]).ends_with(0).await.finished();
}

/// The slot's acknowledged position is not durable: after a crash it is an older one. The ledger's
/// is asked, and nothing is applied twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_goes_backwards_over_a_crash_brings_nothing_twice() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql(TABLE).await;
        let spec = two.spec();
        migrate_with(&spec, |_| {}).await.unwrap();
        let confirmed = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
        let (mut received, mut went_back) = (0, false);
        // The server saves it on the side when it can free some log; then it is kept.
        for _ in 0..6 {
            for _ in 0..2 {
                two.source.sql("UPDATE source SET v = v || '!' WHERE id <= 50").await;
                received += 50;
                let events = migrate_with(&spec, |_| {}).await.unwrap();
                assert_eq!(sums(&events).0, received);
            }
            let before: Lsn = two.source.value(confirmed).await.parse().unwrap();
            two.source.stop(StopMode::Immediate);
            two.source.start_again();
            let after: Lsn = two.source.value(confirmed).await.parse().unwrap();
            let events = migrate_with(&spec, |_| {}).await.unwrap();
            assert_eq!(sums(&events).0, received);
            went_back = after < before;
            if went_back {
                break;
            }
        }
        assert!(went_back, "it never went backwards");
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}
