//! What must always be true, the other half: what a migration belongs to, what it has seen, and
//! what it may not go on over.

use pghost::{
    cluster::Binaries,
    migrate::{self, Event, Exit, MigrationSpec},
};
use tokio::sync::watch;

use crate::support::{
    Database, assert_same, migrate,
    moments::{Gate, Scenario, begins, drop_slot, migrate_with, now, sums},
    server, some_releases, spec, version_to_test,
};

/// Sixty rows, and a table beside them.
const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_accounted_for() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "counts").await;
        db.sql(SIXTY).await;
        db.sql("CREATE TABLE other (id integer PRIMARY KEY); CREATE PUBLICATION pair FOR TABLE source, other")
            .await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.publication = Some("pair".into());
        let seen = |events: &[Event]| {
            let (sum, t) = sums(events);
            [sum, t.inserted, t.updated, t.deleted, t.truncated, t.skipped]
        };
        assert_eq!(seen(&migrate(&spec).await.unwrap()), [0; 6]);
        db.sql(
            "INSERT INTO source SELECT i FROM generate_series(101, 103) i; UPDATE source SET n = 0 WHERE id < 6;
             UPDATE source SET id = 200 WHERE id = 101; DELETE FROM source WHERE id IN (1, 2);
             INSERT INTO other VALUES (1), (2); UPDATE other SET id = 3 WHERE id = 2; DELETE FROM other",
        )
        .await;
        assert_eq!(seen(&migrate(&spec).await.unwrap()), [16, 3, 6, 2, 0, 5]);
        // Nothing, and what was rolled back, is nothing.
        db.sql("BEGIN; DELETE FROM source; ROLLBACK").await;
        for _ in 0..3 {
            assert_eq!(seen(&migrate(&spec).await.unwrap()), [16, 3, 6, 2, 0, 5]);
        }
        db.sql("TRUNCATE source, other; INSERT INTO source VALUES (1)").await;
        assert_eq!(seen(&migrate(&spec).await.unwrap()), [19, 4, 6, 2, 1, 6]);
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// A publication of everything also publishes the target and the ledger, when they are in the
/// source's database: pghost sees what it does itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_of_all_tables_comes_to_an_end() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "everything").await;
        db.sql(SIXTY).await;
        db.sql("CREATE PUBLICATION everything FOR ALL TABLES").await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.publication = Some("everything".into());
        spec.page_rows = Some(10);
        for _ in 0..3 {
            sums(&migrate(&spec).await.unwrap());
            assert_same((&db, "source"), (&db, "target"), "id").await;
            db.sql("UPDATE source SET n = n + 1; DELETE FROM source WHERE id % 10 = 3").await;
        }
        drop_slot(&db, &spec).await;
    }
}

async fn ledger(db: &Database) -> String {
    let all = "SELECT (SELECT string_agg(m::text, ' ') FROM pghost.migration m)
                   || (SELECT string_agg(t::text, ' ') FROM pghost.migration_table t)
                   || (SELECT string_agg(r::text, ' ' ORDER BY id) FROM target r)";
    db.value(all).await
}

