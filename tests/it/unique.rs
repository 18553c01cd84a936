//! Unique values besides the key: violated in passing, in earnest, and exchanged.

use pghost::migrate::{Event, Exit};

use crate::{
    stage::{Scenario, drop_slot, migrate_with, now},
    support::{Database, assert_same, migrate, server, spec, versions_to_test},
};

/// Sixty rows, and a table beside them.
const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_conflict_names_the_paging_key_and_nothing_else() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let db = Database::create(&server, "conflict").await;
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(10);
        let mut done = false;
        // Two rows of one n, the second of which comes with the changes, not with a page.
        let failure = migrate_with(&spec, |event| {
            if let Event::Progress { .. } = event
                && !std::mem::replace(&mut done, true)
            {
                now(db.sql("INSERT INTO source VALUES (-5, 7)"));
            }
            if let Event::Checkpoint { .. } = event {
                now(db.sql(
                    "DELETE FROM target WHERE id = -5; CREATE UNIQUE INDEX one_n ON target (n)",
                ));
            }
        })
        .await
        .unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        let names_it = failure.message.contains("one_n") && failure.message.contains("(7)");
        assert!(names_it, "{failure}");
        // Still there, and not taken for done.
        assert_eq!(db.value("SELECT n FROM target WHERE id = 7").await, "7");
        db.sql("DROP INDEX one_n").await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// Two rows exchange unique values while pages are read: the target has both for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_read_at_different_moments() {
    for binaries in versions_to_test() {
        Scenario {
            what: "passing",
            tables: &format!("{SIXTY} ALTER TABLE source ADD UNIQUE (n)"),
            gate: "NEW.id = 30",
            between_pages: &[
                "UPDATE source SET n = -5 WHERE id = 5",
                "UPDATE source SET n = 5 WHERE id = 50",
                "UPDATE source SET n = 50 WHERE id = 5",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}
