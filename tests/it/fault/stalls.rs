//! Servers and networks that stand still without a word.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pghost::{
    conn::{Connection, Error, SessionKind, parse_dsn},
    ledger::{Ledger, LedgerSchema, MigrationName},
    migrate::Event,
    pg::Ident,
    replication::{NewSlot, StreamOptions, create_slot, start},
};

use crate::support::{
    Database, assert_same,
    limit::within,
    moments::{Following, Gate, migrate_with, until},
    nothing_is_left_open, oldest_and_newest,
    own_servers::Two,
    program::{Program, is},
    proxy::Proxy,
    server, some_releases, spec, versions_to_test,
};

/// Rows of more bytes in a page than sockets hold, so that a page stands still with its snapshot.
const BIG: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
    INSERT INTO source SELECT i, repeat(i::text, 2000) FROM generate_series(1, 4000) i";

/// Pages of which one is held by the target: the source's snapshot is let go in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_stands_still_does_not_hold_its_snapshot() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "stall").await;
        let to = Database::create(&server, "stall").await;
        from.sql(BIG).await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
        let mut spec = spec(&from, &to, "source", "target");
        (spec.page_rows, spec.copy_jobs) = (Some(10_000), 1);
        spec.stall = Duration::from_secs(1);
        let gate = Gate::close(&to, "target", 1, "NEW.id = 10").await;
        let script = async {
            gate.reached().await;
            let holds = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_xmin IS NOT NULL
                AND datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY%'";
            until(&from, holds).await;
            // The target's session stands before the gate for as long as it is closed.
            until(&from, &holds.replace("> 0", "= 0")).await;
            gate.open().await;
        };
        let mut reasons = Vec::new();
        let run = migrate_with(&spec, |event| {
            if let Event::Waiting { reason, .. } = event {
                reasons.push(reason.clone());
            }
        });
        let (ended, ()) = tokio::join!(run, script);
        ended.unwrap();
        // On a busy machine other things may stand still for so long, too.
        let is_the_page = |reason: &String| {
            reason.contains("writing page 0 of public.target (all keys)")
                && reason.contains("has not moved")
        };
        assert!(reasons.iter().any(is_the_page), "{reasons:?}");
        // What a page held counts that was given up.
        let longest = "SELECT longest_snapshot_seconds >= 1 FROM pghost.migration";
        assert_eq!(to.value(longest).await, "t");
        for database in [&from, &to] {
            nothing_is_left_open(&database.config()).await;
        }
        assert_same((&from, "source"), (&to, "target"), "id").await;
        crate::support::moments::drop_slot(&from, &spec).await;
    }
}

/// The network is gone without a word in the middle of a page, and comes back for new connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_silent_in_a_page_is_noticed() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let two = Two::start(&binaries);
    two.source.sql(BIG).await;
    let proxy = Arc::new(Proxy::start(two.source.port).await);
    let mut spec = two.spec();
    spec.source = parse_dsn(&two.source.dsn_by(proxy.port)).unwrap();
    (spec.page_rows, spec.copy_jobs) = (Some(10_000), 1);
    spec.stall = Duration::from_secs(1);
    proxy.hold_after(8 << 20);
    let mut waits = 0;
    let events = migrate_with(&spec, |event| {
        if let Event::Waiting { .. } = event {
            waits += 1;
            // What hangs is gone, and the next one gets through.
            proxy.hold(false);
            proxy.cut();
        }
    });
    events.await.unwrap();
    assert!(waits > 0);
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

/// The same while changes are followed: the walsender is asked, does not answer, and is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_goes_silent_in_the_catch_up_is_noticed() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql("CREATE TABLE source AS SELECT 1 AS id, 0 AS v").await;
        two.source.sql("ALTER TABLE source ADD PRIMARY KEY (id)").await;
        let proxy = Proxy::start(two.source.port).await;
        let mut spec = two.spec();
        spec.source = parse_dsn(&two.source.dsn_by(proxy.port)).unwrap();
        spec.stall = Duration::from_secs(1);
        let mut following = Following::start(&spec).await;
        // It reads, and there is nothing more to read.
        two.source.sql("UPDATE source SET v = 1").await;
        two.target.until("SELECT v = 1 FROM target").await;
        proxy.hold(true);
        let reason = following.waits().await;
        assert!(reason.contains("has not moved for 1 s"), "{reason}");
        proxy.hold(false);
        proxy.cut();
        two.source.sql("UPDATE source SET v = 2").await;
        two.target.until("SELECT v = 2 FROM target").await;
        following.end().await;
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

