//! Values of every type, from and to every release, and the definitions of tables that pghost
//! makes.

use std::fmt::Write;

use pghost::{cluster::Binaries, migrate::Event};

use crate::support::{
    Database, assert_same, migrate,
    moments::{drop_slot, migrate_with, now, sums},
    server, spec, versions_to_test,
};

/// Types that may travel in binary, with values that have gone wrong somewhere.
const PLAIN: &[(&str, &[&str])] = &[
    ("boolean", &["t", "f"]),
    ("bytea", &["", r"\x00", r"\x5c4e", r"\xdeadbeef00ff0a0d27"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("real", &["NaN", "-Infinity", "1e-45", "3.4028235e38", "-0", "0.3"]),
    (
        "double precision",
        &["NaN", "Infinity", "5e-324", "1.7976931348623157e308", "-0", "0.30000000000000004"],
    ),
    (
        "numeric",
        &["NaN", "Infinity", "-Infinity", "1.000", "1e-1000", "-12345678901234567890.0987654321"],
    ),
    ("numeric(10,2)", &["NaN", "12345678.90", "-0.01"]),
    (
        "text",
        &[
            "",
            "NULL",
            r"\N",
            r"\.",
            "it's",
            "tab\tline\nreturn\r",
            r#"a"=>"b\"#,
            "日本😀",
            "  blank  ",
        ],
    ),
    ("varchar(20)", &["", "NULL", r"\\", "ü"]),
    ("char(5)", &["", "ab", "  x"]),
    ("json", &["null", r#"{"b": 1, "a": 1.0, "b": 2}"#, r#""\\u0000 \"""#, "[1e400]"]),
    ("jsonb", &["null", r#"{"b": 1, "a": [1.00, null]}"#, r#""\\""#, "{}"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("date", &["infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "2024-02-29"]),
    ("time", &["00:00", "24:00", "23:59:59.999999"]),
    ("timetz", &["00:00+15:59", "24:00-15:59", "12:34:56.000001+05:45"]),
    (
        "timestamp",
        &["infinity", "-infinity", "4713-01-01 00:00 BC", "294276-12-31 23:59:59.999999"],
    ),
    (
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "0001-01-01 00:00+00 BC",
            "2024-03-31 02:30+01",
            "1999-01-08 04:05:06.789",
        ],
    ),
    ("timestamptz(0)", &["2024-03-31 02:30:15+01"]),
    ("interval", &["-1 year -2 mons +3 days -04:05:06.7", "0", "178000000 years", "1 mon -1 day"]),
    ("interval day to second", &["3 days 04:05:06"]),
    ("inet", &["::1", "10.1.2.3/8", "2001:db8::ff00:42:8329/64"]),
    ("cidr", &["10.0.0.0/8", "::/0"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(3)", &["101"]),
    ("bit varying", &["", "1", "010101010101"]),
    ("point", &["(1.5,-0)", "(NaN,Infinity)"]),
    ("int4range", &["empty", "(,)", "[1,5)", "[3,)"]),
    ("int8range", &["(,9223372036854775807)"]),
    ("numrange", &["(1.10,2.20]", "empty", "[NaN,NaN]"]),
    ("daterange", &["[2024-01-01,infinity)", "(,)"]),
    ("tsrange", &["[\"2024-01-01 00:00\",infinity]"]),
    ("tstzrange", &["(\"2024-01-01 00:00+00\",)"]),
];

/// Types that only text carries between any two servers.
const ODD: &[(&str, &[&str])] = &[
    ("\"char\"", &["a", "", "'", "\\"]),
    ("name", &["a name", "it's", ""]),
    ("oid", &["4294967295", "0"]),
    ("money", &["-92233720368547758.08", "0.01"]),
    ("xml", &["<a b=\"c\">&lt;ü</a>", "text <b/>", "<?xml version=\"1.0\"?><a/>"]),
    ("tsvector", &["'a':1A,2 'it''s':3B", ""]),
    ("tsquery", &["'a' & !'b' <-> 'c':*A"]),
    ("regclass", &["public.other", "pg_catalog.pg_class", "-"]),
    ("regtype", &["integer", "public.\"Mood's\"", "timestamp with time zone"]),
    ("regprocedure", &["lower(text)"]),
    ("regnamespace", &["public"]),
    ("regrole", &["postgres"]),
    ("regconfig", &["english"]),
    ("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    ("xid", &["4294967295"]),
    ("xid8", &["18446744073709551615"]),
    ("tid", &["(4294967295,65535)"]),
    ("pg_snapshot", &["10:20:10,14,15"]),
    ("jsonpath", &["strict $.\"a\"[*] ? (@ > 1)"]),
    ("line", &["{1,-1,0}"]),
    ("lseg", &["[(1,2),(3,4)]"]),
    ("box", &["(3,4),(1,2)"]),
    ("path", &["((1,2),(3,4))", "[(1,2),(3,4)]"]),
    ("polygon", &["((1,2),(3,4),(5,6))"]),
    ("circle", &["<(1,2),3>"]),
    ("aclitem", &["=r/postgres", "postgres=arwdDxt/postgres"]),
    ("int2vector", &["1 2 3"]),
    ("refcursor", &["a cursor"]),
    ("oidvector", &["", "1 4294967295"]),
    ("cid", &["4294967295"]),
    ("txid_snapshot", &["10:20:10,14,15"]),
    ("regproc", &["now"]),
    ("regoper", &["pg_catalog.||/"]),
    ("regoperator", &["+(integer,integer)"]),
    ("regcollation", &["pg_catalog.\"C\""]),
    ("regdictionary", &["simple"]),
    ("int4multirange", &["{}", "{[1,2),[5,7)}"]),
    ("int8multirange", &["{(,9223372036854775807)}"]),
    ("nummultirange", &["{(1.10,2.20],[NaN,NaN]}"]),
    ("tsmultirange", &["{[\"2024-01-01 00:00\",infinity]}"]),
    ("tstzmultirange", &["{(\"2024-01-01 00:00+00\",)}"]),
    ("datemultirange", &["{[2024-01-01,infinity)}"]),
    ("public.\"Mood's\"", &["it's", "", "ü,\"", "NULL"]),
    ("public.pair", &["(1,\"a,\"\"b\"\"\")", "(,)", "(,\"\")", "(1,\"(x)\\\\\")"]),
    ("public.\"short word\"", &["", "NULL", "ab'c"]),
    ("public.floats", &["[0.1,0.30000000000000004)", "empty"]),
    ("public.hstore", &["\"a\"=>\"1\", \"b\"=>NULL, \"\"=>\"\\\"\""]),
    ("public.citext", &["AbC", ""]),
];

const TYPES: &str = "
CREATE TYPE \"Mood's\" AS ENUM ('it''s', '', 'ü,\"', 'NULL');
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN \"short word\" AS varchar(8) CHECK (value <> 'no');
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE TABLE other (id integer);";

/// Makes the types in a database, those of extensions where the build has them.
async fn make_types(database: &Database, with: &str) {
    database.sql(TYPES).await;
    let mut connection = database.connect().await;
    for extension in ["hstore", "citext"] {
        let sql = format!("CREATE EXTENSION {extension} SCHEMA public");
        // A build without it is tested without it.
        let _ = connection.query(&sql).await;
    }
    connection.query(with).await.unwrap();
    connection.close().await;
}

/// The types that a build has.
async fn known<'a>(
    database: &Database,
    types: &'a [(&'a str, &'a [&'a str])],
) -> Vec<&'a (&'a str, &'a [&'a str])> {
    let mut connection = database.connect().await;
    let mut known = Vec::new();
    for entry @ (name, values) in types {
        let sql = format!("SELECT {}::{name}", quoted(values[0]));
        match connection.query(&sql).await {
            Ok(_) => known.push(entry),
            Err(error) => {
                let may_miss = ["xml", "public.hstore", "public.citext"].contains(name);
                assert!(may_miss, "{sql}: {error}");
            }
        }
    }
    connection.close().await;
    known
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A domain over each type, and a composite type of it, its array and its domain: names say which.
fn made_of(types: &[&(&str, &[&str])]) -> String {
    let of = |(i, (name, _)): (usize, &&(&str, &[&str]))| {
        format!(
            "CREATE DOMAIN made.domain_{i} AS {name};
             CREATE TYPE made.inner_{i} AS (v {name}, a {name}[]);
             CREATE TYPE made.outer_{i} AS (r made.inner_{i}, d made.domain_{i}, l made.inner_{i}[]);"
        )
    };
    let types: String = types.iter().enumerate().map(of).collect();
    let schema = "DROP SCHEMA IF EXISTS made CASCADE; CREATE SCHEMA made;
        GRANT USAGE ON SCHEMA made TO PUBLIC;";
    format!("{schema}{types}")
}

/// A table with a column of each type, its array, a domain over it and a composite of all these; a
/// row for each place in the lists.
fn table(types: &[&(&str, &[&str])]) -> String {
    let rows = types.iter().map(|(_, values)| values.len()).max().unwrap() + 2;
    let mut columns = String::from("id integer PRIMARY KEY");
    for (i, (name, _)) in types.iter().enumerate() {
        let _ = write!(
            columns,
            ", c{i} {name}, a{i} {name}[], d{i} made.domain_{i}, r{i} made.outer_{i}"
        );
    }
    let mut sql = format!("CREATE TABLE source ({columns});\n");
    for row in 0..rows {
        let _ = write!(sql, "INSERT INTO source VALUES ({row}");
        for (i, (name, values)) in types.iter().enumerate() {
            let value = |at: usize| values.get(at).map_or_else(|| "NULL".into(), |v| quoted(v));
            // One-dimensional, none, two-dimensional, empty, and with other lower bounds.
            let all: Vec<_> = (0..=values.len()).map(value).collect();
            let array = match row % 5 {
                0 => format!("ARRAY[{}]::{name}[]", all.join(", ")),
                1 => "NULL".to_owned(),
                2 => format!("ARRAY[[{0}, NULL], [NULL, {0}]]::{name}[]", value(0)),
                3 => "'{}'".to_owned(),
                _ => format!("array_fill({}::{name}, '{{2}}', '{{-2}}')::{name}[]", value(0)),
            };
            let (value, inner) = (value(row), format!("made.inner_{i}"));
            let pair = format!("ROW({value}, {array})::{inner}");
            let row =
                format!("ROW({pair}, {value}, ARRAY[{pair}, NULL, ROW(NULL, NULL)::{inner}])");
            let _ = write!(sql, ", {value}, {array}, {value}, {row}");
        }
        sql += ");\n";
    }
    sql
}

/// Moves a table of such types under changes that put each value into another row.
async fn play(
    from: &Database,
    to: &Database,
    types: &[(&str, &[&str])],
    (source, target): (&str, &str),
    target_is_there: bool,
) {
    let types = known(from, types).await;
    let columns: Vec<_> = (0..types.len()).map(|i| format!("c{i}, a{i}, d{i}, r{i}")).collect();
    let columns = columns.join(", ");
    let (types, table) = (made_of(&types), table(&types));
    from.sql(&types).await;
    to.sql(&types).await;
    from.sql(&table).await;
    if target_is_there {
        let made = table.split(';').next().unwrap().replace("TABLE source", "TABLE target");
        to.sql(&made).await;
    }
    let mut spec = spec(from, to, "source", "target");
    source.clone_into(&mut spec.source.user);
    target.clone_into(&mut spec.target.user);
    spec.page_rows = Some(3);
    let rotate = format!(
        "UPDATE source s SET ({columns}) = (SELECT {columns} FROM source o
             WHERE o.id = (s.id + 1) % (SELECT max(id) + 1 FROM source)) WHERE s.id % 3 > 0"
    );
    let insert =
        format!("INSERT INTO source SELECT id + 100, {columns} FROM source WHERE id < 100");
    let mut changes = [&rotate, &insert, &rotate].into_iter();
    let events = migrate_with(&spec, |event| {
        if let Event::Progress { .. } = event
            && let Some(change) = changes.next()
        {
            now(from.sql(change));
        }
    })
    .await
    .unwrap_or_else(|failure| panic!("{}: {failure}", from.server.version()));
    sums(&events);
    for change in ["DELETE FROM source WHERE id > 102", &rotate, &insert.replace("100", "1000")] {
        from.sql(change).await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{change}: {failure}"));
        assert_same((from, "source"), (to, "target"), "id").await;
    }
    drop_slot(from, &spec).await;
}

async fn between(from: &Binaries, to: &Binaries, target_is_there: bool) {
    let (from, to) = (server(from), server(to));
    for types in [PLAIN, ODD] {
        let (from, to) =
            (Database::create(&from, "types").await, Database::create(&to, "types").await);
        // Object ids differ between databases; here they certainly do.
        make_types(&from, "CREATE TYPE another AS (a integer)").await;
        make_types(&to, "").await;
        play(&from, &to, types, ("postgres", "postgres"), target_is_there).await;
    }
}

/// Each release is once a source and once a target; of every second pair the target is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_as_it_was() {
    let versions = versions_to_test();
    for (i, (from, to)) in versions.iter().zip(versions.iter().rev()).enumerate() {
        between(from, to, i % 2 == 0).await;
    }
}

/// Settings that change how values are printed and read, what names mean and what is allowed.
const SETTINGS: &[(&str, &str)] = &[
    ("DateStyle", "'German, DMY'"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("client_encoding", "LATIN1"),
    ("search_path", "evil, public"),
    ("xmloption", "document"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "1"),
    ("lock_timeout", "1"),
    ("idle_in_transaction_session_timeout", "1"),
    ("idle_session_timeout", "1"),
    ("enable_indexscan", "off"),
    ("synchronous_commit", "off"),
];

/// The role's settings, here of both sides' roles, must not matter; the walsender has them too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_settings_are_pinned() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "settings").await;
        let to = Database::create(&server, "settings").await;
        let role = format!("{}_role", from.name);
        let evil = "CREATE SCHEMA evil; CREATE TABLE evil.source (id integer PRIMARY KEY);
                    CREATE TABLE evil.target (id integer PRIMARY KEY);
                    CREATE TYPE evil.pair AS (b text)";
        make_types(&from, evil).await;
        make_types(&to, evil).await;
        let mut sql = format!("CREATE ROLE {role} SUPERUSER LOGIN;");
        for (name, value) in SETTINGS {
            let _ = write!(sql, "ALTER ROLE {role} SET {name} = {value};");
        }
        from.sql(&sql).await;
        play(&from, &to, ODD, (&role, &role), false).await;
        from.sql("DROP TABLE source").await;
        to.sql("DROP TABLE target; DROP SCHEMA pghost CASCADE").await;
        from.sql(&format!("DROP PUBLICATION pghost_{}", from.name)).await;
        // Nor must it matter that the two sides' differ.
        play(&from, &to, PLAIN, (&role, "postgres"), false).await;
    }
}

