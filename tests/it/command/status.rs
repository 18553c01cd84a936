//! `pghost status` with the source named too, and what it says of a run that has ended with an error.

use pghost::{
    conn::parse_dsn,
    ledger::LedgerSchema,
    migrate::{self, CleanupSpec, Event, MigrationStatus, StatusSpec, cleanup},
};

use crate::support::{
    Database,
    bed::Bed,
    migrate,
    moments::{Gate, drop_slot, migrate_with, now, until},
    proxy::Proxy,
    some_releases, versions_to_test,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 1000) i; ANALYZE source";

/// What is known of the one migration, with this database asked as its source.
async fn asked(source: &Database, to: &Database) -> MigrationStatus {
    let (source, target) = (Some(source.config()), to.config());
    migrate::status(&StatusSpec { target, source, name: None, ledger: LedgerSchema::default() })
        .await
        .unwrap()
        .remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_to_do_the_slot_and_the_last_error_are_told() {
    for binaries in some_releases() {
        let Bed { from, to, mut spec } = Bed::make(&binaries, "asked", TABLE).await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text CHECK (v <> 'no'))").await;
        spec.page_rows = Some(100);

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
        cleanup(&CleanupSpec::new(source, target, name)).await.unwrap();
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(to.value(left).await, "0");
    }
}

/// What the target knows is told all the same, and of every migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_silent_is_not_waited_for() {
    let bed = Bed::make(versions_to_test().last().unwrap(), "silent", TABLE).await;
    let Bed { from, to, spec } = &bed;
    to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
    migrate(spec).await.unwrap();
    let proxy = Proxy::start(from.server.port()).await;
    let by_proxy = from.dsn_by(proxy.port);

    // Between its getting there and its asking.
    let mut holder = to.connect().await;
    holder.query("BEGIN; LOCK TABLE pghost.migration").await.unwrap();
    let (source, name) = (parse_dsn(&by_proxy).unwrap(), spec.name.clone());
    let ledger = LedgerSchema::default();
    let of = StatusSpec { target: to.config(), source: Some(source), name, ledger };
    let script = async {
        until(
            to,
            "SELECT count(*) > 0 FROM pg_locks
              WHERE NOT granted AND relation = 'pghost.migration'::regclass",
        )
        .await;
        proxy.hold(true);
        holder.query("COMMIT").await.unwrap();
    };
    let (told, ()) = tokio::join!(migrate::status(&of), script);
    let told = told.unwrap().remove(0);
    assert_eq!((told.phase, told.tables[0].rows_copied), ("done", 1000), "{told:?}");
    let error = told.source.unwrap().error.unwrap();
    assert!(error.contains("not moved for 10 s"), "{error}");
    proxy.hold(false);
    bed.ends().await;
}
