//! Whose rights: of a role that is set to another one, and what the other commands make of owners.

use pghost::{
    migrate::{self, CleanupSpec, CutoverSpec, Exit, Severity, TableSpec, Trust},
    pg::QualifiedName,
};

use super::attacker::{Attacker, as_role, told, verify};
use crate::support::{
    Database, migrate as run, moments::drop_slot, oldest_and_newest, program::pghost_between,
    server, spec,
};

/// A superuser whose role is set to one without any rights: code that runs in its session may
/// RESET ROLE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_that_is_set_to_another_role_is_one() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_set").await;
        let to = Database::create(&server, "strange_set").await;
        let mallory = Attacker::make(&from, &to).await;
        let (admin, owner) = (format!("admin_{}", to.name), &mallory.name);
        for (rights, member_of) in [("SUPERUSER", ""), ("", "pg_write_server_files, ")] {
            to.sql(&format!(
                "CREATE ROLE {admin} LOGIN REPLICATION {rights}; GRANT {member_of} {owner} TO {admin};
                 ALTER ROLE {admin} SET role = {owner}; GRANT CREATE ON DATABASE {} TO {owner}",
                to.name
            ))
            .await;
            from.sql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)")
                .await;
            from.sql(&format!("GRANT ALL ON t TO {owner}")).await;
            mallory.evil(&to, "check").await;
            mallory.evil(&from, "check").await;
            for database in [&from, &to] {
                let makes = "CREATE TABLE m.t (id int PRIMARY KEY, v int CHECK (m.evil_check(v)))";
                mallory.sql(database, makes).await;
            }

            // What it makes would be the other one's: the ledger first of all.
            let mut spec = spec(&from, &to, "t", "t");
            spec.target = as_role(&to, &admin);
            let failure = run(&spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains(&format!("would belong to {owner}")), "{failure}");
            assert!(failure.hint.contains("options=-crole=none"), "{failure}");
            let checked = migrate::check(&spec).await.unwrap();
            let refused = |f: &&migrate::Finding| f.severity == Severity::Refused;
            let refused = checked.findings.iter().find(refused).unwrap();
            assert!(refused.message.contains("would belong to"), "{:#?}", checked.findings);
            let ledgers = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
            assert_eq!(to.value(ledgers).await, "0");

            // One that is there is as little its own.
            to.sql(&format!("CREATE SCHEMA pghost AUTHORIZATION {owner}")).await;
            for command in ["status", "cleanup", "cutover-sequences"] {
                let args: &[&str] = if command == "status" { &[] } else { &["--name", "x"] };
                let args = [&[command], args].concat();
                let ended = pghost_between(&from.dsn(), &to.dsn_as(&admin), &args);
                let text = String::from_utf8_lossy(&ended.stderr);
                assert_eq!(ended.status.code(), Some(2), "{command}: {text}");
                assert!(text.contains(&admin) && text.contains(owner), "{command}: {text}");
            }
            to.sql("DROP SCHEMA pghost").await;

            // Nor are its tables, on either side.
            spec.tables[0].target = QualifiedName::new("m", "t");
            let failure = verify(&spec).await.unwrap_err();
            assert!(failure.message.contains(&format!("rights of {admin}")), "{failure}");
            (spec.source, spec.target) = (as_role(&from, &admin), to.config());
            spec.tables[0] = TableSpec {
                source: QualifiedName::new("m", "t"),
                target: QualifiedName::new("public", "new"),
            };
            let checked = migrate::check(&spec).await.unwrap();
            let words = format!("rights of {admin} on the source");
            let is_told = |f: &&migrate::Finding| f.message.contains(&words);
            let found = checked.findings.iter().find(is_told).unwrap();
            assert_eq!(found.severity, Severity::Refused, "{:#?}", checked.findings);
            mallory.assert_is_nobody().await;

            // As who has logged in it works.
            (spec.source, spec.target) = (from.config(), as_role(&to, &admin));
            spec.target.options = Some("-crole=none".into());
            let name = QualifiedName::new("public", "t");
            spec.tables[0] = TableSpec { source: name.clone(), target: name };
            if rights == "SUPERUSER" {
                run(&spec).await.unwrap();
                drop_slot(&from, &spec).await;
            }
            from.sql("DROP TABLE t; DROP SCHEMA m CASCADE").await;
            to.sql("DROP TABLE IF EXISTS t; DROP SCHEMA m CASCADE; DROP SCHEMA IF EXISTS pghost CASCADE")
                .await;
            for database in [&from, &to] {
                database
                    .sql(&format!("DROP OWNED BY {admin}; CREATE SCHEMA m AUTHORIZATION {owner}"))
                    .await;
            }
            to.sql(&format!("DROP ROLE {admin}")).await;
        }
    }
}