/// A run that can't go on, in words that hold `word`; it touches nothing.
async fn cannot_go_on(db: &Database, spec: &MigrationSpec, word: &str) {
    let before = ledger(db).await;
    let failure = migrate(spec).await.map(|_| word).unwrap_err();
    let major = db.server.version().major();
    assert_eq!(failure.exit, Exit::CannotResume, "{major}, {word}: {failure}");
    assert!(failure.message.contains(word), "{major}: no {word} in {failure}");
    assert_eq!(ledger(db).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_knows_what_it_belongs_to() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "belongs").await;
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        db.sql("UPDATE source SET n = n + 1").await;

        // Another database, and another server, with the same table.
        let other = Database::create(&server, "belongs").await;
        other.sql(SIXTY).await;
        spec.source = other.config();
        cannot_go_on(&db, &spec, "database").await;
        spec.source = db.config();
        let major = binaries.version.major();
        if let Some(neighbour) = version_to_test(if major == 14 { 15 } else { 14 }) {
            let stranger = crate::support::server(&neighbour);
            let like = format!("CREATE DATABASE {}", db.name);
            let postgres = Database { server: stranger.clone(), name: "postgres".into() };
            postgres.sql(&like).await;
            let stranger = Database { server: stranger, name: db.name.clone() };
            stranger.sql(SIXTY).await;
            spec.source = stranger.config();
            cannot_go_on(&db, &spec, "system").await;
            spec.source = db.config();
        }

        // Another slot of the same name: moved on by somebody else, made again, of another kind,
        // gone.
        let slot = format!("pghost_{}", db.name);
        let advance = format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
        db.sql(&advance).await;
        cannot_go_on(&db, &spec, &slot).await;
        db.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        cannot_go_on(&db, &spec, &slot).await;
        for again in [
            format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
            format!("SELECT pg_create_physical_replication_slot('{slot}', true)"),
        ] {
            db.sql(&again).await;
            cannot_go_on(&db, &spec, &slot).await;
            db.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        }
    }
}

/// A slot that was made again when nothing has happened since: its position tells nothing, and
/// changes before it may be missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_made_again_is_another_slot() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "again").await;
        db.sql(SIXTY).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        let slot = format!("pghost_{}", db.name);
        db.sql(&format!(
            "SELECT pg_drop_replication_slot('{slot}');
             SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .await;
        cannot_go_on(&db, &spec, &slot).await;
        drop_slot(&db, &spec).await;
    }
}

