//! With asynchronous commit the source shows rows that a crash takes back.

use std::sync::Arc;

use pghost::{
    cluster::{Server, StopMode},
    migrate::Event,
};

use crate::{
    stage::{migrate_with, now},
    support::{Database, assert_same, spec, versions_to_test},
};

/// A page that shows such a row is committed on the target only once the row stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_brings_only_what_the_source_will_keep() {
    for binaries in versions_to_test() {
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