/// Event triggers fire with the rights of whoever makes or drops something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_trigger_that_calls_a_strangers_function_is_judged_as_all_else() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_event").await;
        let to = Database::create(&server, "strange_event").await;
        let mallory = Attacker::make(&from, &to).await;
        from.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
        let well = spec(&from, &to, "t", "t");
        run(&well).await.unwrap();
        let body = mallory.body(&to, "event", "NULL").await.replace("RETURN NULL; ", "");
        let makes = format!(
            "CREATE FUNCTION m.fires() RETURNS event_trigger LANGUAGE plpgsql AS $f$ {body} $f$"
        );
        mallory.sql(&to, &makes).await;
        let mover = format!("mover_{}", to.name);
        to.sql(&format!(
            "CREATE ROLE {mover} LOGIN; GRANT CREATE ON DATABASE {} TO {mover};
             GRANT CREATE, USAGE ON SCHEMA public TO {mover}; GRANT USAGE ON SCHEMA m TO {mover}",
            to.name
        ))
        .await;
        to.sql("CREATE EVENT TRIGGER any_ddl ON ddl_command_end EXECUTE FUNCTION m.fires()").await;
        let mut other = spec(&from, &to, "t", "u");
        other.name = Some(format!("{}_u", from.name));
        mallory.is_refused(&other, &["on the target", "function m.fires()"]).await;

        // What it made before can't be removed, either.
        mallory.alone().await;
        let mut cleanup = CleanupSpec::new(from.config(), to.config(), from.name.clone());
        let failure = migrate::cleanup(&cleanup).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("function m.fires()"), "{failure}");
        mallory.assert_is_nobody().await;
        cleanup.dry_run = true;
        migrate::cleanup(&cleanup).await.unwrap();
        mallory.assert_is_nobody().await;

        // Any other role is told, and its check makes the trial as its run makes the table.
        let mut modest = other.clone();
        (modest.target, modest.ledger) =
            (as_role(&to, &mover), pghost::ledger::LedgerSchema::new("beside"));
        mallory.alone().await;
        let checked = migrate::check(&modest).await.unwrap();
        let trial = checked.findings.iter().find(|f| f.about == "trial").unwrap();
        assert!(trial.message.contains("made on trial and rolled back"), "{trial:?}");
        assert!(
            told(&checked).iter().any(|text| text.contains("function m.fires()")),
            "{:#?}",
            checked.findings
        );
        mallory.assert_is_nobody().await;

        // So does one that trusts it.
        other.trust.owners = vec![mallory.name.clone()];
        mallory.alone().await;
        let checked = migrate::check(&other).await.unwrap();
        let trial = checked.findings.iter().find(|f| f.about == "trial").unwrap();
        assert!(trial.message.contains("made on trial and rolled back"), "{trial:?}");
        run(&other).await.unwrap();
        assert_eq!(mallory.has_run().await, ["event"]);
        mallory.alone().await;
        (cleanup.dry_run, cleanup.trust) = (false, other.trust.clone());
        migrate::cleanup(&cleanup).await.unwrap();
        drop_slot(&from, &other).await;
        mallory.is_nobody_again().await;
    }
}

/// A table's owner says which sequence feeds it; that may be another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_powerful_role_moves_no_sequence_because_a_stranger_says_so() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "strange_feed").await;
        let to = Database::create(&server, "strange_feed").await;
        let mallory = Attacker::make(&from, &to).await;
        to.sql(
            "CREATE SCHEMA pay; CREATE SEQUENCE pay.numbers; GRANT USAGE ON SCHEMA pay TO public",
        )
        .await;
        from.sql("CREATE TABLE t (id serial PRIMARY KEY); SELECT setval('t_id_seq', 1000000)")
            .await;
        let makes =
            "CREATE TABLE m.t (id int PRIMARY KEY DEFAULT nextval('pay.numbers'::regclass))";
        mallory.sql(&to, makes).await;
        let tables = vec![TableSpec {
            source: QualifiedName::new("public", "t"),
            target: QualifiedName::new("m", "t"),
        }];
        let (source, target) = (from.config(), to.config());
        let ledger = pghost::ledger::LedgerSchema::default();
        let mut spec = CutoverSpec {
            source,
            target,
            name: None,
            ledger,
            tables,
            gap: 10,
            trust: Trust::default(),
        };
        let failure = migrate::cutover_sequences(&spec, &mut |_| {}).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("table m.t"), "{failure}");
        assert!(failure.hint.contains("--trust-owner"), "{failure}");
        let last = "SELECT last_value FROM pay.numbers";
        assert_eq!(to.value(last).await, "1");
        // Who has no more rights than its owner moves what that could.
        spec.target = mallory.config(&to);
        let mut reports = Vec::new();
        let ended =
            migrate::cutover_sequences(&spec, &mut |all| reports.extend_from_slice(all)).await;
        assert_eq!(ended.unwrap_err().exit, Exit::Stopped, "{reports:?}");
        assert_eq!(to.value(last).await, "1");
        spec.target = to.config();
        spec.trust.owners = vec![mallory.name.clone()];
        migrate::cutover_sequences(&spec, &mut |_| {}).await.unwrap();
        assert_eq!(to.value(last).await, "1000010");
        mallory.assert_is_nobody().await;
    }
}
