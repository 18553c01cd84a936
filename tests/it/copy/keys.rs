//! Keys of every kind: paged by three rows at a time while rows come, go and move.

use pghost::{cluster::Binaries, migrate::Event, pg::QualifiedName};

use crate::support::{
    Database, assert_same, migrate,
    moments::{drop_slot, migrate_with, now, sums},
    server, some_releases, spec,
};

/// A kind of key.
struct Kind<'a> {
    what: &'a str,
    /// Made in both databases first; a kind whose preamble fails is not in that build.
    before: &'a str,
    /// The key's columns with their types.
    columns: &'a [(&'a str, &'a str)],
    /// A query for keys, at least 24 of them, in any order.
    keys: &'a str,
}

impl Kind<'_> {
    fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// One change for each page or so: every third key is not there at first.
    fn changes(&self, pool: u32) -> Vec<String> {
        let names = self.names();
        let key = |n: u32| format!("(SELECT {names} FROM pool WHERE nr = {n})");
        let thirds = pool / 3;
        let change = |i: u32| {
            let (far, third) = ((i * 7) % thirds + 1, key(3 * i));
            let to = |to: &str, from: u32| {
                format!(
                    "UPDATE source SET ({names}) = {to}, v = v || '>' WHERE ({names}) = {}
                        AND NOT EXISTS (SELECT FROM source WHERE ({names}) = {to})",
                    key(from)
                )
            };
            match i % 5 {
                0 => format!(
                    "INSERT INTO source SELECT {names}, {i}, 'new' FROM pool WHERE nr = {}
                     ON CONFLICT DO NOTHING",
                    3 * i
                ),
                1 => format!("DELETE FROM source WHERE ({names}) = {}", key(3 * i - 1)),
                // To a key that was never there, and to one that others may have left.
                2 => to(&third, 3 * far - 2),
                3 => to(&key(3 * far - 1), 3 * i - 2),
                _ => format!("UPDATE source SET i = i + 1 WHERE ({names}) = {third}"),
            }
        };
        (1..=thirds).map(change).collect()
    }

    /// Moves a table with such a key from one database to another, under changes.
    async fn play(&self, from: &Database, to: &Database, source: &str, target: &str) {
        let columns: Vec<_> = self.columns.iter().map(|(n, t)| format!("{n} {t}")).collect();
        let (columns, names) = (columns.join(", "), self.names());
        from.sql(&format!(
            "DROP TABLE IF EXISTS source, pool;
             CREATE TABLE source ({columns}, i integer, v text, PRIMARY KEY ({names}));
             CREATE TABLE pool (nr serial, {columns}); INSERT INTO pool ({names}) {};
             INSERT INTO source SELECT {names}, nr, 'v' || nr FROM pool WHERE nr % 3 > 0",
            self.keys
        ))
        .await;
        let pool = from.value("SELECT count(*) FROM pool").await.parse().unwrap();
        assert!(pool >= 24, "{}: {pool} keys are too few for many pages", self.what);
        if source != "source" {
            from.sql(&format!("ALTER TABLE source RENAME TO \"{source}\"")).await;
        }
        let mut spec = spec(from, to, source, target);
        spec.name = Some(format!("{}_{}", from.name, self.what));
        spec.page_rows = Some(3);
        let mut changes = self.changes(pool).into_iter();
        let major = from.server.version().major();
        let failed = |failure| panic!("{major}, {}: {failure}", self.what);
        let events = migrate_with(&spec, |event| {
            if let Event::Progress { .. } = event
                && let Some(change) = changes.next()
            {
                now(from.sql(&change));
            }
        })
        .await
        .unwrap_or_else(failed);
        sums(&events);
        for change in changes.chain(self.changes(pool)) {
            from.sql(&change).await;
        }
        let events = migrate(&spec).await.unwrap_or_else(failed);
        sums(&events);
        assert_same((from, source), (to, target), &names).await;
        drop_slot(from, &spec).await;
        from.sql("DROP TABLE source, pool").await;
        to.sql("DROP TABLE target").await;
    }
}

