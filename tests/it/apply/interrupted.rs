//! A run that is told to stop while something is on its way.

use std::time::Duration;

use pghost::conn::parse_dsn;

use crate::support::{
    migrate, moments::Following, oldest_and_newest, own_servers::Two, proxy::Proxy,
};

/// What came before is committed and not yet on the disk; of the large transaction a part is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_within_a_large_transaction_commits_nothing_of_it() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql("CREATE TABLE source (id int PRIMARY KEY, v text)").await;
        two.source.sql("INSERT INTO source VALUES (0, 'begin')").await;
        migrate(&two.spec()).await.unwrap();
        let proxy = Proxy::start(two.source.port).await;
        let mut spec = two.spec();
        spec.source = parse_dsn(&two.source.dsn_by(proxy.port)).unwrap();
        let mut large = two.source.connect().await;
        let insert =
            "BEGIN; INSERT INTO source SELECT i, repeat('v', 20) FROM generate_series(1, 80000) i";
        large.query(insert).await.unwrap();
        let following = Following::start(&spec).await;
        let mut small = two.source.connect().await;
        // The first commit of a while is made durable, and the next ones are not.
        for i in 0..20 {
            small.query(&format!("UPDATE source SET v = 'small {i}' WHERE id = 0")).await.unwrap();
        }
        two.target.until("SELECT v = 'small 19' FROM target WHERE id = 0").await;
        // Three quarters of it get through.
        proxy.hold_after(4 << 20);
        large.query("COMMIT").await.unwrap();
        let writes = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_xid IS NOT NULL
                AND application_name NOT LIKE 'test%'";
        two.target.until(writes).await;
        following.stop();
        proxy.hold(false);
        following.end().await;
        assert_eq!(two.target.value("SELECT count(*) FROM target").await, "1");
        migrate(&two.spec()).await.unwrap();
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

/// What is on its way waits for a lock, and then meets the exchange of a value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_that_is_met_while_a_run_stops_is_left_to_the_next_one() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql("CREATE TABLE source (id int PRIMARY KEY, v int UNIQUE)").await;
        two.source.sql("INSERT INTO source SELECT i, i FROM generate_series(1, 9) i").await;
        let following = Following::start(&two.spec()).await;
        let mut held = two.target.connect().await;
        held.query("BEGIN; SELECT FROM target WHERE id = 1 FOR UPDATE").await.unwrap();
        let exchange =
            "BEGIN; UPDATE source SET v = -1 WHERE id = 1; UPDATE source SET v = -2 WHERE id = 2;
                UPDATE source SET v = 2 WHERE id = 3; UPDATE source SET v = 3 WHERE id = 2; COMMIT";
        two.source.sql(exchange).await;
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                WHERE application_name NOT LIKE 'test%' AND wait_event_type = 'Lock'";
        two.target.until(waits).await;
        following.stop();
        // It is waiting for what is on its way by now, or will soon.
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.query("COMMIT").await.unwrap();
        following.end().await;
        migrate(&two.spec()).await.unwrap();
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}
