//! What must always be true, one test or more for each; the other half is in `state`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use pghost::{
    cluster::{Server, StopMode},
    migrate::{Event, Exit},
    pgoutput::{Decoder, ProtoVersion, Streaming},
};

use crate::support::{
    Database, assert_same, migrate,
    moments::{Gate, beside, drop_slot, now, sums, until},
    server, some_releases, spec,
};

/// Sixty rows, and a table beside them.
const SIXTY: &str = "CREATE TABLE source (id integer PRIMARY KEY, n integer, t text);
    INSERT INTO source SELECT i, i, 'row ' || i FROM generate_series(1, 60) i;
    CREATE TABLE target (LIKE source INCLUDING ALL);";

/// What a run of the first kind of table holds on its source.
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pghost'";

/// The making of a slot waits for transactions that are open. By then the publication must be
/// there; and what those transactions wrote before must be in the pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publication_before_slot() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "before").await;
        db.sql(SIXTY).await;
        let mut open = db.connect().await;
        open.query("BEGIN; INSERT INTO source VALUES (100, 1, 'before the slot')").await.unwrap();
        let spec = spec(&db, &db, "source", "target");
        let script = async {
            let slot = format!(
                "SELECT count(*) > 0 FROM pg_replication_slots WHERE slot_name = 'pghost_{}'",
                db.name
            );
            until(&db, &slot).await;
            let published = format!(
                "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'pghost_{}'",
                db.name
            );
            assert_eq!(db.value(&published).await, "1");
            db.sql("UPDATE source SET n = 0 WHERE id = 1").await;
            open.query("UPDATE source SET n = 0 WHERE id = 2; COMMIT").await.unwrap();
        };
        beside(&spec, |_| {}, script).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// While a page waits for the target, and when all pages are done, nothing of pghost's holds a
/// snapshot or a transaction open on the source; the slot holds back catalogs only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_long_snapshot() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) = (
            Database::create(&server, "snapshot").await,
            Database::create(&server, "snapshot").await,
        );
        db.sql(SIXTY).await;
        to.sql("CREATE TABLE target (id integer PRIMARY KEY, n integer, t text)").await;
        let mut spec = spec(&db, &to, "source", "target");
        spec.page_rows = Some(5);
        let free = format!(
            "SELECT ({SESSIONS} AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)) = 0 AND ({SESSIONS}) > 0"
        );
        let gates = [
            Gate::close(&to, "target", 1, "NEW.id = 2").await,
            Gate::close(&to, "target", 2, "NEW.id = 31").await,
            Gate::close(&to, "target", 3, "NEW.id = 60").await,
        ];
        let script = async {
            for gate in gates {
                gate.reached().await;
                until(&db, &free).await;
                let held = db
                    .value(
                        "SELECT xmin IS NULL AND catalog_xmin IS NOT NULL FROM pg_replication_slots
                      WHERE database = current_database()",
                    )
                    .await;
                assert_eq!(held, "t");
                gate.open().await;
            }
        };
        let at_checkpoint = |event: &Event| {
            if let Event::Checkpoint { .. } = event {
                // Who watches the source is about to have its answer, if it has asked.
                now(until(&db, &free));
            }
        };
        let events = beside(&spec, at_checkpoint, script).await.unwrap();
        let Some(Event::Finished { longest_snapshot_seconds, .. }) = events.last() else {
            panic!("{events:?}");
        };
        assert!(*longest_snapshot_seconds > 0.0);
        drop_slot(&db, &spec).await;
    }
}

/// A row that the target refuses: nothing of its page is there, all of the others is, the ledger
/// says the same, and the next run brings the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_atomic() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "atomic").await;
        db.sql(SIXTY).await;
        db.sql("ALTER TABLE target ADD CONSTRAINT refuse CHECK (id <> 35)").await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(10);
        // The trial would meet the row before any page.
        spec.trial = false;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert!(failure.message.contains("refuse"), "{failure}");
        assert_eq!(db.value("SELECT count(*) FROM target WHERE id BETWEEN 31 AND 40").await, "0");
        ledger_agrees(&db).await;
        db.sql("ALTER TABLE target DROP CONSTRAINT refuse").await;
        let (_, table) = sums(&migrate(&spec).await.unwrap());
        assert_eq!(table.rows_copied, 60);
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

