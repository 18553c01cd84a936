//! Whose the ledger is: one that somebody else has made, or has put something into, is never read,
//! and a second owner keeps one of its own in the same database.

use std::process::Output;

use pghost::cluster::Binaries;

use crate::support::{Database, oldest_and_newest, program::pghost, server};

mod export;
mod gaps;
mod owners;
mod planted;
mod taken_up;
mod upgraded;
mod wished;

/// A source with a table, a target, and a role without any rights but to log in, which may create
/// in the target's database, as the owner of an application's database may.
pub(crate) struct Stage {
    pub(crate) from: Database,
    pub(crate) to: Database,
    pub(crate) mallory: String,
}

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 100) i";

impl Stage {
    pub(crate) async fn make(binaries: &Binaries) -> Self {
        let server = server(binaries);
        let from = Database::create(&server, "whose").await;
        let to = Database::create(&server, "whose").await;
        from.sql(TABLE).await;
        let mallory = format!("mallory_{}", to.name);
        to.sql(&format!(
            "CREATE ROLE {mallory} LOGIN; GRANT CREATE ON DATABASE {} TO {mallory}",
            to.name
        ))
        .await;
        Self { from, to, mallory }
    }

    /// Runs statements on the target as the attacker, who makes himself superuser if anybody who
    /// can evaluates his function.
    pub(crate) async fn as_mallory(&self, sql: &str) {
        let Self { to, mallory, .. } = self;
        let evil = format!(
            "SET SESSION AUTHORIZATION {mallory}; CREATE SCHEMA IF NOT EXISTS evil;
             CREATE OR REPLACE FUNCTION evil.text() RETURNS text LANGUAGE plpgsql AS
                 $$ BEGIN IF current_setting('application_name') = 'test' THEN RETURN 'x'; END IF;
                    EXECUTE 'ALTER ROLE {mallory} SUPERUSER'; RETURN 'x';
                    EXCEPTION WHEN insufficient_privilege THEN RETURN 'x'; END $$;
             CREATE OR REPLACE FUNCTION evil.fires() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM evil.text(); RETURN NEW; END';"
        );
        to.sql(&format!("{evil} {sql}")).await;
    }

    /// The migration's: slots are of the whole server, and so are names made from tests' databases.
    pub(crate) fn name(&self) -> &str {
        &self.from.name
    }

    /// Runs the program against both.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        pghost(&self.from, &self.to, args)
    }

    /// Every command that reads or writes a ledger refuses this one with these words, before
    /// anything is made on either side; and nobody has got any rights by it.
    pub(crate) async fn all_refuse(&self, words: &[&str]) {
        let name = self.name();
        let commands: &[&[&str]] = &[
            &["status"],
            &["check", "--table", "source=target", "--name", name],
            &["cleanup", "--name", name, "--dry-run"],
            &["cleanup", "--name", name],
            &["verify", "--name", name],
            &["cutover-sequences", "--name", name],
            &["migrate", "--table", "source=target", "--name", name],
        ];
        let before = self.made().await;
        for command in commands {
            let ended = self.run(command);
            let text = String::from_utf8_lossy(&ended.stderr).into_owned()
                + &String::from_utf8_lossy(&ended.stdout);
            assert_eq!(ended.status.code(), Some(2), "{words:?}: {command:?}: {text}");
            assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {command:?}: {text}");
            assert!(text.contains("--ledger-schema"), "{command:?}: {text}");
        }
        assert_eq!(self.made().await, before, "{words:?}");
        let superuser = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{}'", self.mallory);
        assert_eq!(self.to.value(&superuser).await, "f", "{words:?}");
    }

    /// One command refuses it with these words, and nobody has got any rights by it.
    pub(crate) async fn refuses(&self, command: &[&str], words: &str) {
        let ended = self.run(command);
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{words}: {command:?}: {text}");
        assert!(text.contains(words), "{words}: {text}");
        let superuser = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{}'", self.mallory);
        assert_eq!(self.to.value(&superuser).await, "f", "{words}");
    }

    /// What a run could have made, by its kinds.
    async fn made(&self) -> String {
        let target = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v', 'i')";
        let source = "SELECT (SELECT count(*) FROM pg_replication_slots
                                WHERE database = current_database())
                            + (SELECT count(*) FROM pg_publication)";
        format!("{} {}", self.to.value(target).await, self.from.value(source).await)
    }
}

