//! Commands that alter a table on the source in mid-run: the difference is spelled out, and new columns
//! can be left out.

use pghost::migrate::{Event, Exit, MigrationSpec};

use crate::support::{
    Database, assert_same, migrate,
    moments::{Gate, begins, drop_slot, migrate_with, now},
    server, some_releases, spec,
};

const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL)";

/// What is done, and how it is told.
const ALTERED: &[(&str, &str)] = &[
    ("ALTER TABLE source ADD more integer", "added: more"),
    ("ALTER TABLE source DROP n", "dropped: n"),
    ("ALTER TABLE source RENAME n TO m", "renamed: n to m"),
    (
        "ALTER TABLE source ALTER n TYPE bigint",
        "of another type: n is bigint (on the target integer)",
    ),
    ("ALTER TABLE source ALTER n TYPE integer USING n + 1", "rewritten"),
    ("ALTER TABLE source DROP n, ADD more text", "dropped: n; added: more"),
    ("ALTER TABLE source RENAME TO away", "gone from the source"),
];

async fn with_gate(
    db: &Database,
    spec: &MigrationSpec,
    sql: &str,
) -> Result<Vec<Event>, pghost::migrate::Failure> {
    let gate = Gate::close(db, "target", 1, "NEW.id = 35").await;
    let script = async {
        gate.reached().await;
        db.sql(sql).await;
        gate.open().await;
    };
    let (ended, ()) = tokio::join!(migrate_with(spec, |_| {}), script);
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_different_is_spelled_out() {
    for binaries in some_releases() {
        for (alter, words) in ALTERED {
            let db = Database::create(&server(&binaries), "ddl").await;
            db.sql(SIXTY).await;
            let mut spec = spec(&db, &db, "source", "target");
            (spec.page_rows, spec.copy_jobs) = (Some(10), 1);
            // In the middle of the backfill, before and after other changes.
            let alter =
                format!("UPDATE source SET t = 'a'; {alter}; DELETE FROM target WHERE false");
            let failure = with_gate(&db, &spec, &alter).await.map(|_| words).unwrap_err();
            assert_eq!(failure.exit, Exit::CannotResume, "{alter}: {failure}");
            assert!(failure.message.contains(words), "{alter}: {failure}");
            let failure = migrate(&spec).await.map(|_| words).unwrap_err();
            assert_eq!(failure.exit, Exit::CannotResume, "{alter}: {failure}");
            assert!(failure.message.contains(words), "{alter}: {failure}");
            assert_eq!(
                failure.hint.contains("--ignore-new-columns"),
                *words == "added: more",
                "{failure}"
            );
            drop_slot(&db, &spec).await;
        }
    }
}

/// New columns of every kind come at every moment, with changes before and after, and are left out;
/// all else arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_columns_are_left_out_if_that_is_asked_for() {
    for binaries in some_releases() {
        for identity in ["DEFAULT", "FULL"] {
            let db = Database::create(&server(&binaries), "added").await;
            db.sql(&format!("{SIXTY}; ALTER TABLE source REPLICA IDENTITY {identity}")).await;
            let mut spec = spec(&db, &db, "source", "target");
            (spec.page_rows, spec.copy_jobs) = (Some(10), 1);
            spec.ignore_new_columns = true;
            let change = |n: u32| {
                format!(
                    "UPDATE source SET n = n + {n}, id = id + 1000 * (id % 7 / 6); DELETE FROM source WHERE id = {n}"
                )
            };
            let add = [
                "ALTER TABLE source ADD plain integer",
                "ALTER TABLE source ADD filled text NOT NULL DEFAULT 'x'",
                // Rewrites the table.
                "ALTER TABLE source ADD random float NOT NULL DEFAULT random()",
            ];
            let first = format!("{}; {}; {}", change(1), add[0], change(2));
            let events = with_gate(&db, &spec, &first).await.unwrap();
            let told = |event: &Event| matches!(event, Event::Notice { message } if message.contains("left out: plain"));
            assert!(events.iter().any(told), "{events:#?}");
            let mut once = false;
            db.sql(&change(3)).await;
            migrate_with(&spec, |event| {
                if begins(event, pghost::migrate::PhaseName::CatchUp)
                    && !std::mem::replace(&mut once, true)
                {
                    now(db.sql(&format!("{}; {}; {}", add[1], change(4), add[2])));
                }
            })
            .await
            .unwrap();
            db.sql(&change(5)).await;
            migrate(&spec).await.unwrap();
            db.sql("CREATE VIEW old AS SELECT id, n, t FROM source").await;
            assert_same((&db, "old"), (&db, "target"), "id").await;
            // Nobody has asked for that: it is refused again.
            let failure =
                migrate(&MigrationSpec { ignore_new_columns: false, ..spec.clone() }).await;
            let failure = failure.map(|_| ()).unwrap_err();
            assert!(failure.message.contains("added: plain, filled, random"), "{failure}");
            drop_slot(&db, &spec).await;
        }
    }
}

/// The stream still has a column that the table has no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_column_that_has_gone_again_is_left_out_too() {
    for binaries in some_releases() {
        let db = Database::create(&server(&binaries), "went").await;
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.ignore_new_columns = true;
        migrate(&spec).await.unwrap();
        for sql in [
            "UPDATE source SET n = n + 1 WHERE id < 9",
            "ALTER TABLE source ADD came integer",
            "UPDATE source SET came = 1, n = n + 1 WHERE id < 20",
            "ALTER TABLE source DROP came",
            "UPDATE source SET id = id + 1000 WHERE id > 50",
        ] {
            db.sql(sql).await;
        }
        let events = migrate(&spec).await.unwrap();
        assert!(!events.iter().any(|event| matches!(event, Event::Waiting { .. })), "{events:#?}");
        let told = |event: &Event| matches!(event, Event::Notice { message } if message.ends_with("left out: came"));
        assert_eq!(events.iter().filter(|event| told(event)).count(), 1, "{events:#?}");
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// What is said helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_given_another_name_goes_on_under_its_own() {
    for binaries in some_releases() {
        let db = Database::create(&server(&binaries), "renamed").await;
        db.sql(SIXTY).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        let away = "CREATE SCHEMA attic; ALTER TABLE source RENAME TO away; ALTER TABLE away SET SCHEMA attic";
        let back = "ALTER TABLE \"attic\".\"away\" SET SCHEMA \"public\"; \
                    ALTER TABLE \"public\".\"away\" RENAME TO \"source\"";
        db.sql(away).await;
        let failure = migrate(&spec).await.map(|_| "well").unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        assert!(failure.message.contains("it is called attic.away now"), "{failure}");
        assert!(failure.hint.contains(back), "{failure}");
        db.sql(back).await;
        db.sql("UPDATE source SET n = n + 1").await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        db.sql("DROP TABLE source").await;
        let failure = migrate(&spec).await.map(|_| "well").unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        assert!(failure.hint.starts_with("if it was dropped: `pghost cleanup`"), "{failure}");
        drop_slot(&db, &spec).await;
    }
}
