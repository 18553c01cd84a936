//! `check` makes everything on trial: what would fail once all rows are there is refused before
//! anything began, with its statement, the server's message and what to do; and nothing stays.

mod allowed;
mod existing;
mod releases;
mod rows;

use pghost::{
    cluster::Binaries,
    migrate::{self, Checked, Exit, Finding, MigrationSpec, Severity, TableSpec},
    pg::QualifiedName,
};

use crate::{
    check::refusals::inventory,
    support::{Database, migrate, moments::drop_slot, oldest_and_newest, server, spec},
};

/// A migration of these tables to where they have the same names.
fn of(from: &Database, to: &Database, tables: &[&str]) -> MigrationSpec {
    let mut spec = spec(from, to, "", "");
    let named = |table: &&str| {
        let name = QualifiedName::new("public", *table);
        TableSpec { source: name.clone(), target: name }
    };
    spec.tables = tables.iter().map(named).collect();
    spec
}

async fn databases(binaries: &Binaries) -> (Database, Database) {
    let server = server(binaries);
    (Database::create(&server, "tried").await, Database::create(&server, "tried").await)
}

/// Checks, and makes sure that this has left no trace.
async fn check(from: &Database, to: &Database, spec: &MigrationSpec) -> Checked {
    let before = (inventory(from).await, inventory(to).await);
    let checked = migrate::check(spec).await.unwrap();
    assert_eq!(before, (inventory(from).await, inventory(to).await));
    checked
}

/// The finding of a table whose message and hint have all of these words.
#[track_caller]
fn found<'a>(checked: &'a Checked, severity: Severity, table: &str, words: &[&str]) -> &'a Finding {
    let table = format!("public.{table}");
    let has = |finding: &Finding, word: &str| {
        finding.message.contains(word) || finding.hint.as_ref().is_some_and(|h| h.contains(word))
    };
    let fits = |f: &&Finding| {
        f.severity == severity
            && f.table.as_ref() == Some(&table)
            && words.iter().all(|word| has(f, word))
    };
    let found = checked.findings.iter().find(fits);
    found.unwrap_or_else(|| {
        let bad: Vec<_> = checked.findings.iter().filter(|f| f.severity != Severity::Ok).collect();
        panic!("no {severity:?} {words:?} of {table} in {bad:#?}")
    })
}

/// Panics unless these tables, and no others, are refused, each for one reason.
#[track_caller]
fn refused_are(checked: &Checked, tables: &[&str]) {
    let mut refused: Vec<_> = (checked.findings.iter())
        .filter(|f| f.severity == Severity::Refused)
        .map(|f| f.table.clone().unwrap_or_default())
        .collect();
    refused.sort();
    let mut expected: Vec<_> = tables.iter().map(|table| format!("public.{table}")).collect();
    expected.sort();
    assert_eq!(refused, expected, "{:#?}", checked.findings);
    assert!(
        !checked.findings.iter().any(|f| f.message.contains("pghost_trial")),
        "{:#?}",
        checked.findings
    );
}

/// What the source's tables use.
const ON_THE_SOURCE: &str = "
    CREATE SCHEMA ext; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm SCHEMA ext;
    CREATE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n';
    CREATE FUNCTION pure(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN lower(t); END';
    CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';";

/// A table, what makes it, and words of what is found of it.
const MISSING: &[(&str, &str, &[&str])] = &[
    (
        "excluded",
        "CREATE TABLE excluded (id int PRIMARY KEY, r int, EXCLUDE USING gist (r WITH =))",
        &["42704", "EXCLUDE USING gist", "CREATE EXTENSION btree_gist SCHEMA public"],
    ),
    (
        "elsewhere",
        "CREATE TABLE elsewhere (id int PRIMARY KEY, t text);
         CREATE INDEX by_trgm ON elsewhere USING gin (t ext.gin_trgm_ops)",
        &["42704", "index by_trgm", "CREATE INDEX", "ALTER EXTENSION pg_trgm SET SCHEMA ext"],
    ),
    (
        "checked",
        "CREATE TABLE checked (id int PRIMARY KEY, CONSTRAINT by_f CHECK (f(id) > 0))",
        &["42883", "check constraint by_f", "ADD CONSTRAINT", "as it is on the source"],
    ),
    (
        "indexed",
        "CREATE TABLE indexed (id int PRIMARY KEY); CREATE INDEX by_f ON indexed (f(id))",
        &["42883", "index by_f", "CREATE INDEX", "as it is on the source"],
    ),
    (
        "guarded",
        "CREATE TABLE guarded (id int PRIMARY KEY); CREATE POLICY by_f ON guarded USING (f(id) > 0)",
        &["42883", "policy by_f", "CREATE POLICY", "--no-trial"],
    ),
    (
        "impure",
        "CREATE TABLE impure (id int PRIMARY KEY, t text); CREATE INDEX by_pure ON impure (pure(t))",
        &["42P17", "index by_pure", "ALTER FUNCTION .. IMMUTABLE on the target"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_object_needs_is_found_missing_before_anything_is_made() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(ON_THE_SOURCE).await;
        to.sql(
            "CREATE SCHEMA ext; CREATE EXTENSION pg_trgm;
             CREATE FUNCTION pure(t text) RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN RETURN lower(t); END'",
        )
        .await;
        let mut tables = vec!["fine", "triggered"];
        for (table, make, _) in MISSING {
            from.sql(make).await;
            tables.push(table);
        }
        from.sql(
            "CREATE TABLE fine (id serial PRIMARY KEY, a text UNIQUE, up int REFERENCES fine,
                 g int GENERATED ALWAYS AS (id * 2) STORED, CHECK (id > 0));
             INSERT INTO fine SELECT i, i, i FROM generate_series(1, 500) i;
             CREATE STATISTICS st ON a, up FROM fine;
             CREATE TABLE triggered (id int PRIMARY KEY);
             CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION trig()",
        )
        .await;
        let mut spec = of(&from, &to, &tables);
        let checked = check(&from, &to, &spec).await;
        for (table, _, words) in MISSING {
            found(&checked, Severity::Refused, table, words);
        }
        refused_are(&checked, &MISSING.iter().map(|(table, ..)| *table).collect::<Vec<_>>());
        let words = ["trigger t of", "left out", "42883", "CREATE TRIGGER", "as it is on"];
        found(&checked, Severity::Warning, "triggered", &words);

        // A run is refused by the same.
        let before = (inventory(&from).await, inventory(&to).await);
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("and 5 more"), "{failure}");
        assert_eq!(before, (inventory(&from).await, inventory(&to).await));

        // Without a trial it begins, and stops at the first of them.
        spec.trial = false;
        let checked = check(&from, &to, &spec).await;
        refused_are(&checked, &[]);
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_mended_is_found_no_more() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(ON_THE_SOURCE).await;
        to.sql(&ON_THE_SOURCE.replace("'BEGIN", "' BEGIN")).await;
        let mut tables = Vec::new();
        for (table, make, _) in MISSING {
            from.sql(make).await;
            tables.push(*table);
        }
        let spec = of(&from, &to, &tables);
        let checked = check(&from, &to, &spec).await;
        refused_are(&checked, &[]);
        let told = checked.findings.iter().find(|f| f.about == "trial").unwrap();
        assert!(told.message.contains("6 tables"), "{told:?}");
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        drop_slot(&from, &spec).await;
    }
}
