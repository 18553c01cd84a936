//! What the target and the roles allow: event triggers, limits, rights, names and locks.

use std::sync::Arc;

use pghost::{
    cluster::Server,
    conn::parse_dsn,
    migrate::{Checked, Exit, Severity},
};

use super::{check, databases, found, of, refused_are};
use crate::support::{Database, assert_same, migrate, moments::drop_slot, oldest_and_newest};

/// What is found of no table.
#[track_caller]
fn found_besides(checked: &Checked, severity: Severity, words: &[&str]) {
    let fits = checked.findings.iter().any(|f| {
        let text = format!("{} {}", f.message, f.hint.as_deref().unwrap_or_default());
        f.severity == severity && words.iter().all(|word| text.contains(word))
    });
    assert!(fits, "no {severity:?} {words:?} in {:#?}", checked.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_triggers_that_object_do_so_on_trial() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX i ON t (a)").await;
        to.sql(
            "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'never here'; END $$;
             CREATE EVENT TRIGGER guard ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION no()",
        )
        .await;
        let spec = of(&from, &to, &["t"]);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "t", &["index i", "never here", "guard", "DISABLE"]);
        refused_are(&checked, &["t"]);
        to.sql(
            "DROP EVENT TRIGGER guard;
             CREATE EVENT TRIGGER guard ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no()",
        )
        .await;
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "t", &["can't be made", "never here", "DISABLE"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_roles_lack_is_told_by_check() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let mover = format!("mover_{}", to.name);
        from.sql(
            "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
             CREATE TABLE t (id int PRIMARY KEY, up int CONSTRAINT of_other REFERENCES other); INSERT INTO s.t VALUES (1)",
        )
        .await;
        to.sql(&format!(
            "CREATE SCHEMA s; CREATE TABLE other (id int PRIMARY KEY);
             CREATE ROLE {mover} LOGIN REPLICATION CONNECTION LIMIT 3; GRANT CREATE ON SCHEMA s, public TO {mover};
             GRANT SELECT ON other TO {mover}; CREATE SCHEMA pghost AUTHORIZATION {mover}"
        ))
        .await;
        from.sql(&format!("GRANT SELECT ON s.t, t, other TO {mover}")).await;
        let mut spec = of(&from, &to, &["t"]);
        let mut in_s = spec.tables[0].clone();
        in_s.source.schema = pghost::pg::Ident::new("s");
        in_s.target.schema = in_s.source.schema.clone();
        spec.tables.push(in_s);
        spec.source = parse_dsn(&format!("{} user={mover}", from.dsn())).unwrap();
        spec.target = parse_dsn(&format!("{} user={mover}", to.dsn())).unwrap();
        let checked = check(&from, &to, &spec).await;
        found_besides(
            &checked,
            Severity::Refused,
            &["GRANT USAGE ON SCHEMA \"s\"", "on the source"],
        );
        found_besides(
            &checked,
            Severity::Refused,
            &["CONNECTION LIMIT 3", "ALTER ROLE", "on the source"],
        );
        found_besides(
            &checked,
            Severity::Refused,
            &["CONNECTION LIMIT 3", "ALTER ROLE", "on the target"],
        );
        from.sql(&format!("GRANT USAGE ON SCHEMA s TO {mover}")).await;
        let checked = check(&from, &to, &spec).await;
        found_besides(&checked, Severity::Refused, &["may not make s.t", "GRANT USAGE, CREATE"]);
        // What is mended tells the next thing: without CREATE there is no trial.
        to.sql(&format!(
            "GRANT USAGE ON SCHEMA s TO {mover}; ALTER ROLE {mover} CONNECTION LIMIT 40"
        ))
        .await;
        let checked = check(&from, &to, &spec).await;
        found_besides(
            &checked,
            Severity::Warning,
            &["nothing could be made on trial", "GRANT CREATE ON DATABASE"],
        );
        to.sql(&format!("GRANT CREATE ON DATABASE {} TO {mover}", to.name)).await;
        let checked = check(&from, &to, &spec).await;
        found_besides(
            &checked,
            Severity::Refused,
            &["may not refer to public.other", "of_other", "GRANT REFERENCES"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_types_are_taken_too() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql("CREATE TABLE mood (id int PRIMARY KEY)").await;
        to.sql("CREATE TYPE mood AS ENUM ('good')").await;
        let spec = of(&from, &to, &["mood"]);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "mood", &["has a type", "ALTER TYPE", "RENAME"]);
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        to.sql("ALTER TYPE mood RENAME TO moods").await;
        refused_are(&check(&from, &to, &spec).await, &[]);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        drop_slot(&from, &spec).await;
    }
}

/// What is referred to and not moved stands there by its key alone: a function in another index of it
/// is nobody's business, and does not run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_referred_to_are_not_copied() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let other = "CREATE TABLE other (a int, b text, PRIMARY KEY (a, b)); INSERT INTO other VALUES (1, 'x');";
        from.sql(other).await;
        from.sql(
            "CREATE TABLE t (id int PRIMARY KEY, b text, a int, CONSTRAINT of_other FOREIGN KEY (b, a) REFERENCES other (b, a));
             INSERT INTO t VALUES (1, 'x', 1)",
        )
        .await;
        to.sql(other).await;
        to.sql(
            "CREATE SEQUENCE told; CREATE FUNCTION told(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_catalog.nextval('public.told'); RETURN n; END $$;
             CREATE INDEX i ON other ((told(7) + a)); ALTER TABLE other ADD CHECK (told(7) = 7);
             SELECT setval('told', 1000)",
        )
        .await;
        let spec = of(&from, &to, &["t"]);
        refused_are(&check(&from, &to, &spec).await, &[]);
        assert_eq!(to.value("SELECT last_value FROM told").await, "1000");
        // Without the key there is nothing to refer to.
        to.sql("ALTER TABLE other DROP CONSTRAINT other_pkey; CREATE UNIQUE INDEX ON other (a, b) WHERE a > 0").await;
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "t", &["of_other", "42830"]);
    }
}

