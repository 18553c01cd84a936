//! Transactions larger than `logical_decoding_work_mem`, and prepared ones.
//!
//! They are held open until everyone who reads has got what there is of them: a server that reads
//! of a transaction only later knows how it ended, and sends less.

use super::script::{Expected, Script};

fn insert(first: u32, count: u32) -> String {
    let last = first + count - 1;
    format!(
        "INSERT INTO big SELECT i, repeat(md5(i::text), 8) FROM generate_series({first}, {last}) i"
    )
}

pub(super) async fn nested(s: &mut Script<'_>) {
    s.run(&format!("BEGIN; {}", insert(1, 400))).await;
    s.settle().await;
    s.run(&format!(
        "SAVEPOINT a; {}; UPDATE big SET t = t || '!' WHERE id <= 10;
         SAVEPOINT b; {}; DELETE FROM big WHERE id <= 5; TRUNCATE counted",
        insert(1001, 300),
        insert(2001, 400)
    ))
    .await;
    s.settle().await;
    s.run(&format!(
        "ROLLBACK TO b; {}; RELEASE a; SAVEPOINT c; {}; SAVEPOINT d; {}; RELEASE d",
        insert(3001, 10),
        insert(4001, 400),
        insert(5001, 400)
    ))
    .await;
    s.settle().await;
    let last = "ROLLBACK TO c; SAVEPOINT e; UPDATE big SET id = id + 10000 WHERE id <= 20;
        DELETE FROM big WHERE id BETWEEN 1001 AND 1005; TRUNCATE counted RESTART IDENTITY;
        SELECT pg_logical_emit_message(true, 'pghost', 'large');
        INSERT INTO typed (id, e, q, o, es) VALUES (4, 'sad', '(1,a)', 4, '{sad}');
        UPDATE whole SET t = 'c' WHERE id = 4; RELEASE e";
    s.run(last).await;
    s.run(&insert(6001, 400)).await;
    s.settle().await;
    s.many("COMMIT", 400 + 300 + 10 + 10 + 20 + 5 + 1 + 1 + 1 + 400).await;
}

/// The last of them has 18 send a Stream Abort for the subtransaction even under version 1.
pub(super) async fn rolled_back(s: &mut Script<'_>) {
    for what in [
        insert(20001, 600),
        format!("SAVEPOINT a; {}", insert(20001, 600)),
        format!("SAVEPOINT a; {}; RELEASE a; {}", insert(20001, 50), insert(20101, 600)),
    ] {
        s.run(&format!("BEGIN; {what}")).await;
        s.settle().await;
        s.run("ROLLBACK").await;
    }
}

pub(super) async fn interleaved(s: &mut Script<'_>) {
    let parts = |first| [insert(first, 400), insert(first + 1000, 400)];
    let (a, b) = (parts(30001), parts(32001));
    s.run("BEGIN").await;
    s.beside("BEGIN").await;
    for (a, b) in a.iter().zip(&b) {
        s.run(a).await;
        s.beside(b).await;
        s.settle().await;
    }
    s.beside("COMMIT").await;
    s.expect("the other's COMMIT", Expected::Many(800));
    s.many("COMMIT", 800).await;
}

/// A table that changes while a transaction is being streamed, and changes back.
pub(super) async fn definitions(s: &mut Script<'_>) {
    let insert = |first: u32, count: u32, rest: &str| {
        let last = first + count - 1;
        let text = "repeat(md5(i::text), 8)";
        format!(
            "INSERT INTO altered SELECT i, {text}, i {rest} FROM generate_series({first}, {last}) i"
        )
    };
    s.run(&format!("BEGIN; {}", insert(101, 400, ""))).await;
    s.settle().await;
    let add = "SAVEPOINT s; ALTER TABLE altered ADD f text";
    s.run(&format!("{add}; {}", insert(1001, 400, ", 'sad', 'f'"))).await;
    s.settle().await;
    s.run(&format!("ROLLBACK TO s; {}", insert(2001, 10, ""))).await;
    s.run(&format!("ALTER TABLE altered ADD g int; {}", insert(3001, 400, ", 'sad', 5"))).await;
    s.settle().await;
    let drop = "UPDATE altered SET g = 6 WHERE id < 110; ALTER TABLE altered DROP d";
    s.run(&format!("{drop}; {}", insert(4001, 400, ", 7"))).await;
    s.settle().await;
    // 5 rows of the small transactions, and 9 of those above.
    s.many("COMMIT", 400 + 10 + 400 + (6 + 9) + 400).await;
}

pub(super) async fn big_values(s: &mut Script<'_>) {
    let insert = |first: u32| {
        let last = first + 29;
        let big = "repeat(md5(i::text), 150)";
        format!("INSERT INTO toasted SELECT i, {big}, 's' FROM generate_series({first}, {last}) i")
    };
    s.run(&format!("BEGIN; {}; UPDATE toasted SET small = 'a' WHERE id > 100", insert(101))).await;
    s.settle().await;
    s.run(&format!("SAVEPOINT a; {}; UPDATE toasted SET id = id + 1000", insert(201))).await;
    s.settle().await;
    s.run("ROLLBACK TO a; UPDATE toasted SET id = id + 1000 WHERE id > 110").await;
    s.run("DELETE FROM toasted WHERE id BETWEEN 101 AND 105").await;
    s.many("COMMIT", 30 + 30 + 20 + 5).await;
}

pub(super) async fn somebody_else(s: &mut Script<'_>) {
    s.run("SELECT pg_replication_origin_session_setup('else where')").await;
    s.run(&format!("BEGIN; {}", insert(40001, 400))).await;
    s.settle().await;
    s.run(&insert(41001, 400)).await;
    s.settle().await;
    s.tagged = true;
    s.many("COMMIT", 800).await;
    s.be_oneself().await;
}

pub(super) async fn prepared(s: &mut Script<'_>) {
    s.run(
        "BEGIN; INSERT INTO plain VALUES (40, 'p', 1); SAVEPOINT a; DELETE FROM plain;
         ROLLBACK TO a; UPDATE plain SET n = 2 WHERE id = 40; PREPARE TRANSACTION 'one'",
    )
    .await;
    s.tx("INSERT INTO plain VALUES (41, 'before', 1)", &["plain +(41,'before',1)"]).await;
    s.settle().await;
    s.tx("COMMIT PREPARED 'one'", &["plain +(40,'p',1)", "plain ~(40,'p',2)"]).await;
    s.run("BEGIN; INSERT INTO plain VALUES (42, 'no', 1); PREPARE TRANSACTION 'two'").await;
    s.settle().await;
    s.run("ROLLBACK PREPARED 'two'").await;
    for (first, gid, commits) in [(50001, "it''s three", true), (60001, "ü", false)] {
        s.run(&format!(
            "BEGIN; {}; SAVEPOINT a; {}",
            insert(first, 600),
            insert(first + 1000, 400)
        ))
        .await;
        s.settle().await;
        s.run(&format!("ROLLBACK TO a; {}", insert(first + 2000, 10))).await;
        s.run(&format!("PREPARE TRANSACTION '{gid}'")).await;
        s.settle().await;
        if commits {
            s.many(&format!("COMMIT PREPARED '{gid}'"), 610).await;
        } else {
            s.run(&format!("ROLLBACK PREPARED '{gid}'")).await;
        }
    }
}
