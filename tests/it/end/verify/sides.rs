//! Two sides that are not alike: encodings, types, spellings of one key; and what is refused.

use pghost::verify::Kind;
use serde_json::{Value, json};

use super::{RowTold, compare, compare_as};
use crate::support::{
    Database, oldest_and_newest,
    program::{Program, is},
    server, versions_to_test,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_text_in_two_encodings_is_equal() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let source = Database::create(&server, "utf8").await;
        let target = Database { name: format!("{}_latin1", source.name), ..source.clone() };
        let sql = format!("CREATE DATABASE {} ENCODING 'LATIN1' TEMPLATE template0", target.name);
        source.sql(&sql).await;
        let table = "CREATE TABLE t (k text PRIMARY KEY, v text);
            INSERT INTO t SELECT 'ß' || i, 'größer ' || i FROM generate_series(1, 100) i";
        source.sql(table).await;
        target.sql(table).await;
        let seen = compare(&source, &target, "t", 30).await;
        assert_eq!((seen.rows, seen.failure), (100, None));
        target.sql("UPDATE t SET v = 'groesser' WHERE k = 'ß7'").await;
        let seen = compare(&source, &target, "t", 30).await;
        assert_eq!(seen.rows_told[0].0, [("k".to_owned(), "ß7".to_owned())]);
        assert_eq!((seen.different, seen.rows_told.len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_types_differ_only_where_the_target_would_have_something_else() {
    for binaries in versions_to_test() {
        let db = Database::create(&server(&binaries), "spelled").await;
        db.sql(
            "CREATE TABLE t (id int PRIMARY KEY, j json, n int, c varchar(10));
             INSERT INTO t SELECT i, '{\"b\":1,  \"a\":2}', i, 'word' || i FROM generate_series(1, 50) i;
             CREATE TABLE u (id int PRIMARY KEY, j jsonb, n numeric(9, 2), c varchar(4));
             INSERT INTO u SELECT id, j::jsonb, n, c::varchar(4) FROM t;
             UPDATE t SET c = left(c, 4) WHERE id <> 9;
             UPDATE u SET j = '{\"a\":2}' WHERE id = 7;
             UPDATE u SET n = n + 0.01 WHERE id = 8",
        )
        .await;
        let seen = compare(&db, &db, "t=u", 20).await;
        let mut told: Vec<_> = seen.rows_told.iter().map(|(key, ..)| key[0].1.as_str()).collect();
        told.sort_unstable();
        // 9: a word that the target has cut off.
        assert_eq!((seen.different, seen.respelled, told), (3, 47, vec!["7", "8", "9"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_two_spellings_is_one_row_that_differs() {
    for binaries in versions_to_test() {
        let db = Database::create(&server(&binaries), "spelling").await;
        db.sql(
            "CREATE TABLE t (k numeric PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 50) i;
             CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT * FROM t; UPDATE u SET k = 7.00 WHERE k = 7",
        )
        .await;
        let seen = compare(&db, &db, "t=u", 20).await;
        assert_eq!((seen.different, seen.rows_told.len()), (1, 1), "{seen:?}");
        assert_eq!(seen.rows_told[0].2, ["k"]);
    }
}

/// Columns and indexes of a target by which it orders keys otherwise than the source, which has
/// `text PRIMARY KEY`.
const OTHERWISE: [(&str, &str); 5] = [
    ("text COLLATE public.german", "k text_pattern_ops"),
    ("text COLLATE public.german", "k COLLATE \"C\" text_pattern_ops DESC"),
    ("text COLLATE public.german", "k COLLATE \"POSIX\""),
    ("text", "k text_pattern_ops"),
    ("text", "k public.backwards"),
];

/// Letters that no two of the orders have in the same place, and a number of three digits.
const WORD: &str =
    "(ARRAY['a', 'B', 'Ä', 'z', 'ß', '-'])[i % 6 + 1] || to_char(i * 7919 % 1000, 'FM000')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_walked_by_the_operators_of_its_index() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "operators").await;
        db.sql(&format!(
            "CREATE COLLATION german (provider = icu, locale = 'de');
             CREATE FUNCTION backwards(text, text) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT bttextcmp($2, $1)';
             CREATE OPERATOR CLASS backwards FOR TYPE text USING btree AS OPERATOR 1 >, OPERATOR 2 >=,
                 OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 backwards(text, text);
             CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t SELECT {WORD}, i FROM generate_series(1, 200) i"
        ))
        .await;
        for (at, (column, index)) in OTHERWISE.iter().enumerate() {
            let name = format!("u{at}");
            db.sql(&format!(
                "CREATE TABLE {name} (k {column} NOT NULL, v int); CREATE UNIQUE INDEX ON {name} ({index});
                 INSERT INTO {name} SELECT * FROM t"
            ))
            .await;
            let tables = format!("t={name}");
            let seen = compare(&db, &db, &tables, 20).await;
            assert_eq!(
                (seen.rows, seen.different, seen.failure),
                (200, 0, None),
                "{column} {index}"
            );
            db.sql(&format!(
                "INSERT INTO {name} SELECT {WORD}, i FROM generate_series(201, 260) i;
                 DELETE FROM {name} WHERE v % 40 = 1 AND v <= 200; UPDATE {name} SET v = -1 WHERE v % 40 = 2 AND v <= 200"
            ))
            .await;
            let seen = compare(&db, &db, &tables, 20).await;
            let of = |kind| seen.rows_told.iter().filter(|(_, told, _)| *told == kind).count();
            let found = (of(Kind::ExtraOnTarget), of(Kind::MissingOnTarget), of(Kind::Different));
            assert_eq!((found, seen.different), ((60, 5, 5), 70), "{column} {index}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_fits_only_into_the_targets_type_is_found() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "wider").await;
        db.sql(
            "CREATE TABLE t (id smallint PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50);
             CREATE TABLE u (id bigint PRIMARY KEY);
             INSERT INTO u SELECT * FROM t UNION ALL SELECT 5000000000 + generate_series(1, 50)",
        )
        .await;
        for (tables, kind) in [("t=u", Kind::ExtraOnTarget), ("u=t", Kind::MissingOnTarget)] {
            let seen = compare(&db, &db, tables, 20).await;
            let is_far =
                |(key, told, _): &RowTold| key[0].1.starts_with("50000000") && *told == kind;
            assert!(
                seen.different == 50 && seen.rows_told.iter().all(is_far),
                "{tables}: {seen:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_pair_is_equal() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let db = Database::create(&server(&binaries), "empty").await;
    db.sql(
        "CREATE TABLE e (k text COLLATE \"POSIX\" PRIMARY KEY); CREATE TABLE f (k text PRIMARY KEY)",
    )
    .await;
    let seen = compare(&db, &db, "e=f", 10).await;
    assert_eq!((seen.rows, seen.pages, seen.failure), (0, 1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_compared_is_refused() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let db = Database::create(&server(&binaries), "refused").await;
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE no_key (id int, v text);
         CREATE TABLE less (id int PRIMARY KEY); CREATE TABLE words (id text PRIMARY KEY, v text)",
    )
    .await;
    for (tables, words) in [
        ("t=nothing", "the target has no table public.nothing"),
        ("nothing=t", "the source has no table public.nothing"),
        ("no_key=t", "has no key"),
        ("t=no_key", "has no unique index on exactly"),
        ("t=less", "has no column"),
        ("t=words", "the key column"),
    ] {
        let failure = compare(&db, &db, tables, 10).await.failure.unwrap();
        assert_eq!(failure.exit.code(), 2, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    let unknown = compare_as(&db, &db, "", Some("nobody"), None, 10).await.failure.unwrap();
    assert!(unknown.message.contains("no migration called nobody"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_read_the_rows_that_differ_and_exit_code_3() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let db = Database::create(&server(&binaries), "script").await;
    db.sql(
        "CREATE TABLE t (a int, \"B b\" text, v text, PRIMARY KEY (a, \"B b\"));
         INSERT INTO t SELECT i, 'x', 'v' FROM generate_series(1, 10) i;
         CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT * FROM t",
    )
    .await;
    let args = ["--table", "t=u", "--page-rows", "4", "--list", "1"];
    let ended = Program::run("verify", &db.dsn(), &db.dsn(), &args).ends_with(0).await;
    assert_eq!(
        *ended.events.last().unwrap(),
        json!({"event": "verified", "table": "public.t", "rows": 10, "pages": 3, "different_rows": 0,
               "respelled_rows": 0, "moving_rows": 0})
    );
    assert!(
        ended.events.iter().any(|e| is(e, "progress") && e["phase"] == "verify"),
        "{:#?}",
        ended.events
    );
    db.sql("UPDATE u SET v = NULL WHERE a = 3; DELETE FROM u WHERE a = 4").await;
    let ended = Program::run("verify", &db.dsn(), &db.dsn(), &args).ends_with(3).await;
    let told: Vec<&Value> = ended.events.iter().filter(|e| is(e, "different")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0]["key"]["a"] == "3" || told[0]["key"]["a"] == "4", "{told:#?}");
    assert_eq!(told[0]["key"]["B b"], "x");
    assert_eq!(ended.error()["message"], "rows differ between source and target: 2 of public.t");
}
