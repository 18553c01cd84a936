//! The kinds of keys.

use pghost::backfill::Paging;

use super::{By, Kind, kind};

pub(super) fn integers() -> Vec<Kind<'static>> {
    const INTEGER: &[(&str, &str)] = &[("k", "integer")];
    const BIGINT: &[(&str, &str)] = &[("k", "bigint")];
    const DENSE: &str = "SELECT generate_series(-20, 20)";
    const GAPS: &str = "SELECT generate_series(1, 15) UNION ALL SELECT generate_series(4000000000, 4000000015)
        UNION ALL VALUES (-9223372036854775808), (-9223372036854775807), (9223372036854775806), (9223372036854775807)";
    const SPARSE: &str = "SELECT hashint8extended(i, 0) FROM generate_series(1, 34) i
        UNION ALL VALUES (9223372036854775807), (-9223372036854775808)";
    let odd = "CREATE DOMAIN odd AS integer CHECK (value % 2 <> 0); CREATE DOMAIN \"odd one\" AS odd NOT NULL";
    vec![
        kind("dense", INTEGER, DENSE).paging(Paging::Range),
        kind("dense_keyset", INTEGER, DENSE).paging(Paging::Keyset),
        kind("gaps", BIGINT, GAPS).paging(Paging::Range),
        kind("gaps_keyset", BIGINT, GAPS).paging(Paging::Keyset),
        kind("sparse", BIGINT, SPARSE).paging(Paging::Range),
        kind("sparse_keyset", BIGINT, SPARSE).paging(Paging::Keyset),
        kind(
            "smallint",
            &[("k", "smallint")],
            "SELECT i FROM generate_series(-15, 15) i UNION ALL VALUES (-32768), (-32767), (32766), (32767)",
        ),
        kind(
            "integer",
            INTEGER,
            "SELECT 2147483647 - i FROM generate_series(0, 15) i UNION ALL
             SELECT -2147483648 + i FROM generate_series(0, 15) i",
        ),
        // A bound that lies between two keys is no value of the domain.
        kind("domain", &[("k", "\"odd one\"")], "SELECT 2 * i + 1 FROM generate_series(-20, 20) i")
            .before(odd)
            .paging(Paging::Range),
        kind("identity", INTEGER, DENSE).by(By::ReplicaIdentity),
        kind("unique", INTEGER, DENSE).by(By::UniqueIndex),
    ]
}

