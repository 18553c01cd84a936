//! `pghost check`: finds everything at once, mends it with the statements it gives, changes nothing,
//! and plans what a run then does.

use std::{process::Command, sync::Arc};

use pghost::{
    cluster::Server,
    migrate::{self, Checked, Finding, MigrationSpec, PhaseName, Planned, Severity, Side},
};
use serde_json::Value;

use crate::{
    check::refusals::inventory,
    support::{
        Database, assert_same, connect, migrate,
        moments::{beside, drop_slot, until},
        oldest_and_newest, server, some_releases, spec,
    },
};

/// Checks, and makes sure that this has left no trace.
async fn check(from: &Database, to: &Database, spec: &MigrationSpec) -> Checked {
    let before = (inventory(from).await, inventory(to).await);
    let checked = migrate::check(spec).await.unwrap();
    assert_eq!(before, (inventory(from).await, inventory(to).await));
    checked
}

fn of(checked: &Checked, severity: Severity) -> Vec<&Finding> {
    checked.findings.iter().filter(|finding| finding.severity == severity).collect()
}

/// The finding of a kind whose message has all of these words.
#[track_caller]
fn found<'a>(checked: &'a Checked, severity: Severity, words: &[&str]) -> &'a Finding {
    let list = of(checked, severity);
    let found = list.iter().find(|f| words.iter().all(|word| f.message.contains(word)));
    found.unwrap_or_else(|| panic!("no {severity:?} {words:?} in {:#?}", checked.findings))
}

#[track_caller]
fn begins(checked: &Checked) {
    let refused = of(checked, Severity::Refused);
    assert!(refused.is_empty(), "{refused:#?}");
}

/// A table with something of every kind that a plan has.
const ORDERS: &str = "
    CREATE TABLE customer (id integer PRIMARY KEY, name text);
    CREATE TYPE mood AS ENUM ('good', 'it''s bad');
    CREATE TABLE orders (id serial PRIMARY KEY, customer integer REFERENCES customer, m mood,
        n integer CHECK (n > 0), code text UNIQUE, note text);
    CREATE INDEX by_note ON orders (note) WITH (fillfactor = 70);
    ALTER INDEX by_note RENAME TO \"by Note\";
    CREATE STATISTICS together ON n, code FROM orders;
    ALTER TABLE orders CLUSTER ON orders_code_key; ALTER TABLE orders ALTER note SET STATISTICS 50;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f();
    CREATE POLICY p ON orders USING (true); ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON orders TO PUBLIC;
    COMMENT ON TABLE orders IS 'all'; COMMENT ON INDEX \"by Note\" IS 'an index';
    COMMENT ON TRIGGER t ON orders IS 'a trigger'; COMMENT ON CONSTRAINT orders_n_check ON orders IS 'n';
    INSERT INTO customer VALUES (1);
    INSERT INTO orders SELECT i, 1, 'good', i, i FROM generate_series(1, 1099) i; ANALYZE orders";

