//! Tables and functions of strangers: their code never runs with all rights of a server unless that
//! was asked for; and with it, it would (so that each of these attacks is known to be one).

mod attacker;
mod catalog;
mod roles;
mod shadow;

use pghost::{
    conn::{Connection, SessionKind},
    migrate::{self, Event, Severity, TableSpec, Trust},
    pg::QualifiedName,
};

use self::attacker::{Attacker, as_role, told, verify};
use crate::{
    fault::killed_at_events::forget,
    support::{
        Database, assert_same, migrate as run, moments::drop_slot, nothing_is_left_open,
        oldest_and_newest, server, spec,
    },
};

fn all() -> Trust {
    Trust { all: true, owners: Vec::new() }
}

fn notices(events: &[Event]) -> Vec<&str> {
    let mut all = Vec::new();
    for event in events {
        if let Event::Notice { message } = event {
            all.push(message.as_str());
        }
    }
    all
}

/// S2: an existing target table, each by one thing that its owner has put into it.
const ON_TARGET: [(&str, &str); 5] = [
    ("check", "CREATE TABLE m.t_check (id int PRIMARY KEY, v int, CHECK (m.evil_check(v)))"),
    (
        "index",
        "CREATE TABLE m.t_index (id int PRIMARY KEY, v int);
         CREATE INDEX ON m.t_index (m.evil_index(v))",
    ),
    (
        "generated",
        "CREATE TABLE m.t_generated (id int PRIMARY KEY, v int,
             g bool GENERATED ALWAYS AS (m.evil_generated(v)) STORED)",
    ),
    (
        "partition",
        "CREATE TABLE m.t_partition (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE m.part PARTITION OF m.t_partition (CHECK (m.evil_partition(v)))
             FOR VALUES FROM (0) TO (1000)",
    ),
    (
        "default",
        "CREATE TABLE m.t_default (id int PRIMARY KEY, v int, d bool DEFAULT m.evil_default(1))",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_tables_owner_gets_nothing_of_a_powerful_role() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_target").await;
        let to = Database::create(&server, "strange_target").await;
        let mallory = Attacker::make(&from, &to).await;
        let mut spec = spec(&from, &to, "none", "none");
        spec.tables.clear();
        for (kind, makes) in ON_TARGET {
            from.sql(&format!(
                "CREATE TABLE s_{kind} (id int PRIMARY KEY, v int);
                 INSERT INTO s_{kind} SELECT i, i FROM generate_series(1, 30) i"
            ))
            .await;
            mallory.evil(&to, kind).await;
            mallory.sql(&to, makes).await;
            let source = QualifiedName::new("public", format!("s_{kind}"));
            let target = QualifiedName::new("m", format!("t_{kind}"));
            let mut alone = spec.clone();
            alone.tables = vec![TableSpec { source, target }];
            spec.tables.extend(alone.tables.clone());
            let table = format!("table m.t_{kind}");
            mallory.is_refused(&alone, &["on the target", &mallory.name, &table]).await;
            mallory.is_not_compared(&alone).await;
        }
        // By name others are not trusted; this one is, and each of them was an attack.
        spec.trust.owners = vec!["eve".into()];
        mallory.is_refused(&spec, &["and 7 more"]).await;

        // A role that is no superuser is told by `check`, and goes on.
        let mover = format!("mover_{}", to.name);
        to.sql(&format!(
            "CREATE ROLE {mover} LOGIN; GRANT CREATE ON DATABASE {0} TO {mover};
             GRANT USAGE ON SCHEMA m TO {mover};
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA m TO {mover}",
            to.name
        ))
        .await;
        let mut modest = spec.clone();
        modest.target = as_role(&to, &mover);
        mallory.alone().await;
        let checked = migrate::check(&modest).await.unwrap();
        assert_eq!(checked.count(Severity::Refused), 0, "{:#?}", checked.findings);
        let found = told(&checked).into_iter().any(|text| {
            text.contains(&mallory.name) && text.contains(&mover) && text.contains("m.t_check")
        });
        assert!(found, "{:#?}", checked.findings);
        mallory.alone().await;
        run(&modest).await.unwrap();
        mallory.assert_is_nobody().await;
        forget(&modest).await;
        to.sql(&format!("DROP SCHEMA IF EXISTS pghost CASCADE; DROP OWNED BY {mover}")).await;
        to.sql("TRUNCATE m.t_check, m.t_index, m.t_generated, m.t_partition, m.t_default").await;

        spec.trust.owners.push(mallory.name.clone());
        mallory.alone().await;
        run(&spec).await.unwrap();
        assert_eq!(
            mallory.has_run().await,
            ["check", "default", "generated", "index", "partition"]
        );
        assert_same((&from, "s_check"), (&to, "m.t_check"), "id").await;
        mallory.is_nobody_again().await;
        // A run that goes on, and a comparison after it.
        spec.trust = Trust::default();
        mallory.is_refused(&spec, &["on the target"]).await;
        mallory.is_not_compared(&spec).await;
        drop_slot(&from, &spec).await;
    }
}

