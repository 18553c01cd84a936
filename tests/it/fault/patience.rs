//! For how long a run tries again: a fault that always comes back ends it, however late it comes;
//! and one that comes now and then to a run that has nothing to do does not.

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    migrate::{Event, Exit, Failure, MigrationSpec, PhaseName},
};

use crate::{
    fault::killed_at_events::forget,
    support::{
        bed::Bed,
        moments::{Following, begins, migrate_with, now},
        oldest_and_newest,
        own_servers::Two,
    },
};

/// Longer than the limit that the tests set.
const LATE: &str = "CREATE FUNCTION late(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(1.2); RAISE EXCEPTION 'provoked' USING ERRCODE = '53200'; END $$";

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 300) i";

async fn make_bed(binaries: &Binaries) -> Bed {
    let mut bed = Bed::make(binaries, "patience", TABLE).await;
    bed.to.sql(LATE).await;
    (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(100), 1);
    bed.spec.wait_for_server = Duration::from_secs(1);
    bed
}

impl Bed {
    /// The first time the fault is new, since there were pages before it; the second time it is not.
    async fn is_given_up(&self, on: impl Fn(&Event) + Send + Sync) -> Failure {
        let mut waits = 0;
        let ended = migrate_with(&self.spec, |event| {
            waits += u32::from(matches!(event, Event::Waiting { .. }));
            on(event);
        });
        let failure = ended.await.map(|_| "it ended well").unwrap_err();
        assert_eq!((failure.exit, waits), (Exit::Stopped, 1), "{failure}");
        assert!(failure.message.contains("provoked"), "{failure}");
        assert!(failure.message.contains("got no further (--wait-for-server)"), "{failure}");
        self.nothing_is_left_open().await;
        forget(&self.spec).await;
        failure
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_always_fails_late_is_given_up() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        bed.to
            .sql(
                "CREATE TABLE target (id int PRIMARY KEY, v text,
                     CHECK (CASE WHEN id = 150 THEN late(id) = 0 ELSE true END))",
            )
            .await;
        bed.is_given_up(|_| {}).await;
        assert_eq!(bed.to.value("SELECT count(*) FROM target").await, "100");
    }
}

/// Each attempt finds more to apply before it comes to the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_always_fails_late_is_given_up_while_the_source_is_written_to() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        bed.from
            .sql(
                "CREATE FUNCTION late(id int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT id';
                 CREATE INDEX ON source (late(id))",
            )
            .await;
        let failure = bed.is_given_up(|event| {
            if begins(event, PhaseName::CatchUp) {
                now(bed.from.sql("UPDATE source SET v = v || '!' WHERE id < 9"));
            }
        });
        let failure = failure.await;
        assert!(failure.message.contains("CREATE INDEX"), "{failure}");
    }
}

/// The connections of a run that has followed a source at rest for longer than the limit end, and
/// end once more: that is not one long trouble.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_follows_a_source_at_rest_outlives_one_outage_after_the_other() {
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name NOT LIKE 'test%' AND backend_type IN ('client backend', 'walsender')";
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql(TABLE).await;
        let wait_for_server = Duration::from_secs(3);
        let following = Following::start(&MigrationSpec { wait_for_server, ..two.spec() }).await;
        let reader = "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots";
        for _ in 0..2 {
            two.source.until(&format!("SELECT ({reader}) > 0")).await;
            let of_before = two.source.value(reader).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            two.source.sql(END).await;
            two.source.until(&format!("SELECT ({reader}) NOT IN (0, {of_before})")).await;
        }
        two.source.sql("INSERT INTO source VALUES (1000, 'still')").await;
        two.target.until("SELECT count(*) = 1 FROM target WHERE id = 1000").await;
        following.end().await;
        two.nothing_is_left_open().await;
    }
}