/// What the target must have for it.
const FOR_ORDERS: &str = "
    CREATE TABLE customer (id integer PRIMARY KEY, name text); INSERT INTO customer VALUES (1);
    CREATE TYPE mood AS ENUM ('good', 'it''s bad');
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_begin_is_planned_and_then_begins() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) =
            (Database::create(&server, "plan").await, Database::create(&server, "plan").await);
        db.sql(ORDERS).await;
        to.sql(FOR_ORDERS).await;
        let spec = spec(&db, &to, "orders", "orders");
        let checked = check(&db, &to, &spec).await;
        begins(&checked);
        assert_eq!(checked.name, db.name);
        found(&checked, Severity::Ok, &["the source runs Postgres"]);
        found(&checked, Severity::Ok, &["public.orders", "orders_pkey", "its primary key"]);
        found(&checked, Severity::Ok, &["public.orders has about 1,099 rows"]);
        found(&checked, Severity::Ok, &["sequence", "public.orders_id_seq"]);
        let at = |words: &str| {
            let at = checked.plan.iter().position(|planned| planned.sql.contains(words));
            at.unwrap_or_else(|| panic!("no {words} in {:#?}", checked.plan))
        };
        let order = [
            "CREATE SCHEMA",
            "CREATE TABLE \"public\".\"orders\"",
            "CREATE PUBLICATION",
            "CREATE_REPLICATION_SLOT",
            "COPY (SELECT",
            "FROM STDIN",
            "PRIMARY KEY",
            "ON CONFLICT",
            "CREATE INDEX",
            "ANALYZE",
        ];
        assert!(order.map(at).is_sorted(), "{:#?}", checked.plan);
        let publication = &checked.plan[at("CREATE PUBLICATION")];
        assert_eq!(publication.server, Side::Source);
        assert_eq!(publication.lock, Some("SHARE UPDATE EXCLUSIVE"));
        migrate(&spec).await.unwrap();
        assert_same((&db, "orders"), (&to, "orders"), "id").await;

        // What was begun is known, and would go on; until it can't.
        let checked = check(&db, &to, &spec).await;
        begins(&checked);
        found(&checked, Severity::Ok, &["was begun, and can go on", "done"]);
        assert!(checked.plan.is_empty());
        db.sql("ALTER TABLE orders ADD more integer").await;
        found(&check(&db, &to, &spec).await, Severity::Refused, &["added", "more"]);
        drop_slot(&db, &spec).await;
    }
}

/// A check takes no name that a run needs, however long it takes itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_begins_and_goes_on_beside_a_check() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "disturbed").await;
        db.sql("CREATE TABLE source (id int PRIMARY KEY); INSERT INTO source VALUES (1)").await;
        let spec = spec(&db, &db, "source", "target");
        for _ in ["begins", "goes on"] {
            // Both look at the publication after the slot.
            let mut held = db.connect().await;
            held.query("BEGIN; LOCK TABLE pg_catalog.pg_publication").await.unwrap();
            let is_held = |of: u32| {
                let sql = format!(
                    "SELECT count(*) = {of} FROM pg_stat_activity WHERE datname = current_database()
                        AND application_name NOT LIKE 'test%' AND wait_event_type = 'Lock'"
                );
                let db = &db;
                async move { until(db, &sql).await }
            };
            let checking = migrate::check(&spec);
            let script = async {
                is_held(1).await;
                let run = beside(&spec, |_| {}, async {
                    is_held(2).await;
                    held.query("ROLLBACK").await.unwrap();
                });
                run.await.unwrap();
            };
            let (checked, ()) = tokio::join!(checking, script);
            checked.unwrap();
            held.close().await;
        }
        drop_slot(&db, &spec).await;
    }
}

/// The locks that this session has on a table, the strongest last.
const LOCKS: &str = "
    SELECT mode FROM pg_locks l WHERE pid = pg_backend_pid() AND relation = 'public.orders'::regclass
     ORDER BY array_position(ARRAY['AccessShareLock', 'RowShareLock', 'RowExclusiveLock',
         'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
         'AccessExclusiveLock'], mode)";

/// `SHARE ROW EXCLUSIVE` of `ShareRowExclusiveLock`.
fn spelled(mode: &str) -> String {
    let letters = mode.trim_end_matches("Lock").chars();
    let words: String =
        letters.flat_map(|c| [c.is_uppercase().then_some(' '), Some(c)]).flatten().collect();
    words.trim().to_uppercase()
}

