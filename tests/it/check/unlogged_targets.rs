//! Targets whose rows a crash, or the end of a session, would take away while the ledger goes on
//! counting them as copied.

use pghost::{
    migrate::{self, Exit, Severity},
    pg::QualifiedName,
};

use crate::{
    check::refusals::refused,
    support::{
        Database, assert_same, migrate, moments::drop_slot, oldest_and_newest, server,
        some_releases, spec,
    },
};

const SOURCE: &str = "CREATE TABLE source (id integer PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 60) i";

const PARTED: &str = "CREATE TABLE target (LIKE source INCLUDING ALL) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF target FOR VALUES FROM (0) TO (30) PARTITION BY RANGE (id);
    CREATE TABLE lowest PARTITION OF low DEFAULT; CREATE TABLE rest PARTITION OF target DEFAULT;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_a_crash_would_empty_is_refused() {
    for binaries in some_releases() {
        let db = Database::create(&server(&binaries), "lasting").await;
        db.sql(SOURCE).await;
        let mut spec = spec(&db, &db, "source", "target");
        let unlogged = "CREATE UNLOGGED TABLE target (LIKE source INCLUDING ALL)";
        let partition = format!("{PARTED} ALTER TABLE lowest SET UNLOGGED");
        for (target, name, mend) in [
            (unlogged, "the target public.target", "ALTER TABLE \"public\".\"target\" SET LOGGED"),
            (&partition, "public.lowest", "ALTER TABLE \"public\".\"lowest\" SET LOGGED"),
        ] {
            db.sql(target).await;
            refused(&db, &db, &spec, &[name, "unlogged", mend]).await;
            spec.defer_indexes = true;
            refused(&db, &db, &spec, &[name, "unlogged", mend]).await;
            spec.defer_indexes = false;
            let checked = migrate::check(&spec).await.unwrap();
            let said = |f: &&migrate::Finding| f.message.contains("unlogged");
            let finding = checked.findings.iter().find(said).unwrap();
            assert_eq!(finding.severity, Severity::Refused, "{finding:?}");
            if target == unlogged {
                db.sql("DROP TABLE target").await;
            } else {
                db.sql(finding.hint.as_ref().unwrap()).await;
            }
        }
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// What is partitioned has no rows of its own; there the word means nothing, and from 18 on it is
/// not taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_is_called_unlogged_will_do() {
    for binaries in oldest_and_newest().into_iter().filter(|b| b.version.major() < 18) {
        let db = Database::create(&server(&binaries), "root").await;
        db.sql(SOURCE).await;
        db.sql(&PARTED.replacen("CREATE TABLE", "CREATE UNLOGGED TABLE", 1)).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_s_own_table_is_no_target() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "temporary").await;
        db.sql(SOURCE).await;
        let mut holder = db.connect().await;
        holder.query("CREATE TEMPORARY TABLE target (LIKE source INCLUDING ALL)").await.unwrap();
        let schema = holder.query("SELECT pg_my_temp_schema()::regnamespace::text AS it").await;
        let schema: String = schema.unwrap().row().unwrap().get("it").unwrap();
        let mut spec = spec(&db, &db, "source", "target");
        spec.tables[0].target = QualifiedName::new(schema, "target");
        refused(&db, &db, &spec, &["temporary table", "another target"]).await;
        holder.close().await;
    }
}

/// Half of the pages are there when the target becomes unlogged: whether a crash has emptied it,
/// only its owner can know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_became_unlogged_is_not_gone_on_with() {
    for binaries in some_releases() {
        let server = server(&binaries);
        for (made, table) in [("", "target"), (PARTED, "rest")] {
            let db = Database::create(&server, "became").await;
            db.sql(SOURCE).await;
            let made = if made.is_empty() {
                "CREATE TABLE target (LIKE source INCLUDING ALL)"
            } else {
                made
            };
            db.sql(made).await;
            db.sql("ALTER TABLE target ADD CONSTRAINT here CHECK (id <> 45)").await;
            let mut spec = spec(&db, &db, "source", "target");
            // The trial would meet the row before any page.
            spec.trial = false;
            (spec.page_rows, spec.copy_jobs) = (Some(10), 1);
            let stopped = migrate(&spec).await.unwrap_err();
            assert_eq!(stopped.exit, Exit::Stopped, "{stopped}");
            assert_eq!(db.value("SELECT count(*) FROM target").await, "40");
            db.sql(&format!(
                "ALTER TABLE target DROP CONSTRAINT here; ALTER TABLE {table} SET UNLOGGED"
            ))
            .await;
            let checked = migrate::check(&spec).await.unwrap();
            assert_eq!(checked.count(Severity::Refused), 1, "{:?}", checked.findings);
            let failure = migrate(&spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
            assert!(
                failure.message.contains(table) && failure.message.contains("unlogged"),
                "{failure}"
            );
            assert!(failure.hint.contains("SET LOGGED"), "{failure}");
            // It has not crashed.
            db.sql(&format!("ALTER TABLE {table} SET LOGGED")).await;
            migrate(&spec).await.unwrap();
            assert_same((&db, "source"), (&db, "target"), "id").await;
            // Nor is it when all of it is there: changes go on coming.
            db.sql(&format!("ALTER TABLE {table} SET UNLOGGED")).await;
            assert_eq!(migrate(&spec).await.unwrap_err().exit, Exit::CannotResume);
            drop_slot(&db, &spec).await;
        }
    }
}