/// A role that may do what a migration needs, and nothing more.
async fn mover(from: &Database, to: &Database, member_of: &str) -> String {
    let name = format!("mover_{}", from.name);
    from.sql(&format!(
        "CREATE ROLE {name} LOGIN REPLICATION; GRANT {member_of} TO {name};
         GRANT CREATE ON DATABASE {} TO {name}; GRANT CREATE ON DATABASE {} TO {name}",
        from.name, to.name
    ))
    .await;
    to.sql(&format!("GRANT CREATE ON SCHEMA public TO {name}")).await;
    name
}

/// S3: a source table's owner, by functions that every server has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_tables_owner_gets_nothing_of_the_targets_powerful_role() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_source").await;
        let to = Database::create(&server, "strange_source").await;
        let mallory = Attacker::make(&from, &to).await;
        let home = to.value("SELECT current_setting('data_directory')").await;
        let makes = format!(
            "CREATE TABLE m.t (id int PRIMARY KEY, CHECK (CASE
                 WHEN current_setting('is_superuser') = 'on' AND current_database() = '{}' AND id = 1
                 THEN query_to_xml('select lo_export(4242, ''{home}/{}'')',
                                   true, true, '') IS NOT NULL
                 ELSE true END));
             INSERT INTO m.t VALUES (1), (2)",
            to.name,
            mallory.witness("export")
        );
        mallory.sql(&from, &makes).await;
        to.sql("SELECT lo_from_bytea(4242, 'any')").await;
        let mover = mover(&from, &to, &mallory.name).await;
        let mut spec = spec(&from, &to, "none", "t");
        spec.tables[0].source = QualifiedName::new("m", "t");
        spec.source = as_role(&from, &mover);
        mallory
            .is_refused(&spec, &["would be made on the target", &mallory.name, "table m.t"])
            .await;

        // With a role that is no superuser nothing is to be got.
        let mut modest = spec.clone();
        modest.target = as_role(&to, &mover);
        mallory.alone().await;
        run(&modest).await.unwrap();
        mallory.assert_is_nobody().await;
        forget(&modest).await;
        to.sql("DROP TABLE t; DROP SCHEMA IF EXISTS pghost CASCADE").await;

        spec.trust = all();
        mallory.alone().await;
        run(&spec).await.unwrap();
        assert_eq!(mallory.has_run().await, ["export"]);
        drop_slot(&from, &spec).await;
    }
}

/// S4: a function of the name that an index of the source calls, and that is somebody's on the target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_of_the_same_name_gets_nothing_and_another_text_is_told() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_name").await;
        let to = Database::create(&server, "strange_name").await;
        let eve = Attacker::make(&from, &to).await;
        from.sql(
            "CREATE SCHEMA fn; CREATE FUNCTION fn.norm(integer) RETURNS boolean IMMUTABLE
                 LANGUAGE sql AS 'SELECT true';
             CREATE TABLE t (id int PRIMARY KEY, v int); CREATE INDEX ON t (fn.norm(v));
             INSERT INTO t VALUES (1, 1)",
        )
        .await;
        to.sql(
            "CREATE SCHEMA fn; CREATE FUNCTION fn.norm(integer) RETURNS boolean IMMUTABLE
                 LANGUAGE sql AS 'SELECT false'",
        )
        .await;
        let mut spec = spec(&from, &to, "t", "t");
        let checked = migrate::check(&spec).await.unwrap();
        let warned = checked.findings.iter().filter(|f| f.severity == Severity::Warning);
        let warned: Vec<_> = warned.map(|f| f.message.as_str()).collect();
        let other = "other code under the same name on the target: function fn.norm(integer)";
        assert!(warned.contains(&other), "{warned:?}");

        let body = eve.body(&to, "name", "true").await;
        to.sql(&format!(
            "CREATE OR REPLACE FUNCTION fn.norm(integer) RETURNS boolean IMMUTABLE
                 LANGUAGE plpgsql AS $f$ {body} $f$;
             ALTER FUNCTION fn.norm(integer) OWNER TO {}",
            eve.name
        ))
        .await;
        let words = ["on the target", &eve.name, "function fn.norm(integer)"];
        eve.is_refused(&spec, &words).await;
        spec.trust.owners = vec![eve.name.clone()];
        eve.alone().await;
        run(&spec).await.unwrap();
        assert_eq!(eve.has_run().await, ["name"]);
        drop_slot(&from, &spec).await;
        eve.is_nobody_again().await;
    }
}

