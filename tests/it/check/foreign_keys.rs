//! Tables that foreign keys bind, and the keys' own acts, on the target.

use pghost::{
    cluster::Binaries,
    conn::parse_dsn,
    migrate::{self, Event, Exit, Severity, TableSpec},
    pg::QualifiedName,
};

use crate::{
    finish::objects::notices,
    support::{
        bed::Bed,
        migrate,
        moments::{drop_slot, migrate_with, now},
        oldest_and_newest,
    },
};

/// A migration of these tables, under their own names.
async fn bed(binaries: &Binaries, what: &str, make: &str, tables: &[&str]) -> Bed {
    let mut bed = Bed::make(binaries, what, make).await;
    let name = |name: &str| QualifiedName::new("public", name);
    bed.spec.tables =
        tables.iter().map(|table| TableSpec { source: name(table), target: name(table) }).collect();
    bed
}

const BOUND: &str = "
    CREATE TABLE par (id int PRIMARY KEY, a int UNIQUE);
    CREATE TABLE chi (id int PRIMARY KEY, par int REFERENCES par ON DELETE CASCADE);
    CREATE TABLE parted (id int PRIMARY KEY, par int REFERENCES par) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (1000);
    CREATE TABLE other (id int PRIMARY KEY, a int UNIQUE);
    INSERT INTO par SELECT i, i FROM generate_series(1, 200) i;
    INSERT INTO chi SELECT i, i FROM generate_series(1, 200) i;
    INSERT INTO parted SELECT i, i FROM generate_series(1, 200) i;
    INSERT INTO other VALUES (1, 1), (2, 2)";

const AGAIN: &str = "
    INSERT INTO par SELECT i, i FROM generate_series(1, 100) i;
    INSERT INTO chi SELECT i, i FROM generate_series(1, 50) i;
    INSERT INTO parted SELECT i, i FROM generate_series(80, 100) i";

/// Two rows exchange a value: what must be written change by change.
const EXCHANGE: &str = "UPDATE other SET a = 0 WHERE id = 1; UPDATE other SET a = 1 WHERE id = 2;
    UPDATE other SET a = 2 WHERE id = 1; UPDATE other SET a = a + 10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_truncated_together_are_so_on_the_target() {
    for binaries in oldest_and_newest() {
        // The child comes first, and its own table last in the statement.
        let bed = bed(&binaries, "truncated", BOUND, &["chi", "par", "other", "parted"]).await;
        let mut first = true;
        let on = |event: &Event| {
            if matches!(event, Event::Progress { .. }) && std::mem::take(&mut first) {
                now(bed.from.sql(&format!("TRUNCATE par, chi, parted; {AGAIN}")));
            }
        };
        migrate_with(&bed.spec, on).await.unwrap_or_else(|failure| panic!("{failure}"));
        bed.is_equal().await;
        for changes in [
            format!("TRUNCATE par, parted, chi RESTART IDENTITY; {AGAIN}"),
            "TRUNCATE par CASCADE".to_owned(),
            AGAIN.to_owned(),
            format!("TRUNCATE chi; TRUNCATE par CASCADE; {AGAIN}; TRUNCATE parted"),
            format!(
                "BEGIN; {EXCHANGE}; TRUNCATE par CASCADE; {AGAIN}; COMMIT; TRUNCATE par CASCADE"
            ),
        ] {
            bed.from.sql(&changes).await;
            let moved = migrate(&bed.spec).await;
            moved.unwrap_or_else(|failure| panic!("{changes}: {failure}"));
            bed.is_equal().await;
        }
        // One that is not moved is not emptied with them, and that is told.
        bed.to.sql("CREATE TABLE outside (id int REFERENCES par)").await;
        bed.from.sql("TRUNCATE par CASCADE").await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert!(failure.message.contains("outside"), "{failure}");
        assert!(failure.hint.contains("DROP CONSTRAINT"), "{failure}");
        bed.to.sql("ALTER TABLE outside DROP CONSTRAINT outside_id_fkey").await;
        migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        bed.is_equal().await;
        drop_slot(&bed.from, &bed.spec).await;
    }
}

/// A role of the target's that may do all that is needed, and not set session_replication_role.
async fn by_a_plain_role(bed: &mut Bed) -> String {
    let role = format!("plain_{}", bed.to.name);
    bed.to
        .sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role};
             GRANT CREATE ON SCHEMA public TO {role}",
            bed.to.name
        ))
        .await;
    bed.spec.target = parse_dsn(&format!("{} user={role}", bed.to.dsn())).unwrap();
    role
}