/// A ledger as pghost makes it, without a migration that could be in the way, in another's hands.
async fn migrated(stage: &Stage) {
    let done = stage.run(&["migrate", "--table", "source=target", "--name", stage.name()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_somebody_else_has_made_is_not_read() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        let whose = format!("the schema pghost belongs to {}, not to postgres", stage.mallory);
        let whose = &[whose.as_str()];
        // A view in the place of a table: reading it runs its function.
        stage
            .as_mallory(
                "CREATE SCHEMA pghost; CREATE VIEW pghost.migration AS
                 SELECT evil.text() AS name, now() AS created_at, 2 AS ledger_version",
            )
            .await;
        stage.all_refuse(whose).await;
        // Nothing but the schema, whose owner may replace whatever is made in it.
        stage.as_mallory("DROP SCHEMA pghost CASCADE; CREATE SCHEMA pghost").await;
        stage.all_refuse(whose).await;
        // All that pghost makes, in the hands of another, who adds a trigger or just writes to it.
        stage.to.sql("DROP SCHEMA pghost").await;
        migrated(&stage).await;
        let give =
            "SELECT string_agg(format('ALTER TABLE pghost.%I OWNER TO %I', relname, '{}'), ';')
                      FROM pg_class WHERE relnamespace = 'pghost'::regnamespace AND relkind = 'r'";
        let give = stage.to.value(&give.replace("{}", &stage.mallory)).await;
        stage.to.sql(&give).await;
        let tables = format!("belongs to {}, not to postgres", stage.mallory);
        stage.all_refuse(&["pghost.", &tables]).await;
        stage.to.sql(&format!("ALTER SCHEMA pghost OWNER TO {}", stage.mallory)).await;
        stage
            .as_mallory(
                "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON pghost.migration FOR EACH ROW
                     EXECUTE FUNCTION evil.fires();
                 ALTER TABLE pghost.migration ENABLE ALWAYS TRIGGER t;
                 INSERT INTO pghost.object SELECT migration, ordinal, 99, 'index', 'i',
                     ARRAY['ALTER ROLE ' || current_user || ' SUPERUSER'] FROM pghost.migration_table",
            )
            .await;
        stage.all_refuse(whose).await;
    }
}

/// Also one that means no harm: a schema of that name with a table of another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_that_name_with_other_tables_is_told_before_anything_is_made() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        for table in ["page (id int)", "migration (id int, name text)", "failure (id int)"] {
            stage.to.sql(&format!("CREATE SCHEMA pghost; CREATE TABLE pghost.{table}")).await;
            let (name, _) = table.split_once(' ').unwrap();
            stage.all_refuse(&[&format!("a table pghost.{name} that is not pghost's")]).await;
            stage.to.sql("DROP SCHEMA pghost CASCADE").await;
        }
        // An empty one of our own is where the ledger goes, as where a role may not make schemas.
        stage.to.sql("CREATE SCHEMA pghost").await;
        migrated(&stage).await;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'pghost'::regnamespace
                         AND relkind = 'r'";
        assert_eq!(stage.to.value(tables).await, "5");
    }
}

/// A ledger may name anything as its slot and publication: only what pghost calls so by itself, or
/// what a person names, is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_pghost_may_have_made_is_removed() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        migrated(&stage).await;
        let (from, name) = (&stage.from, stage.name());
        let own = format!("pghost_{name}");
        from.sql("CREATE PUBLICATION payroll_pub FOR TABLE source").await;
        let slot =
            format!("SELECT pg_create_logical_replication_slot('payroll_{name}', 'pgoutput')");
        from.sql(&slot).await;
        let ledger =
            |column: &str, value: &str| format!("UPDATE pghost.migration SET {column} = '{value}'");
        let refused = |args: &[&str], word: &str| {
            let ended = stage.run(args);
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(2), "{args:?}: {text}");
            assert!(text.contains(word), "{args:?}: {text}");
        };
        let slot = format!("payroll_{name}");
        for dry in [&["cleanup", "--name", name, "--dry-run"][..], &["cleanup", "--name", name]] {
            stage.to.sql(&ledger("slot", &slot)).await;
            refused(dry, &format!("--slot {slot}"));
            stage.to.sql(&ledger("slot", &own)).await;
            stage.to.sql(&ledger("publication", "payroll_pub")).await;
            refused(dry, "--publication payroll_pub");
            stage.to.sql(&ledger("publication", &own)).await;
        }
        // So does a run that would clear an earlier one's beginnings away.
        stage.to.sql(&ledger("slot", &slot)).await;
        stage.to.sql(&ledger("phase", "prepare")).await;
        refused(
            &["migrate", "--table", "source=target", "--name", name],
            &format!("--slot {slot}"),
        );
        let there = format!(
            "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ('{slot}', '{own}'))
                  + (SELECT count(*) FROM pg_publication)"
        );
        assert_eq!(from.value(&there).await, "4");
        // Named, it goes.
        stage.to.sql(&ledger("phase", "done")).await;
        let done = stage.run(&["cleanup", "--name", name, "--slot", &slot]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(from.value(&there).await, "2");
        from.sql(&format!("SELECT pg_drop_replication_slot('{own}')")).await;
    }
}
