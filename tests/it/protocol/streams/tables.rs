//! The tables, and small transactions on them, each with the changes that must come of it.

use super::script::Script;

pub(super) const SETUP: &str = r"
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN word AS text;
CREATE TYPE pair AS (a int, b text);
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE TABLE marker (id int PRIMARY KEY, note text);
CREATE TABLE plain (id int PRIMARY KEY, t text, n int);
CREATE TABLE whole (id int, t text, big text);
ALTER TABLE whole REPLICA IDENTITY FULL, ALTER big SET STORAGE EXTERNAL;
CREATE TABLE by_index (id int, code text NOT NULL, v int);
CREATE UNIQUE INDEX by_code ON by_index (code);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_code;
CREATE TABLE nothing (id int, t varchar(10));
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE keyless (id int);
CREATE TABLE toasted (id int PRIMARY KEY, big text, small text);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
CREATE TABLE outside (k text PRIMARY KEY, v int);
ALTER TABLE outside ALTER k SET STORAGE EXTERNAL;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE counted (id serial PRIMARY KEY, t text);
CREATE TABLE altered (id int PRIMARY KEY, a text, b text);
CREATE TABLE big (id int PRIMARY KEY, t text);
CREATE TABLE leafy (id int, region text, v int, PRIMARY KEY (id, region))
    PARTITION BY LIST (region);
CREATE TABLE leaf_a PARTITION OF leafy FOR VALUES IN ('a');
CREATE TABLE leaf_b (v int, gone int, region text NOT NULL, id int NOT NULL,
    PRIMARY KEY (id, region));
ALTER TABLE leaf_b DROP gone;
ALTER TABLE leafy ATTACH PARTITION leaf_b FOR VALUES IN ('b');
CREATE TABLE rooted (id int, region text, v int, PRIMARY KEY (id, region))
    PARTITION BY LIST (region);
CREATE TABLE root_a PARTITION OF rooted FOR VALUES IN ('a');
CREATE TABLE root_b (v int, gone int, region text NOT NULL, id int NOT NULL,
    PRIMARY KEY (id, region));
ALTER TABLE root_b DROP gone;
ALTER TABLE rooted ATTACH PARTITION root_b FOR VALUES IN ('b');
CREATE TABLE generated (id int PRIMARY KEY, g int GENERATED ALWAYS AS (n * 2) STORED, n int);
CREATE TABLE narrow (id int PRIMARY KEY, a text, b text, secret text);
CREATE TABLE filtered (id int PRIMARY KEY, big text);
ALTER TABLE filtered ALTER big SET STORAGE EXTERNAL;
CREATE TABLE typed (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8,
    n numeric, n2 numeric(10,2), v varchar(20), c char(5), y bytea, j json, jb jsonb, u uuid,
    d date, t time, tz timetz, ts timestamp, tsz timestamptz(3), i interval, ip inet, net cidr,
    mac macaddr, bits bit(3), vb varbit, p point, r int4range, mr int4multirange, fr floats,
    e mood, es mood[], o positive, os positive[], w word, q pair, qs pair[], ii int[], tt text[],
    acl aclitem, ch char, nm name, oi oid, rc regclass, mo money, l pg_lsn, tv tsvector);
CREATE TABLE unpublished (id int PRIMARY KEY);
CREATE TABLE ticks (n int);
CREATE TABLE made (id int PRIMARY KEY, g int GENERATED ALWAYS AS (n * 2) STORED, n int);
CREATE TABLE listed (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED);";

/// The first publication has a name that must be quoted, in SQL and in the replication grammar.
pub(super) const PUBLICATIONS: &[(u32, &str, &str)] = &[
    (
        14,
        r#"An "odd" one, it's \ ü"#,
        "FOR TABLE marker, plain, whole, by_index, nothing, keyless, toasted, outside, parent,
             child, counted, altered, big, leafy, generated, typed",
    ),
    (14, "roots", "FOR TABLE rooted WITH (publish_via_partition_root = true)"),
    (15, "parts", "FOR TABLE narrow (id, a, b), filtered WHERE (id > 10)"),
    (18, "made", "FOR TABLE made WITH (publish_generated_columns = stored)"),
    (18, "listed", "FOR TABLE listed (id, g)"),
];