async fn ledger_agrees(db: &Database) {
    let agrees = "SELECT (SELECT count(*) FROM target) =
                         (SELECT coalesce(sum(row_count), 0) FROM pghost.page)";
    assert_eq!(db.value(agrees).await, "t");
}

/// The source dies in the middle of a page: the target is told, and rolls back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_atomic_also_when_the_source_fails() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) =
            (Database::create(&server, "half").await, Database::create(&server, "half").await);
        // Much more than sockets and buffers hold.
        db.sql(
            "CREATE TABLE source (id integer PRIMARY KEY, t text STORAGE EXTERNAL);
             INSERT INTO source SELECT i, repeat('x', 100000) FROM generate_series(1, 600) i"
                .replace(" STORAGE EXTERNAL", "")
                .as_str(),
        )
        .await;
        to.sql("CREATE TABLE target (id integer PRIMARY KEY, t text)").await;
        let mut spec = spec(&db, &to, "source", "target");
        spec.page_rows = Some(300);
        spec.copy_jobs = 1;
        // What is on the target then is looked at before another attempt.
        spec.wait_for_server = Duration::ZERO;
        let gate = Gate::close(&to, "target", 1, "NEW.id = 310").await;
        let mut run = std::pin::pin!(migrate(&spec));
        let script = async {
            gate.reached().await;
            // In one look: it may be writing again at the next one.
            let end = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event = 'ClientWrite' AND query LIKE 'COPY%'";
            until(&db, end).await;
            gate.open().await;
        };
        tokio::select! {
            ended = &mut run => panic!("ended: {:?}", ended.map(|e| e.len())),
            () = script => {}
        }
        let failure = run.await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        until(&to, &format!("SELECT ({SESSIONS}) = 0")).await;
        assert_eq!(to.value("SELECT count(*) FROM target").await, "300");
        ledger_agrees(&to).await;
        migrate(&spec).await.unwrap();
        let sum = "SELECT count(*) || ' ' || sum(length(t)) FROM ";
        assert_eq!(
            db.value(&format!("{sum} source")).await,
            to.value(&format!("{sum} target")).await
        );
        drop_slot(&db, &spec).await;
    }
}

/// Rows wait for their position: as long as it can't be written, neither is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_lives_in_the_target() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "position").await;
        db.sql(SIXTY).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        let gate = Gate::close(&db, "target", 1, "NEW.id = 1").await;
        db.sql("UPDATE source SET n = -1 WHERE id IN (1, 2); INSERT INTO source VALUES (61)").await;
        let script = async {
            gate.reached().await;
            let mut holder = db.connect().await;
            holder.query("BEGIN; SELECT FROM pghost.migration FOR UPDATE").await.unwrap();
            gate.open().await;
            until(&db, &format!("SELECT ({SESSIONS} AND wait_event_type = 'Lock') = 1")).await;
            assert_eq!(db.value("SELECT count(*) FROM target WHERE n = -1 OR id = 61").await, "0");
            holder.query("COMMIT").await.unwrap();
            holder.close().await;
        };
        beside(&spec, |_| {}, script).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// A crash of the source takes the slot's own position back. The ledger's is what counts: no
/// change is received twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_survives_a_crash_of_the_source() {
    for binaries in some_releases() {
        let to = Database::create(&server(&binaries), "crash").await;
        let mut own = Arc::new(Server::start(&binaries, &[]).unwrap());
        let mut db = Database::create(&own, "crash").await;
        let name = db.name.clone();
        db.sql(SIXTY).await;
        let mut received = 0;
        for n in 1..4 {
            let mut spec = spec(&db, &to, "source", "target");
            spec.name = Some(name.clone());
            let insert = format!("INSERT INTO source VALUES (1000 + {n}, 1), (2000 + {n}, 2)");
            if n > 1 {
                db.sql(&insert).await;
                received += 2;
            }
            let (sum, _) = sums(&migrate(&spec).await.unwrap());
            assert_eq!(sum, received);
            assert_same((&db, "source"), (&to, "target"), "id").await;
            drop(db);
            let server = Arc::get_mut(&mut own).unwrap();
            server.restart(StopMode::Immediate).unwrap();
            db = Database { server: own.clone(), name: name.clone() };
        }
    }
}

