//! With asynchronous commit a server shows rows that a crash takes back: the source to a page, the
//! target to a run that follows.

use std::{sync::Arc, time::Duration};

use pghost::{
    cluster::{Server, StopMode},
    migrate::{Event, MigrationSpec},
    pg::Lsn,
};

use crate::support::{
    Database, assert_same, migrate,
    moments::{Following, migrate_with, now},
    oldest_and_newest,
    own_servers::Two,
    some_releases, spec,
};

/// A page that shows such a row is committed on the target only once the row stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_brings_only_what_the_source_will_keep() {
    for binaries in some_releases() {
        // The log goes to the disk with a commit that waits for it, and else every ten seconds.
        let settings = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
        let server = Arc::new(Server::start(&binaries, &settings).unwrap());
        let (from, to) = (
            Database::create(&server, "flushed").await,
            Database::create(&server, "flushed").await,
        );
        from.sql(
            "CREATE TABLE source (id integer PRIMARY KEY, n integer);
             INSERT INTO source SELECT i, i FROM generate_series(1, 100) i",
        )
        .await;
        let mut spec = spec(&from, &to, "source", "source");
        spec.page_rows = Some(10);
        spec.copy_jobs = 1;
        let mut pages = 0;
        migrate_with(&spec, |event| {
            if let Event::Progress { .. } = event {
                pages += 1;
                let read_at = now(to.value("SELECT max(lsn) FROM pghost.page"));
                let is_kept = format!("SELECT pg_current_wal_flush_lsn() >= '{read_at}'");
                assert_eq!(now(from.value(&is_kept)), "t", "page {pages}");
                now(from.sql("UPDATE source SET n = n + 1"));
            }
        })
        .await
        .unwrap();
        assert!(pages >= 10);
        assert_same((&from, "source"), (&to, "source"), "id").await;
        let mut server = Arc::try_unwrap(server).ok();
        server.iter_mut().for_each(|server| server.stop(StopMode::Immediate).unwrap());
    }
}

/// The target loses what it has committed and not flushed, which at any time is most of it: commit
/// follows upon commit. It crashes as soon as the source was told of something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_in_mid_run_survives_a_crash_of_the_target() {
    let lazy = [
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "1GB"),
    ];
    for binaries in oldest_and_newest() {
        let two = Two::with(&binaries, &[], &lazy);
        two.source.sql("CREATE TABLE source (id int PRIMARY KEY, n int)").await;
        two.source.sql("INSERT INTO source SELECT i, 0 FROM generate_series(1, 9) i").await;
        migrate(&two.spec()).await.unwrap();
        let source = two.source.clone();
        let writer = tokio::spawn(async move {
            let mut connection = source.connect().await;
            loop {
                connection.query("UPDATE source SET n = n + 1 WHERE id = 5").await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let told = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
        for _ in 0..2 {
            // It must not go on by itself before it was looked at.
            let spec = MigrationSpec { wait_for_server: Duration::ZERO, ..two.spec() };
            let following = Following::start(&spec).await;
            for _ in 0..2 {
                let before = two.source.value(told).await;
                two.source.until(&format!("SELECT ({told}) > '{before}'")).await;
            }
            two.target.stop(StopMode::Immediate);
            following.failed().await;
            let acknowledged: Lsn = two.source.value(told).await.parse().unwrap();
            two.target.start_again();
            let applied = two.target.value("SELECT applied_lsn FROM pghost.migration").await;
            let applied: Lsn = applied.parse().unwrap();
            assert!(applied >= acknowledged, "{applied} {acknowledged}");
        }
        writer.abort();
        migrate(&two.spec()).await.unwrap();
        two.are_equal().await;
    }
}