/// What is done to the tables between two runs, and a word of why that ends the migration.
const ALTERED: &[(&str, &str)] = &[
    (
        "DROP TABLE source; CREATE TABLE source (id integer PRIMARY KEY, n integer, t text)",
        "public.source",
    ),
    ("ALTER TABLE source DROP CONSTRAINT source_pkey", "key"),
    ("ALTER TABLE source ADD more integer", "public.source"),
    ("ALTER TABLE source DROP n", "public.source"),
    ("ALTER TABLE source RENAME n TO m", "public.source"),
    ("ALTER TABLE source ALTER n TYPE bigint", "public.source"),
    ("ALTER TABLE source ALTER n TYPE integer USING n + 1", "public.source"),
    (
        "ALTER TABLE target RENAME TO away; CREATE VIEW target AS SELECT * FROM away",
        "public.target",
    ),
    ("ALTER TABLE target DROP CONSTRAINT target_pkey", "public.target"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_altered_ends_the_migration() {
    for binaries in some_releases() {
        let server = server(&binaries);
        for (alter, word) in ALTERED {
            let db = Database::create(&server, "altered").await;
            db.sql(SIXTY).await;
            let spec = spec(&db, &db, "source", "target");
            migrate(&spec).await.unwrap();
            db.sql(alter).await;
            cannot_go_on(&db, &spec, word).await;
            drop_slot(&db, &spec).await;
        }
    }
}

/// The same while a run is under way: it stops, and says which table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_altered_stops_the_run() {
    for binaries in some_releases() {
        let server = server(&binaries);
        for alter in [
            "ADD more integer",
            "DROP n",
            "ALTER n TYPE bigint",
            "RENAME n TO m",
            "ALTER n TYPE integer USING n + 1",
        ] {
            let db = Database::create(&server, "alter").await;
            db.sql(SIXTY).await;
            let mut spec = spec(&db, &db, "source", "target");
            spec.page_rows = Some(10);
            spec.copy_jobs = 1;
            let gate = Gate::close(&db, "target", 1, "NEW.id = 55").await;
            let mut run = std::pin::pin!(migrate(&spec));
            let script = async {
                gate.reached().await;
                db.sql(&format!("UPDATE source SET t = 'a'; ALTER TABLE source {alter}; UPDATE source SET t = 'b'")).await;
                gate.open().await;
            };
            tokio::select! {
                ended = &mut run => panic!("ended: {:?}", ended.map(|e| e.len())),
                () = script => {}
            }
            let failure = run.await.map(|_| alter).unwrap_err();
            assert!(
                [Exit::Stopped, Exit::CannotResume].contains(&failure.exit),
                "{alter}: {failure}"
            );
            assert!(failure.message.contains("public.source"), "{alter}: {failure}");
            // Nor does the next run take it for harmless.
            let failure = migrate(&spec).await.map(|_| alter).unwrap_err();
            assert_eq!(failure.exit, Exit::CannotResume, "{alter}: {failure}");
            drop_slot(&db, &spec).await;
        }
    }
}

/// Commands that leave rows and columns as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_of_a_table_stops_nothing() {
    for binaries in some_releases() {
        Scenario {
            what: "harmless",
            tables: SIXTY,
            gate: "NEW.id = 30",
            between_pages: &["ANALYZE source", "CREATE INDEX ON source (n)", "UPDATE source SET n = n + 1"],
            after_pages: &["VACUUM source", "COMMENT ON TABLE source IS 'x'"],
            afterwards: &[
                "GRANT SELECT ON source TO public; UPDATE source SET n = n + 1",
                "CREATE STATISTICS s ON n, t FROM source; ANALYZE source; DELETE FROM source WHERE id = 1",
                "ALTER TABLE source SET (fillfactor = 50); INSERT INTO source VALUES (1)",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

/// Told to stop at each of a run's moments, and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_told_to_stop_goes_on_where_it_stopped() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "interrupt").await;
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(5);
        let mut runs = 0;
        loop {
            let (stop, interrupt) = watch::channel(false);
            let mut events = 0;
            let result = migrate::run(&spec, interrupt, &mut |event: &Event| {
                // One more event in each run; each sees another change.
                events += 1;
                if events > runs && runs < 30 {
                    let _ = stop.send(true);
                } else if let Event::Progress { .. } | Event::Phase { .. } = event {
                    now(db.sql("UPDATE source SET n = n + 1 WHERE id % 7 = 0"));
                }
            })
            .await;
            runs += 1;
            match result {
                Ok(()) => break,
                Err(failure) => assert_eq!(failure.exit, Exit::Stopped, "{failure}"),
            }
            assert!(runs < 40, "it never comes to an end");
        }
        sums(&migrate(&spec).await.unwrap());
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// Where the target takes two of the source's keys for one, rows would vanish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_compared_only_by_a_server() {
    for binaries in some_releases() {
        for (of_source, of_target, may) in [
            ("C", "german", true),
            ("german", "C", true),
            ("any_case", "C", true),
            ("C", "any_case", false),
        ] {
            keys_of_collations(&binaries, of_source, of_target, may).await;
        }
    }
}

async fn keys_of_collations(binaries: &Binaries, source: &str, target: &str, may: bool) {
    let server = server(binaries);
    let db = Database::create(&server, "collations").await;
    let mut connection = db.connect().await;
    let made = connection
        .query(
            "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk');
             CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2',
                 deterministic = false)",
        )
        .await;
    if made.is_err() {
        return; // a build without ICU
    }
    let insert =
        |words: &str| format!("INSERT INTO source SELECT w, 0 FROM unnest('{words}'::text[]) w");
    db.sql(&format!(
        "CREATE TABLE source (k text COLLATE \"{source}\" PRIMARY KEY, n integer);
         CREATE TABLE target (k text COLLATE \"{target}\" PRIMARY KEY, n integer)"
    ))
    .await;
    db.sql(&insert("{a,B,c,D,ä,Z,z1,oe,ö,Öl,Ofen,_,-,1}")).await;
    let mut spec = spec(&db, &db, "source", "target");
    spec.page_rows = Some(3);
    let more = insert("{E,ab,äb,zz,Zé}");
    // The other case of a word that is there.
    let other_case = if source == "C" { insert("{A,b}") } else { String::new() };
    let mut changes =
        [more, other_case, "UPDATE source SET n = 1 WHERE k > 'b'".into()].into_iter();
    let moved = migrate_with(&spec, |event| {
        if let Event::Progress { .. } = event
            && let Some(change) = changes.next()
        {
            now(db.sql(&change));
        }
    })
    .await;
    let major = binaries.version.major();
    match moved {
        Ok(_) => {
            assert_same((&db, "source"), (&db, "target"), "k COLLATE \"C\"").await;
            assert!(may, "{major}: {source} to {target}");
            drop_slot(&db, &spec).await;
        }
        Err(failure) => assert!(!may, "{major}: {source} to {target}: {failure}"),
    }
}

/// Two collations of one name: what counts is which strings they take for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collation_is_what_it_says_not_what_it_is_called() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (from, to) =
            (Database::create(&server, "words").await, Database::create(&server, "words").await);
        let make = |name: &str, locale: &str| {
            format!(
                "DROP TABLE IF EXISTS words; DROP COLLATION IF EXISTS loose;
                 CREATE COLLATION {name} (provider = icu, locale = '{locale}', deterministic = false);
                 CREATE TABLE words (k text COLLATE {name} PRIMARY KEY)"
            )
        };
        let mut connection = from.connect().await;
        if connection.query(&make("loose", "und-u-ks-level2")).await.is_err() {
            return; // a build without ICU
        }
        connection.close().await;
        from.sql("INSERT INTO words VALUES ('resume'), ('résumé')").await;
        // Without a look at accents the two are one.
        to.sql(&make("loose", "und-u-ks-level1")).await;
        let spec = spec(&from, &to, "words", "words");
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("rows would be lost"), "{failure}");
        to.sql(&make("called_otherwise", "und-u-ks-level2")).await;
        migrate(&spec).await.unwrap();
        from.sql("UPDATE words SET k = upper(k)").await;
        migrate(&spec).await.unwrap();
        assert_same((&from, "words"), (&to, "words"), "k COLLATE \"C\"").await;
        drop_slot(&from, &spec).await;
    }
}

