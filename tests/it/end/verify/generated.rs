//! Generated columns, whose values each side computes for itself, are compared too.

use pghost::{migrate::Exit, verify::Kind};

use super::{Seen, compare};
use crate::support::{Database, migrate, moments::drop_slot, oldest_and_newest, server, spec};

fn columns_told(seen: &Seen) -> Vec<&str> {
    let mut columns: Vec<_> = (seen.rows_told.iter())
        .inspect(|(_, kind, _)| assert_eq!(*kind, Kind::Different))
        .flat_map(|(.., columns)| columns.iter().map(String::as_str))
        .collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_the_same_respelled_or_different() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "generated").await;
        let to = Database::create(&server, "generated").await;
        let kind = if binaries.version.major() >= 18 { "VIRTUAL" } else { "STORED" };
        let rows = "INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 50) i";
        from.sql(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, a int, same int GENERATED ALWAYS AS (a + a) STORED,
                 n numeric GENERATED ALWAYS AS (a * 1.0) STORED, other int GENERATED ALWAYS AS (a * 2) {kind},
                 plain int GENERATED ALWAYS AS (a * 3) STORED, lone int GENERATED ALWAYS AS (a) STORED); {rows}"
        ))
        .await;
        to.sql(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, a int, plain int, same int GENERATED ALWAYS AS (2 * a) STORED,
                 n numeric(9,2) GENERATED ALWAYS AS (a * 1.0) STORED,
                 other int GENERATED ALWAYS AS (a * 2 + (a = 7)::int) {kind})"
        ))
        .await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.verify = true;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Different, "{failure}");
        let seen = compare(&from, &to, "t", 20).await;
        assert_eq!((seen.rows, seen.different), (50, 50), "{seen:?}");
        assert_eq!(columns_told(&seen), ["n", "other", "plain"], "{seen:?}");
        assert!(seen.notices.iter().any(|n| n.contains("not compared") && n.contains("lone")));

        // What only spells its values otherwise is no difference; one row differs.
        to.sql("ALTER TABLE t DROP plain").await;
        let seen = compare(&from, &to, "t", 20).await;
        assert_eq!((seen.different, seen.respelled), (1, 49), "{seen:?}");
        let (key, _, columns) = &seen.rows_told[0];
        assert_eq!((key[0].1.as_str(), columns.join(" ")), ("7", "n other".into()), "{seen:?}");
        drop_slot(&from, &spec).await;
    }
}

/// `check` tells of what is generated otherwise on a target that is there; a target that pghost
/// makes is equal as long as the functions do the same.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_do_something_else_are_found() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "computed").await;
        let to = Database::create(&server, "computed").await;
        let function = |body: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION f(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT {body}'"
            )
        };
        from.sql(&function("a")).await;
        to.sql(&function("a + 1")).await;
        from.sql(
            "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (public.f(id)) STORED);
             INSERT INTO t (id) SELECT generate_series(1, 30)",
        )
        .await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.verify = true;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Different, "{failure}");
        to.sql(&format!("{}; UPDATE t SET id = id", function("a"))).await;
        migrate(&spec).await.unwrap();
        drop_slot(&from, &spec).await;
    }
}
