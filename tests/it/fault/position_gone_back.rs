//! A ledger that is not where a run has left it: the target is another server than it was, one that
//! a failover has brought forward without its last commits. The run's sessions can't tell; the
//! first position that they write does.

use pghost::migrate::Exit;

use crate::support::{
    bed::Bed,
    migrate,
    moments::{Following, until},
    oldest_and_newest,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'old' FROM generate_series(1, 9) i";

/// While a run follows, and what lies between would never be applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_goes_back_under_a_run_stops_it() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "adrift", TABLE).await;
        let Bed { from, to, spec } = &bed;
        migrate(spec).await.unwrap();
        for has_written in [false, true] {
            let back = "UPDATE pghost.migration SET applied_lsn = slot_start_lsn";
            let following = Following::start(spec).await;
            let streams = "SELECT active FROM pg_replication_slots
                            WHERE database = current_database()";
            until(from, streams).await;
            if has_written {
                from.sql("UPDATE source SET v = 'new' WHERE id = 1").await;
                until(to, "SELECT v = 'new' FROM target WHERE id = 1").await;
            }
            let kept = to.value("SELECT applied_lsn FROM pghost.migration").await;
            // Nothing comes between the two: one commit of the source's is one of the target's.
            let mut ledger = to.connect().await;
            ledger.query(&format!("BEGIN; {back}")).await.unwrap();
            from.sql("UPDATE source SET v = 'later' WHERE id = 2").await;
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            until(to, waits).await;
            ledger.query("COMMIT").await.unwrap();
            let failure = following.failed().await;
            assert_eq!(failure.exit, Exit::Stopped, "{failure}");
            assert!(failure.message.contains("is not where this run has left it"), "{failure}");
            assert_eq!(to.value("SELECT v FROM target WHERE id = 2").await, "old");
            let stays = "SELECT applied_lsn = slot_start_lsn FROM pghost.migration";
            assert_eq!(to.value(stays).await, "t");
            // The ledger is put right by hand, and nothing was lost.
            to.sql(&format!("UPDATE pghost.migration SET applied_lsn = '{kept}'")).await;
            migrate(spec).await.unwrap();
            assert_eq!(to.value("SELECT v FROM target WHERE id = 2").await, "later");
            from.sql("UPDATE source SET v = 'old' WHERE id = 2").await;
            migrate(spec).await.unwrap();
        }
        bed.ends().await;
    }
}