/// Runs the target's part of a plan by hand, and compares locks with what the plan tells of them.
async fn run_by_hand(to: &Database, plan: &[Planned]) -> usize {
    let mut session = connect(&to.config()).await;
    let mut compared = 0;
    for planned in plan.iter().filter(|p| p.server == Side::Target && !p.sql.contains("..")) {
        if planned.sql.starts_with("COPY") || planned.sql.starts_with("CREATE SCHEMA") {
            continue;
        }
        session.query("BEGIN").await.unwrap();
        session.query(&planned.sql).await.unwrap_or_else(|e| panic!("{}: {e}", planned.sql));
        let there = session
            .query("SELECT to_regclass('public.orders') IS NOT NULL AS there")
            .await
            .unwrap();
        let lock = match there.row().unwrap().get::<bool>("there").unwrap() {
            false => None,
            true => {
                let locks = session.query(LOCKS).await.unwrap();
                let last = locks.rows().last().map(|row| row.get::<String>("mode").unwrap());
                // Reading it, as nearly everything does, is not worth a word.
                last.map(|mode| spelled(&mode)).filter(|mode| mode != "ACCESS SHARE")
            }
        };
        session.query("COMMIT").await.unwrap();
        if planned.phase != PhaseName::Prepare || planned.sql.starts_with("DROP") {
            compared += 1;
            assert_eq!(planned.lock, lock.as_deref(), "{}", planned.sql);
        }
    }
    session.close().await;
    compared
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_takes_the_lock_that_the_plan_tells() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) =
            (Database::create(&server, "locks").await, Database::create(&server, "locks").await);
        db.sql(ORDERS).await;
        to.sql(FOR_ORDERS).await;
        let mut spec = spec(&db, &to, "orders", "orders");
        let checked = check(&db, &to, &spec).await;
        begins(&checked);
        assert!(run_by_hand(&to, &checked.plan).await > 12, "{:#?}", checked.plan);
        // Now it is there, with all it has: a target that others have made.
        spec.defer_indexes = true;
        let checked = check(&db, &to, &spec).await;
        begins(&checked);
        let goes: Vec<_> = checked.plan.iter().filter(|p| p.sql.contains("DROP")).collect();
        assert_eq!(goes.len(), 3, "{goes:#?}");
        assert!(run_by_hand(&to, &checked.plan).await > 3);
        let columns = to
            .value("SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass")
            .await;
        let same = db
            .value("SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass")
            .await;
        assert_eq!(columns, same);
    }
}

/// Does what a finding asks for, as far as it is SQL.
async fn mend(db: &Database, to: &Database, finding: &Finding) {
    let hint = finding.hint.as_deref().unwrap();
    let hint = hint.split(", or ").next().unwrap().split("; or ").next().unwrap();
    let (on, sql) = match hint.strip_suffix(" on the source") {
        Some(sql) => (db, sql),
        None => (to, hint.strip_suffix(" on the target").unwrap_or(hint)),
    };
    on.sql(sql.trim_end_matches(" meanwhile")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_stands_in_the_way_is_told_at_once_and_mended_by_its_statements() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) =
            (Database::create(&server, "mended").await, Database::create(&server, "mended").await);
        let (mover, owner) = (format!("{}_mover", db.name), format!("{}_owner", db.name));
        db.sql(&format!(
            "CREATE ROLE {owner}; CREATE ROLE {mover} LOGIN; GRANT CREATE ON SCHEMA public TO {owner};
             CREATE TYPE mood AS ENUM ('good', 'it''s bad'); CREATE TYPE pair AS (a integer, \"B\" text);
             CREATE TABLE source (id integer PRIMARY KEY, a text, b integer, c integer);
             CREATE TABLE typed (id integer PRIMARY KEY, m mood[], p pair);
             ALTER TABLE source OWNER TO {owner}; ALTER TABLE typed OWNER TO {owner}"
        ))
        .await;
        to.sql(
            "REVOKE CREATE ON SCHEMA public FROM public;
                CREATE TABLE target (id integer, b bigint, c integer, must integer NOT NULL);
                CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                CREATE TRIGGER always BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f();
                ALTER TABLE target ENABLE ALWAYS TRIGGER always",
        )
        .await;
        let mut spec = spec(&db, &to, "source", "target");
        spec.tables.extend(self::spec(&db, &to, "typed", "typed").tables);
        (spec.source.user, spec.target.user) = (mover.clone(), mover.clone());
        let checked = check(&db, &to, &spec).await;
        for words in [
            &["replication connection"][..],
            &["may not create the schema pghost"],
            &["may not read public.source"],
            &["has no column", "a"],
            &["column \"b\" is integer", "bigint"],
            &["\"must\"", "NOT NULL"],
            &["no unique index on exactly"],
            &["trigger or rule always"],
            &["lacks SELECT, INSERT, UPDATE, DELETE, TRUNCATE"],
            &["may not make public.typed"],
            &["no type public.mood[]", "m"],
            &["no type public.pair", "p"],
            &["may not create the publication"],
            &["only the owner of public.source"],
            &["only the owner of public.typed"],
        ] {
            let finding = found(&checked, Severity::Refused, words);
            assert!(finding.hint.as_ref().is_some_and(|hint| hint.len() > 10), "{finding:?}");
        }
        // 14 has no grant for that: there only a superuser keeps triggers still.
        found(&checked, Severity::Refused, &["would fire"]);
        if server.version().major() < 15 {
            to.sql("DROP TRIGGER always ON target").await;
        }
        // What can be read only now has more to tell.
        for _ in 0..3 {
            let checked = check(&db, &to, &spec).await;
            for finding in of(&checked, Severity::Refused) {
                mend(&db, &to, finding).await;
            }
        }
        begins(&check(&db, &to, &spec).await);
        migrate(&spec).await.unwrap();
        drop_slot(&db, &spec).await;
    }
}