pub(super) fn numbers_and_times() -> Vec<Kind<'static>> {
    vec![
        kind(
            "numeric",
            &[("k", "numeric")],
            "SELECT (i::text || CASE i % 3 WHEN 0 THEN '.00' WHEN 1 THEN '.0' ELSE '' END)::numeric
               FROM generate_series(-12, 12) i UNION ALL VALUES ('NaN'::numeric), ('Infinity'), ('-Infinity'),
               (1e-300), (-1e300), (12345678901234567890123456789012345678901234567890.09876543210987654321)",
        ),
        kind("numeric_unique", &[("k", "numeric(10, 3)")], "SELECT i / 7.0 FROM generate_series(-15, 15) i")
            .by(By::UniqueIndex),
        kind(
            "double",
            &[("k", "double precision")],
            "SELECT i / 3::float8 FROM generate_series(1, 24) i UNION ALL VALUES ('NaN'::float8), ('Infinity'),
               ('-Infinity'), ('-0'), (5e-324), (-1.7976931348623157e308), (0.1 + 0.2::float8)",
        ),
        kind(
            "real",
            &[("k", "real")],
            "SELECT i / 3::real FROM generate_series(1, 24) i UNION ALL VALUES ('NaN'::real), ('Infinity'),
               ('-Infinity'), ('-0'), (1e-45), (-3.4028235e38)",
        ),
        kind(
            "timestamp",
            &[("k", "timestamp")],
            "SELECT timestamp '2024-03-31 01:00' + i * interval '7 min 1 us' FROM generate_series(1, 24) i
               UNION ALL VALUES ('infinity'::timestamp), ('-infinity'), ('4713-01-01 00:00 BC'),
               ('294276-12-31 23:59:59.999999'), ('0001-12-31 23:59:59.999999 BC')",
        ),
        kind(
            "timestamptz",
            &[("k", "timestamptz")],
            "SELECT '2024-03-31 00:30+01'::timestamptz + i * interval '7 min' FROM generate_series(1, 24) i
               UNION ALL VALUES ('infinity'::timestamptz), ('-infinity'), ('4714-11-24 00:00+00 BC'),
               ('294276-12-31 23:59:59.999999+00'), ('1890-01-01 00:00:00+00')",
        ),
        kind(
            "date",
            &[("k", "date")],
            "SELECT date '1999-12-31' + i * 7 FROM generate_series(1, 24) i UNION ALL VALUES ('infinity'::date),
               ('-infinity'), ('0044-03-15 BC'), ('4714-11-24 BC'), ('5874897-12-31')",
        ),
        kind(
            "interval",
            &[("k", "interval")],
            "SELECT make_interval(months => i, days => -i, secs => -i / 7.0) FROM generate_series(-12, 12) i
               UNION ALL VALUES ('178000000 years'::interval), ('-178000000 years'), ('1 us'), ('-1 us'), ('30 days')",
        ),
        kind(
            "time_of_day",
            &[("k", "timetz"), ("t", "time")],
            "SELECT format('12:%s+0%s:45', 10 + i, i % 10)::timetz, time '23:59:59.999999' FROM generate_series(1, 24) i
               UNION ALL VALUES ('24:00-15:59'::timetz, '24:00'::time), ('00:00+15:59', '00:00')",
        ),
        kind(
            "oid",
            &[("k", "oid")],
            "SELECT 4294967295 - i FROM generate_series(0, 20) i UNION ALL SELECT generate_series(0, 9)",
        ),
        kind(
            "boolean_first",
            &[("a", "boolean"), ("b", "smallint"), ("c", "bigint")],
            "SELECT i % 2 = 0, i % 5 - 2, 9223372036854775807 - i FROM generate_series(0, 32) i",
        ),
    ]
}