const ACTING: &str = "
    CREATE TABLE par (id int PRIMARY KEY, up int REFERENCES par ON DELETE CASCADE);
    CREATE TABLE chi (id int PRIMARY KEY, par int REFERENCES par ON DELETE CASCADE ON UPDATE CASCADE);
    INSERT INTO par SELECT i, nullif(i - 1, 0) FROM generate_series(1, 50) i;
    INSERT INTO chi SELECT i, i FROM generate_series(1, 50) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_that_would_act_are_left_out() {
    for binaries in oldest_and_newest() {
        let mut bed = bed(&binaries, "acting", ACTING, &["chi", "par"]).await;
        let role = by_a_plain_role(&mut bed).await;
        let checked = migrate::check(&bed.spec).await.unwrap();
        let told = checked.findings.iter().find(|f| f.message.contains("chi_par_fkey"));
        let told = told.unwrap_or_else(|| panic!("{checked:?}"));
        assert_eq!(told.severity, Severity::Warning, "{told:?}");
        let hint = told.hint.as_deref().unwrap();
        let grant = format!("GRANT SET ON PARAMETER session_replication_role TO {role}");
        let is_old = binaries.version.major() < 15;
        assert!(hint.contains(if is_old { "superuser" } else { &grant }), "{hint}");
        let plans = |sql: &str| checked.plan.iter().any(|planned| planned.sql.contains(sql));
        assert!(!plans("REFERENCES") && !plans("VALIDATE") && plans("PRIMARY KEY"), "{checked:?}");

        let events = migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let left = "left out: foreign key chi_par_fkey of public.chi";
        let left = notices(&events).into_iter().find(|n| n.starts_with(left)).unwrap().to_owned();
        bed.from
            .sql("DELETE FROM par WHERE id = 40; BEGIN; INSERT INTO par VALUES (60, 1); INSERT INTO chi VALUES (60, 60); COMMIT")
            .await;
        migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        bed.is_equal().await;

        // Made by hand after all, or the right taken away: told before anything is applied.
        let (_, make) = left.split_once("to make it later: ").unwrap();
        bed.to.sql(make).await;
        bed.from.sql("DELETE FROM par WHERE id = 20").await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("foreign key chi_par_fkey of public.chi"), "{failure}");
        assert!(failure.hint.contains(if is_old { "superuser" } else { &grant }), "{failure}");
        if is_old {
            bed.to
                .sql("ALTER TABLE chi DISABLE TRIGGER ALL; ALTER TABLE par DISABLE TRIGGER ALL")
                .await;
        } else {
            bed.to.sql(&grant).await;
        }
        migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        bed.is_equal().await;
        if !is_old {
            bed.to.sql(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")).await;
        }
        drop_slot(&bed.from, &bed.spec).await;
    }
}

/// What was enabled for good fires whatever a session says, a foreign key's own triggers too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_that_always_act_are_refused() {
    for binaries in oldest_and_newest() {
        let make = "CREATE TABLE par (id int PRIMARY KEY)";
        let bed = bed(&binaries, "always", make, &["par"]).await;
        bed.to
            .sql(&format!(
                "{make}; CREATE TABLE outside (id int REFERENCES par ON DELETE CASCADE);
                 DO $$ DECLARE name text; BEGIN
                     FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'par'::regclass LOOP
                         EXECUTE format('ALTER TABLE par ENABLE ALWAYS TRIGGER %I', name);
                     END LOOP; END $$"
            ))
            .await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("RI_ConstraintTrigger"), "{failure}");
        bed.to.sql("ALTER TABLE par ENABLE TRIGGER ALL").await;
        migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        drop_slot(&bed.from, &bed.spec).await;
    }
}

