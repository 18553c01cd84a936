//! Very many rows that differ: each is counted, few are named, and never more than some pages' rows
//! are listed at once.

use std::{collections::HashMap, fs};

use pghost::verify::Kind;

use super::compare;
use crate::support::{
    Database,
    login_servers::Scratch,
    program::{Program, is},
    server, versions_to_test,
};

/// In `u`.
const ROWS: u64 = 4_000;
const PAGE_ROWS: u64 = 500;

/// `t` has one row that `u` has not, and `u` has all the others; the first rows of `v` are those of
/// `u` with another value.
const TABLES: &str = "
    CREATE TABLE t (id bigint PRIMARY KEY, v text);
    CREATE TABLE u (id bigint PRIMARY KEY, v text);
    CREATE TABLE v (id bigint PRIMARY KEY, v text);
    INSERT INTO u SELECT i, repeat('wide', 500) || i FROM generate_series(1, $ROWS) i;
    INSERT INTO v SELECT id, v || 'x' FROM u WHERE id <= 1000;
    INSERT INTO t VALUES (5500000, 'far behind')";

async fn tables() -> Option<Database> {
    let binaries = versions_to_test().pop()?;
    let db = Database::create(&server(&binaries), "many").await;
    db.sql(&TABLES.replace("$ROWS", &ROWS.to_string())).await;
    Some(db)
}

/// The rows of each result that a traced program was sent, the largest last.
fn results(trace: &str) -> Vec<u64> {
    let (mut now, mut all) = (HashMap::new(), Vec::new());
    for line in trace.lines() {
        let parts: Vec<_> = line.split('\t').collect();
        let rows: &mut u64 = now.entry(parts[1].to_owned()).or_default();
        match parts[4] {
            "DataRow" => *rows += 1,
            "CommandComplete" => all.push(std::mem::take(rows)),
            _ => {}
        }
    }
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_far_more_rows_in_a_page_is_listed_in_parts() {
    let Some(db) = tables().await else { return };
    let files = Scratch::new();
    let trace = files.missing();
    let page_rows = PAGE_ROWS.to_string();
    let args =
        ["--table", "t=u", "--page-rows", &page_rows, "--list", "3", "--trace-protocol", &trace];
    let ended = Program::run("verify", &db.dsn(), &db.dsn(), &args).ends_with(3).await;
    let verified = ended.events.iter().find(|event| is(event, "verified")).unwrap();
    assert_eq!((&verified["different_rows"], &verified["rows"]), (&(ROWS + 1).into(), &1.into()));
    assert_eq!(ended.events.iter().filter(|event| is(event, "different")).count(), 3);
    let results = results(&fs::read_to_string(&trace).unwrap());
    let largest = *results.last().unwrap();
    assert!((PAGE_ROWS..=2 * PAGE_ROWS).contains(&largest), "{largest} rows at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_missing_or_differ_are_all_counted() {
    let Some(db) = tables().await else { return };
    let missing =
        "CREATE TABLE all_rows (id int PRIMARY KEY); CREATE TABLE none (id int PRIMARY KEY);
        INSERT INTO all_rows SELECT generate_series(1, 10100)";
    db.sql(missing).await;
    let seen = compare(&db, &db, "all_rows=none", 5_000).await;
    assert_eq!((seen.rows, seen.different, seen.rows_told.len()), (10_100, 10_100, 100));
    assert!(seen.rows_told.iter().all(|(_, kind, _)| *kind == Kind::MissingOnTarget), "{seen:?}");
    assert!(
        seen.notices
            .iter()
            .any(|n| n == "10,000 more rows of public.all_rows differ that are not named"),
        "{seen:?}"
    );
    assert_eq!(seen.failure.map(|failure| failure.exit.code()), Some(3));
    // All of the first differ in a column, and the source has not the others.
    let seen = compare(&db, &db, "v=u", PAGE_ROWS).await;
    assert_eq!((seen.rows, seen.different), (1000, ROWS), "{:?}", seen.failure);
}
