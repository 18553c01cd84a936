//! Target tables that pghost makes: their keys are built once the rows are there.

use pghost::{cluster::Binaries, conn::Connection};

use crate::{
    program::{Program, enters},
    stage::until,
    support::{Database, assert_same, server, versions_to_test},
};

const ROWS: u32 = 40_000;

/// A table to be moved, and a database without it.
async fn bed(binaries: &Binaries) -> (Database, Database) {
    let server = server(binaries);
    let from = Database::create(&server, "made").await;
    let to = Database::create(&server, "made").await;
    from.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL);
         INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {ROWS}) i"
    ))
    .await;
    (from, to)
}

fn migrate(from: &Database, to: &Database) -> Program {
    let args = ["--table", "t", "--name", &from.name, "--page-rows", "500"];
    Program::migrate(from, to, &args)
}

/// A session that lets rows be written to the new table, and no key be built.
async fn hold_the_key_off(to: &Database) -> Connection {
    until(to, "SELECT to_regclass('public.t') IS NOT NULL").await;
    let mut holder = to.connect().await;
    holder.query("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE").await.unwrap();
    holder
}

const IS_WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'";
const HAS_KEY: &str = "SELECT count(*) > 0 FROM pg_index
    WHERE indrelid = 't'::regclass AND indisprimary AND indisvalid";

async fn pages(to: &Database) -> String {
    let sql = "SELECT string_agg(concat_ws(' ', number, row_count, xmin), ',' ORDER BY number)
                 FROM pghost.page";
    to.value(sql).await
}

/// Goes on after a run that ended while it was building the key.
async fn goes_on(from: &Database, to: &Database, pages_before: &str) {
    assert_eq!(to.value(HAS_KEY).await, "f");
    from.sql("UPDATE t SET v = 'changed' WHERE id % 1000 = 0; DELETE FROM t WHERE id = 7").await;
    let ended = migrate(from, to).ends_with(0).await;
    ended.finished();
    assert_eq!(to.value(HAS_KEY).await, "t");
    assert_eq!(pages(to).await, pages_before);
    assert_same((from, "t"), (to, "t"), "id").await;
    let slot = format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name);
    from.sql(&slot).await;
}

#[tokio::test]
async fn a_run_that_is_killed_while_it_builds_the_key_goes_on() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let run = migrate(&from, &to);
        let mut holder = hold_the_key_off(&to).await;
        until(&to, IS_WAITING).await;
        let before = pages(&to).await;
        run.kill();
        // The server notices that its client is gone, and gives the build up.
        until(&to, &format!("SELECT NOT ({IS_WAITING})")).await;
        holder.query("COMMIT").await.unwrap();
        goes_on(&from, &to, &before).await;
    }
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_while_it_builds_the_key_stops_and_goes_on() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let mut run = migrate(&from, &to);
        run.event(|event| enters(event, "backfill")).await;
        let mut holder = hold_the_key_off(&to).await;
        run.meets(until(&to, IS_WAITING)).await;
        let before = pages(&to).await;
        run.signal("-INT");
        run.ends_with(1).await;
        holder.query("COMMIT").await.unwrap();
        goes_on(&from, &to, &before).await;
    }
}
