//! Whatever can be put into a ledger that runs somebody's code, each by itself.

use super::{Stage, migrated};
use crate::support::oldest_and_newest;

/// What is planted, what takes it away again, and words of the refusal. `mallory` is the attacker.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "CREATE TRIGGER t BEFORE UPDATE ON pghost.migration FOR EACH ROW EXECUTE FUNCTION evil.fires()",
        "DROP TRIGGER t ON pghost.migration",
        "pghost.migration has a trigger t that pghost did not make",
    ),
    (
        "CREATE RULE r AS ON INSERT TO pghost.page DO ALSO SELECT evil.text()",
        "DROP RULE r ON pghost.page",
        "pghost.page has a rule r that pghost did not make",
    ),
    (
        "CREATE POLICY p ON pghost.object USING (evil.text() = 'x')",
        "DROP POLICY p ON pghost.object",
        "pghost.object has a policy p that pghost did not make",
    ),
    (
        "ALTER TABLE pghost.object ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE pghost.object DISABLE ROW LEVEL SECURITY",
        "row security",
    ),
    (
        "ALTER TABLE pghost.object ALTER skipped SET DEFAULT evil.text()",
        "ALTER TABLE pghost.object ALTER skipped DROP DEFAULT",
        "the column skipped is text DEFAULT evil.text()",
    ),
    (
        "ALTER TABLE pghost.migration_table ALTER inserted SET DEFAULT length(evil.text())",
        "ALTER TABLE pghost.migration_table ALTER inserted SET DEFAULT 0",
        "the column inserted is",
    ),
    (
        "ALTER TABLE pghost.page ADD CONSTRAINT c CHECK (evil.text() = 'x')",
        "ALTER TABLE pghost.page DROP CONSTRAINT c",
        "pghost.page has a constraint c that pghost did not make",
    ),
    (
        "ALTER TABLE pghost.migration RENAME TO kept;
         CREATE VIEW pghost.migration AS SELECT evil.text() AS name, k.* FROM pghost.kept k (old)",
        "DROP VIEW pghost.migration; ALTER TABLE pghost.kept RENAME TO migration",
        "pghost.migration is no plain table, but a view",
    ),
    (
        "ALTER TABLE pghost.page ADD more text",
        "ALTER TABLE pghost.page DROP more",
        "it has another column, more",
    ),
    (
        "ALTER TABLE pghost.page ADD more bigint GENERATED ALWAYS AS (abs(number)) STORED",
        "ALTER TABLE pghost.page DROP more",
        "it has another column, more",
    ),
    (
        "CREATE DOMAIN evil.d AS text CHECK (evil.text() = 'x');
         ALTER TABLE pghost.object ALTER skipped TYPE evil.d",
        "ALTER TABLE pghost.object ALTER skipped TYPE text; DROP DOMAIN evil.d",
        "the column skipped is evil.evil.d",
    ),
    (
        "CREATE INDEX i ON pghost.page (abs(number))",
        "DROP INDEX pghost.i",
        "pghost.page has an index i that pghost did not make",
    ),
    (
        "CREATE STATISTICS pghost.s ON (abs(number)), ordinal FROM pghost.page",
        "DROP STATISTICS pghost.s",
        "pghost.page has statistics s that pghost did not make",
    ),
    (
        "CREATE TABLE evil.child () INHERITS (pghost.page)",
        "DROP TABLE evil.child",
        "inheritance (child)",
    ),
    (
        "CREATE TABLE evil.refers (n text REFERENCES pghost.migration ON DELETE CASCADE)",
        "DROP TABLE evil.refers",
        "evil.refers refers to pghost.migration",
    ),
    (
        "ALTER TABLE pghost.page DROP CONSTRAINT page_pkey",
        "ALTER TABLE pghost.page ADD PRIMARY KEY (migration, ordinal, number)",
        "it has no primary key",
    ),
    (
        "ALTER TABLE pghost.object OWNER TO mallory",
        "ALTER TABLE pghost.object OWNER TO postgres",
        "pghost.object belongs to mallory, not to postgres",
    ),
    (
        "GRANT USAGE ON SCHEMA pghost TO mallory; GRANT UPDATE ON pghost.object TO mallory",
        "REVOKE ALL ON pghost.object FROM mallory",
        "mallory may write to pghost.object (UPDATE)",
    ),
    (
        "GRANT UPDATE (statements) ON pghost.object TO public",
        "REVOKE UPDATE (statements) ON pghost.object FROM public",
        "everybody may write to pghost.object (UPDATE)",
    ),
    (
        "GRANT CREATE ON SCHEMA pghost TO mallory",
        "REVOKE CREATE ON SCHEMA pghost FROM mallory",
        "mallory may create objects in the schema pghost",
    ),
    (
        "ALTER SCHEMA pghost OWNER TO mallory",
        "ALTER SCHEMA pghost OWNER TO postgres",
        "the schema pghost belongs to mallory, not to postgres",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_could_run_somebodys_code_is_refused() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        stage.as_mallory("SELECT 1").await;
        migrated(&stage).await;
        for (plant, undo, words) in PLANTED {
            let [plant, undo, words] =
                [plant, undo, words].map(|text| text.replace("mallory", &stage.mallory));
            stage.to.sql(&plant).await;
            stage.refuses(&["cleanup", "--name", stage.name(), "--dry-run"], &words).await;
            stage.to.sql(&undo).await;
        }
        // It was all undone.
        migrated(&stage).await;
        let done = stage.run(&["cleanup", "--name", stage.name()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Default privileges give everybody rights to what a role makes: the ledger is not made then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_others_could_write_to_is_not_made() {
    for binaries in oldest_and_newest() {
        let stage = Stage::make(&binaries).await;
        stage.to.sql("ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO public").await;
        let args = ["migrate", "--table", "source=target", "--name", stage.name()];
        stage.refuses(&args, "everybody may write to pghost.").await;
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(stage.to.value(left).await, "0");
        assert_eq!(stage.to.value("SELECT to_regclass('public.target') IS NULL").await, "t");
    }
}
