//! What only rows show: sampled ones run the functions of a table that is made, and of a copy of one
//! that the target has; and the source is asked for rows that break what its catalog says.

use pghost::migrate::Severity;

use super::{check, databases, found, of, refused_are};
use crate::support::{
    Database, assert_same, migrate, moments::drop_slot, oldest_and_newest, selected, server,
};

/// A function that finds another one by its search_path, which is `public` for everybody else.
const BY_PATH: &str = "
    CREATE FUNCTION helper(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.lower(t)';
    CREATE FUNCTION by_path(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
        'BEGIN RETURN helper(t); END';";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_find_others_by_the_search_path_are_refused() {
    let tables = ["checks", "generates", "indexes", "exists"];
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(BY_PATH).await;
        to.sql(BY_PATH).await;
        from.sql(
            "CREATE TABLE checks (id int PRIMARY KEY, t text, CONSTRAINT c CHECK (by_path(t) <> 'z'));
             CREATE TABLE generates (id int PRIMARY KEY, t text,
                 g text GENERATED ALWAYS AS (by_path(t)) STORED);
             CREATE TABLE indexes (id int PRIMARY KEY, t text); CREATE INDEX i ON indexes (by_path(t));
             CREATE TABLE exists (id int PRIMARY KEY, t text)",
        )
        .await;
        for table in tables {
            let sql =
                format!("INSERT INTO {table} (id, t) SELECT i, i FROM generate_series(1, 900) i");
            from.sql(&sql).await;
        }
        to.sql("CREATE TABLE exists (id int PRIMARY KEY, t text CHECK (by_path(t) <> 'z'))").await;
        let spec = of(&from, &to, &tables);
        let checked = check(&from, &to, &spec).await;
        let path = "ALTER FUNCTION .. SET search_path";
        found(&checked, Severity::Refused, "checks", &["VALIDATE CONSTRAINT", "42883", path]);
        found(&checked, Severity::Refused, "generates", &["rows of the source's", "42883", path]);
        found(&checked, Severity::Refused, "indexes", &["CREATE INDEX", "42883", path]);
        found(&checked, Severity::Refused, "exists", &["rows of the source's", "42883", path]);
        refused_are(&checked, &tables);
        // As the finding says.
        to.sql("ALTER FUNCTION by_path SET search_path = public").await;
        refused_are(&check(&from, &to, &spec).await, &[]);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        for table in tables {
            assert_same((&from, table), (&to, table), "id").await;
        }
        drop_slot(&from, &spec).await;
    }
}

/// No sequence of the target moves, and no default of it is computed: the copies have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_there_is_tried_by_a_copy_of_it() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(
            "CREATE TABLE must (id int PRIMARY KEY, a text); INSERT INTO must VALUES (1, NULL), (2, 'x');
             CREATE TABLE might (id int PRIMARY KEY, a text); INSERT INTO might VALUES (1, 'x');
             CREATE TABLE small (id int PRIMARY KEY, a int); INSERT INTO small VALUES (1, 7);
             CREATE TABLE more (id int PRIMARY KEY, a int); INSERT INTO more VALUES (1, 7);",
        )
        .await;
        to.sql(
            "CREATE TABLE must (id int PRIMARY KEY, a text NOT NULL);
             CREATE TABLE might (id int PRIMARY KEY, a text NOT NULL);
             CREATE TABLE small (id int PRIMARY KEY, a int CONSTRAINT few CHECK (a < 5));
             CREATE TABLE more (id int PRIMARY KEY, a int, n serial, x text NOT NULL DEFAULT now())",
        )
        .await;
        let spec = of(&from, &to, &["must", "might", "small", "more"]);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "small", &["23514", "few"]);
        found(&checked, Severity::Refused, "must", &["\"a\" is NULL", "DROP NOT NULL"]);
        let told = ["may be NULL", "all rows were looked at"];
        found(&checked, Severity::Warning, "might", &told);
        let refused = checked.findings.iter().filter(|f| f.severity == Severity::Refused);
        let of: Vec<_> = refused.filter_map(|f| f.table.as_deref()).collect();
        assert!(of.iter().all(|t| ["public.must", "public.small"].contains(t)), "{of:?}");
        let called = "SELECT is_called FROM more_n_seq";
        assert_eq!(to.value(called).await, "f");
    }
}

/// Foreign keys are only said to be valid, and NOT NULLs are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_break_what_the_catalog_says_are_found() {
    for binaries in oldest_and_newest() {
        let (from, to) = databases(&binaries).await;
        from.sql(
            "CREATE TABLE par (a int, b text, PRIMARY KEY (a, b)); INSERT INTO par VALUES (1, 'x');
             CREATE TABLE chi (id int PRIMARY KEY, a int, b text, CONSTRAINT of_par FOREIGN KEY (a, b) REFERENCES par);
             CREATE TABLE lax (id int PRIMARY KEY, a int, b text);
             INSERT INTO chi VALUES (1, 1, 'x'), (2, NULL, 'y');
             SET session_replication_role = replica; INSERT INTO chi VALUES (3, 1, 'gone');
             INSERT INTO lax VALUES (3, 1, 'gone'); RESET session_replication_role;
             ALTER TABLE lax ADD FOREIGN KEY (a, b) REFERENCES par NOT VALID",
        )
        .await;
        let spec = of(&from, &to, &["par", "chi", "lax"]);
        let checked = check(&from, &to, &spec).await;
        found(&checked, Severity::Refused, "chi", &["of_par", "(a, b) = (1, gone)", "NOT VALID"]);
        refused_are(&checked, &["chi"]);
        from.sql("DELETE FROM chi WHERE id = 3").await;
        refused_are(&check(&from, &to, &spec).await, &[]);
        // In any order, and with rows whose references are not in the sample.
        from.sql(
            "INSERT INTO par SELECT i, 'x' FROM generate_series(2, 3000) i;
             INSERT INTO chi SELECT i, 3001 - i, 'x' FROM generate_series(10, 2990) i; ANALYZE",
        )
        .await;
        let spec = of(&from, &to, &["chi", "lax", "par"]);
        refused_are(&check(&from, &to, &spec).await, &[]);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nulls_where_not_null_is_not_valid_are_found() {
    let Some(binaries) = selected(18) else { return };
    let server = server(&binaries);
    let from = Database::create(&server, "tried").await;
    let to = Database::create(&server, "tried").await;
    from.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, NULL);
         ALTER TABLE t ADD CONSTRAINT must NOT NULL a NOT VALID",
    )
    .await;
    let spec = of(&from, &to, &["t"]);
    // A table that is made gets it after the rows, and NOT VALID too.
    refused_are(&check(&from, &to, &spec).await, &[]);
    to.sql("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL)").await;
    let checked = check(&from, &to, &spec).await;
    found(&checked, Severity::Refused, "t", &["\"a\" is NULL", "DROP NOT NULL"]);
}
