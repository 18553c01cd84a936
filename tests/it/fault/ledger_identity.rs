//! What a migration belongs to, and a ledger that is not what it was: recognised before anything is
//! written, with exit code 4 and the way out.

use pghost::migrate::{Exit, MigrationSpec};

use crate::support::{
    Database, migrate,
    moments::{drop_slot, migrate_with},
    server, spec, versions_to_test,
};

const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL);";

/// What is done to the migration's state between two runs, what undoes it, and words of the refusal.
const STRANGE: &[(&str, &str, &str)] = &[
    (
        "UPDATE pghost.migration SET ledger_version = 99",
        "UPDATE pghost.migration SET ledger_version = 3",
        "layout 99",
    ),
    (
        "ALTER TABLE pghost.migration RENAME TO away",
        "ALTER TABLE pghost.away RENAME TO migration",
        "it has no",
    ),
    (
        "ALTER TABLE pghost.page RENAME TO away",
        "ALTER TABLE pghost.away RENAME TO page",
        "page.snapshot",
    ),
    (
        "ALTER TABLE pghost.migration_table RENAME TO away",
        "ALTER TABLE pghost.away RENAME TO migration_table",
        "migration_table",
    ),
    (
        "ALTER TABLE pghost.page RENAME upper_bound TO away",
        "ALTER TABLE pghost.page RENAME away TO upper_bound",
        "page.upper_bound",
    ),
    (
        "ALTER TABLE pghost.migration RENAME applied_lsn TO away",
        "ALTER TABLE pghost.migration RENAME away TO applied_lsn",
        "applied_lsn",
    ),
    (
        "SET session_replication_role = replica; CREATE TABLE pghost.kept AS TABLE pghost.migration;
         DELETE FROM pghost.migration",
        "INSERT INTO pghost.migration SELECT * FROM pghost.kept; DROP TABLE pghost.kept",
        "none in pghost.migration",
    ),
    (
        "SET session_replication_role = replica; CREATE TABLE pghost.kept AS TABLE pghost.migration_table;
         DELETE FROM pghost.migration_table",
        "INSERT INTO pghost.migration_table SELECT * FROM pghost.kept; DROP TABLE pghost.kept",
        "migration_table has no line",
    ),
    (
        "UPDATE pghost.migration SET source_system_id = '7'",
        "UPDATE pghost.migration SET source_system_id = (SELECT system_identifier FROM pg_control_system())",
        "another server",
    ),
    (
        "UPDATE pghost.migration SET source_timeline = 9",
        "UPDATE pghost.migration SET source_timeline = 1",
        "timeline",
    ),
    (
        "CREATE TABLE pghost.kept AS TABLE pghost.migration; UPDATE pghost.migration SET applied_lsn = 'FFFF/0'",
        "UPDATE pghost.migration SET applied_lsn = k.applied_lsn FROM pghost.kept k; DROP TABLE pghost.kept",
        "earlier state",
    ),
    (
        "CREATE TABLE pghost.kept AS TABLE pghost.page; UPDATE pghost.page SET lsn = 'FFFF/0' WHERE number = 0",
        "UPDATE pghost.page SET lsn = k.lsn FROM pghost.kept k WHERE k.number = 0 AND page.number = 0;
         DROP TABLE pghost.kept",
        "earlier state",
    ),
    (
        "UPDATE pghost.migration_table SET target_oid = 7",
        "UPDATE pghost.migration_table SET target_oid = 'target'::regclass",
        "made again",
    ),
    (
        "UPDATE pghost.migration_table SET source_oid = 7",
        "UPDATE pghost.migration_table SET source_oid = 'source'::regclass",
        "another table",
    ),
];

/// Everything on the target that a run could write.
async fn everything(db: &Database) -> String {
    let sql = "SELECT string_agg(format('%s %s', c.relname, query_to_xml(
                   'SELECT xmin, * FROM ' || c.oid::regclass || ' ORDER BY ctid', true, true, '')::text),
                   chr(10) ORDER BY relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE nspname IN ('pghost', 'public') AND relkind = 'r'";
    db.value(sql).await
}

async fn cannot_go_on(db: &Database, spec: &MigrationSpec, words: &str) {
    let before = everything(db).await;
    let failure = migrate_with(spec, |_| {}).await.map(|_| words).unwrap_err();
    assert_eq!(failure.exit, Exit::CannotResume, "{words}: {failure}");
    assert!(failure.message.contains(words), "no {words} in {failure}");
    assert!(failure.hint.len() > 20 && failure.state.contains("nothing"), "{failure}");
    assert!(everything(db).await == before, "{words}: something was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_state_does_not_belong_to_is_recognised() {
    for binaries in versions_to_test() {
        let db = Database::create(&server(&binaries), "identity").await;
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(10);
        migrate(&spec).await.unwrap();
        for (strange, undone, words) in STRANGE {
            db.sql(strange).await;
            cannot_go_on(&db, &spec, words).await;
            db.sql(undone).await;
        }
        // It was all undone: it goes on as if nothing had been.
        db.sql("UPDATE source SET n = n + 1").await;
        migrate(&spec).await.unwrap();
        crate::support::assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// A part of a ledger without the migration's line: pages of another time would count as copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_were_restored_alone_are_not_taken_for_a_new_migrations() {
    for binaries in versions_to_test() {
        let db = Database::create(&server(&binaries), "restored").await;
        db.sql(SIXTY).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        drop_slot(&db, &spec).await;
        db.sql(&format!(
            "CREATE TABLE kept AS TABLE pghost.page; DROP SCHEMA pghost CASCADE; CREATE SCHEMA pghost;
             ALTER TABLE kept SET SCHEMA pghost; ALTER TABLE pghost.kept RENAME TO page; TRUNCATE target;
             DROP PUBLICATION pghost_{}",
            db.name
        ))
        .await;
        cannot_go_on(&db, &spec, "it has no").await;
    }
}