/// A server that is set up as badly as can be.
const BADLY: &[(&str, &str)] = &[
    ("wal_level", "replica"),
    ("max_slot_wal_keep_size", "100MB"),
    ("max_prepared_transactions", "2"),
    ("max_wal_senders", "3"),
    ("synchronous_commit", "local"),
    ("synchronous_standby_names", "*"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_transactions_that_would_hurt_are_told() {
    for binaries in some_releases() {
        let major = binaries.version.major();
        let mut settings = BADLY.to_vec();
        settings.extend((major >= 18).then_some(("idle_replication_slot_timeout", "90s")));
        let server = Arc::new(Server::start(&binaries, &settings).unwrap());
        let db = Database::create(&server, "badly").await;
        let to = Database { server: server.clone(), name: "latin".into() };
        db.sql("CREATE TABLE source (id integer PRIMARY KEY); CREATE TABLE prepared (n integer)")
            .await;
        db.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
        db.sql("BEGIN; INSERT INTO prepared VALUES (1); PREPARE TRANSACTION 'it''s open'").await;
        let mut open = connect(&db.config()).await;
        open.query("BEGIN; INSERT INTO prepared VALUES (1); SELECT pg_sleep(2.1)").await.unwrap();
        let pid = open.process_id();
        let checked = check(&db, &to, &spec(&db, &to, "source", "target")).await;
        let refused = of(&checked, Severity::Refused);
        assert_eq!(refused.len(), 1, "{major}: {refused:#?}");
        assert!(refused[0].hint.as_ref().unwrap().contains("ALTER SYSTEM SET wal_level = logical"));
        found(&checked, Severity::Warning, &["at most 100 MB of log", "max_slot_wal_keep_size"]);
        found(&checked, Severity::Warning, &["synchronous_standby_names (*)"]);
        found(&checked, Severity::Warning, &["from UTF8 to LATIN1"]);
        let waits =
            found(&checked, Severity::Warning, &[&format!("pid {pid} "), "postgres in badly_"]);
        assert!(waits.hint.as_ref().unwrap().contains(&format!("pg_terminate_backend({pid})")));
        let waits = found(&checked, Severity::Warning, &["prepared transaction: it's open"]);
        assert!(waits.hint.as_ref().unwrap().contains("ROLLBACK PREPARED 'it''s open'"));
        if major >= 18 {
            found(&checked, Severity::Warning, &["for 90 s", "idle_replication_slot_timeout"]);
        }
        open.close().await;
        // A walsender too few.
        let mut taken = Vec::new();
        for _ in 0..3 {
            let kind = pghost::conn::SessionKind::Replication;
            taken.push(pghost::conn::Connection::connect(&db.config(), kind).await.unwrap());
        }
        let checked = check(&db, &to, &spec(&db, &to, "source", "target")).await;
        let full = found(&checked, Severity::Refused, &["replication connection", "53300"]);
        assert!(full.hint.as_ref().unwrap().contains("max_wal_senders = 5"), "{full:?}");
        db.sql("ROLLBACK PREPARED 'it''s open'").await;
    }
}

/// What acts on a target besides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_depends_on_the_target_is_warned_of() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "depends").await;
        db.sql(
            "CREATE TABLE source (id serial PRIMARY KEY); CREATE TABLE target (id serial PRIMARY KEY);
             CREATE TABLE other (id integer REFERENCES target)",
        )
        .await;
        let mut spec = spec(&db, &db, "source", "target");
        let checked = check(&db, &db, &spec).await;
        begins(&checked);
        found(
            &checked,
            Severity::Warning,
            &["foreign keys refer to the target", "other_id_fkey of public.other"],
        );
        let sequence = found(&checked, Severity::Warning, &["public.source_id_seq"]);
        assert_eq!(sequence.table.as_deref(), Some("public.source"));
        // One who may not keep them still would be refused.
        let role = format!("{}_plain", db.name);
        db.sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT ALL ON target TO {role}; GRANT CREATE ON DATABASE {} TO {role}",
            db.name
        ))
        .await;
        spec.target.user = role;
        let checked = check(&db, &db, &spec).await;
        found(
            &checked,
            Severity::Refused,
            &["foreign keys that refer to public.target", "would act"],
        );
        assert_eq!(of(&checked, Severity::Refused).len(), 1, "{:#?}", checked.findings);
    }
}

