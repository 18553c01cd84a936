//! `pghost status` and `pghost cleanup`: what is known, and that nothing of it is left.

use pghost::migrate::{Cleaned, CleanupSpec, Event, MigrationSpec, StepName, Then, cleanup};

use crate::{
    copy::made_targets::{IS_WAITING, held_off_the_key},
    end::handoff::dies_at,
    support::{
        Database, migrate,
        moments::{Gate, until},
        program::{Program, enters, pghost},
        server, some_releases, spec, status, versions_to_test,
    },
};

const TABLES: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 1000) i";

/// Every trace that a migration could leave on a server, this database's and this name's. Locks
/// last as long as their sessions, which end by themselves.
async fn traces(database: &Database, name: &str) -> String {
    let unlocked = "SELECT count(*) = 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                     WHERE datname = current_database() AND locktype = 'advisory'";
    until(database, unlocked).await;
    database
        .value(&format!(
            "SELECT concat_ws(' ',
                (SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pghost_{name}'),
                (SELECT count(*) FROM pg_publication WHERE pubname = 'pghost_{name}'),
                (SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'),
                (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                  WHERE datname = current_database() AND locktype = 'advisory'),
                (SELECT count(*) FROM pg_db_role_setting),
                (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
                  WHERE datname = current_database()),
                (SELECT count(*) FROM pg_replication_origin WHERE roname NOT IN
                    (SELECT 'pg_' || oid FROM pg_subscription)))"
        ))
        .await
}

fn cleanup_spec(from: &Database, to: &Database, dry_run: bool) -> CleanupSpec {
    let (source, target) = (from.config(), to.config());
    CleanupSpec { dry_run, ..CleanupSpec::new(source, target, &from.name) }
}

#[tokio::test]
async fn after_a_cleanup_neither_server_shows_a_trace_and_the_rows_stay() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "cleaned").await;
        let to = Database::create(&server, "cleaned").await;
        from.sql(TABLES).await;
        let before = (traces(&from, &from.name).await, traces(&to, &from.name).await);
        migrate(&spec(&from, &to, "source", "target")).await.unwrap();
        let made = traces(&to, &from.name).await;

        let would = cleanup(&cleanup_spec(&from, &to, true)).await.unwrap();
        assert_eq!(would.removed.len(), 3, "{would:?}");
        assert_eq!(traces(&to, &from.name).await, made, "a dry run changes nothing");
        assert_eq!(cleanup(&cleanup_spec(&from, &to, false)).await.unwrap(), would);
        let after = (traces(&from, &from.name).await, traces(&to, &from.name).await);
        assert_eq!(after, before);
        assert_eq!(to.value("SELECT count(*) FROM target").await, "1000");
        // Twice is as good as once.
        assert!(cleanup(&cleanup_spec(&from, &to, false)).await.unwrap() == Cleaned::default());
    }
}

#[tokio::test]
async fn a_run_that_was_stopped_half_way_is_seen_and_cleaned_up() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "half").await;
        let to = Database::create(&server, "half").await;
        from.sql(TABLES).await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
        let gate = Gate::close(&to, "target", 1, "NEW.id = 500").await;
        let args = ["--table", "source=target", "--name", &from.name, "--page-rows", "100"];
        let mut run = Program::migrate(&from, &to, &args);
        run.event(|event| enters(event, "backfill")).await;
        run.meets(gate.reached()).await;

        let found = status(&to.config(), None).await.unwrap();
        assert_eq!((found.len(), found[0].name.as_str()), (1, from.name.as_str()));
        assert_eq!((found[0].phase, found[0].running), ("backfill", true));
        assert!(found[0].checkpoint_lsn.is_none() && !found[0].tables[0].backfilled);
        let refused = cleanup(&cleanup_spec(&from, &to, false)).await.unwrap_err();
        assert_eq!(refused.exit.code(), 2, "{refused}");

        run.kill();
        gate.open().await;
        let gone = "SELECT count(*) = 0 FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'pghost'";
        until(&to, gone).await;
        until(&from, gone).await;
        assert!(!status(&to.config(), Some(&from.name)).await.unwrap()[0].running);
        assert_eq!(cleanup(&cleanup_spec(&from, &to, false)).await.unwrap().removed.len(), 3);
        assert!(status(&to.config(), None).await.unwrap().is_empty());
        let unknown = status(&to.config(), Some(&from.name)).await.unwrap_err();
        assert_eq!(unknown.exit.code(), 2, "{unknown}");
    }
}

