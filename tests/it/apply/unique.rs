//! Unique values besides the key: violated in passing, in earnest, and exchanged.

use pghost::migrate::{Event, Exit};

use crate::support::{
    Database, assert_same, migrate,
    moments::{Scenario, drop_slot, migrate_with, now},
    oldest_and_newest, server, some_releases, spec,
};

/// Sixty rows, and a table beside them.
const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_conflict_names_the_paging_key_and_nothing_else() {
    for binaries in some_releases() {
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
    for binaries in some_releases() {
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

/// After the checkpoint the target has its unique indexes, and what the source did in an order
/// that never broke them can't be written as one statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_a_unique_index_are_exchanged_after_the_checkpoint() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "swap").await, Database::create(&server, "swap").await);
        from.sql(
            "CREATE TABLE source (id integer PRIMARY KEY, n integer UNIQUE, big text);
             ALTER TABLE source ALTER big SET STORAGE EXTERNAL;
             INSERT INTO source SELECT i, i, repeat(i::text, 2000) FROM generate_series(1, 300) i",
        )
        .await;
        let spec = spec(&from, &to, "source", "source");
        migrate(&spec).await.unwrap();
        for swap in [
            // Two rows, by way of a third value; the big values are not in the log.
            "UPDATE source SET n = -1 WHERE id = 1; UPDATE source SET n = 1 WHERE id = 2;
             UPDATE source SET n = 2 WHERE id = 1",
            // All of them move up by one, from the top down.
            "DO $$ BEGIN FOR i IN REVERSE 300..3 LOOP UPDATE source SET n = n + 1 WHERE id = i; END LOOP; END $$",
            // A value goes from a row that is deleted to one that is made, and back.
            "DELETE FROM source WHERE id = 10; INSERT INTO source VALUES (1000, 11, 'a');
             UPDATE source SET n = 5000 WHERE id = 1000; INSERT INTO source VALUES (10, 11, 'b')",
            // Many at once, and a key that changes with them.
            "UPDATE source SET n = -n; UPDATE source SET n = 400 - id, id = id + 2000 WHERE id < 200",
        ] {
            from.sql(swap).await;
            migrate(&spec).await.unwrap();
            assert_same((&from, "source"), (&to, "source"), "id").await;
        }
        drop_slot(&from, &spec).await;
    }
}

/// What is written change by change is not committed one transaction after the other: each commit is
/// waited for, and over a network that is what takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_around_an_exchange_share_commits() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "shared").await, Database::create(&server, "shared").await);
        let table = "CREATE TABLE source (id integer PRIMARY KEY, n integer UNIQUE, v text);
             INSERT INTO source SELECT i, i FROM generate_series(1, 2000) i";
        from.sql(table).await;
        let spec = spec(&from, &to, "source", "source");
        migrate(&spec).await.unwrap();
        from.sql(
            "DO $$ BEGIN FOR i IN 1..2000 LOOP UPDATE source SET v = 'x' WHERE id = i; COMMIT; END LOOP; END $$",
        )
        .await;
        from.sql(
            "UPDATE source SET n = -1 WHERE id = 1; UPDATE source SET n = 1 WHERE id = 2;
             UPDATE source SET n = 2 WHERE id = 1",
        )
        .await;
        migrate(&spec).await.unwrap();
        assert_same((&from, "source"), (&to, "source"), "id").await;
        // Each commit with a position updates the migration's line.
        let commits = "SELECT n_tup_upd < 1000 FROM pg_stat_user_tables
                        WHERE relid = 'pghost.migration'::regclass";
        assert_eq!(to.value(commits).await, "t");
        drop_slot(&from, &spec).await;
    }
}

/// A conflict with a row that the source does not have stays one, whichever way it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_with_somebody_elses_row_is_an_error() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "alien").await, Database::create(&server, "alien").await);
        from.sql("CREATE TABLE source (id integer PRIMARY KEY, n integer UNIQUE)").await;
        let spec = spec(&from, &to, "source", "source");
        migrate(&spec).await.unwrap();
        to.sql("INSERT INTO source VALUES (-1, 500)").await;
        from.sql("INSERT INTO source SELECT i, i FROM generate_series(1, 1000) i").await;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert_eq!(failure.sqlstate.map(|code| code.to_string()).as_deref(), Some("23505"));
        assert!(failure.message.contains("(500)"), "{failure}");
        to.sql("DELETE FROM source WHERE id = -1").await;
        migrate(&spec).await.unwrap();
        assert_same((&from, "source"), (&to, "source"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

/// Rows that the log inserts behind the last page go to the target by COPY; one that is there
/// all the same, as after a commit that pages saw late, is overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_there_already_are_overwritten_before_the_checkpoint() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "late").await, Database::create(&server, "late").await);
        from.sql(
            "CREATE TABLE source (id integer PRIMARY KEY, t text);
             CREATE TABLE other (id integer PRIMARY KEY)",
        )
        .await;
        let mut spec = spec(&from, &to, "source", "source");
        let name = pghost::pg::QualifiedName::new("public", "other");
        spec.tables.push(pghost::migrate::TableSpec { source: name.clone(), target: name });
        spec.apply_jobs = 3;
        let mut pages = 0;
        let events = migrate_with(&spec, |event| {
            // One of each table, and the checkpoint is yet to come.
            pages += u32::from(matches!(event, Event::Progress { .. }));
            if pages == 2 {
                pages = 3;
                now(from.sql("INSERT INTO source SELECT i, 'new' FROM generate_series(1, 1000) i"));
                now(to.sql("INSERT INTO source SELECT i, 'old' FROM generate_series(100, 300) i"));
            }
        })
        .await
        .unwrap();
        assert_same((&from, "source"), (&to, "source"), "id").await;
        let (sum, table) = crate::support::moments::sums(&events);
        assert_eq!((sum, table.inserted), (1000, 1000));
        drop_slot(&from, &spec).await;
    }
}
