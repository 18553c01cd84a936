//! A role that may log in and nothing else, and functions of its own that take whatever rights they
//! are run with.

use pghost::{
    config::Config,
    conn::parse_dsn,
    migrate::{self, Checked, Exit, MigrationSpec, Severity, VerifySpec},
};
use tokio::sync::watch;

use crate::support::{Database, migrate as run, nothing_is_left_open, query};

pub(super) struct Attacker {
    /// Of both databases.
    pub(super) name: String,
    both: [Database; 2],
}

impl Attacker {
    /// Makes the role, and on both sides a schema `m` of its own.
    pub(super) async fn make(from: &Database, to: &Database) -> Self {
        let name = format!("mallory_{}", from.name);
        from.sql(&format!("CREATE ROLE {name} LOGIN")).await;
        for database in both(from, to) {
            database.sql(&format!("CREATE SCHEMA m AUTHORIZATION {name}")).await;
        }
        Self { name, both: [from.clone(), to.clone()] }
    }

    /// Settings with which it logs in.
    pub(super) fn config(&self, database: &Database) -> Config {
        as_role(database, &self.name)
    }

    pub(super) async fn sql(&self, database: &Database, sql: &str) {
        query(&self.config(database), sql).await;
    }

    /// Makes `m.evil_KIND(integer) RETURNS boolean`, which leaves a file on the server where it may,
    /// and makes its owner a superuser.
    pub(super) async fn evil(&self, database: &Database, kind: &str) {
        let sql = format!(
            "CREATE FUNCTION m.evil_{kind}(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$ {} $f$",
            self.body(database, kind, "true").await
        );
        self.sql(database, &sql).await;
    }

    /// The body of a function that takes what it gets. What is called immutable may not write itself,
    /// but call what does.
    pub(super) async fn body(&self, database: &Database, kind: &str, returns: &str) -> String {
        let home = database.value("SELECT current_setting('data_directory')").await;
        let takes = format!(
            "CREATE OR REPLACE FUNCTION m.take_{kind}() RETURNS void LANGUAGE plpgsql AS $f$
             BEGIN
               BEGIN EXECUTE $x$COPY (SELECT 1) TO '{home}/{}'$x$;
               EXCEPTION WHEN OTHERS THEN NULL; END;
               BEGIN EXECUTE 'ALTER ROLE {} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
             END $f$",
            self.witness(kind),
            self.name
        );
        self.sql(database, &takes).await;
        format!("BEGIN PERFORM m.take_{kind}(); RETURN {returns}; END")
    }

    /// A file that only code with rights of the server's leaves.
    pub(super) fn witness(&self, kind: &str) -> String {
        format!("witness_{}_{kind}", self.name)
    }

    /// The kinds of those that have run with such rights.
    pub(super) async fn has_run(&self) -> Vec<String> {
        let prefix = self.witness("");
        let sql = format!(
            "SELECT coalesce(string_agg(right(f, -{}), ' ' ORDER BY f), '') FROM pg_ls_dir('.') f
              WHERE starts_with(f, '{prefix}')",
            prefix.len()
        );
        let all = self.both[0].value(&sql).await;
        all.split_whitespace().map(str::to_owned).collect()
    }

    /// Panics if it has got anything.
    #[track_caller]
    pub(super) fn assert_is_nobody(&self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let sql = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{}'", self.name);
            let (is_superuser, has_run) = (self.both[0].value(&sql).await, self.has_run().await);
            assert_eq!((is_superuser.as_str(), &has_run), ("f", &Vec::new()), "{place}");
        }
    }

    /// Panics unless the migration is refused for these words by `check`, a run and a comparison,
    /// and the attacker gets nothing from any.
    pub(super) async fn is_refused(&self, spec: &MigrationSpec, words: &[&str]) {
        self.alone().await;
        let checked = migrate::check(spec).await.unwrap();
        let refused: Vec<_> =
            checked.findings.iter().filter(|f| f.severity == Severity::Refused).collect();
        let has_all = |text: &str| words.iter().all(|word| text.contains(word));
        assert!(
            refused.iter().any(|f| f.about == "owners" && has_all(&f.message)),
            "{words:?}: {refused:#?}"
        );
        assert!(
            refused.iter().all(|f| f.hint.as_ref().is_some_and(|h| h.contains(&self.option())))
        );
        let failure = run(spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.hint.contains(&self.option()), "{failure}");
        self.assert_is_nobody().await;
    }

    /// A run that has just ended is no other that is running.
    pub(super) async fn alone(&self) {
        for database in &self.both {
            nothing_is_left_open(&database.config()).await;
        }
    }

    /// The same of a comparison.
    pub(super) async fn is_not_compared(&self, spec: &MigrationSpec) {
        let failure = verify(spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.hint.contains(&self.option()), "{failure}");
        self.assert_is_nobody().await;
    }

    fn option(&self) -> String {
        format!("--trust-owner {}", self.name)
    }

    /// What it was given is taken away again.
    pub(super) async fn is_nobody_again(&self) {
        let sql = format!(
            "ALTER ROLE {} NOSUPERUSER; COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; rm -f {}*'",
            self.name,
            self.witness("")
        );
        self.both[0].sql(&sql).await;
        self.assert_is_nobody().await;
    }
}

/// A database as a role sees it.
pub(super) fn as_role(database: &Database, role: &str) -> Config {
    parse_dsn(&format!("{} user={role}", database.dsn())).unwrap()
}

pub(super) async fn verify(spec: &MigrationSpec) -> Result<(), migrate::Failure> {
    let spec = spec.clone();
    let spec = VerifySpec {
        source: spec.source,
        target: spec.target,
        tables: spec.tables,
        name: spec.name,
        ledger: spec.ledger,
        slot: None,
        page_rows: Some(10),
        list: 20,
        trust: spec.trust,
    };
    let (_stay, interrupt) = watch::channel(false);
    migrate::verify(&spec, interrupt, &mut |_: &migrate::Event| {}).await
}

/// What is told of owners besides.
pub(super) fn told(checked: &Checked) -> Vec<&str> {
    let told = checked.findings.iter().filter(|f| f.about.starts_with("owner"));
    told.map(|f| f.message.as_str()).collect()
}

/// Both of them, or the one that is both.
fn both<'a>(from: &'a Database, to: &'a Database) -> Vec<&'a Database> {
    if from.name == to.name { vec![from] } else { vec![from, to] }
}
