//! Several lanes: every kind of change at once, a TRUNCATE in between, kills in the middle.

use std::time::Duration;

use pghost::migrate::{Event, TableSpec};

use crate::support::{
    Database, assert_same, migrate,
    moments::{drop_slot, migrate_with, now, sums},
    program::{Program, enters},
    server, some_releases, spec,
};

const TABLES: &str = "
    CREATE TABLE source (id integer PRIMARY KEY, n integer, big text);
    ALTER TABLE source ALTER big SET STORAGE EXTERNAL;
    INSERT INTO source SELECT i, i, repeat(md5(i::text), 100) FROM generate_series(1, 3000) i;
    CREATE TABLE numbers (k numeric PRIMARY KEY, t text);
    INSERT INTO numbers SELECT i + 0.50, 'row' FROM generate_series(1, 500) i";

/// Inserts, updates with and without big values, moves with and without them, deletes.
const CHANGES: &[&str] = &[
    "UPDATE source SET n = n + 1 WHERE id % 3 = 0",
    "INSERT INTO source SELECT i, i, repeat(md5(i::text), 120) FROM generate_series(5001, 7000) i ON CONFLICT DO NOTHING",
    "UPDATE source s SET id = id + 10000 WHERE id % 7 = 0
        AND NOT EXISTS (SELECT FROM source o WHERE o.id = s.id + 10000)",
    "UPDATE source s SET id = -id, big = 'small' WHERE id % 11 = 0
        AND NOT EXISTS (SELECT FROM source o WHERE o.id = -s.id)",
    "DELETE FROM source WHERE id % 5 = 0",
    "INSERT INTO source SELECT i * 5, 0, 'again' FROM generate_series(1, 600) i ON CONFLICT DO NOTHING",
    "UPDATE source SET big = repeat(md5(n::text), 130) WHERE id % 4 = 0",
    // Keys of other bytes that are the same.
    "DELETE FROM numbers WHERE k < 100; INSERT INTO numbers SELECT i + 0.5, 'new' FROM generate_series(1, 90) i",
    "UPDATE numbers SET k = k + 0.000, t = 'spelled anew' WHERE k > 300",
];

/// All anew.
const AGAIN: &str = "TRUNCATE source;
    INSERT INTO source SELECT i, i, repeat(md5(i::text), 90) FROM generate_series(1, 2500) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_over_several_lanes_end_as_on_the_source() {
    for binaries in some_releases() {
        for jobs in [1, 4] {
            let server = server(&binaries);
            let (from, to) = (
                Database::create(&server, "lanes").await,
                Database::create(&server, "lanes").await,
            );
            from.sql(TABLES).await;
            let mut spec = spec(&from, &to, "source", "source");
            let name = pghost::pg::QualifiedName::new("public", "numbers");
            spec.tables.push(TableSpec { source: name.clone(), target: name });
            spec.apply_jobs = jobs;
            let mut pages = 0;
            let events = migrate_with(&spec, |event| {
                if let Event::Progress { .. } = event {
                    pages += 1;
                    if pages == 1 {
                        now(from.sql(AGAIN));
                    }
                    CHANGES.iter().for_each(|sql| drop(now(from.sql(sql))));
                }
            })
            .await
            .unwrap();
            for table in [("source", "id"), ("numbers", "k")] {
                assert_same((&from, table.0), (&to, table.0), table.1).await;
            }
            assert!(sums(&events).0 > 10_000);
            CHANGES.iter().for_each(|sql| drop(now(from.sql(sql))));
            migrate(&spec).await.unwrap();
            assert_same((&from, "source"), (&to, "source"), "id").await;
            drop_slot(&from, &spec).await;
        }
    }
}

/// A lane that ran ahead of the stored position when the run was killed applies its changes again
/// and ends the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_with_its_lanes_apart_loses_nothing() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "apart").await, Database::create(&server, "apart").await);
        from.sql(TABLES).await;
        let args =
            ["--name", &from.name, "--table", "source", "--table", "numbers", "--apply-jobs", "4"];
        let mut random = fastrand::Rng::with_seed(u64::from(binaries.version.major()));
        let mut program = Program::migrate(&from, &to, &args);
        program.event(|event| enters(event, "backfill")).await;
        program.kill();
        // Behind its slot and before its checkpoint, which is where there are lanes.
        for sql in CHANGES.iter().cycle().take(3 * CHANGES.len()) {
            from.sql(sql).await;
        }
        let ended = loop {
            let mut program = Program::migrate(&from, &to, &args);
            program.event(|event| enters(event, "catch_up")).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
            if random.u8(0..5) == 0 {
                break program.ended().await;
            }
            program.kill();
        };
        assert_eq!(ended.code, Some(0), "{:?}", ended.notes);
        for table in [("source", "id"), ("numbers", "k")] {
            assert_same((&from, table.0), (&to, table.0), table.1).await;
        }
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}
