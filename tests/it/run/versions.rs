//! From one major release to another, under a live workload.

use std::sync::Arc;

use pghost::{
    cluster::Server,
    conn::Connection,
    demo::{
        orders,
        workload::{Workload, WorkloadOptions},
    },
    pg::QualifiedName,
    verify,
};

use crate::support::{
    Database, assert_same,
    program::{Program, enters},
    server, versions_to_test,
};

const ROWS: u64 = 10_000;

/// Both databases, on two servers, unless one of the releases is not to be tested.
pub(crate) async fn two_servers(from: u32, to: u32) -> Option<(Database, Database)> {
    let versions = versions_to_test();
    let of = |major| versions.iter().find(|b| b.version.major() == major);
    let (Some(from), Some(to)) = (of(from), of(to)) else {
        eprintln!("\n=== SKIPPED: nothing was moved from {from} to {to} ===\n");
        return None;
    };
    let source = server(from);
    let target = if from.version.major() == to.version.major() {
        Arc::new(Server::start(to, &[]).unwrap())
    } else {
        server(to)
    };
    let from = Database::create(&source, "versions").await;
    let to = Database::create(&target, "versions").await;
    Some((from, to))
}

async fn moves(from: u32, to: u32) {
    let Some((from, to)) = two_servers(from, to).await else {
        return;
    };
    let table = QualifiedName::new("public", "orders");
    from.sql(&orders::create(&table, ROWS)).await;
    let seed = u64::from(from.server.version().major());
    let options = WorkloadOptions::new(from.config(), table.clone(), seed);
    let mut workload = Workload::start(options).await.unwrap();
    workload.reaches(50).await;

    let args = ["--table", "orders", "--name", &from.name, "--page-rows", "500"];
    let following = [&args[..], &["--then", "follow"]].concat();
    let mut run = Program::migrate(&from, &to, &following);
    run.event(|event| enters(event, "follow")).await;
    let enough = workload.counts().changes() + 500;
    workload.reaches(enough).await;
    run.signal("-INT");
    run.ends_with(0).await.finished();

    let written = workload.stop().await.unwrap();
    assert!(written.inserted > 0 && written.deleted > 0, "{written:?}");
    assert!(written.moved > 0 && written.big > 0, "{written:?}");
    let ended = Program::migrate(&from, &to, &args).ends_with(0).await;
    let report = &ended.finished()["tables"][0];
    for kind in ["rows_copied", "inserted", "updated", "deleted"] {
        assert!(report[kind].as_u64() > Some(0), "{report}");
    }

    let mut source: Connection = from.connect().await;
    let mut target: Connection = to.connect().await;
    let columns = orders::columns();
    let found = verify::compare(&mut source, &table, &mut target, &table, &columns);
    let found = found.await.unwrap();
    // If they are not, this says which rows.
    assert_same((&from, "orders"), (&to, "orders"), "id").await;
    assert!(found.is_equal(), "{found:?}");
    for database in [&from, &to] {
        let sql = "SELECT string_agg(format('%s %s %s %s', attname, attnotnull,
                          format_type(atttypid, atttypmod), attstorage), ', ' ORDER BY attnum)
                     FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0";
        assert_eq!(database.value(sql).await, from.value(sql).await);
    }
    let slot = format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name);
    from.sql(&slot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_table_moves_to_the_newest_release() {
    moves(14, 18).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_table_moves_to_the_oldest_release() {
    moves(18, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_table_moves_to_another_server_of_its_release() {
    moves(15, 15).await;
}