/// Rows under each replica identity, and of every type.
pub(super) async fn rows(s: &mut Script<'_>) {
    s.tx(
        "INSERT INTO plain VALUES (1, 'one', 10), (2, '', NULL), (3, NULL, 30)",
        &["plain +(1,'one',10)", "plain +(2,'',null)", "plain +(3,null,30)"],
    )
    .await;
    s.tx("UPDATE plain SET n = 11 WHERE id = 1", &["plain ~(1,'one',11)"]).await;
    s.tx("UPDATE plain SET t = t, id = id WHERE id = 2", &["plain ~(2,'',null)"]).await;
    s.tx("UPDATE plain SET id = 4 WHERE id = 1", &["plain ~K(1,null,null)(4,'one',11)"]).await;
    s.tx("DELETE FROM plain WHERE id = 4", &["plain -K(4,null,null)"]).await;
    s.run("INSERT INTO unpublished VALUES (1)").await;
    s.run("DELETE FROM plain WHERE false; SELECT txid_current()").await;
    s.tx(
        "INSERT INTO plain VALUES (2, 'x', 0), (5, 'five', 5) ON CONFLICT DO NOTHING;
         INSERT INTO plain VALUES (2, 'two', 2) ON CONFLICT (id) DO UPDATE SET t = excluded.t",
        &["plain +(5,'five',5)", "plain ~(2,'two',null)"],
    )
    .await;
    s.tx(
        "INSERT INTO plain VALUES (6, 'six', 6); UPDATE plain SET id = 7 WHERE id = 6;
         DELETE FROM plain WHERE id = 7",
        &["plain +(6,'six',6)", "plain ~K(6,null,null)(7,'six',6)", "plain -K(7,null,null)"],
    )
    .await;
    s.run("BEGIN; INSERT INTO plain VALUES (8, 'eight', 8); ROLLBACK").await;
    s.tx(
        "BEGIN; INSERT INTO plain VALUES (9, 'nine', 9);
         SAVEPOINT a; INSERT INTO plain VALUES (10, 'ten', 10);
         SAVEPOINT b; DELETE FROM plain WHERE id = 9;
         ROLLBACK TO b; UPDATE plain SET n = 90 WHERE id = 9;
         ROLLBACK TO a; SAVEPOINT c; INSERT INTO plain VALUES (11, 'eleven', 11);
         RELEASE c; COMMIT",
        &["plain +(9,'nine',9)", "plain +(11,'eleven',11)"],
    )
    .await;
    s.tx(
        "INSERT INTO by_index VALUES (1, 'a', 1), (NULL, 'b', 2)",
        &["by_index +(1,'a',1)", "by_index +(null,'b',2)"],
    )
    .await;
    s.tx("UPDATE by_index SET v = 10 WHERE id = 1", &["by_index ~(1,'a',10)"]).await;
    s.tx("UPDATE by_index SET code = '' WHERE id = 1", &["by_index ~K(null,'a',null)(1,'',10)"])
        .await;
    s.tx("DELETE FROM by_index WHERE id IS NULL", &["by_index -K(null,'b',null)"]).await;
    s.tx("INSERT INTO nothing VALUES (1, 'x'), (1, 'x')", &["nothing +(1,'x')"; 2]).await;
    s.tx("INSERT INTO keyless VALUES (1), (NULL)", &["keyless +(1)", "keyless +(null)"]).await;
    s.many(TYPED, 3).await;
    s.many("UPDATE typed SET i2 = 7; DELETE FROM typed WHERE id = 2", 4).await;
}