/// The program: its exit codes and lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_code_tells_whether_a_migration_could_begin() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "exit").await;
        db.sql("CREATE TABLE source (id integer PRIMARY KEY); CREATE TABLE keyless (id integer)")
            .await;
        let check = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pghost"));
            command
                .env("GHOST_SOURCE", db.dsn())
                .env("GHOST_TARGET", db.dsn())
                .arg("check")
                .args(args);
            let output = command.output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let (code, out, err) = check(&["--table", "source=target"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(
            out.starts_with("source: 0 refused") && out.contains("CREATE PUBLICATION"),
            "{out}"
        );
        for json in ["--json", "--progress=json"] {
            let (code, out, err) = check(&["--table", "keyless", json]);
            assert_eq!(code, Some(2), "{out}");
            assert!(err.starts_with("error: the migration keyless would be refused"), "{err}");
            let lines: Vec<Value> =
                out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines[0]["event"], "finding");
            assert_eq!(lines[0]["severity"], "refused");
            assert_eq!(lines[0]["table"], "public.keyless");
            let [.., sum, error] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!((&sum["event"], &sum["refused"]), (&"checked".into(), &1.into()));
            assert_eq!((&error["event"], &error["code"]), (&"error".into(), &2.into()));
        }
        // Both servers away are both told.
        let (code, out, _) = check(&[
            "--table",
            "t",
            "--source",
            "host=127.0.0.1 port=1 user=u dbname=x",
            "--target",
            "host=127.0.0.1 port=2 user=u dbname=x",
        ]);
        assert_eq!(code, Some(2), "{out}");
        assert!(out.contains("127.0.0.1:1") && out.contains("127.0.0.1:2"), "{out}");
    }
}