/// Quotes, backslashes, blanks, control characters, the empty string, what COPY and arrays take
/// for NULL, and letters whose order is not that of their bytes; and keys almost as long as an
/// index takes.
const WORDS: &str = r#"SELECT w FROM (VALUES (''), (''''), ('\'), ('\N'), ('NULL'), ('\.'), ('\\N'),
    (E'\t'), (E'\n'), (E'\r\n'), (E'\x01'), ('a b'), ('É'), ('e'), ('z'), ('Ä'), ('ß'), ('日本'), ('😀'),
    ('$1'), ('%s'), ('{}'), ('''' || '\'), ('$$'), ('--'), ('"'), ('a,b'), ('(')) w (w)
    UNION ALL SELECT string_agg(md5((i * 100 + j)::text), '') FROM generate_series(1, 8) i, generate_series(1, 62) j
     GROUP BY i"#;

pub(super) fn words() -> Vec<Kind<'static>> {
    let german =
        "CREATE COLLATION IF NOT EXISTS german (provider = icu, locale = 'de-u-co-phonebk')";
    let any_case = "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    // The best libc collation that the machine has; without a locale of a language it is C.UTF-8.
    let of_libc = "DO $$ BEGIN EXECUTE (SELECT format('CREATE COLLATION of_libc (provider = libc, locale = %L)', collcollate)
        FROM pg_collation WHERE collprovider = 'c' AND collencoding IN (-1, 6)
        ORDER BY collcollate ~* '^en_US' DESC, collcollate ~ '^[a-z]' DESC, collcollate ~* 'utf' DESC LIMIT 1); END $$";
    vec![
        kind("c", &[("k", "text COLLATE \"C\"")], WORDS),
        kind("libc", &[("k", "text COLLATE of_libc")], WORDS).before(of_libc),
        kind("icu", &[("k", "varchar COLLATE german")], WORDS).before(german),
        kind("icu_any_case", &[("k", "text COLLATE any_case")], WORDS).before(any_case),
        kind("full", &[("k", "text")], WORDS).by(By::UniqueIndex),
        kind("identity", &[("k", "varchar(2000)")], WORDS).by(By::ReplicaIdentity),
        kind("character", &[("k", "char(2000)")], "SELECT i || 'é''\\' FROM generate_series(1, 30) i"),
        kind("name", &[("k", "name")], "SELECT repeat('é', 20) || '''\\\"' || i FROM generate_series(1, 30) i"),
        // A type with a collation of its own, and a column with another one.
        kind("name_collated", &[("k", "name COLLATE german")], "SELECT left(w, 20) FROM (VALUES ('É'), ('e'),
            ('z'), ('Ä'), ('ß'), ('Z'), ('a'), ('_'), ('-')) w (w), generate_series(1, 4) i WHERE i = 1 UNION ALL
            SELECT chr(70 + i) || 'ä' FROM generate_series(1, 24) i").before(german),
        kind("domain_collated", &[("k", "word COLLATE german"), ("l", "word")], "SELECT w, w FROM (VALUES ('É'), ('e'),
            ('z'), ('Ä'), ('ß'), ('Z'), ('a'), ('_'), ('-')) w (w) UNION ALL
            SELECT chr(70 + i) || 'ä', '' FROM generate_series(1, 24) i")
            .before("CREATE COLLATION IF NOT EXISTS german (provider = icu, locale = 'de-u-co-phonebk');
                     CREATE DOMAIN word AS text COLLATE \"C\" CHECK (value <> 'no')"),
        kind("char", &[("c", "\"char\""), ("n", "integer")],
            "SELECT c::\"char\", i FROM unnest(ARRAY['', '''', '\\', 'a', 'Z', ' ']) c, generate_series(1, 5) i"),
        kind("hostile_names", &[("\"say \"\"hi\"\" 100%s.$1\"", "text"), ("\"t\"", "integer"),
            ("\"ü😀 2345678901234567890123456789012345678901234567890123456\"", "text")],
            "SELECT chr(97 + i % 3), i % 4, i::text FROM generate_series(1, 33) i"),
    ]
}

