//! `pghost verify` with the command line of `pghost migrate`, typed or in a file.

use crate::support::{
    Database,
    login_servers::Scratch,
    program::{Program, is},
    server, versions_to_test,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_of_a_migration_compares_what_it_has_moved() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let db = Database::create(&server(&binaries), "line").await;
    db.sql(
        "CREATE TABLE source (id int PRIMARY KEY, v text);
         INSERT INTO source SELECT i, 'v' || i FROM generate_series(1, 100) i",
    )
    .await;
    let (slot, dsn) = (db.name.as_str(), db.dsn());
    let words = format!(
        "--table source=target --slot {slot} --page-rows 20 --copy-jobs 2 --apply-jobs 1 --paging keyset \
         --defer-indexes --target-owner postgres --verify --then stop --wait-for-server 5s"
    );
    let args: Vec<_> = words.split(' ').collect();
    Program::migrate(&db, &db, &args).ends_with(0).await.finished();

    let ended = Program::run("verify", &dsn, &dsn, &args).ends_with(0).await;
    let verified = ended.events.iter().find(|event| is(event, "verified")).unwrap();
    assert_eq!((&verified["rows"], &verified["pages"]), (&100.into(), &6.into()));

    // The same from a file. Who wants the source to be spared is told that it is not.
    let files = Scratch::new();
    let text = format!("table = 'source=target'\nslot = '{slot}'\nthen = 'follow'\nlist = 1");
    let file = files.file("pghost.toml", &text, 0o600);
    db.sql("DELETE FROM target WHERE id > 98").await;
    let args = ["--config", &file, "--copy-from", &dsn];
    let ended = Program::run("verify", &dsn, &dsn, &args).ends_with(3).await;
    assert_eq!(ended.events.iter().filter(|event| is(event, "different")).count(), 1);
    assert!(
        ended.notes.iter().any(|note| note.contains("not on --copy-from")),
        "{:?}",
        ended.notes
    );
    db.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}
