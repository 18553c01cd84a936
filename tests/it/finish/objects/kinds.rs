//! Keys of other kinds, tables that refer to each other, what only newer releases have, and roles
//! without rights.

use pghost::{conn::parse_dsn, migrate::TableSpec, pg::QualifiedName};

use super::{assert_says, notices, says};
use crate::support::{
    Database, assert_same, migrate, moments::drop_slot, server, spec, versions_to_test,
};

/// Moves tables of `public`, some under other names, changes them, moves the changes, and compares.
async fn moves(what: &str, tables: &[(&str, &str)], make: &str, change: &str, lowest: u32) {
    for binaries in versions_to_test() {
        if binaries.version.major() < lowest {
            continue;
        }
        let server = server(&binaries);
        let from = Database::create(&server, what).await;
        let to = Database::create(&server, what).await;
        from.sql(make).await;
        let mut spec = spec(&from, &to, "", "");
        let named = |(source, target): &(&str, &str)| TableSpec {
            source: QualifiedName::new("public", *source),
            target: QualifiedName::new("public", *target),
        };
        spec.tables = tables.iter().map(named).collect();
        for _ in 0..2 {
            let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
            let left_out = notices(&events).iter().any(|n| n.starts_with("left out"));
            assert!(!left_out, "{events:?}");
            from.sql(change).await;
        }
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        for (source, target) in tables {
            let mut expected = says(&from, source).await;
            for (source, target) in tables {
                expected =
                    expected.replace(&format!("public.{source}"), &format!("public.{target}"));
            }
            assert_says(&expected, &says(&to, target).await);
            assert_same((&from, source), (&to, target), "t").await;
        }
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_what_they_are_on_the_source() {
    let rows = "INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;";
    let change = "UPDATE t SET c = c + 1000 WHERE a % 3 = 0; DELETE FROM t WHERE c % 7 = 1";
    for make in [
        // Only an index, found under FULL.
        "CREATE UNIQUE INDEX odd ON t (b) WITH (fillfactor = 66); ALTER TABLE t REPLICA IDENTITY FULL;
         ALTER TABLE t CLUSTER ON odd",
        // The replica identity's, beside a primary key.
        "CREATE UNIQUE INDEX odd ON t (b, a); ALTER TABLE t ADD CONSTRAINT other PRIMARY KEY (a),
             REPLICA IDENTITY USING INDEX odd; COMMENT ON INDEX odd IS 'odd'",
        // A constraint with a name of its own.
        "ALTER TABLE t ADD CONSTRAINT own UNIQUE (b) WITH (fillfactor = 44),
             REPLICA IDENTITY USING INDEX own; COMMENT ON CONSTRAINT own ON t IS 'own'",
    ] {
        let make = format!("CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int); {rows} {make}");
        moves("keys", &[("t", "t")], &make, change, 14).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_refer_to_each_other_do_so_on_the_target() {
    let make = "CREATE TABLE one (id int PRIMARY KEY, code text CONSTRAINT code UNIQUE, up int);
        CREATE TABLE two (id int PRIMARY KEY, code text CONSTRAINT of_one REFERENCES one (code) ON UPDATE CASCADE);
        ALTER TABLE one ADD CONSTRAINT of_two FOREIGN KEY (up) REFERENCES two DEFERRABLE INITIALLY DEFERRED;
        BEGIN; INSERT INTO one SELECT i, 'c' || i, i FROM generate_series(1, 50) i;
        INSERT INTO two SELECT i, 'c' || i FROM generate_series(1, 50) i; COMMIT";
    let change = "UPDATE one SET code = code || 'x' WHERE id % 5 = 0;
        UPDATE one SET up = NULL WHERE id = 7; DELETE FROM two WHERE id = 7";
    moves("refer", &[("two", "two_b"), ("one", "one_b")], make, change, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nulls_that_are_not_distinct() {
    let make = "CREATE TABLE t (id int PRIMARY KEY, a int, b int, UNIQUE NULLS NOT DISTINCT (a));
        CREATE UNIQUE INDEX i ON t (b) NULLS NOT DISTINCT; INSERT INTO t SELECT i, i, i FROM generate_series(1, 9) i";
    moves("nulls", &[("t", "t")], make, "UPDATE t SET a = NULL WHERE id = 5", 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn periods_and_constraints_that_are_not_enforced() {
    let make = "CREATE TABLE r (id int4range, p daterange, PRIMARY KEY (id, p WITHOUT OVERLAPS));
        CREATE TABLE t (id int PRIMARY KEY, k int4range, p daterange, a int CONSTRAINT lax CHECK (a > 5) NOT ENFORCED,
            up int CONSTRAINT lax_key REFERENCES t NOT ENFORCED, v int GENERATED ALWAYS AS (a * 2) VIRTUAL,
            CONSTRAINT during FOREIGN KEY (k, PERIOD p) REFERENCES t2 (k, PERIOD p));
        INSERT INTO t (id, a, up) SELECT i, i, 0 FROM generate_series(1, 9) i";
    // Both tables in one database: the one that is referred to is there before.
    for binaries in versions_to_test().into_iter().filter(|b| b.version.major() >= 18) {
        let server = server(&binaries);
        let from = Database::create(&server, "periods").await;
        let to = Database::create(&server, "periods").await;
        let t2 = "CREATE TABLE t2 (k int4range, p daterange, PRIMARY KEY (k, p WITHOUT OVERLAPS))";
        from.sql(t2).await;
        to.sql(t2).await;
        from.sql(make).await;
        let spec = spec(&from, &to, "t", "t");
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_says(&says(&from, "t").await, &says(&to, "t").await);
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

/// Its later runs are like the first: no trigger fires and no policy filters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_disturb_later_runs_is_left_out() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "rights").await;
        let to = Database::create(&server, "rights").await;
        let stamp = "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.n := NEW.n + 1; RETURN NEW; END $$";
        from.sql(stamp).await;
        to.sql(stamp).await;
        from.sql(
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp();
             CREATE POLICY even ON t USING (id % 2 = 0);
             ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        .await;
        let role = format!("mover_{}", to.name);
        to.sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role};
             GRANT CREATE ON SCHEMA public TO {role}",
            to.name
        ))
        .await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.target = parse_dsn(&format!("{} user={role}", to.dsn())).unwrap();
        let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        for (what, why) in [
            ("left out: trigger stamp of public.t", "session_replication_role"),
            ("left out: row security public.t of public.t", "bypass row security"),
        ] {
            let told = notices(&events).iter().any(|n| n.starts_with(what) && n.contains(why));
            assert!(told, "{what}: {events:?}");
        }
        from.sql("INSERT INTO t SELECT i, i FROM generate_series(51, 60) i; UPDATE t SET n = 0 WHERE id = 7").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}
