//! Unique indexes that take values for one which their columns tell apart: as the target's key they
//! would let one row write over another.

use pghost::migrate::{self, Severity};

use crate::{
    check::refusals::refused,
    support::{
        Database, assert_same, migrate, moments::drop_slot, nothing_is_left_open,
        oldest_and_newest, server, some_releases, spec,
    },
};

/// Words of which some are one without their case, and some without the blanks at their ends.
const SOURCE: &str = "CREATE TABLE source (k text PRIMARY KEY, n integer);
    INSERT INTO source VALUES ('A', 1), ('b', 2), ('c', 3), ('c ', 4)";

const ANY_CASE: &str = "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2',
    deterministic = false)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_takes_words_for_one_is_refused() {
    for binaries in some_releases() {
        let db = Database::create(&server(&binaries), "merging").await;
        db.sql(SOURCE).await;
        let mut connection = db.connect().await;
        let has_icu = connection.query(ANY_CASE).await.is_ok();
        connection.close().await;
        let mut spec = spec(&db, &db, "source", "target");
        for by in ["k COLLATE any_case", "k bpchar_ops", "k bpchar_pattern_ops"] {
            if by.contains("any_case") && !has_icu {
                continue;
            }
            db.sql(&format!(
                "CREATE TABLE target (k text NOT NULL, n integer); CREATE UNIQUE INDEX by ON target ({by})"
            ))
            .await;
            let words = ["public.target", "not by (", "takes values for one", "ADD PRIMARY KEY"];
            refused(&db, &db, &spec, &words).await;
            spec.defer_indexes = true;
            refused(&db, &db, &spec, &words).await;
            spec.defer_indexes = false;
            // The refused run's session may still have the migration's lock, which a check tells.
            nothing_is_left_open(&db.config()).await;
            let checked = migrate::check(&spec).await.unwrap();
            let is_it = |f: &&migrate::Finding| f.message.contains("takes values for one");
            let finding = checked.findings.iter().find(is_it);
            let finding = finding.unwrap_or_else(|| panic!("{:?}", checked.findings));
            assert_eq!(finding.severity, Severity::Refused, "{finding:?}");
            // Beside a key it goes, and comes back when all rows are there: which it refuses to.
            db.sql("ALTER TABLE target ADD PRIMARY KEY (k)").await;
            refused(&db, &db, &spec, &["another unique index, by"]).await;
            db.sql("DROP TABLE target").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_another_order_that_tells_no_less_apart_will_do() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        for (kind, by) in [
            ("text", "k COLLATE \"POSIX\""),
            ("text", "k text_pattern_ops"),
            ("text", "k DESC"),
            ("varchar(20)", "k"),
            ("varchar(20)", "k varchar_pattern_ops"),
            ("public.word", "k"),
            ("char(20)", "k bpchar_pattern_ops"),
            ("name", "k"),
            ("public.mood", "k"),
            ("text[]", "k"),
            ("cidr", "k"),
            ("cidr", "k cidr_ops"),
            ("int4range", "k"),
            ("public.pair", "k"),
            ("regclass", "k"),
        ] {
            let db = Database::create(&server, "apart").await;
            let value = match kind {
                "text[]" => "ARRAY[chr(i)]",
                "cidr" => "'10.0.0.0/8'::cidr + i * 65536",
                "int4range" => "int4range(i, i + 3)",
                "public.pair" => "ROW(i, i)",
                "public.mood" => "(enum_range(NULL::mood))[i - 64]",
                "regclass" => "(SELECT oid FROM pg_class ORDER BY oid OFFSET i LIMIT 1)",
                _ => "chr(i)",
            };
            let value = format!("({value})::{kind}");
            let value = if kind == "cidr" {
                "network(set_masklen('10.0.0.0/8'::inet + i * 65536, 16))"
            } else {
                &value
            };
            db.sql(
                "CREATE DOMAIN word AS text; CREATE TYPE pair AS (a integer, b bigint);
                    CREATE TYPE mood AS ENUM ('a', 'B', 'c', 'd')",
            )
            .await;
            db.sql(&format!(
                "CREATE TABLE source (k {kind} PRIMARY KEY, n integer); CREATE TABLE target (k {kind} NOT NULL, n integer);
                 CREATE UNIQUE INDEX by ON target ({by});
                 INSERT INTO source SELECT {value}, i FROM generate_series(65, 68) i"
            ))
            .await;
            let spec = spec(&db, &db, "source", "target");
            let major = server.version().major();
            migrate(&spec)
                .await
                .unwrap_or_else(|failure| panic!("{major}, {kind} by {by}: {failure}"));
            db.sql("UPDATE source SET n = n + 1; DELETE FROM source WHERE n = 67").await;
            migrate(&spec)
                .await
                .unwrap_or_else(|failure| panic!("{major}, {kind} by {by}: {failure}"));
            assert_same((&db, "source"), (&db, "target"), "n").await;
            drop_slot(&db, &spec).await;
        }
    }
}

/// An operator class may be the default of another type than the column's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn such_an_index_is_no_key_of_a_source() {
    for binaries in oldest_and_newest() {
        let db = Database::create(&server(&binaries), "merged").await;
        db.sql(
            "CREATE TABLE source (k text NOT NULL); CREATE UNIQUE INDEX by ON source (k bpchar_ops);
             ALTER TABLE source REPLICA IDENTITY FULL",
        )
        .await;
        let spec = spec(&db, &db, "source", "target");
        refused(&db, &db, &spec, &["public.source", "by (by its collation or operator class"])
            .await;
    }
}