pub(super) fn everything_else() -> Vec<Kind<'static>> {
    vec![
        kind("uuid", &[("k", "uuid")], "SELECT md5(i::text)::uuid FROM generate_series(1, 30) i
            UNION ALL VALUES ('00000000-0000-0000-0000-000000000000'::uuid), ('ffffffff-ffff-ffff-ffff-ffffffffffff')"),
        kind("uuid_unique", &[("k", "uuid")], "SELECT md5(i::text)::uuid FROM generate_series(1, 30) i").by(By::UniqueIndex),
        kind("bytea", &[("k", "bytea")], r"SELECT decode(md5(i::text), 'hex') FROM generate_series(1, 24) i UNION ALL
            VALUES (''::bytea), ('\x00'), ('\x5c'), ('\x27'), ('\xff'), ('\x0a'), ('\x5c4e')"),
        kind("enum", &[("k", "\"Mood's of \"\"all\"\" 100% .\""), ("n", "integer")],
            "SELECT m, i FROM unnest(enum_range(NULL::\"Mood's of \"\"all\"\" 100% .\")) m, generate_series(1, 5) i")
            .before("CREATE TYPE \"Mood's of \"\"all\"\" 100% .\" AS ENUM ('z', 'it''s', 'a', E'b\\\\', '', 'ü, {}');
                     ALTER TYPE \"Mood's of \"\"all\"\" 100% .\" ADD VALUE 'NULL' BEFORE 'z'"),
        kind("inet", &[("k", "inet"), ("c", "cidr")], "SELECT '10.0.0.0/8'::inet + i * 77777, '10.0.0.0/8'::cidr
            FROM generate_series(1, 26) i UNION ALL VALUES ('::1'::inet, '::/0'::cidr), ('2001:db8::/32', '0.0.0.0/0')"),
        kind("macaddr", &[("k", "macaddr"), ("l", "macaddr8")], "SELECT ('08:00:2b:01:02:' || 10 + i)::macaddr,
            '08:00:2b:01:02:03:04:05'::macaddr8 FROM generate_series(1, 26) i UNION ALL
            VALUES ('ff:ff:ff:ff:ff:ff'::macaddr, 'ff:ff:ff:ff:ff:ff:ff:ff'::macaddr8)"),
        kind("array", &[("k", "text[]")], r#"SELECT ARRAY['a"', NULL, i::text, '\', '', 'NULL'] FROM generate_series(1, 26) i
            UNION ALL VALUES ('{}'::text[]), ('[3:4]={x,y}'), ('{NULL,"NULL"}'), ('{{a,b},{c,d}}')"#),
        kind("array_of_numbers", &[("k", "numeric[]"), ("d", "date[]")],
            "SELECT ARRAY[i / 7.0, NULL, 'NaN'], ARRAY['infinity', '0044-03-15 BC'::date] FROM generate_series(1, 26) i"),
        kind("range", &[("k", "numrange"), ("l", "tstzrange")],
            "SELECT numrange(i, i + 1.50, '(]'), tstzrange('epoch', 'infinity') FROM generate_series(1, 26) i
             UNION ALL VALUES ('empty'::numrange, '(,)'::tstzrange), ('(,)', 'empty'), ('[NaN,]', '[epoch,]')"),
        kind("multirange", &[("k", "int4multirange")],
            "SELECT int4multirange(int4range(i, i + 2), int4range(i + 5, NULL)) FROM generate_series(1, 26) i
             UNION ALL VALUES ('{}'::int4multirange), ('{(,)}')"),
        kind("composite", &[("k", "pair")], r#"SELECT ROW(i % 5, i || '",(\', NULL)::pair FROM generate_series(1, 30) i"#)
            .before("CREATE DOMAIN few AS integer CHECK (value < 100); CREATE TYPE pair AS (a few, \"B\" text, c integer)"),
        kind("jsonb", &[("k", "jsonb")], r#"SELECT jsonb_build_object('a"\', i, 'b', ARRAY['ü']) FROM generate_series(1, 26) i
            UNION ALL VALUES ('null'::jsonb), ('1.00'), ('"\\u0001"'), ('[]'), ('{}')"#),
        kind("bits", &[("k", "bit(7)"), ("l", "bit varying")], "SELECT i::bit(7), B'' FROM generate_series(1, 30) i"),
        kind("system", &[("k", "regclass"), ("l", "pg_lsn"), ("x", "xid8"), ("t", "tid")],
            "SELECT c.oid::regclass, '1/F'::pg_lsn, '18446744073709551615'::xid8, '(4294967295,65535)'::tid
               FROM (SELECT oid FROM pg_class WHERE oid < 16384 ORDER BY oid LIMIT 30) c"),
        kind("mixed", &[("c", "uuid"), ("b", "text"), ("a", "numeric"), ("d", "bigint")],
            "SELECT md5((i % 2)::text)::uuid, chr(97 + i % 3), i % 4 / 3.0, -i FROM generate_series(1, 36) i"),
        kind("mixed_full", &[("b", "bytea"), ("a", "timestamptz"), ("d", "boolean")],
            "SELECT decode(md5((i % 2)::text), 'hex'), to_timestamp(i % 9), i % 4 < 2 FROM generate_series(1, 36) i")
            .by(By::UniqueIndex),
        kind("mixed_identity", &[("b", "double precision"), ("a", "char(3)")],
            "SELECT (i % 2) / 3::float8, chr(97 + i / 2) FROM generate_series(1, 36) i").by(By::ReplicaIdentity),
    ]
}
