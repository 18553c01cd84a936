//! Targets that are there: partitions that rows fit none of, and what `--defer-indexes` takes away,
//! which is tried before it goes.

use pghost::{conn::parse_dsn, migrate::Severity};

use super::{check, databases, found, of, refused_are};
use crate::support::{assert_same, migrate, moments::drop_slot, oldest_and_newest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_fit_no_partition_of_the_target_are_found() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 900) i",
        )
        .await;
        to.sql(
            "CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (500);
             CREATE TABLE t_2 (a int CONSTRAINT few CHECK (a < 5), id int NOT NULL)",
        )
        .await;
        let spec = of(&from, &to, &["t"]);
        let checked = check(&from, &to, &spec).await;
        let words = ["no partition of relation", "23514", "PARTITION OF \"public\".\"t\""];
        found(&checked, Severity::Refused, "t", &words);
        // What a partition has of its own, in columns of another order.
        to.sql("ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (500) TO (1000)").await;
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "t", &["23514", "few"]);
        to.sql("ALTER TABLE t_2 DROP CONSTRAINT few").await;
        refused_are(&check(&from, &to, &spec).await, &[]);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

/// Each of these could be dropped at once, and not made again once all rows are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_is_tried_before() {
    let tables = ["par", "twice", "parted", "orphans", "by_path"];
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        for table in tables {
            from.sql(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, a int);
                 INSERT INTO {table} SELECT i, 1 FROM generate_series(1, 900) i"
            ))
            .await;
        }
        from.sql("UPDATE par SET a = id; UPDATE orphans SET a = 0 WHERE id = 700").await;
        to.sql(
            "CREATE FUNCTION helper(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n';
             CREATE FUNCTION by_path(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN RETURN helper(n); END';
             CREATE TABLE par (id int PRIMARY KEY, a int CONSTRAINT par_a UNIQUE);
             CREATE TABLE twice (id int PRIMARY KEY, a int CONSTRAINT single UNIQUE);
             CREATE TABLE parted (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
             CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (500);
             CREATE TABLE parted_2 PARTITION OF parted DEFAULT PARTITION BY HASH (id);
             CREATE TABLE parted_2a PARTITION OF parted_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
             CREATE UNIQUE INDEX own ON parted_2a (a); CREATE INDEX parted_a ON parted (a) WITH (fillfactor = 77);
             CREATE TABLE orphans (id int PRIMARY KEY, a int CONSTRAINT of_par REFERENCES par (a));
             CREATE TABLE by_path (id int PRIMARY KEY, a int); CREATE INDEX path ON by_path (by_path(a))",
        )
        .await;
        let mut spec = of(&from, &to, &tables);
        spec.defer_indexes = true;
        let checked = check(&from, &to, &spec).await;
        let again = "--no-trial";
        found(&checked, Severity::Refused, "twice", &["23505", "single", "ADD CONSTRAINT", again]);
        found(&checked, Severity::Refused, "parted", &["23505", "own", "CREATE UNIQUE INDEX"]);
        let words = ["of_par", "public.par", "(a) = (0)", "DROP CONSTRAINT \"of_par\""];
        found(&checked, Severity::Refused, "orphans", &words);
        found(&checked, Severity::Refused, "by_path", &["42883", "SET search_path"]);
        refused_are(&checked, &tables[1..]);
        from.sql("UPDATE twice SET a = id; UPDATE parted SET a = id; UPDATE orphans SET a = id")
            .await;
        to.sql("ALTER FUNCTION by_path SET search_path = public").await;
        refused_are(&check(&from, &to, &spec).await, &[]);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        for table in tables {
            assert_same((&from, table), (&to, table), "id").await;
        }
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_make_it_again_are_asked_for_before() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let mover = format!("mover_{}", to.name);
        from.sql("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)").await;
        to.sql(&format!(
            "CREATE ROLE {mover} LOGIN REPLICATION; GRANT CREATE ON DATABASE {} TO {mover};
             REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);
             CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT of_other REFERENCES other);
             CREATE INDEX t_a ON t (a); ALTER TABLE t OWNER TO {mover}",
            to.name
        ))
        .await;
        let mut spec = of(&from, &to, &["t"]);
        spec.target = parse_dsn(&format!("{} user={mover}", to.dsn())).unwrap();
        spec.defer_indexes = true;
        let checked = check(&from, &to, &spec).await;
        let words = ["may not make public.t", "GRANT USAGE, CREATE ON SCHEMA \"public\""];
        found(&checked, Severity::Refused, "t", &words);
        to.sql(&format!("GRANT CREATE ON SCHEMA public TO {mover}")).await;
        let checked = check(&from, &to, &spec).await;
        let words = ["not make again", "of_other", "public.other", "GRANT REFERENCES ON"];
        found(&checked, Severity::Refused, "t", &words);
    }
}

