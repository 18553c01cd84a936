//! A run that is told to stop in the middle of something large.

use pghost::{
    conn::parse_dsn,
    migrate::{self, Event, MigrationSpec, PhaseName, Then},
};
use tokio::sync::watch;

use crate::{
    outage::Two,
    proxy::Proxy,
    stage::begins,
    support::{migrate, oldest_and_newest},
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
        let mut spec = MigrationSpec { then: Then::Follow, ..two.spec() };
        spec.source = parse_dsn(&two.source.dsn_by(proxy.port)).unwrap();
        let mut large = two.source.connect().await;
        let insert =
            "BEGIN; INSERT INTO source SELECT i, repeat('v', 20) FROM generate_series(1, 80000) i";
        large.query(insert).await.unwrap();
        let (stop, interrupt) = watch::channel(false);
        let (tell, mut told) = watch::channel(false);
        let mut listener = |event: &Event| {
            let _ = begins(event, PhaseName::Follow) && tell.send(true).is_ok();
        };
        let run = migrate::run(&spec, interrupt, &mut listener);
        let script = async {
            told.wait_for(|follows| *follows).await.unwrap();
            let mut small = two.source.connect().await;
            // The first commit of a while is made durable, and the next ones are not.
            for i in 0..20 {
                small
                    .query(&format!("UPDATE source SET v = 'small {i}' WHERE id = 0"))
                    .await
                    .unwrap();
            }
            two.target.until("SELECT v = 'small 19' FROM target WHERE id = 0").await;
            // Three quarters of it get through.
            proxy.hold_after(4 << 20);
            large.query("COMMIT").await.unwrap();
            let writes = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_xid IS NOT NULL
                AND application_name NOT LIKE 'test%'";
            two.target.until(writes).await;
            stop.send_replace(true);
            proxy.hold(false);
        };
        let (ended, ()) = tokio::join!(run, script);
        ended.unwrap();
        assert_eq!(two.target.value("SELECT count(*) FROM target").await, "1");
        migrate(&two.spec()).await.unwrap();
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}