/// A row with values that any reading and printing anew would change, by page and by change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_need_not_be_parsed_is_not() {
    let values =
        "1e-45::real, 0.1::float8 + 0.2::float8, 'NaN'::numeric, 1.50::numeric, '1.000'::numeric,
        '{\"a\" :1,   \"a\": 2}'::json, '-infinity'::timestamptz, '24:00'::time, E'\\\\x00'::bytea";
    for binaries in some_releases() {
        let server = server(&binaries);
        for format in ["", ", o oid"] {
            let db = Database::create(&server, "bytes").await;
            db.sql(&format!(
                "CREATE TABLE source (id integer PRIMARY KEY, a real, b float8, c numeric, d numeric,
                     e numeric, f json, g timestamptz, h time, i bytea{format});
                 INSERT INTO source SELECT i, {values} FROM generate_series(1, 9) i"
            ))
            .await;
            let spec = spec(&db, &db, "source", "target");
            migrate(&spec).await.unwrap();
            db.sql(&format!(
                "INSERT INTO source SELECT i, {values} FROM generate_series(11, 19) i"
            ))
            .await;
            migrate(&spec).await.unwrap();
            let bits = |table: &str| {
                format!(
                    "SELECT string_agg(concat_ws(' ', id, float4send(a), float8send(b), numeric_send(c),
                         numeric_send(d), numeric_send(e), json_send(f), timestamptz_send(g),
                         time_send(h), i), chr(10) ORDER BY id) FROM {table}"
                )
            };
            assert_eq!(db.value(&bits("source")).await, db.value(&bits("target")).await);
            drop_slot(&db, &spec).await;
        }
    }
}

/// Later runs begin no phase that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_copied_twice() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "once").await;
        db.sql(SIXTY).await;
        let spec = spec(&db, &db, "source", "target");
        for run in 0..3 {
            let mut copied = 0;
            let events = migrate_with(&spec, |event| {
                copied += u32::from(begins(event, migrate::PhaseName::Backfill));
            })
            .await
            .unwrap();
            assert_eq!(copied, u32::from(run == 0));
            assert_eq!(sums(&events).1.rows_copied, 60);
        }
        drop_slot(&db, &spec).await;
    }
}