const TYPED: &str = r#"
INSERT INTO typed VALUES
 (1, true, -32768, -9223372036854775808, 'NaN', 5e-324, 'NaN', -0.01, 'ü', ' x', '\xdeadbeef00ff',
  '{"b": 1, "b": 2}', '{"b": [1.00, null]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  '0044-03-15 BC', '24:00', '24:00-15:59', '294276-12-31 23:59:59.999999', 'infinity',
  '-1 year +3 days -04:05:06.7', '10.1.2.3/8', '::/0', '08:00:2b:01:02:03', '101', '0101010101',
  '(1.5,-0)', '[1,5)', '{[1,2),[5,7)}', '[0.1,0.3)', 'it''s ok', '{happy,NULL,"it''s ok"}', 1,
  '{1,NULL}', 'ü,"', '(1,"a,""b""")', ARRAY[(1,'a')::pair,NULL,(NULL,NULL)::pair],
  '[2:3]={1,NULL}', '{NULL,"NULL","",a\\b}', '=r/postgres', 'a', 'a name', 4294967295, 'pg_class',
  '-92233720368547758.08', 'FFFFFFFF/FFFFFFFF', '''a'':1A,2'),
 (2, false, 32767, 9223372036854775807, '-Infinity', 'Infinity', '1e-100', 12345678.90, '', '', '',
  'null', 'null', '00000000-0000-0000-0000-000000000000', 'infinity', '00:00', '00:00+15:59',
  '-infinity', '2024-03-31 02:30:01.1234+01', '0', '::1', '10.0.0.0/8', '08:00:2b:01:02:03',
  '000', '', '(NaN,Infinity)', 'empty', '{}', 'empty', 'sad', '{}', 2147483647, '{}', '', '(,)',
  '{}', '{}', '{}', 'postgres=arwdDxt/postgres', '', '', 0, '-', 0, '0/0', '');
INSERT INTO typed (id) VALUES (3)"#;

/// Values that are stored out of line, and are not sent where they did not change.
pub(super) async fn big_values(s: &mut Script<'_>) {
    s.tx(
        "INSERT INTO whole VALUES (1, 'a', repeat('x', 3000)), (1, 'a', NULL), (1, 'a', NULL)",
        &["whole +(1,'a',3000*x)", "whole +(1,'a',null)", "whole +(1,'a',null)"],
    )
    .await;
    s.tx(
        "UPDATE whole SET t = 'b' WHERE big IS NOT NULL",
        &["whole ~O(1,'a',3000*x)(1,'b',unchanged)"],
    )
    .await;
    s.tx("UPDATE whole SET big = NULL WHERE t = 'b'", &["whole ~O(1,'b',3000*x)(1,'b',null)"])
        .await;
    s.tx(
        "UPDATE whole SET id = 2 WHERE ctid = (SELECT min(ctid) FROM whole WHERE t = 'a')",
        &["whole ~O(1,'a',null)(2,'a',null)"],
    )
    .await;
    s.tx("UPDATE whole SET id = id WHERE t = 'b'", &["whole ~O(1,'b',null)(1,'b',null)"]).await;
    s.tx("DELETE FROM whole WHERE id = 2", &["whole -O(2,'a',null)"]).await;
    s.tx(
        "INSERT INTO whole VALUES (3, '', repeat('y', 3000)), (4, 'stays', repeat('z', 3000));
         UPDATE whole SET t = 'left' WHERE id = 4; DELETE FROM whole WHERE id = 3",
        &[
            "whole +(3,'',3000*y)",
            "whole +(4,'stays',3000*z)",
            "whole ~O(4,'stays',3000*z)(4,'left',unchanged)",
            "whole -O(3,'',3000*y)",
        ],
    )
    .await;
    s.tx(
        "INSERT INTO toasted VALUES (1, repeat('b', 5000), 's'), (2, NULL, 't')",
        &["toasted +(1,5000*b,'s')", "toasted +(2,null,'t')"],
    )
    .await;
    s.tx("UPDATE toasted SET small = 'u' WHERE id = 1", &["toasted ~(1,unchanged,'u')"]).await;
    s.tx("UPDATE toasted SET id = 3 WHERE id = 1", &["toasted ~K(1,null,null)(3,unchanged,'u')"])
        .await;
    s.tx("UPDATE toasted SET big = repeat('c', 4000) WHERE id = 3", &["toasted ~(3,4000*c,'u')"])
        .await;
    s.tx("UPDATE toasted SET big = NULL WHERE id = 3", &["toasted ~(3,null,'u')"]).await;
    s.tx("UPDATE toasted SET big = '' WHERE id = 3", &["toasted ~(3,'','u')"]).await;
    s.tx("DELETE FROM toasted WHERE id = 3", &["toasted -K(3,null,null)"]).await;
    s.tx(
        "INSERT INTO outside VALUES (repeat('k', 2500), 1), (repeat('m', 2500), 1)",
        &["outside +(2500*k,1)", "outside +(2500*m,1)"],
    )
    .await;
    // A key that is stored out of line is sent as if it had changed.
    s.tx(
        "UPDATE outside SET v = 2",
        &["outside ~K(2500*k,null)(unchanged,2)", "outside ~K(2500*m,null)(unchanged,2)"],
    )
    .await;
    s.tx("DELETE FROM outside WHERE k LIKE 'k%'", &["outside -K(2500*k,null)"]).await;
}

pub(super) async fn truncates(s: &mut Script<'_>) {
    let fill = "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1)";
    let filled = ["parent +(1)", "child +(1,1)"];
    s.tx(fill, &filled).await;
    s.tx("INSERT INTO counted (t) VALUES ('a'), ('b')", &["counted +(1,'a')", "counted +(2,'b')"])
        .await;
    s.tx("TRUNCATE child", &["truncate child"]).await;
    s.tx("INSERT INTO child VALUES (2, 1)", &["child +(2,1)"]).await;
    s.tx("TRUNCATE parent CASCADE", &["truncate cascade parent, child"]).await;
    s.tx("TRUNCATE counted RESTART IDENTITY", &["truncate restart counted"]).await;
    s.tx("INSERT INTO counted (t) VALUES ('c')", &["counted +(1,'c')"]).await;
    s.tx(fill, &filled).await;
    s.tx(
        "TRUNCATE parent, unpublished, counted RESTART IDENTITY CASCADE",
        &["truncate cascade restart parent, counted, child"],
    )
    .await;
    s.run("TRUNCATE unpublished").await;
    s.tx(
        "BEGIN; INSERT INTO parent VALUES (5); TRUNCATE child, parent, keyless; SAVEPOINT a;
         TRUNCATE plain; ROLLBACK TO a; INSERT INTO parent VALUES (6); COMMIT",
        &["parent +(5)", "truncate child, parent, keyless", "parent +(6)"],
    )
    .await;
}

/// Logical messages, and transactions of somebody else's.
pub(super) async fn messages(s: &mut Script<'_>) {
    s.tx(
        "BEGIN; SELECT pg_logical_emit_message(true, 'pghost', 'in it');
         INSERT INTO plain VALUES (20, 'm', 0);
         SELECT pg_logical_emit_message(false, '', 'loose'); COMMIT",
        &["message 'pghost' 'in it'", "plain +(20,'m',0)"],
    )
    .await;
    s.tx(
        r"SELECT pg_logical_emit_message(true, 'only', '\x00ff'::bytea)",
        &[r"message 'only' '\x00\xff'"],
    )
    .await;
    s.run(
        "BEGIN; SELECT pg_logical_emit_message(true, 'a', 'gone');
         SELECT pg_logical_emit_message(false, 'b', ''); ROLLBACK",
    )
    .await;
    s.loose.extend(["message '' 'loose'".to_owned(), "message 'b' ''".to_owned()]);
    s.be_somebody_else().await;
    s.tx(
        "BEGIN; SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2001-02-03 04:05:06+00');
         INSERT INTO plain VALUES (30, 'far', 1); COMMIT",
        &["plain +(30,'far',1)"],
    )
    .await;
    s.run("SELECT pg_replication_origin_xact_reset()").await;
    s.tx("INSERT INTO plain VALUES (31, 'off', 2)", &["plain +(31,'off',2)"]).await;
    s.be_oneself().await;
    s.tx("UPDATE plain SET n = 3 WHERE id = 30", &["plain ~(30,'far',3)"]).await;
}

/// Tables that change between transactions and within them.
pub(super) async fn definitions(s: &mut Script<'_>) {
    s.tx("INSERT INTO altered VALUES (1, 'a', 'b')", &["altered +(1,'a','b')"]).await;
    s.run("ALTER TABLE altered ADD c int DEFAULT 7").await;
    s.tx("INSERT INTO altered VALUES (2, 'a', 'b', 8)", &["altered +(2,'a','b',8)"]).await;
    s.tx("UPDATE altered SET a = 'x'", &["altered ~(1,'x','b',7)", "altered ~(2,'x','b',8)"]).await;
    s.tx(
        "BEGIN; INSERT INTO altered VALUES (3, 'a', 'b', 9);
         ALTER TABLE altered DROP b; INSERT INTO altered VALUES (4, 'a', 10);
         SAVEPOINT a; ALTER TABLE altered DROP a; INSERT INTO altered VALUES (5, 11);
         ROLLBACK TO a; INSERT INTO altered VALUES (5, NULL, 11);
         ALTER TABLE altered ADD d mood; INSERT INTO altered VALUES (6, 'a', 12, 'happy');
         UPDATE altered SET d = 'sad' WHERE id = 3; COMMIT",
        &[
            "altered +(3,'a','b',9)",
            "altered +(4,'a',10)",
            "altered +(5,null,11)",
            "altered +(6,'a',12,'happy')",
            "altered ~(3,'a',9,'sad')",
        ],
    )
    .await;
    // The rewritten rows do not come; the next change of each has the new type.
    s.run("ALTER TABLE altered ALTER c TYPE bigint; ALTER TABLE altered RENAME a TO \"A b\"").await;
    s.many("UPDATE altered SET c = c + 3000000000", 6).await;
    s.run("ALTER TABLE altered REPLICA IDENTITY FULL").await;
    s.tx(
        "UPDATE altered SET id = 7 WHERE id = 6",
        &["altered ~O(6,'a',3000000012,'happy')(7,'a',3000000012,'happy')"],
    )
    .await;
    s.run("ALTER TABLE altered REPLICA IDENTITY DEFAULT").await;
}

pub(super) async fn partitions(s: &mut Script<'_>) {
    let fill = |table: &str| format!("INSERT INTO {table} VALUES (1, 'a', 10), (2, 'b', 20)");
    s.tx(&fill("leafy"), &["leaf_a +(1,'a',10)", "leaf_b +(20,'b',2)"]).await;
    s.tx("UPDATE leafy SET v = 21 WHERE id = 2", &["leaf_b ~(21,'b',2)"]).await;
    s.tx(
        "UPDATE leafy SET region = 'b' WHERE id = 1",
        &["leaf_a -K(1,'a',null)", "leaf_b +(10,'b',1)"],
    )
    .await;
    s.tx("TRUNCATE leafy", &["truncate leaf_a, leaf_b"]).await;
    s.tx("INSERT INTO leaf_b VALUES (30, 'b', 3)", &["leaf_b +(30,'b',3)"]).await;
    s.tx(&fill("rooted"), &["rooted +(1,'a',10)", "rooted +(2,'b',20)"]).await;
    s.tx(
        "UPDATE rooted SET region = 'b' WHERE id = 1; UPDATE root_b SET id = 3 WHERE id = 2",
        &["rooted -K(1,'a',null)", "rooted +(1,'b',10)", "rooted ~K(2,'b',null)(3,'b',20)"],
    )
    .await;
    s.run("TRUNCATE root_a").await;
    s.tx("TRUNCATE rooted", &["truncate rooted"]).await;
    s.tx(
        "CREATE TABLE root_c PARTITION OF rooted FOR VALUES IN ('c');
         INSERT INTO root_c VALUES (4, 'c', 40); INSERT INTO rooted VALUES (5, 'b', 50)",
        &["rooted +(4,'c',40)", "rooted +(5,'b',50)"],
    )
    .await;
}

pub(super) async fn lists_and_filters(s: &mut Script<'_>) {
    s.tx("INSERT INTO narrow VALUES (1, 'a', 'b', 'c')", &["narrow +(1,'a','b')"]).await;
    s.tx("UPDATE narrow SET secret = 'd'", &["narrow ~(1,'a','b')"]).await;
    s.tx("UPDATE narrow SET id = 2", &["narrow ~K(1,null,null)(2,'a','b')"]).await;
    let insert =
        "INSERT INTO filtered VALUES (5, repeat('f', 3000)), (6, repeat('g', 3000)), (70, '')";
    s.tx(insert, &["filtered +(70,'')"]).await;
    // A row that comes into sight is an insert, of which a big value is never sent.
    s.tx("UPDATE filtered SET id = 50 WHERE id = 5", &["filtered +(50,unchanged)"]).await;
    s.tx("UPDATE filtered SET id = 60 WHERE id = 50", &["filtered ~K(50,null)(60,unchanged)"])
        .await;
    s.tx("UPDATE filtered SET id = 7 WHERE id = 60", &["filtered -K(60,null)"]).await;
    s.run("UPDATE filtered SET id = 8 WHERE id = 7; DELETE FROM filtered WHERE id = 8").await;
    s.tx("UPDATE filtered SET id = 66 WHERE id = 6", &["filtered +(66,unchanged)"]).await;
}

pub(super) async fn generated(s: &mut Script<'_>) {
    s.tx("INSERT INTO generated VALUES (1, DEFAULT, 5)", &["generated +(1,5)"]).await;
    s.tx("UPDATE generated SET n = 6", &["generated ~(1,6)"]).await;
    if s.major() >= 18 {
        s.run("ALTER TABLE made ADD virt int GENERATED ALWAYS AS (n * 3) VIRTUAL").await;
        s.tx("INSERT INTO made VALUES (1, DEFAULT, 5)", &["made +(1,10,5)"]).await;
        s.tx("UPDATE made SET n = 6", &["made ~(1,12,6)"]).await;
        s.tx("INSERT INTO listed VALUES (1, 5)", &["listed +(1,10)"]).await;
        s.tx("UPDATE listed SET n = 6", &["listed ~(1,12)"]).await;
    }
}