/// Bounds that the target's collation takes for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_whose_bounds_collapse_are_refused() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        let ci = |deterministic: bool| {
            format!(
                "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = {deterministic})"
            )
        };
        from.sql(&ci(true)).await;
        to.sql(&ci(false)).await;
        from.sql(
            "CREATE TABLE t (id int, x text COLLATE ci, PRIMARY KEY (id, x)) PARTITION BY LIST (x);
             CREATE TABLE t_lower PARTITION OF t FOR VALUES IN ('a');
             CREATE TABLE t_upper PARTITION OF t FOR VALUES IN ('A'); INSERT INTO t VALUES (1, 'a'), (2, 'A')",
        )
        .await;
        let checked = check(&from, &to, &of(&from, &to, &["t"])).await;
        found(&checked, Severity::Refused, "t", &["42P17", "t_upper", "overlap"]);
    }
}

/// Tables that refer to each other across chunks, policies that look at other tables, partitions in
/// another schema, an owner: nothing of it is refused that a run can do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_table_of_locks_is_enough() {
    for binaries in oldest_and_newest() {
        let settings = [("max_locks_per_transaction", "10")];
        let server = Arc::new(Server::start(&binaries, &settings).unwrap());
        let (from, to) =
            (Database::create(&server, "tried").await, Database::create(&server, "tried").await);
        let owner = format!("owner_{}", to.name);
        let mut tables = Vec::new();
        let mut make = format!("CREATE ROLE {owner}; CREATE SCHEMA parts;");
        for n in 0..12 {
            make += &format!(
                "CREATE TABLE t{n} (id serial PRIMARY KEY, a int UNIQUE, up int);
                 INSERT INTO t{n} SELECT i, i, 13 - i FROM generate_series(1, 12) i;"
            );
            tables.push(format!("t{n}"));
        }
        for n in 0..12 {
            let other = (n + 5) % 12;
            make += &format!("ALTER TABLE t{n} ADD FOREIGN KEY (up) REFERENCES t{other} (a);");
        }
        make += "CREATE POLICY p ON t0 USING (EXISTS (SELECT FROM t7 WHERE t7.id = t0.id));
             CREATE TABLE p (id int PRIMARY KEY, a int REFERENCES t3) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
             CREATE TABLE parts.p1 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
             CREATE TABLE parts.p2 PARTITION OF parts.p1 FOR VALUES IN (11);
             CREATE INDEX own ON parts.p2 (a); INSERT INTO p VALUES (1, 1), (11, 2)";
        tables.push("p".into());
        from.sql(&make).await;
        to.sql(&format!(
            "CREATE SCHEMA parts; GRANT CREATE, USAGE ON SCHEMA public, parts TO {owner}"
        ))
        .await;
        let names: Vec<_> = tables.iter().map(String::as_str).collect();
        let mut spec = of(&from, &to, &names);
        spec.trust.owners.push(owner.clone());
        spec.target_owner = Some(owner);
        let checked = check(&from, &to, &spec).await;
        refused_are(&checked, &[]);
        found_besides(&checked, Severity::Ok, &["made on trial", "13 tables"]);
        let warned = checked.findings.iter().filter(|f| f.severity == Severity::Warning);
        assert_eq!(warned.filter(|f| f.about == "trial").count(), 0, "{:#?}", checked.findings);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "p"), (&to, "p"), "id").await;
        drop_slot(&from, &spec).await;
    }
}