/// What a table is, column by column, with its key and its sequences.
const DEFINITION: &str = "
SELECT string_agg(line, chr(10) ORDER BY n, line) FROM (
    SELECT attnum * 0 + row_number() OVER (ORDER BY attnum) AS n,
           concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
               pg_get_expr(adbin, adrelid), attidentity, attgenerated, collname) AS line
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
      LEFT JOIN pg_collation c ON c.oid = attcollation
     WHERE attrelid = 'public.source'::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 1000, contype::text || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid = 'public.source'::regclass AND contype IN ('p', 'u')
    UNION ALL
    SELECT 2000, concat_ws(' ', attname, s.data_type, s.start_value, s.min_value, s.max_value,
               s.increment_by, s.cycle, s.cache_size, s.last_value)
      FROM pg_attribute, pg_sequences s
     WHERE attrelid = 'public.source'::regclass AND attnum > 0 AND NOT attisdropped
       AND to_regclass(format('%I.%I', s.schemaname, s.sequencename)) =
           to_regclass(pg_get_serial_sequence('public.source', attname))
) l";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_made_is_defined_as_the_source_is() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "made").await;
        let to = Database::create(&server, "made").await;
        let types = "CREATE DOMAIN word AS text COLLATE \"C\" DEFAULT 'd'";
        make_types(&from, types).await;
        make_types(&to, types).await;
        let newest = match server.version().major() {
            18.. => ", virt integer GENERATED ALWAYS AS (n * 2) VIRTUAL",
            _ => "",
        };
        from.sql(&format!(
            r#"CREATE TABLE source (
                gone text, id serial, "big Id" bigserial, small smallserial,
                always bigint GENERATED BY DEFAULT AS IDENTITY
                    (START 5 INCREMENT 5 MINVALUE -5 MAXVALUE 500 CACHE 3 CYCLE),
                down integer GENERATED BY DEFAULT AS IDENTITY (INCREMENT -1),
                untouched bigint GENERATED BY DEFAULT AS IDENTITY,
                n integer NOT NULL DEFAULT 7, stored integer GENERATED ALWAYS AS (n + 1) STORED,
                "Def" text DEFAULT E'it''s \\ a "test"' COLLATE "C",
                mood "Mood's" DEFAULT 'it''s', w word, made timestamptz DEFAULT now(),
                exact numeric(20,5)[], v varchar(7) NOT NULL DEFAULT ''::varchar,
                f double precision DEFAULT 'NaN', p pair, c char(3), b bit(4) DEFAULT B'0101',
                t time(3) with time zone {newest}, PRIMARY KEY (v, id));
               ALTER TABLE source DROP gone;
               CREATE SEQUENCE source_n_seq OWNED BY source.n;
               ALTER TABLE source ALTER n SET DEFAULT nextval('source_n_seq');
               INSERT INTO source (untouched, n) SELECT i, i FROM generate_series(1, 20) i;
               INSERT INTO source (untouched) VALUES (0), (0);"#,
        ))
        .await;
        let spec = spec(&from, &to, "source", "source");
        let made = migrate(&spec).await;
        made.unwrap_or_else(|failure| panic!("{}: {failure}", server.version()));
        for _ in 0..2 {
            let (ours, theirs) = (from.value(DEFINITION).await, to.value(DEFINITION).await);
            for (ours, theirs) in ours.lines().zip(theirs.lines()) {
                assert_eq!(ours, theirs, "{}", server.version());
            }
            assert_eq!(ours.lines().count(), theirs.lines().count());
            assert_same((&from, "source"), (&to, "source"), "id").await;
            // The sequences go on, one of them downwards.
            let more = "INSERT INTO source (untouched) SELECT i FROM generate_series(1, 5) i";
            from.sql(more).await;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
        to.sql("INSERT INTO source DEFAULT VALUES").await;
        drop_slot(&from, &spec).await;
    }
}