/// S5: a source table's owner, while pages are planned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_tables_owner_gets_nothing_of_the_sources_powerful_role() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_pages").await;
        let to = Database::create(&server, "strange_pages").await;
        let mallory = Attacker::make(&from, &to).await;
        mallory.evil(&from, "fold").await;
        mallory.evil(&from, "statistics").await;
        mallory
            .sql(
                &from,
                "CREATE TABLE m.t (id int PRIMARY KEY, v int);
                 CREATE INDEX ON m.t (v) WHERE m.evil_fold(1);
                 CREATE STATISTICS m.s ON v, (m.evil_statistics(1)) FROM m.t;
                 INSERT INTO m.t SELECT i, i FROM generate_series(1, 50) i",
            )
            .await;
        to.sql("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
        let mut spec = spec(&from, &to, "none", "t");
        spec.tables[0].source = QualifiedName::new("m", "t");
        spec.page_rows = Some(10);
        let words = ["on the source", &mallory.name, "table m.t"];
        mallory.is_refused(&spec, &words).await;
        mallory.is_not_compared(&spec).await;

        let mut modest = spec.clone();
        modest.source = as_role(&from, &mover(&from, &to, &mallory.name).await);
        mallory.alone().await;
        let checked = migrate::check(&modest).await.unwrap();
        assert_eq!(checked.count(Severity::Refused), 0, "{:#?}", checked.findings);
        mallory.alone().await;
        run(&modest).await.unwrap();
        verify(&modest).await.unwrap();
        mallory.assert_is_nobody().await;
        forget(&modest).await;
        to.sql("TRUNCATE t; DROP SCHEMA IF EXISTS pghost CASCADE").await;

        spec.trust = all();
        mallory.alone().await;
        run(&spec).await.unwrap();
        let has_run = mallory.has_run().await;
        assert!(has_run.contains(&"fold".to_owned()), "{has_run:?}");
        verify(&spec).await.unwrap();
        drop_slot(&from, &spec).await;
        mallory.is_nobody_again().await;
    }
}

/// Functions that pghost calls, which somebody has made as well, in a schema of his own.
const LOOKALIKES: [(&str, &str, &str); 5] = [
    ("has_table_privilege(text, text)", "boolean", "true"),
    ("pg_is_in_recovery()", "boolean", "false"),
    ("pg_current_wal_flush_lsn()", "pg_lsn", "'0/0'"),
    ("pg_current_wal_insert_lsn()", "pg_lsn", "'0/0'"),
    ("pg_current_snapshot()", "pg_snapshot", "'1:1:'"),
];

/// S5: code of a trusted owner's sets `search_path`, and what is called next is not found there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_by_a_search_path_that_somebody_has_set() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_path").await;
        let to = Database::create(&server, "strange_path").await;
        let mallory = Attacker::make(&from, &to).await;
        for (at, (function, kind, value)) in LOOKALIKES.into_iter().enumerate() {
            let body = mallory.body(&from, &format!("lookalike{at}"), value).await;
            let sql = format!(
                "CREATE FUNCTION m.{function} RETURNS {kind} LANGUAGE plpgsql AS $f$ {body} $f$"
            );
            mallory.sql(&from, &sql).await;
        }
        mallory
            .sql(
                &from,
                "CREATE FUNCTION m.path(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
                     AS $f$ BEGIN PERFORM set_config('search_path', 'm, pg_catalog', false); RETURN 1; END $f$;
                 CREATE TABLE m.t (id int PRIMARY KEY, v int);
                 CREATE INDEX ON m.t (v) WHERE m.path(1) = 1;
                 INSERT INTO m.t SELECT i, i FROM generate_series(1, 50) i",
            )
            .await;
        to.sql("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
        let mut spec = spec(&from, &to, "none", "t");
        spec.tables[0].source = QualifiedName::new("m", "t");
        (spec.page_rows, spec.trust) = (Some(10), all());
        mallory.alone().await;
        run(&spec).await.unwrap();
        verify(&spec).await.unwrap();
        mallory.assert_is_nobody().await;
        drop_slot(&from, &spec).await;
    }
}