/// The catch-up's own updates and deletes are published on the target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_published_takes_the_changes_too() {
    const KEYS: [&str; 3] = [
        "CREATE UNIQUE INDEX k ON source (id); ALTER TABLE source REPLICA IDENTITY USING INDEX k",
        "CREATE UNIQUE INDEX k ON source (id); ALTER TABLE source REPLICA IDENTITY FULL",
        "CREATE UNIQUE INDEX k ON source (id); ALTER TABLE source REPLICA IDENTITY USING INDEX k;
         ALTER TABLE source_1 REPLICA IDENTITY FULL;
         ALTER TABLE source_2 REPLICA IDENTITY USING INDEX source_2_id_idx",
    ];
    for binaries in oldest_and_newest() {
        for (at, key) in KEYS.iter().enumerate() {
            let partitions = "PARTITION BY RANGE (id);
                CREATE TABLE source_1 PARTITION OF source FOR VALUES FROM (0) TO (50);
                CREATE TABLE source_2 PARTITION OF source FOR VALUES FROM (50) TO (1000)";
            let make = format!(
                "CREATE TABLE source (id int NOT NULL, v int) {}; {key};
                 INSERT INTO source SELECT i, i FROM generate_series(1, 100) i",
                if at == 2 { partitions } else { "" }
            );
            let bed = Bed::make(&binaries, "published", &make).await;
            bed.to.sql("CREATE PUBLICATION all_of_it FOR ALL TABLES").await;
            let mut first = true;
            let on = |event: &Event| {
                if matches!(event, Event::Progress { .. }) && std::mem::take(&mut first) {
                    now(bed.from.sql(
                        "UPDATE source SET v = 0 WHERE id % 10 = 1;
                                      DELETE FROM source WHERE id % 10 = 2",
                    ));
                }
            };
            migrate_with(&bed.spec, on).await.unwrap_or_else(|failure| panic!("{key}: {failure}"));
            bed.is_equal().await;
            drop_slot(&bed.from, &bed.spec).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_publication_refuses_changes_is_refused() {
    for binaries in oldest_and_newest() {
        let make = "CREATE TABLE source (id int NOT NULL UNIQUE, v int, w int);
            ALTER TABLE source REPLICA IDENTITY USING INDEX source_id_key";
        let bed = Bed::make(&binaries, "refusing", make).await;
        let target = "CREATE TABLE target (id int NOT NULL UNIQUE, v int, w int)";
        bed.to.sql(&format!("CREATE PUBLICATION p FOR ALL TABLES; {target}")).await;
        let refused = async |code: &str, hint: &str| {
            let failure = migrate(&bed.spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains(code) && failure.hint.contains(hint), "{failure}");
            failure.hint
        };
        let hint = refused("55000", "REPLICA IDENTITY USING INDEX \"target_id_key\"").await;
        bed.to.sql(hint.strip_suffix(" on the target").unwrap()).await;
        if binaries.version.major() >= 15 {
            for publication in ["target (v)", "target WHERE (w > 0)"] {
                let make =
                    format!("DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLE {publication}");
                bed.to.sql(&make).await;
                refused("42P10", "ALTER PUBLICATION").await;
            }
            // Inserts alone ask for no identity.
            bed.to.sql("ALTER PUBLICATION p SET (publish = 'insert')").await;
        }
        migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        drop_slot(&bed.from, &bed.spec).await;
    }
}

/// pghost's sessions have an empty search_path; whoever wrote the functions did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_finds_others_by_the_search_path_is_named() {
    const FUNCTIONS: &str = "
        CREATE TABLE words (w text);
        CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
        CREATE FUNCTION calls(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN RETURN helper($1); END';
        CREATE FUNCTION reads(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN PERFORM FROM words; RETURN $1; END'";
    const SET: &str = "ALTER FUNCTION calls SET search_path = public;
        ALTER FUNCTION reads SET search_path = public";
    // The definition, and whether the target is there.
    for (definition, is_there) in [
        ("CREATE INDEX i ON t (calls(v))", true),
        ("ALTER TABLE t ADD g text GENERATED ALWAYS AS (reads(v)) STORED", false),
        ("ALTER TABLE t ADD CHECK (calls(v) <> '')", false),
        ("CREATE INDEX i ON t (reads(v))", false),
    ] {
        for binaries in oldest_and_newest() {
            // From 17 on nobody can build such an index over rows.
            if definition.contains("INDEX") && !is_there && binaries.version.major() >= 17 {
                continue;
            }
            let table = |name: &str| {
                format!(
                    "CREATE TABLE {name} (id int PRIMARY KEY, v text); {}",
                    definition.replace(" t ", &format!(" {name} "))
                )
            };
            let mut bed =
                Bed::make(&binaries, "finding", &format!("{FUNCTIONS}; {}", table("source"))).await;
            bed.from
                .sql("INSERT INTO source (id, v) SELECT i, 'v' FROM generate_series(1, 10) i")
                .await;
            bed.to.sql(FUNCTIONS).await;
            if is_there {
                bed.to.sql(&table("target")).await;
            }
            // The trial would find it first, which is another test's.
            bed.spec.trial = false;
            let failure = migrate(&bed.spec).await.unwrap_err();
            let what = format!("{definition}: {failure}");
            assert!(failure.hint.contains("ALTER FUNCTION .. SET search_path"), "{what}");
            assert!(
                failure.message.contains("calls(") || failure.message.contains("reads("),
                "{what}"
            );
            bed.to.sql(SET).await;
            migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{definition}: {failure}"));
            drop_slot(&bed.from, &bed.spec).await;
        }
    }
}
