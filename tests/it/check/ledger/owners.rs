//! Two owners in one database: each keeps a ledger of its own, and neither may touch the other's.

use pghost::{
    ledger::LedgerSchema,
    migrate::{self, StatusSpec},
};

use super::Stage;
use crate::support::{assert_same, oldest_and_newest, program::pghost_between};

/// A role that may do what a migration of its own tables needs, on both sides; and both sides as
/// that role reaches them.
async fn owner(stage: &Stage, role: &str, tables: &str) -> (String, String) {
    let Stage { from, to, .. } = stage;
    let name = format!("{role}_{}", from.name);
    from.sql(&format!(
        "CREATE ROLE {name} LOGIN REPLICATION; GRANT CREATE ON DATABASE {} TO {name};
         CREATE SCHEMA {role} AUTHORIZATION {name}; SET SESSION AUTHORIZATION {name}; {tables}",
        from.name
    ))
    .await;
    to.sql(&format!(
        "GRANT CREATE ON DATABASE {} TO {name}; CREATE SCHEMA {role} AUTHORIZATION {name}",
        to.name
    ))
    .await;
    (from.dsn_as(&name), to.dsn_as(&name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_owner_keeps_a_ledger_of_its_own() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        let table = |role: &str| {
            format!(
                "CREATE TABLE {role}.t (id serial PRIMARY KEY, v text);
                 INSERT INTO {role}.t (v) SELECT 'row ' || i FROM generate_series(1, 50) i"
            )
        };
        let (from_a, to_a) = owner(&stage, "a", &table("a")).await;
        let (from_b, to_b) = owner(&stage, "b", &table("b")).await;
        let [name_a, name_b] = ["a", "b"].map(|role| format!("{}_{role}", stage.name()));
        let ledger = "le\"dg.er B";
        let run = |(from, to): (&str, &str), code: i32, args: &[&str]| {
            let ended = pghost_between(from, to, args);
            let text = String::from_utf8_lossy(&ended.stderr).into_owned()
                + &String::from_utf8_lossy(&ended.stdout);
            assert_eq!(ended.status.code(), Some(code), "{args:?}: {text}");
            text
        };
        let (a, b) = ((&*from_a, &*to_a), (&*from_b, &*to_b));
        let (from, to) = (stage.from.dsn(), stage.to.dsn());
        run(a, 0, &["migrate", "--table", "a.t", "--name", &name_a]);
        // The other's is refused, and left alone.
        let mine = ["--table", "b.t", "--name", name_b.as_str()];
        for command in ["check", "migrate"] {
            let text = run(b, 2, &[&[command], &mine[..]].concat());
            assert!(text.contains("--ledger-schema"), "{command}: {text}");
        }
        let beside = |args: &[&'static str]| {
            let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            all.extend(["--name", &name_b, "--ledger-schema", ledger].map(str::to_owned));
            all
        };
        for command in [
            &["check", "--table", "b.t"][..],
            &["migrate", "--table", "b.t"],
            &["migrate"],
            &["verify"],
            &["cutover-sequences"],
            &["status"],
            &["cleanup", "--dry-run"],
        ] {
            let all = beside(command);
            let text = run(b, 0, &all.iter().map(String::as_str).collect::<Vec<_>>());
            if command == ["status"] {
                assert!(text.contains(&name_b) && !text.contains(&name_a), "{text}");
            }
        }
        assert_same((&stage.from, "b.t"), (&stage.to, "b.t"), "id").await;
        // The superuser trusts neither: it reads no ledger but a superuser's.
        let whose = format!("belongs to a_{}, not to postgres", stage.name());
        let text = run((&from, &to), 2, &["status"]);
        assert!(text.contains(&whose), "{text}");
        // A granted reader of no other rights reads a's, which is plain tables.
        let reader = format!("reader_{}", stage.name());
        stage
            .to
            .sql(&format!(
                "CREATE ROLE {reader} LOGIN; GRANT USAGE ON SCHEMA pghost TO {reader};
                 GRANT SELECT ON ALL TABLES IN SCHEMA pghost TO {reader}"
            ))
            .await;
        let as_reader = stage.to.dsn_as(&reader);
        let text = run((&from, &as_reader), 0, &["status"]);
        assert!(text.contains(&name_a), "{text}");
        run((&from, &as_reader), 2, &["cleanup", "--name", &name_a]);
        // And no view, whoever has made it.
        stage
            .to
            .sql(
                "ALTER TABLE pghost.page RENAME TO kept; CREATE VIEW pghost.page AS TABLE pghost.kept;
                 GRANT SELECT ON pghost.page TO public",
            )
            .await;
        let text = run((&from, &as_reader), 2, &["status"]);
        assert!(text.contains("pghost.page is no plain table, but a view"), "{text}");
        stage.to.sql("DROP VIEW pghost.page; ALTER TABLE pghost.kept RENAME TO page").await;
        run(b, 0, &beside(&["cleanup"]).iter().map(String::as_str).collect::<Vec<_>>());
        run(a, 0, &["migrate", "--name", &name_a]);
        run(a, 0, &["cleanup", "--name", &name_a]);
        let left = format!(
            "SELECT count(*) FROM pg_namespace WHERE nspname IN ('pghost', '{}')",
            ledger.replace('\'', "''")
        );
        assert_eq!(stage.to.value(&left).await, "0");
    }
}

/// The option is a key of the configuration file, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_ledger_lies_may_stand_in_the_file() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        let scratch = crate::support::login_servers::Scratch::new();
        let file = scratch.file("pghost.toml", "ledger-schema = \"beside\"\n", 0o600);
        let args = ["migrate", "--config", &file, "--table", "source=target", "--name"];
        let done = stage.run(&[&args[..], &[stage.name()]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let made = "SELECT string_agg(nspname, ' ') FROM pg_namespace
                     WHERE nspname IN ('beside', 'pghost')";
        assert_eq!(stage.to.value(made).await, "beside");
        let (target, ledger) = (stage.to.config(), LedgerSchema::new("beside"));
        let known = migrate::status(&StatusSpec { target, source: None, name: None, ledger }).await;
        assert_eq!(known.unwrap().len(), 1);
        let done = stage.run(&["cleanup", "--config", &file, "--name", stage.name()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
