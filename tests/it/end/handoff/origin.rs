//! The subscription's origin where it is not what pghost has set; and the commit that enables the
//! subscription, with nobody to hear what became of it.

use std::time::Duration;

use pghost::migrate::{Event, MigrationSpec, StepName, Then};

use super::{
    bed::{Bed, PAIRS, pair, step},
    dies::dies_at,
};
use crate::support::{migrate, own_servers::Own};

fn advanced(event: &Event) -> bool {
    step(event) == Some(StepName::OriginAdvanced)
}

/// What the ledger says right after that.
const NOTED: &str = "UPDATE pghost.handoff SET step = 'advanced'";

/// Ends the session that waits so.
async fn ends(target: &Own, which: &str) {
    target.until(&format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE {which}")).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}");
    target.sql(&end).await;
}

/// Dropping a subscription takes its origin's position away, and no rollback brings that back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taking_back_that_was_rolled_back_leaves_a_handover_that_goes_on() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(2) {
        let bed = Bed::make(&binaries).await;
        let target = &bed.two.target;
        assert!(dies_at(&bed.spec(), advanced).await);
        target.sql(NOTED).await;
        let mut holder = target.connect().await;
        holder.query("BEGIN; SELECT 1 FROM pghost.handoff FOR UPDATE").await.unwrap();
        let stop =
            MigrationSpec { then: Then::Stop, wait_for_server: Duration::ZERO, ..bed.spec() };
        let held = "wait_event_type = 'Lock' AND query LIKE 'DELETE FROM pghost.handoff%'";
        let (ended, ()) = tokio::join!(migrate(&stop), ends(target, held));
        assert_eq!(ended.unwrap_err().exit.code(), 1);
        holder.query("ROLLBACK").await.unwrap();
        holder.close().await;
        let is_lost = "SELECT pg_replication_origin_progress('pg_' || oid, true) IS NULL FROM pg_subscription";
        assert_eq!(target.value(is_lost).await, "t");
        migrate(&bed.spec()).await.unwrap();
        bed.ends_equal().await;
    }
}

/// Between the position and where the origin is, changes would be missing without a sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_somebody_has_moved_on_is_not_handed_over() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(2) {
        let bed = Bed::make(&binaries).await;
        let target = &bed.two.target;
        assert!(dies_at(&bed.spec(), advanced).await);
        let move_on =
            "SELECT pg_replication_origin_advance('pg_' || oid, 'FFFF/0') FROM pg_subscription";
        target.sql(move_on).await;
        for before in ["SELECT", NOTED] {
            target.sql(before).await;
            for then in [Then::Handoff, Then::Stop] {
                let failure = migrate(&MigrationSpec { then, ..bed.spec() }).await.unwrap_err();
                assert_eq!(failure.exit.code(), 4, "{failure}");
                assert!(failure.message.contains("is at FFFF/0"), "{failure}");
                let is_there = "SELECT NOT subenabled FROM pg_subscription";
                assert_eq!(target.value(is_there).await, "t");
                // What it says to do helps.
                if (before, then) == (NOTED, Then::Stop) {
                    let (_, rest) = failure.hint.split_once("on the target with ").unwrap();
                    target.sql(rest.split_once(" and give").unwrap().0).await;
                }
            }
        }
        migrate(&bed.spec()).await.unwrap();
        bed.ends_equal().await;
    }
}

/// It is on the disk, waits for a standby that never comes, and the connection is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_hears_of_is_told_as_such_and_looked_at() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(2) {
        let bed = Bed::make(&binaries).await;
        let target = &bed.two.target;
        assert!(dies_at(&bed.spec(), advanced).await);
        // Held just before it.
        target.sql(NOTED).await;
        let (mut gate, mut other) = (target.connect().await, None);
        gate.query("BEGIN; SELECT 1 FROM pghost.handoff FOR UPDATE").await.unwrap();
        let script = async {
            target
                .until(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                        AND query LIKE 'UPDATE pghost.handoff SET step = ''enabled''%'",
                )
                .await;
            target.standby_names("nobody").await;
            // Once one waits, all do.
            let of_task = target.clone();
            other = Some(tokio::spawn(async move { of_task.sql("CREATE TABLE other ()").await }));
            target
                .until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
                .await;
            gate.query("ROLLBACK").await.unwrap();
            ends(target, "wait_event = 'SyncRep' AND query = 'COMMIT'").await;
        };
        let once = MigrationSpec { wait_for_server: Duration::ZERO, ..bed.spec() };
        let (ended, ()) = tokio::join!(migrate(&once), script);
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit.code(), 1, "{failure}");
        assert!(failure.state.contains("is enabled or not"), "{failure}");
        target.standby_names("").await;
        other.unwrap().await.unwrap();
        gate.close().await;
        // This time it came through.
        assert_eq!(target.value("SELECT subenabled FROM pg_subscription").await, "t");
        migrate(&bed.spec()).await.unwrap();
        bed.ends_equal().await;
    }
}
