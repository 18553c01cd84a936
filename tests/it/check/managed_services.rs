//! Functions and views that a server forbids or does not have, as managed services do and FIPS does:
//! nothing that is only told stops a run, and nothing that is needed is one of these.

use pghost::{
    migrate::{self, Checked, Event, Severity, StatusSpec, Verdict},
    pg::QualifiedName,
};

use crate::{
    fault::killed_at_events::forget,
    support::{Database, bed::Bed, migrate, oldest_and_newest},
};

/// Has calls of each function of these names end as on Aurora. A built-in function is found by its
/// number whatever its line of `pg_proc` says, so that another one takes its name.
const FORBID_FUNCTIONS: &str = "DO $$ DECLARE f record; BEGIN
    FOR f IN SELECT p.oid, proname, pg_get_function_arguments(p.oid) AS arguments,
                    pg_get_function_result(p.oid) AS result, p.oid::regprocedure AS full_name
               FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($names)
    LOOP
        EXECUTE format('ALTER FUNCTION %s RENAME TO gone_%s', f.full_name, f.proname);
        EXECUTE format('CREATE FUNCTION pg_catalog.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN
            RAISE feature_not_supported USING MESSAGE = ''Function %s() is currently not supported''; END $f$',
            f.proname, f.arguments, f.result, f.proname);
    END LOOP; END $$";

/// The same of views: whoever reads one calls a function that fails.
const FORBID_VIEWS: &str = "SET allow_system_table_mods = on;
    CREATE FUNCTION pg_catalog.forbidden(text) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
        RAISE feature_not_supported USING MESSAGE = 'View ' || $1 || ' is currently not supported'; END $f$;
    DO $$ DECLARE view text; BEGIN
    FOREACH view IN ARRAY $names LOOP
        CONTINUE WHEN to_regclass('pg_catalog.' || view) IS NULL;
        EXECUTE format('ALTER VIEW pg_catalog.%I RENAME TO %I', view, 'gone_' || view);
        EXECUTE format('CREATE VIEW pg_catalog.%I AS SELECT gone.* FROM pg_catalog.%I AS gone
            RIGHT JOIN (SELECT pg_catalog.forbidden(%L) AS no OFFSET 0) f ON f.no', view, 'gone_' || view, view);
    END LOOP; END $$";

async fn forbid(database: &Database, what: &str, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    let names = format!("ARRAY[{}]::text[]", names.join(", "));
    database.sql(&what.replace("$names", &names)).await;
}

/// A table with all that is asked about in a journey.
const TABLES: &str = "CREATE TABLE source (id bigserial PRIMARY KEY, code text UNIQUE, note text);
    INSERT INTO source (code, note) SELECT 'c' || i, repeat('n', i % 50) FROM generate_series(1, 3000) i;
    CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
    INSERT INTO parted SELECT i, 'v' FROM generate_series(1, 99) i";

const CHANGES: &str =
    "UPDATE source SET note = 'changed' WHERE id % 3 = 0; DELETE FROM source WHERE id % 7 = 0;
    INSERT INTO source (code) VALUES ('new'); UPDATE parted SET v = 'w' WHERE id < 9";

/// The whole journey: check, migrate with changes in two runs, verify, status.
async fn journey(bed: &Bed) -> Checked {
    let checked = migrate::check(&bed.spec).await.unwrap();
    let refused: Vec<_> =
        checked.findings.iter().filter(|f| f.severity == Severity::Refused).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for _ in 0..2 {
        let events = migrate(&bed.spec).await.unwrap();
        let differs = |event: &&Event| matches!(event, Event::Verified { different_rows, .. } if *different_rows > 0);
        assert_eq!(events.iter().find(differs).map(|e| format!("{e:?}")), None);
        let verified = |event: &&Event| matches!(event, Event::Verified { rows, .. } if *rows > 0);
        assert_eq!(events.iter().filter(verified).count(), 2);
        bed.from.sql(CHANGES.split("INSERT").next().unwrap()).await;
    }
    let of_both = StatusSpec {
        source: Some(bed.from.config()),
        target: bed.to.config(),
        ledger: bed.spec.ledger.clone(),
        name: bed.spec.name.clone(),
    };
    let status = migrate::status(&of_both).await.unwrap().remove(0);
    assert_eq!(status.source.unwrap().error, None);
    migrate(&bed.spec).await.unwrap();
    // What else it might leave open other tests see; here no view would tell.
    bed.is_equal().await;
    assert_eq!(forget(&bed.spec).await.removed.len(), 3);
    checked
}

async fn bed(binaries: &pghost::cluster::Binaries, what: &str) -> Bed {
    let mut bed = Bed::make(binaries, what, TABLES).await;
    let parted = migrate::TableSpec {
        source: QualifiedName::new("public", "parted"),
        target: QualifiedName::new("public", "parted"),
    };
    bed.spec.tables.push(parted);
    bed.spec.verify = true;
    bed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_needs_md5_on_either_side() {
    for binaries in oldest_and_newest() {
        let bed = bed(&binaries, "md5less").await;
        for side in [&bed.from, &bed.to] {
            forbid(side, FORBID_FUNCTIONS, &["md5"]).await;
            let failed =
                side.connect().await.query("SELECT md5('')").await.unwrap_err().to_string();
            assert!(failed.contains("not supported"), "{failed}");
        }
        journey(&bed).await;
    }
}

/// As on machines of different byte order, where the servers' own hashes of a text are not the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_hash_otherwise_are_compared_all_the_same() {
    for binaries in oldest_and_newest() {
        let bed = bed(&binaries, "endian").await;
        let other = "ALTER FUNCTION hashtextextended(text, bigint) RENAME TO gone_hash;
            CREATE FUNCTION pg_catalog.hashtextextended(text, bigint) RETURNS bigint LANGUAGE sql
                AS 'SELECT gone_hash($1, $2) # 4294967296'";
        bed.to.sql(other).await;
        journey(&bed).await;
        bed.to.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
        bed.from.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'c')").await;
        let seen = crate::end::verify::compare(&bed.from, &bed.to, "t", 10).await;
        assert_eq!((seen.rows, seen.different), (2, 1), "{seen:?}");
    }
}