/// Plays kinds of keys on a release; one that this build does not have is left out.
async fn play(binaries: &Binaries, kinds: &[Kind<'_>]) {
    let server = server(binaries);
    let from = Database::create(&server, "keys").await;
    let to = Database::create(&server, "keys").await;
    for kind in kinds {
        let mut connection = from.connect().await;
        let there = connection.query(kind.before).await;
        connection.close().await;
        match there {
            Ok(_) => {
                to.sql(kind.before).await;
                kind.play(&from, &to, "source", "target").await;
            }
            Err(error) => {
                // Extensions and collations are the build's choice; everything else is a mistake.
                let may_miss = kind.before.contains("EXTENSION") || kind.before.contains("icu");
                assert!(may_miss, "{}: {error}", kind.what);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_times_are_keys() {
    for binaries in some_releases() {
        play(
            &binaries,
            &[
                Kind {
                    what: "int",
                    before: "",
                    columns: &[("k", "integer")],
                    keys: "SELECT hashint4(i) FROM generate_series(1, 46) i
                           UNION ALL VALUES (2147483647), (-2147483648)",
                },
                Kind {
                    what: "bigint",
                    before: "",
                    columns: &[("k", "bigint")],
                    keys: "SELECT hashint8extended(i, 0) FROM generate_series(1, 46) i
                           UNION ALL VALUES (9223372036854775807), (-9223372036854775808)",
                },
                Kind {
                    what: "numeric",
                    before: "",
                    columns: &[("k", "numeric")],
                    keys: "SELECT (i::text || CASE i % 3 WHEN 0 THEN '.00' WHEN 1 THEN '.0' ELSE '' END)::numeric
                             FROM generate_series(1, 30) i
                           UNION ALL SELECT i / 7::numeric FROM generate_series(1, 6) i
                           UNION ALL VALUES ('NaN'::numeric), ('Infinity'), ('-Infinity'), (0.000), (1e-30), (1e40)",
                },
                Kind {
                    what: "double",
                    before: "",
                    columns: &[("k", "double precision")],
                    keys: "SELECT i / 3::double precision FROM generate_series(1, 30) i
                           UNION ALL VALUES ('NaN'::float8), ('Infinity'), ('-Infinity'), ('-0'), (1e-307),
                               (0.1 + 0.2::double precision)",
                },
                Kind {
                    what: "timestamptz",
                    before: "",
                    columns: &[("k", "timestamptz")],
                    keys: "SELECT '2024-03-31 00:30+01'::timestamptz + i * interval '17 min'
                             FROM generate_series(1, 30) i
                           UNION ALL VALUES ('infinity'::timestamptz), ('-infinity'), ('4714-11-24 00:00+00 BC'),
                               ('0044-03-15 12:00:00.000001+00 BC'), ('294276-12-31 23:59:59+00'),
                               ('epoch')",
                },
                Kind {
                    what: "date",
                    before: "",
                    columns: &[("k", "date")],
                    keys: "SELECT date '1999-12-31' + i * 7 FROM generate_series(1, 32) i
                           UNION ALL VALUES ('infinity'::date), ('-infinity'), ('0044-03-15 BC'), ('5874897-12-31')",
                },
                Kind {
                    what: "interval",
                    before: "",
                    columns: &[("k", "interval")],
                    keys: "SELECT make_interval(months => i, days => -i, secs => i / 7.0)
                             FROM generate_series(1, 33) i",
                },
                Kind {
                    what: "boolean_and_others",
                    before: "",
                    columns: &[("a", "boolean"), ("b", "smallint"), ("c", "oid")],
                    keys: "SELECT i % 2 = 0, i % 5, 4294967295 - i FROM generate_series(1, 33) i",
                },
            ],
        )
        .await;
    }
}

/// Quotes, backslashes, blanks, control characters, the empty string, what COPY and arrays take
/// for NULL, and letters whose order is not that of their bytes.
const WORDS: &str = r"SELECT w || i FROM (VALUES (''), (''''), ('\'), ('\N'), ('NULL'), ('\.'),
    (E'\t'), (E'\n'), (E'\r\n'), ('a b'), ('É'), ('e'), ('E'), ('z'), ('Ä'), ('ß'), ('日本'),
    ('😀'), ('$1'), ('%s'), ('{}'), ('''' || '\'), ('$$'), ('--')) w (w), (VALUES ('')) i (i)
    UNION ALL SELECT repeat('x', 100) || i FROM generate_series(1, 12) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_keys_in_whatever_order_they_stand() {
    let words_of = |type_name: &str| format!("SELECT w::{type_name} FROM ({WORDS}) w (w)");
    for binaries in some_releases() {
        play(
            &binaries,
            &[
                Kind { what: "text", before: "", columns: &[("k", "text")], keys: WORDS },
                Kind {
                    what: "text_icu",
                    before: "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk')",
                    columns: &[("k", "text COLLATE german")],
                    keys: WORDS,
                },
                Kind {
                    what: "text_any_case",
                    before: "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2',
                                 deterministic = false)",
                    columns: &[("k", "text COLLATE any_case")],
                    keys: &format!("{WORDS} EXCEPT VALUES ('E')"),
                },
                Kind {
                    what: "varchar_c",
                    before: "",
                    columns: &[("k", "varchar(200) COLLATE \"C\"")],
                    keys: WORDS,
                },
                Kind {
                    what: "char_n",
                    before: "",
                    columns: &[("k", "char(120)")],
                    keys: &words_of("char(120)"),
                },
                Kind {
                    what: "name",
                    before: "",
                    columns: &[("k", "name")],
                    keys: "SELECT ('é''\\' || i)::name FROM generate_series(1, 33) i",
                },
                Kind {
                    what: "citext",
                    before: "CREATE EXTENSION citext SCHEMA public",
                    columns: &[("k", "citext")],
                    keys: "SELECT CASE i % 2 WHEN 0 THEN 'Key' ELSE 'kEY' END || i
                             FROM generate_series(1, 33) i",
                },
                Kind {
                    what: "citext_and_int",
                    before: "SELECT 1; CREATE EXTENSION IF NOT EXISTS citext SCHEMA public",
                    columns: &[("k", "citext"), ("n", "integer")],
                    keys: "SELECT CASE i % 2 WHEN 0 THEN 'Key' ELSE 'kEY' END || i % 4, i
                             FROM generate_series(1, 33) i",
                },
                Kind {
                    what: "three",
                    before: "",
                    columns: &[("a", "text"), ("b", "integer"), ("c", "numeric")],
                    keys: "SELECT chr(97 + i % 3), i % 4, i / 4.0 FROM generate_series(1, 36) i",
                },
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_with_an_order_is_a_key() {
    for binaries in some_releases() {
        play(
            &binaries,
            &[
                Kind {
                    what: "uuid",
                    before: "",
                    columns: &[("k", "uuid")],
                    keys: "SELECT md5(i::text)::uuid FROM generate_series(1, 36) i",
                },
                Kind {
                    what: "bytea",
                    before: "",
                    columns: &[("k", "bytea")],
                    keys: r"SELECT decode(md5(i::text), 'hex') FROM generate_series(1, 30) i UNION ALL
                            VALUES (''::bytea), ('\x00'), ('\x5c'), ('\x27'), ('\xff'), ('\x0a')",
                },
                Kind {
                    what: "enum",
                    before: "CREATE TYPE \"Mood's\" AS ENUM ('z', 'it''s', 'a', E'b\\\\', '', 'ü');
                             ALTER TYPE \"Mood's\" ADD VALUE 'first' BEFORE 'z'",
                    columns: &[("k", "\"Mood's\""), ("n", "integer")],
                    keys: "SELECT m, i FROM unnest(enum_range(NULL::\"Mood's\")) m, generate_series(1, 5) i",
                },
                Kind {
                    what: "domain",
                    before: "CREATE DOMAIN \"short key\" AS varchar(8) NOT NULL CHECK (value <> 'no');
                             CREATE DOMAIN deeper AS \"short key\"",
                    columns: &[("k", "deeper")],
                    keys: "SELECT 'k' || i FROM generate_series(1, 36) i",
                },
                Kind {
                    what: "array",
                    before: "",
                    columns: &[("k", "text[]")],
                    keys: r#"SELECT ARRAY['a"', NULL, i::text, '\'] FROM generate_series(1, 33) i
                             UNION ALL VALUES ('{}'::text[]), ('[3:4]={x,y}'), ('{NULL,"NULL"}')"#,
                },
                Kind {
                    what: "range",
                    before: "",
                    columns: &[("k", "int4range"), ("j", "jsonb")],
                    keys: r#"SELECT int4range(i, i + i % 3), '{"a": 1}' FROM generate_series(1, 33) i
                             UNION ALL VALUES ('empty'::int4range, '[]'::jsonb), ('(,)', '1'), ('[1,)', 'null')"#,
                },
                Kind {
                    what: "composite",
                    before: "CREATE TYPE pair AS (a integer, \"B\" text)",
                    columns: &[("k", "pair")],
                    keys: r#"SELECT ROW(i % 5, i || '",(\')::pair FROM generate_series(1, 33) i"#,
                },
                Kind {
                    what: "inet",
                    before: "",
                    columns: &[("k", "inet"), ("m", "macaddr"), ("b", "bit(5)")],
                    keys: "SELECT '10.0.0.0/8'::inet + i * 77777, '08:00:2b:01:02:03'::macaddr,
                                  i::bit(5) FROM generate_series(1, 31) i
                           UNION ALL VALUES ('::1'::inet, 'ff:ff:ff:ff:ff:ff'::macaddr, '00000'::bit(5)),
                               ('2001:db8::/32', '00:00:00:00:00:00', '11111')",
                },
                Kind {
                    what: "system",
                    before: "",
                    columns: &[("c", "\"char\""), ("m", "money"), ("l", "pg_lsn"), ("t", "tid")],
                    keys: "SELECT chr(40 + i)::\"char\", (i * -1234.56)::money, ('1/' || i)::pg_lsn,
                                  format('(%s,1)', i)::tid FROM generate_series(1, 36) i",
                },
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_may_hold_anything() {
    let hostile = [
        "order",
        "a b.c",
        "it's",
        "100%s",
        "😀",
        "say \"\"hi\"\"",
        "back\\slash",
        "UPPER",
        "$1",
        "t",
        "ü2345678901234567890123456789012345678901234567890123456789012",
    ];
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "names").await;
        let to = Database::create(&server, "names").await;
        for (at, name) in hostile.iter().enumerate() {
            // Schema, table, both key columns, another column; a target table that is made.
            let other = hostile[(at + 1) % hostile.len()];
            let schema = format!("CREATE SCHEMA \"{name}\"; SET search_path = \"{name}\"");
            to.sql(&schema).await;
            db.sql(&format!(
                "{schema}; CREATE TABLE \"{other}\" (\"{name}\" serial, \"{other}\" text DEFAULT 'x',
                     \"v\" integer, PRIMARY KEY (\"{other}\", \"{name}\"));
                 INSERT INTO \"{other}\" (v) SELECT generate_series(1, 20)"
            ))
            .await;
            let mut spec = spec(&db, &to, "", "");
            let plain = |name: &str| name.replace("\"\"", "\"");
            spec.tables[0].source = QualifiedName::new(plain(name), plain(other));
            spec.tables[0].target = QualifiedName::new(plain(name), plain(other));
            spec.page_rows = Some(7);
            spec.name = None;
            spec.slot = Some(format!("{}_{at}", db.name));
            spec.name = Some(format!("{}_{at}", db.name));
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
            let table = format!("\"{name}\".\"{other}\"");
            db.sql(&format!(
                "UPDATE {table} SET v = v + 1 WHERE v % 3 = 0; DELETE FROM {table} WHERE v = 5;
                 UPDATE {table} SET \"{name}\" = 1000 + \"{name}\" WHERE v % 4 = 0"
            ))
            .await;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert_same((&db, &table), (&to, &table), "(t.*)::text").await;
            drop_slot(&db, &spec).await;
        }
    }
}

/// Without a name, slot and publication are called after the table: two tables must not be taken
/// for one, nor a name refused that the user did not choose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_any_name_is_moved_without_further_names() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "unnamed").await;
        for name in ["Größe", "x%y z", "😀"] {
            // The slot is the server's; other tests have other tables.
            let name = format!("{}{name}", db.name);
            db.sql(&format!("CREATE TABLE \"{name}\" (id integer PRIMARY KEY)")).await;
            let mut spec = spec(&db, &db, &name, &format!("{name}2"));
            spec.name = None;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        }
        db.sql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                 WHERE database = current_database()",
        )
        .await;
    }
}
