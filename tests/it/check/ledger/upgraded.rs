//! A ledger of an older layout is understood by whoever only reads it, brought up to date by a run,
//! and left alone while somebody else may be at work on it; one of a newer layout is nobody's.

use std::fs;

use pghost::pg::Ident;

use super::{
    Stage,
    export::{NAME, export},
    migrated,
    taken_up::{LAYOUT, TakenUp, file},
};
use crate::support::{migrate, oldest_and_newest, program::pghost, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_reads_an_older_ledger_understands_it_and_leaves_it_as_it_is() {
    for binaries in oldest_and_newest() {
        let (mut phases, mut failures) = (Vec::new(), Vec::new());
        for what in ["prepared", "copying", "failed", "catching_up", "handing_over"] {
            let ledger = fs::read_to_string(file(2, what)).unwrap();
            let taken_up = TakenUp::make(&binaries, &ledger).await;
            let (from, to) = (&taken_up.from, &taken_up.to);
            let before = export(to).await;
            let found = status(&to.config(), Some(NAME)).await.unwrap().remove(0);
            phases.push(found.phase);
            failures.extend(found.last_failure.map(|failure| failure.message));
            assert!(found.wishes.is_empty() && found.tables.len() == 2, "{what}");
            let args = ["--table", "source", "--table", "pair", "--name", NAME];
            let args = [&args[..], &["--defer-indexes"]].concat();
            let checked = pghost(from, to, &[&["check"], &args[..]].concat());
            assert_eq!(checked.status.code(), Some(0), "{what}: {checked:?}");
            let dry = pghost(from, to, &["cleanup", "--name", NAME, "--dry-run"]);
            assert_eq!(dry.status.code(), Some(0), "{what}: {dry:?}");
            assert_eq!(export(to).await, before, "{what}");
            // It can be removed as it is, too.
            let removed = pghost(from, to, &["cleanup", "--name", NAME]);
            assert_eq!(removed.status.code(), Some(0), "{what}: {removed:?}");
            assert_eq!(to.value("SELECT to_regnamespace('pghost') IS NULL").await, "t");
        }
        assert_eq!(phases, ["prepare", "backfill", "backfill", "catch_up", "handoff"]);
        assert_eq!(failures.len(), 1, "{failures:?}");
    }
}

/// All migrations of a ledger have one layout, and an older pghost may be at another one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_is_not_brought_up_to_date_under_another_run() {
    for binaries in oldest_and_newest() {
        let ledger = fs::read_to_string(file(2, "copying")).unwrap();
        let taken_up = TakenUp::make(&binaries, &ledger).await;
        let to = &taken_up.to;
        to.sql(
            "CREATE TEMP TABLE m AS TABLE pghost.migration; UPDATE m SET name = 'other';
             INSERT INTO pghost.migration TABLE m",
        )
        .await;
        let before = export(to).await;
        let mut session = to.connect().await;
        let lock = "SELECT pg_advisory_lock(hashtextextended('pghost migration other', 0))";
        session.query(lock).await.unwrap();
        let spec = super::export::of_both(&taken_up.from, to);
        let failure = migrate(&spec).await.unwrap_err();
        assert!(failure.message.contains("running the migration other: pid "), "{failure}");
        assert_eq!(failure.exit.code(), 2, "{failure}");
        assert_eq!(export(to).await, before);
        // So does one that is yet to begin.
        let mut new = spec.clone();
        new.name = Some("new".into());
        new.tables.truncate(1);
        new.tables[0].target.name = Ident::new("new");
        let failure = migrate(&new).await.unwrap_err();
        assert!(failure.message.contains("running the migration other: pid "), "{failure}");
        assert_eq!(export(to).await, before);
        session.close().await;
        to.sql("UPDATE pghost.migration SET phase = 'done' WHERE name = 'other'").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let layouts = "SELECT string_agg(name || ledger_version, ' ' ORDER BY name)
                         FROM pghost.migration";
        assert_eq!(to.value(layouts).await, format!("other{LAYOUT} {NAME}{LAYOUT}"));
        to.sql("DELETE FROM pghost.migration WHERE name = 'other'").await;
        taken_up.goes_on("after the other run").await;
    }
}

/// Whether it has more tables and columns, or only says that it is newer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_a_newer_layout_is_left_to_a_newer_pghost() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        migrated(&stage).await;
        let newer = LAYOUT + 1;
        for sql in [
            format!("UPDATE pghost.migration SET ledger_version = {newer}"),
            "ALTER TABLE pghost.page ADD COLUMN of_the_future text; DROP TABLE pghost.wish".into(),
        ] {
            stage.to.sql(&sql).await;
            let before = export(&stage.to).await;
            let name = stage.name();
            let commands: &[&[&str]] = &[
                &["status"],
                &["check", "--table", "source=target", "--name", name],
                &["cleanup", "--name", name, "--dry-run"],
                &["cleanup", "--name", name],
                &["verify", "--name", name],
                &["cutover-sequences", "--name", name],
                &["migrate", "--table", "source=target", "--name", name],
                &["migrate", "--table", "source=another", "--name", "another"],
            ];
            for command in commands {
                let ended = stage.run(command);
                let text = String::from_utf8_lossy(&ended.stderr).into_owned()
                    + &String::from_utf8_lossy(&ended.stdout);
                // `check` refuses whatever it finds.
                let code = if command[0] == "check" { 2 } else { 4 };
                assert_eq!(ended.status.code(), Some(code), "{command:?}: {text}");
                let layout = format!("it has layout {newer}, and this pghost knows");
                assert!(text.contains(&layout), "{command:?}: {text}");
                assert!(text.contains("use that one"), "{command:?}: {text}");
            }
            assert_eq!(export(&stage.to).await, before);
        }
    }
}
