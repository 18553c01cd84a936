//! `pghost status` with the source named too, and what it says of a run that has ended with an error.

use pghost::migrate::{
    self, CleanupSpec, Event, MigrationSpec, MigrationStatus, StatusSpec, cleanup,
};

use crate::{
    stage::{Gate, drop_slot, migrate_with, now},
    support::{Database, migrate, server, spec, versions_to_test},
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 1000) i; ANALYZE source";

/// What is known of the one migration, with this database asked as its source.
async fn asked(source: &Database, to: &Database) -> MigrationStatus {
    let (source, target) = (Some(source.config()), to.config());
    migrate::status(&StatusSpec { target, source, name: None }).await.unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_to_do_the_slot_and_the_last_error_are_told() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "asked").await;
        let to = Database::create(&server, "asked").await;
        from.sql(TABLE).await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text CHECK (v <> 'no'))").await;
        let spec = MigrationSpec { page_rows: Some(100), ..spec(&from, &to, "source", "target") };

        // In the middle of the pages.
        let gate = Gate::close(&to, "target", 1, "NEW.id = 500").await;
        let script = async {
            gate.reached().await;
            let halfway = asked(&from, &to).await;
            gate.open().await;
            halfway
        };
        let (ended, halfway) = tokio::join!(migrate(&spec), script);
        ended.unwrap();
        assert!(halfway.running && halfway.last_failure.is_none(), "{halfway:?}");
        assert_eq!(halfway.tables[0].estimated_rows, Some(1000), "{halfway:?}");
        let source = halfway.source.unwrap();
        let slot = source.slot.unwrap();
        assert!(!slot.active && slot.wal_status.as_deref() == Some("reserved"), "{slot:?}");
        assert_eq!((source.error, source.lost), (None, None));

        // What the target refuses; the source is ahead by that much.
        from.sql("UPDATE source SET v = 'no' WHERE id = 7").await;
        let failure = migrate(&spec).await.unwrap_err();
        let stopped = asked(&from, &to).await;
        let last = stopped.last_failure.unwrap();
        assert_eq!((last.message, last.next), (failure.message, failure.hint));
        assert!(stopped.source.unwrap().lag_bytes.unwrap() > 0 && !stopped.running);

        // It is forgotten as soon as there is another run, and not noted that somebody stops one.
        from.sql("UPDATE source SET v = 'yes' WHERE id = 7").await;
        to.sql("ALTER TABLE target DROP CONSTRAINT target_v_check").await;
        let mut seen = None;
        migrate_with(&spec, |event| {
            if matches!(event, Event::Finished { .. }) {
                seen = Some(now(asked(&from, &to)));
            }
        })
        .await
        .unwrap();
        assert!(seen.unwrap().last_failure.is_none());

        // A source that is another one, and a slot that is gone.
        let other = asked(&to, &to).await.source.unwrap();
        assert!(other.error.unwrap().contains("not this migration's") && other.slot.is_none());
        drop_slot(&from, &spec).await;
        let lost = asked(&from, &to).await.source.unwrap();
        assert!(lost.slot.is_none() && lost.lost.unwrap().contains("gone"));
        let (source, target, name) = (from.config(), to.config(), from.name.clone());
        cleanup(&CleanupSpec { source, target, name, dry_run: false }).await.unwrap();
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(to.value(left).await, "0");
    }
}