/// Each in a phase, or between two.
const MOMENTS: &[StepName] = &[
    StepName::LedgerMade,
    StepName::TableMade,
    StepName::PublicationMade,
    StepName::SlotMade,
    StepName::PageRead,
    StepName::KeyBuilt,
    StepName::CheckpointTaken,
    StepName::CheckpointPassed,
    StepName::ObjectMade,
    StepName::HandoffBegun,
    StepName::SubscriptionMade,
    StepName::OriginAdvanced,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_died_in_any_phase_leaves_no_trace_once_it_is_cleaned_up() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "phases").await;
        let to = Database::create(&server, "phases").await;
        from.sql(TABLES).await;
        from.sql("CREATE INDEX ON source (v)").await;
        let before = (traces(&from, &from.name).await, traces(&to, &from.name).await);
        let spec = MigrationSpec { then: Then::Handoff, ..spec(&from, &to, "source", "source") };
        for moment in MOMENTS {
            let reached =
                move |event: &Event| matches!(event, Event::Step { step, .. } if step == moment);
            assert!(dies_at(&spec, reached).await, "{moment:?}");
            let gone = "SELECT count(*) = 0 FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name = 'pghost'";
            until(&to, gone).await;
            until(&from, gone).await;
            cleanup(&cleanup_spec(&from, &to, false)).await.unwrap();
            until(&to, gone).await;
            let after = (traces(&from, &from.name).await, traces(&to, &from.name).await);
            assert_eq!(after, before, "{moment:?}");
            to.sql("DROP TABLE IF EXISTS source").await;
        }
    }
}

/// The ledger alone knows what the key of a table that pghost has made is to be.
#[tokio::test]
async fn a_half_copied_table_is_said_to_be_without_its_key() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "keyless").await;
        let to = Database::create(&server, "keyless").await;
        from.sql(TABLES).await;
        let args = ["--table", "source=target", "--name", &from.name, "--page-rows", "100"];
        let begins = || Program::migrate(&from, &to, &args);
        let (mut run, mut holder) = held_off_the_key((&from, &to), "target", begins).await;
        run.meets(until(&to, IS_WAITING)).await;
        run.kill();
        until(&to, &format!("SELECT NOT ({IS_WAITING})")).await;
        holder.query("COMMIT").await.unwrap();
        let gone = "SELECT count(*) = 0 FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'pghost'";
        until(&to, gone).await;
        until(&from, gone).await;
        let has_key =
            to.value("SELECT count(*) FROM pg_index WHERE indrelid = 'target'::regclass").await;
        assert_eq!(has_key, "0");
        let cleaned = cleanup(&cleanup_spec(&from, &to, false)).await.unwrap();
        let [said] = cleaned.left.as_slice() else { panic!("{cleaned:?}") };
        assert!(said.starts_with("public.target stays half copied and without its key"), "{said}");
        to.sql(&said[said.find("ALTER TABLE").unwrap()..]).await;
        let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'target'::regclass
                      AND contype = 'p'";
        assert_eq!(to.value(key).await, "PRIMARY KEY (id)");
    }
}

#[tokio::test]
async fn a_slot_in_use_and_another_source_are_left_alone() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "in_use").await;
        let to = Database::create(&server, "in_use").await;
        from.sql(TABLES).await;
        migrate(&spec(&from, &to, "source", "target")).await.unwrap();
        let other = Database::create(&server, "other").await;
        let elsewhere = cleanup(&cleanup_spec_of(&other, &to, &from.name)).await.unwrap_err();
        assert_eq!(elsewhere.exit.code(), 2, "{elsewhere}");
        assert!(elsewhere.message.contains("not the one"), "{elsewhere}");

        let reader = pghost::conn::Connection::connect(
            &from.config(),
            pghost::conn::SessionKind::Replication,
        )
        .await
        .unwrap();
        let pid = reader.process_id();
        let start = format!(
            "START_REPLICATION SLOT pghost_{0} LOGICAL 0/0 (proto_version '1', \
             publication_names '\"pghost_{0}\"')",
            from.name
        );
        let stream = reader.copy_both(&start).await.unwrap();
        let used = cleanup(&cleanup_spec(&from, &to, false)).await.unwrap_err();
        assert!(used.message.contains(&pid.to_string()), "{used}");
        stream.close().await.unwrap().close().await;
        let free = format!(
            "SELECT NOT active FROM pg_replication_slots
                             WHERE slot_name = 'pghost_{}'",
            from.name
        );
        until(&from, &free).await;
        assert_eq!(cleanup(&cleanup_spec(&from, &to, false)).await.unwrap().removed.len(), 3);
    }
}

fn cleanup_spec_of(from: &Database, to: &Database, name: &str) -> CleanupSpec {
    CleanupSpec { name: name.to_owned(), ..cleanup_spec(from, to, false) }
}

#[tokio::test]
async fn the_commands_print_what_they_found_and_did() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let server = server(&binaries);
    let from = Database::create(&server, "printed").await;
    let to = Database::create(&server, "printed").await;
    from.sql(TABLES).await;
    migrate(&spec(&from, &to, "source", "target")).await.unwrap();
    let said = |args: &[&str]| {
        let output = pghost(&from, &to, args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = said(&["status"]);
    assert!(text.contains("1,000 all rows copied"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&said(&["status", "--json"])).unwrap();
    assert_eq!((&json[0]["phase"], &json[0]["name"]), (&"done".into(), &from.name.as_str().into()));
    let text = said(&["cleanup", "--name", &from.name, "--dry-run"]);
    assert!(text.contains("would remove the replication slot"), "{text}");
    let text = said(&["cleanup", "--name", &from.name]);
    assert!(text.contains("removed the publication") && text.contains("no table was"), "{text}");
    assert!(said(&["cleanup", "--name", &from.name]).starts_with("nothing is left"));
    assert!(said(&["status"]).starts_with("no migration"));
}