/// S5 b: a view in a table's place is not read, where the server can be told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_on_the_source_reads_no_views() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "strange_view").await;
        db.sql("CREATE VIEW v AS SELECT 1 AS id").await;
        let knows =
            "SELECT count(*) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";
        let knows = db.value(knows).await == "1";
        for (kind, reads) in [(SessionKind::Source, !knows), (SessionKind::Sql, true)] {
            let mut session = Connection::connect(&db.config(), kind).await.unwrap();
            let read = session.query("SELECT id FROM public.v").await;
            assert_eq!(read.is_ok(), reads, "{kind:?}: {read:?}");
            // What belongs to the server is no such view.
            session.query("SELECT count(*) FROM pg_stat_activity").await.unwrap();
            session.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_server_has_written_is_one_statement() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "strange_text").await;
        let mut session = db.connect().await;
        session.query_single("CREATE TABLE one (id int)").await.unwrap();
        let two = session.query_single("DROP TABLE public.one; CREATE TABLE two (id int)").await;
        assert_eq!(two.unwrap_err().sqlstate().unwrap().as_str(), "42601");
        session.close().await;
        assert_eq!(db.value("SELECT to_regclass('public.one') IS NOT NULL").await, "t");
    }
}

/// Tables that are made belong to whom they belong on the source, where that can be; else it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_made_is_given_to_the_sources_owner() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_owner").await;
        let to = Database::create(&server, "strange_owner").await;
        let app = format!("app_{}", from.name);
        from.sql(&format!("CREATE ROLE {app} LOGIN; GRANT CREATE ON SCHEMA public TO {app}")).await;
        let mover = mover(&from, &to, &app).await;
        from.sql(&format!(
            "CREATE TABLE t (id serial PRIMARY KEY, v int) PARTITION BY RANGE (id);
             CREATE TABLE part PARTITION OF t FOR VALUES FROM (0) TO (1000);
             INSERT INTO t (v) SELECT i FROM generate_series(1, 20) i;
             ALTER TABLE t OWNER TO {app}; ALTER TABLE part OWNER TO {app}"
        ))
        .await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.source = as_role(&from, &mover);
        spec.target = as_role(&to, &mover);
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class
                       WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')";
        let usage = "REVOKE CREATE ON SCHEMA public FROM PUBLIC";
        to.sql(usage).await;
        to.sql(&format!("GRANT CREATE ON SCHEMA public TO {mover}")).await;
        // It may not be given away, or it may.
        for (grant, owner) in [("", &mover), ("GRANT CREATE ON SCHEMA public TO", &app)] {
            if !grant.is_empty() {
                to.sql(&format!("{grant} {app}")).await;
            }
            for database in [&from, &to] {
                nothing_is_left_open(&database.config()).await;
            }
            let checked = migrate::check(&spec).await.unwrap();
            assert_eq!(checked.count(Severity::Refused), 0, "{:#?}", checked.findings);
            let told = told(&checked).join("; ");
            let events = run(&spec).await.unwrap();
            let stays = "will belong to the role of --target";
            let is_told = notices(&events).iter().any(|notice| notice.contains(stays));
            assert_eq!(to.value(owners).await, *owner, "{told}");
            if owner == &app {
                assert!(told.contains(&format!("public.t will belong to {app}")), "{told}");
                assert!(!is_told);
            } else {
                assert!(
                    told.contains(stays) && told.contains("own nothing in the schema"),
                    "{told}"
                );
                assert!(is_told, "{events:#?}");
            }
            from.sql("UPDATE t SET v = v + 1").await;
            run(&spec).await.unwrap();
            assert_same((&from, "t"), (&to, "t"), "id").await;
            forget(&spec).await;
            to.sql("DROP TABLE t").await;
        }
    }
}

/// S12: what is left out is told, unless it follows from what was told already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_that_is_left_out_is_told() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_check").await;
        let to = Database::create(&server, "strange_check").await;
        from.sql(
            "CREATE FUNCTION f(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';
             CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1);
             CREATE TABLE t (id int PRIMARY KEY, v int REFERENCES other, CONSTRAINT odd CHECK (public.f(v)));
             INSERT INTO t VALUES (1, 1)",
        )
        .await;
        to.sql(
            "CREATE FUNCTION f(integer) RETURNS boolean LANGUAGE plpgsql
                 AS $f$ BEGIN RAISE undefined_object; END $f$",
        )
        .await;
        let spec = spec(&from, &to, "t", "t");
        let events = run(&spec).await.unwrap();
        let left_out: Vec<_> =
            notices(&events).into_iter().filter(|n| n.starts_with("left out: ")).collect();
        let begins = ["left out: foreign key t_v_fkey", "left out: validation of constraint odd"];
        let as_told = left_out.iter().zip(begins).all(|(told, begins)| told.starts_with(begins));
        assert!(left_out.len() == begins.len() && as_told, "{left_out:#?}");
        drop_slot(&from, &spec).await;
    }
}