/// What is asked only to tell or to warn. Not here, since a run rests on it: `pg_control_system`
/// (whose server it is), `pg_locks` (whether an earlier run's sessions are gone),
/// `pg_replication_slots`, the positions of the log, the sizes of tables (how pages are cut).
const TOLD_VIEWS: [&str; 8] = [
    "pg_stat_wal",
    "pg_stat_replication",
    "pg_stat_activity",
    "pg_stat_progress_create_index",
    "pg_stat_subscription",
    "pg_stat_subscription_stats",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
];
const TOLD_FUNCTIONS: [&str; 8] = [
    "pg_stat_get_wal",
    "pg_blocking_pids",
    "pg_size_pretty",
    "pg_total_relation_size",
    "pg_postmaster_start_time",
    "pg_collation_actual_version",
    "pg_database_collation_actual_version",
    "has_parameter_privilege",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_only_told_stops_a_run() {
    for binaries in oldest_and_newest() {
        let bed = bed(&binaries, "silent").await;
        for side in [&bed.from, &bed.to] {
            // Views first: they call the functions that they were made with.
            forbid(side, FORBID_VIEWS, &TOLD_VIEWS).await;
            forbid(side, FORBID_FUNCTIONS, &TOLD_FUNCTIONS).await;
        }
        let checked = journey(&bed).await;
        for (about, words) in [
            ("max_slot_wal_keep_size", "View pg_stat_wal is currently not supported"),
            ("max_wal_senders", "View pg_stat_replication is currently not supported"),
            ("open_transactions", "View pg_stat_activity is currently not supported"),
            ("size", "Function pg_total_relation_size() is currently not supported"),
        ] {
            // These views are the test's own, which a session on the source does not even read.
            let view = words.split(' ').nth(1).unwrap();
            let unread = format!("access to non-system view \"{view}\" is restricted");
            let told = |f: &&migrate::Finding| {
                f.about == about && [words, &unread].iter().any(|words| f.message.contains(words))
            };
            assert!(checked.findings.iter().any(|f| told(&f)), "{about}: {:#?}", checked.findings);
        }
    }
}

/// Whose server it is must be known, or one server's position would be gone on with on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_tell_who_it_is_is_refused_before_anything_is_made() {
    for binaries in oldest_and_newest() {
        let mut bed = bed(&binaries, "nameless").await;
        let role = bed.from.name.clone();
        let make = format!(
            "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON source, parted TO {role};
             GRANT CREATE ON DATABASE {role} TO {role};
             REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
        );
        bed.from.sql(&make).await;
        bed.spec.source.user.clone_from(&role);
        let failure = migrate(&bed.spec).await.unwrap_err();
        let said = format!("{failure:?}");
        assert!(said.contains("permission denied for function pg_control_system"), "{said}");
        assert!(failure.hint.contains("GRANT EXECUTE ON FUNCTION pg_control_system()"), "{said}");
        assert_eq!((failure.exit.code(), failure.verdict), (2, Verdict::Refused), "{said}");
        let made =
            format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pghost_{role}'");
        assert_eq!(bed.from.value(&made).await, "0");
        assert_eq!(
            bed.to.value("SELECT count(*) FROM pg_class WHERE relname = 'parted'").await,
            "0"
        );
        bed.from.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    }
}