/// The target commits asynchronously unless told otherwise, and crashes right after each run:
/// what the source was told is there must be there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledge_only_what_is_durable() {
    let lazy = [
        ("synchronous_commit", "off"),
        ("wal_writer_delay", "10s"),
        ("wal_writer_flush_after", "1GB"),
    ];
    for binaries in some_releases() {
        let db = Database::create(&server(&binaries), "durable").await;
        let mut own = Arc::new(Server::start(&binaries, &lazy).unwrap());
        let mut to = Database::create(&own, "durable").await;
        let name = to.name.clone();
        db.sql(SIXTY).await;
        let mut spec = spec(&db, &to, "source", "target");
        for n in 0..4 {
            spec.target = to.config();
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{n}: {failure}"));
            let acknowledged = db
                .value(
                    "SELECT confirmed_flush_lsn FROM pg_replication_slots
                      WHERE database = current_database()",
                )
                .await;
            drop(to);
            Arc::get_mut(&mut own).unwrap().restart(StopMode::Immediate).unwrap();
            to = Database { server: own.clone(), name: name.clone() };
            let kept = format!("SELECT applied_lsn >= '{acknowledged}' FROM pghost.migration");
            assert_eq!(to.value(&kept).await, "t", "{n}");
            assert_same((&db, "source"), (&to, "target"), "id").await;
            db.sql(
                "UPDATE source SET n = n + 1; INSERT INTO source SELECT max(id) + 1 FROM source",
            )
            .await;
        }
        drop_slot(&db, &spec).await;
    }
}