/// COPY writes NULL where a domain says NOT NULL, if nothing is given; the first change is an INSERT,
/// which does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_gives_nothing_to_must_take_that() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let fine = ["counted", "filled", "fixed", "generated"];
        let tables =
            ["counted", "filled", "fixed", "generated", "bare", "must", "fails", "unlogged"];
        for table in tables {
            from.sql(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, a int); INSERT INTO {table} VALUES (1, 0), (2, 1)"
            ))
            .await;
        }
        to.sql(
            "CREATE DOMAIN never AS int NOT NULL; CREATE DOMAIN seven AS int NOT NULL DEFAULT 7;
             CREATE TABLE counted (id int PRIMARY KEY, a int, z serial, y int GENERATED ALWAYS AS IDENTITY, x never DEFAULT 3);
             CREATE TABLE filled (id int PRIMARY KEY, a int, z never DEFAULT 5 CHECK (z IS NOT NULL));
             CREATE TABLE fixed (id int PRIMARY KEY, a int, z seven);
             CREATE TABLE generated (id int PRIMARY KEY, a int, z int NOT NULL GENERATED ALWAYS AS (a + 1) STORED);
             CREATE TABLE bare (id int PRIMARY KEY, a int, z int NOT NULL);
             CREATE TABLE must (id int PRIMARY KEY, a int, z never);
             CREATE TABLE fails (id int PRIMARY KEY, a int, z int GENERATED ALWAYS AS (5 / a) STORED);
             CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, a int)",
        )
        .await;
        let spec = of(&from, &to, &tables);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "bare", &["\"z\"", "NOT NULL without a default"]);
        found(&checked, Severity::Refused, "must", &["23502", "never"]);
        found(&checked, Severity::Refused, "fails", &["22012"]);
        found(&checked, Severity::Refused, "unlogged", &["is unlogged", "SET LOGGED"]);
        refused_are(&checked, &tables[4..]);
        let spec = of(&from, &to, &fine);
        for change in ["SELECT", "INSERT INTO $ VALUES (3, 3); UPDATE $ SET a = a + 1"] {
            for table in fine {
                from.sql(&change.replace('$', table)).await;
            }
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
        for table in fine {
            let sum = format!("SELECT concat(count(*), ' ', sum(id * 10 + a)) FROM {table}");
            assert_eq!(from.value(&sum).await, to.value(&sum).await, "{table}");
        }
        drop_slot(&from, &spec).await;
    }
}

/// Values that name objects are told, and numbers of objects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_speak_of_objects_are_told() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let make = "CREATE TABLE thing (x int); CREATE DOMAIN lo AS oid;
             CREATE TYPE pair AS (a int, b regclass)";
        from.sql(make).await;
        to.sql(make).await;
        from.sql(
            "CREATE TABLE t (id int PRIMARY KEY, c regclass, many regtype[], large lo, p pair, plain name);
             INSERT INTO t VALUES (1, 'thing', '{int}', 'thing'::regclass, '(1,thing)', 'thing');
             CREATE TABLE none (id int PRIMARY KEY, c regclass); INSERT INTO none VALUES (1, 'none');
             CREATE TABLE plain (id int PRIMARY KEY, n name, r point, v oidvector)",
        )
        .await;
        let spec = of(&from, &to, &["t", "none", "plain"]);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Warning, "t", &["by their names (c, many, p)"]);
        found(&checked, Severity::Warning, "t", &["or of large objects (large)"]);
        found(&checked, Severity::Warning, "plain", &["or of large objects (v)"]);
        // One that the target does not have is met by a row of the trial.
        found(&checked, Severity::Refused, "none", &["42P01"]);
        refused_are(&checked, &["none"]);
    }
}
