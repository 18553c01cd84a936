//! Keys whose index may not be in the order that the server compares in now: pages would pass over
//! rows. The collation's library is what it was; what the catalog says of it is changed.

use pghost::migrate::{self, Exit, Severity};

use crate::{
    check::refusals::refused,
    support::{
        Database, assert_same, migrate, moments::drop_slot, oldest_and_newest, server,
        some_releases, spec,
    },
};

/// A database with a collation of ICU; `None` of a build without.
async fn database(binaries: &pghost::cluster::Binaries) -> Option<Database> {
    let db = Database::create(&server(binaries), "order").await;
    let mut connection = db.connect().await;
    let german = "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk')";
    let made = connection.query(german).await.is_ok();
    connection.close().await;
    if !made {
        eprintln!("\n=== SKIPPED: PostgreSQL {} is built without ICU ===\n", binaries.version);
    }
    made.then_some(db)
}

const OLD: &str = "UPDATE pg_collation SET collversion = 'old' WHERE collname = 'german'";
const WORDS: &str = "CREATE TABLE source (k text COLLATE german PRIMARY KEY, n integer);
    INSERT INTO source SELECT chr(224 + i % 20) || i, i FROM generate_series(1, 60) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_by_a_collation_of_another_version_is_refused() {
    for binaries in some_releases() {
        let Some(db) = database(&binaries).await else { continue };
        db.sql(WORDS).await;
        db.sql(OLD).await;
        let spec = spec(&db, &db, "source", "target");
        refused(&db, &db, &spec, &["public.german", "\"k\"", "version old"]).await;
        let checked = migrate::check(&spec).await.unwrap();
        let is_it = |f: &&migrate::Finding| f.message.contains("public.german");
        let finding = checked.findings.iter().find(is_it).unwrap();
        assert_eq!(finding.severity, Severity::Refused, "{finding:?}");
        db.sql(finding.hint.as_ref().unwrap()).await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "n").await;
        drop_slot(&db, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_beside_the_key_is_only_warned_of() {
    for binaries in oldest_and_newest() {
        let Some(db) = database(&binaries).await else { continue };
        db.sql("CREATE TABLE source (id integer PRIMARY KEY, w text COLLATE german)").await;
        db.sql("INSERT INTO source VALUES (1, 'ä')").await;
        db.sql(OLD).await;
        let spec = spec(&db, &db, "source", "target");
        let checked = migrate::check(&spec).await.unwrap();
        assert_eq!(checked.count(Severity::Refused), 0, "{:#?}", checked.findings);
        let is_it = |f: &&migrate::Finding| f.message.contains("public.german");
        let finding = checked.findings.iter().find(is_it).unwrap();
        assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
        migrate(&spec).await.unwrap();
        drop_slot(&db, &spec).await;
    }
}

/// 14 records no version of a database's collation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_the_database_s_own_collation_is_looked_at_too() {
    for binaries in oldest_and_newest().into_iter().filter(|b| b.version.major() >= 15) {
        let db = Database::create(&server(&binaries), "order").await;
        db.sql("CREATE TABLE source (k varchar PRIMARY KEY); CREATE TABLE other (id integer PRIMARY KEY, v text)")
            .await;
        db.sql("UPDATE pg_database SET datcollversion = 'old' WHERE datname = current_database()")
            .await;
        let by_word = spec(&db, &db, "source", "target");
        let words = ["of the database", "REFRESH COLLATION VERSION"];
        refused(&db, &db, &by_word, &words).await;
        let by_number = spec(&db, &db, "other", "target");
        let checked = migrate::check(&by_number).await.unwrap();
        assert_eq!(checked.count(Severity::Refused), 0, "{:#?}", checked.findings);
        let warned = |f: &&migrate::Finding| f.message.contains("made with version old");
        assert!(checked.findings.iter().any(|f| warned(&f)), "{:#?}", checked.findings);
    }
}

/// Pages that are there were cut by the order that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_does_not_go_on_in_another_order() {
    for binaries in oldest_and_newest() {
        let Some(db) = database(&binaries).await else { continue };
        db.sql(WORDS).await;
        let seen = "SELECT collversion FROM pg_collation WHERE collname = 'german'";
        let was = db.value(seen).await;
        db.sql(
            "CREATE TABLE target (k text COLLATE german PRIMARY KEY, n integer CHECK (n <> 30))",
        )
        .await;
        let mut spec = spec(&db, &db, "source", "target");
        // The trial would meet the row before any page.
        spec.trial = false;
        (spec.page_rows, spec.copy_jobs) = (Some(10), 1);
        assert_eq!(migrate(&spec).await.unwrap_err().exit, Exit::Stopped);
        db.sql("ALTER TABLE target DROP CONSTRAINT target_n_check").await;
        db.sql(OLD).await;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        for word in ["REINDEX TABLE", "pghost cleanup"] {
            assert!(failure.hint.contains(word), "{failure}");
        }
        let checked = migrate::check(&spec).await.unwrap();
        assert_eq!(checked.count(Severity::Refused), 1, "{:#?}", checked.findings);
        // Who mended nothing but the catalog goes on.
        db.sql(&OLD.replace("'old'", &format!("'{was}'"))).await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "n").await;
        // With all pages there, the order is nobody's matter.
        db.sql(OLD).await;
        db.sql("UPDATE source SET n = 61 WHERE n = 1").await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "n").await;
        drop_slot(&db, &spec).await;
    }
}