/// While a batch waits on the target, more is received; the slot stays where the ledger is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_is_only_received() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let (db, to) = (
            Database::create(&server, "received").await,
            Database::create(&server, "received").await,
        );
        db.sql(SIXTY).await;
        to.sql("CREATE TABLE target (id integer PRIMARY KEY, n integer, t text)").await;
        let mut spec = spec(&db, &to, "source", "target");
        spec.page_rows = Some(10);
        spec.copy_jobs = 1;
        let gates = [
            Gate::close(&to, "target", 1, "NEW.id = 30").await,
            Gate::close(&to, "target", 2, "NEW.n = 77").await,
        ];
        let [pages, changes] = gates;
        let (tell, mut told) = tokio::sync::watch::channel(pghost::pg::Lsn(0));
        let listen = |event: &Event| {
            if let Event::CatchUp { received_lsn, .. } = event {
                tell.send_replace(*received_lsn);
            }
        };
        let script = async {
            pages.reached().await;
            db.sql("UPDATE source SET n = 77 WHERE id = 5").await;
            db.sql("UPDATE source SET n = n + 1 WHERE id > 5").await;
            let second: pghost::pg::Lsn =
                db.value("SELECT pg_current_wal_insert_lsn()").await.parse().unwrap();
            pages.open().await;
            changes.reached().await;
            loop {
                told.changed().await.unwrap();
                if *told.borrow_and_update() >= second {
                    break;
                }
                let slot = db
                    .value(
                        "SELECT confirmed_flush_lsn FROM pg_replication_slots
                      WHERE database = current_database()",
                    )
                    .await;
                let behind = format!(
                    "SELECT '{slot}' <= applied_lsn AND applied_lsn < '{second}' FROM pghost.migration"
                );
                assert_eq!(to.value(&behind).await, "t");
            }
            let told_source = db
                .value(
                    "SELECT bool_and(flush_lsn < write_lsn) FROM pg_stat_replication r
                       JOIN pg_replication_slots s ON active_pid = r.pid
                      WHERE database = current_database()",
                )
                .await;
            let slot = db
                .value(
                    "SELECT confirmed_flush_lsn FROM pg_replication_slots
                      WHERE database = current_database()",
                )
                .await;
            let behind = format!(
                "SELECT '{slot}' <= applied_lsn AND applied_lsn < '{second}' FROM pghost.migration"
            );
            assert_eq!(to.value(&behind).await, "t", "{told_source}");
            changes.open().await;
        };
        beside(&spec, listen, script).await.unwrap();
        assert_same((&db, "source"), (&to, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}

/// With asynchronous commit a row is seen before its commit is flushed. The last page shows one
/// row of such a transaction; its other row is in a page that was read before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_is_the_insert_position() {
    let lazy = [("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];
    for binaries in some_releases() {
        let own = Arc::new(Server::start(&binaries, &lazy).unwrap());
        let db = Database::create(&own, "insertpos").await;
        let to = Database::create(&server(&binaries), "insertpos").await;
        db.sql(SIXTY).await;
        to.sql("CREATE TABLE target (id integer PRIMARY KEY, n integer, t text)").await;
        let mut spec = spec(&db, &to, "source", "target");
        spec.name = Some(to.name.clone());
        spec.page_rows = Some(10);
        spec.copy_jobs = 1;
        let gate = Gate::close(&to, "target", 1, "NEW.id = 45").await;
        let script = async {
            gate.reached().await;
            db.sql(
                "SET synchronous_commit = off; BEGIN; UPDATE source SET n = -n WHERE id IN (3, 57);
                 DELETE FROM source WHERE id = 4; INSERT INTO source VALUES (61), (0); COMMIT",
            )
            .await;
            gate.open().await;
        };
        beside(&spec, |_| {}, script).await.unwrap();
        assert_same((&db, "source"), (&to, "target"), "id").await;
    }
}

/// Every byte that begins no message, and every message that ends early or goes on too long.
#[test]
fn what_cannot_be_decoded_stops_the_stream() {
    let known: HashSet<u8> = b"BCORYIUDTMSEcAbPKrp".iter().copied().collect();
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    for byte in (0..=u8::MAX).filter(|byte| !known.contains(byte)) {
        assert!(decoder.decode(&[byte, 0, 0, 0, 0, 0, 0, 0, 0]).is_err(), "{byte}");
    }
    let mut begin = b"B".to_vec();
    begin.extend([1; 20]);
    assert!(decoder.decode(&begin).is_ok());
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    assert!(decoder.decode(&begin[..20]).is_err());
    begin.push(0);
    let mut decoder = Decoder::new(ProtoVersion::V1, Streaming::Off);
    assert!(decoder.decode(&begin).is_err());
    assert!(Decoder::new(ProtoVersion::V1, Streaming::Off).decode(&[]).is_err());
}

/// Limits of a role on how long things may take end neither pages nor batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_timeout_ends_a_page() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "timeouts").await;
        db.sql(SIXTY).await;
        let mut settings = vec![
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "idle_session_timeout",
        ];
        if server.version().major() >= 17 {
            settings.push("transaction_timeout");
        }
        let role = format!("{}_role", db.name);
        db.sql(&format!("CREATE ROLE {role} SUPERUSER LOGIN")).await;
        for setting in settings {
            db.sql(&format!("ALTER ROLE {role} SET {setting} = '300ms'")).await;
        }
        let mut spec = spec(&db, &db, "source", "target");
        spec.source.user.clone_from(&role);
        spec.target.user.clone_from(&role);
        spec.page_rows = Some(10);
        let gates = [
            Gate::close(&db, "target", 1, "NEW.id = 30").await,
            Gate::close(&db, "target", 2, "NEW.n = 77").await,
        ];
        let script = async {
            for gate in gates {
                gate.reached().await;
                let open = "SELECT bool_or(state_change < clock_timestamp() - interval '500 ms')
                    FROM pg_stat_activity WHERE datname = current_database()
                     AND application_name = 'pghost' AND state <> 'idle'";
                until(&db, open).await;
                db.sql("UPDATE source SET n = 77 WHERE id = 5").await;
                gate.open().await;
            }
        };
        beside(&spec, |_| {}, script).await.unwrap();
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}