/// What a killed run left on the target waits for a lock: the next run names it after a while, and
/// what it says to do helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_an_earlier_run_are_not_waited_for_for_ever() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "earlier").await;
        let to = Database::create(&server, "earlier").await;
        from.sql("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 500) i").await;
        from.sql("ALTER TABLE t ADD PRIMARY KEY (id)").await;
        to.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
        let args = ["--table", "t", "--name", &from.name, "--wait-for-server", "0"];
        let gate = Gate::close(&to, "t", 1, "NEW.id = 300").await;
        let mut killed = Program::migrate(&from, &to, &args);
        killed.meets(gate.reached()).await;
        killed.kill();
        let pid = "SELECT pid FROM pg_locks l JOIN pg_database d ON d.oid = database
            WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
        let pid = to.value(pid).await;

        let ended = Program::migrate(&from, &to, &args).ends_with(1).await;
        let error = ended.error();
        let says = |field: &str, word: &str| error[field].as_str().unwrap().contains(word);
        assert!(says("message", &format!("pid {pid}")), "{error}");
        assert!(says("hint", "pg_terminate_backend"), "{error}");
        let told =
            |event: &serde_json::Value| is(event, "notice") && event.to_string().contains(&pid);
        assert!(ended.events.iter().any(told), "{:#?}", ended.events);
        nothing_is_left_open(&from.config()).await;
        to.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
        nothing_is_left_open(&to.config()).await;

        gate.open().await;
        Program::migrate(&from, &to, &args).ends_with(0).await.finished();
        assert_same((&from, "t"), (&to, "t"), "id").await;
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}

#[tokio::test]
async fn a_walsender_that_says_nothing_is_given_up_and_one_that_answers_is_not() {
    for binaries in some_releases() {
        let two = crate::support::own_servers::Own::start(&binaries, &[]);
        two.sql("CREATE PUBLICATION p").await;
        let proxy = Proxy::start(two.port).await;
        let config = parse_dsn(&two.dsn_by(proxy.port)).unwrap();
        let mut walsender = Connection::connect(&config, SessionKind::Replication).await.unwrap();
        let slot = NewSlot { name: "s", two_phase: false };
        create_slot(&mut walsender, slot).await.unwrap();
        two.sql(
            "CREATE SCHEMA pghost; CREATE TABLE pghost.migration (name text, applied_lsn pg_lsn);
             INSERT INTO pghost.migration VALUES ('m', '0/1')",
        )
        .await;
        let m = MigrationName::new(&LedgerSchema::default(), "m");
        let mut ledger = two.connect().await;
        let from = Ledger::of(&mut ledger, &m).durable_position().await.unwrap();
        let options = StreamOptions::plain(vec![Ident::new("p")]);
        let mut stream = start(walsender, "s", &options, from).await.unwrap();
        // Whatever it says at first is taken.
        let quiet = Duration::from_millis(300);
        while let Ok(chunk) = tokio::time::timeout(quiet, stream.chunk()).await {
            chunk.unwrap();
        }
        // Asked after a minute, it answers.
        stream.report(Instant::now() + Duration::from_secs(61)).await.unwrap();
        within("an answer", stream.chunk()).await.unwrap();
        // What has come and was not taken counts, however long that is.
        let before = proxy.brought();
        stream.report(Instant::now() + Duration::from_secs(61)).await.unwrap();
        let answer = async {
            while proxy.brought() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("another answer", answer).await;
        tokio::time::sleep(quiet).await;
        stream.report(Instant::now() + Duration::from_secs(130)).await.unwrap();
        stream.chunk().await.unwrap();
        while let Ok(chunk) = tokio::time::timeout(quiet, stream.chunk()).await {
            chunk.unwrap();
        }
        proxy.hold(true);
        stream.report(Instant::now() + Duration::from_secs(61)).await.unwrap();
        let given_up = stream.report(Instant::now() + Duration::from_secs(121)).await;
        assert!(matches!(given_up, Err(Error::Silent { seconds: 120 })), "{given_up:?}");
    }
}
