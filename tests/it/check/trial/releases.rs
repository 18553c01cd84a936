//! What an older release does not know.

use pghost::migrate::Severity;

use super::{check, found, of, refused_are};
use crate::run::versions::two_servers;

/// A table of 18, and words of what 14 says of it.
const NEWER: &[(&str, &str, &[&str])] = &[
    (
        "alike",
        "CREATE TABLE alike (id int PRIMARY KEY, a int, UNIQUE NULLS NOT DISTINCT (a))",
        &["42601", "NULLS NOT DISTINCT", "older"],
    ),
    (
        "sets",
        "CREATE TABLE sets (id int PRIMARY KEY, a int, b int, UNIQUE (a, b),
             FOREIGN KEY (a, b) REFERENCES sets (a, b) ON DELETE SET NULL (b))",
        &["42601", "SET NULL (b)", "older"],
    ),
    (
        "lax",
        "CREATE TABLE lax (id int PRIMARY KEY, CONSTRAINT few CHECK (id < 5) NOT ENFORCED)",
        &["42601", "NOT ENFORCED", "older"],
    ),
    (
        "periods",
        "CREATE TABLE periods (id int PRIMARY KEY, k int4range, p daterange, UNIQUE (k, p WITHOUT OVERLAPS))",
        &["42601", "WITHOUT OVERLAPS", "older"],
    ),
    (
        "computed",
        "CREATE TABLE computed (id int PRIMARY KEY, v int GENERATED ALWAYS AS (id * 2) VIRTUAL)",
        &["42601", "can't be made", "VIRTUAL", "older"],
    ),
    (
        "named",
        "CREATE TABLE named (id uuid DEFAULT uuidv7() PRIMARY KEY)",
        &["42883", "can't be made", "uuidv7", "does not have it"],
    ),
    (
        "drawn",
        "CREATE TABLE drawn (id int PRIMARY KEY, r int DEFAULT random(1, 5))",
        &["42883", "can't be made", "random", "does not have it"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_release_does_not_know_is_refused() {
    let Some((from, to)) = two_servers(18, 14).await else { return };
    let mut tables = vec!["fine"];
    from.sql("CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine VALUES (1)").await;
    for (table, make, _) in NEWER {
        from.sql(make).await;
        tables.push(table);
    }
    let checked = check(&from, &to, &of(&from, &to, &tables)).await;
    for (table, _, words) in NEWER {
        found(&checked, Severity::Refused, table, words);
    }
    refused_are(&checked, &NEWER.iter().map(|(table, ..)| *table).collect::<Vec<_>>());
}
