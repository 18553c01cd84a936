//! Sessions that somebody ends or cancels, one kind after the other, and server processes that die:
//! on either side, while pages are copied and while changes are applied. All of it passes, and the
//! run goes on by itself.

use std::process::Command;

use pghost::{cluster::Binaries, migrate::Event};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    bed::Bed,
    moments::{Following, migrate_with, now, until},
    oldest_and_newest,
    own_servers::{Own, Two},
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 10000) i";

/// Kinds of sessions, by what they hold or have asked last: conditions on pg_stat_activity.
const HOLDS_THE_RUN: &str = "pid IN (SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock')";
const WRITES: &str = "pid IN (SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND mode = 'ShareLock')";
const READS_PAGES: &str = "(query LIKE '%pg_current_wal_flush_lsn()%' OR query LIKE 'COPY %')";
const FINDS_PAGES: &str = "query = 'COMMIT'";
const OF_THE_RUN: &str = "(query LIKE 'SELECT pg_catalog.pg_try_advisory_lock_shared(%'
    OR query LIKE 'SET enable_seqscan = off; SET enable_hashjoin%'
    OR query LIKE 'SELECT (encode(%')";
/// One that streams: in an idle one there is nothing to cancel.
const WALSENDER: &str = "backend_type = 'walsender' AND wait_event LIKE 'WalSenderWait%'";
const WATCHES_THE_SLOT: &str = "query LIKE '%FROM pg_replication_slots s WHERE%'";

const ENDS: &str = "pg_terminate_backend";
const CANCELS: &str = "pg_cancel_backend";

/// The sessions of a kind.
fn of_kind(kind: &str) -> String {
    format!(
        "FROM pg_stat_activity WHERE datname = current_database()
            AND application_name NOT LIKE 'test%' AND usename IS NOT NULL AND {kind}"
    )
}

/// Strikes a kind, and tells how many there were.
fn strike(how: &str, kind: &str) -> String {
    format!("SELECT count({how}(pid)) {}", of_kind(kind))
}

fn are_there(kind: &str) -> String {
    format!("SELECT count(*) > 0 {}", of_kind(kind))
}

/// Databases in which every timeout that there is is less than any session here waits, for locks
/// or for work.
async fn make_bed(binaries: &Binaries) -> Bed {
    let mut timeouts = vec![
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
    ];
    if binaries.version.major() >= 17 {
        timeouts.push("transaction_timeout");
    }
    let mut bed = Bed::make(binaries, "struck", TABLE).await;
    for db in [&bed.from, &bed.to] {
        for timeout in &timeouts {
            db.sql(&format!("ALTER DATABASE {} SET {timeout} = '250ms'", db.name)).await;
        }
    }
    bed.spec.page_rows = Some(20);
    bed
}

async fn in_the_backfill(bed: &Bed) {
    // Which are noticed at once, the others when they are needed.
    let mut strikes = [
        (&bed.from, READS_PAGES, true),
        (&bed.to, WRITES, true),
        (&bed.from, FINDS_PAGES, false),
        (&bed.from, OF_THE_RUN, false),
        (&bed.from, WATCHES_THE_SLOT, false),
        (&bed.to, HOLDS_THE_RUN, false),
    ]
    .into_iter()
    .peekable();
    let mut holder = bed.from.connect().await;
    let (pid, (tell, mut holds)) = (holder.process_id(), watch::channel(false));
    let (mut reasons, mut goes_on) = (Vec::new(), false);
    let run = migrate_with(&bed.spec, |event| match event {
        Event::Waiting { reason, .. } => reasons.push(reason.clone()),
        Event::Progress { .. } if !*tell.borrow() => {
            now(holder.query("BEGIN; LOCK TABLE source")).unwrap();
            tell.send_replace(true);
        }
        Event::Resumed { .. } => goes_on = true,
        // One that is not there yet is waited for.
        Event::Progress { .. }
            if goes_on
                && let Some((server, kind, at_once)) = strikes.peek()
                && now(server.value(&strike(ENDS, kind))) != "0" =>
        {
            goes_on = !at_once;
            strikes.next();
        }
        _ => {}
    });
    // Cancels the reading of a page, which waits for that lock.
    let script = async {
        const WAITS: &str = "wait_event_type = 'Lock'";
        holds.wait_for(|holds| *holds).await.unwrap();
        until(&bed.from, &are_there(WAITS)).await;
        bed.from.sql(&strike(CANCELS, WAITS)).await;
        bed.from.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
    };
    let (ended, ()) = tokio::join!(run, script);
    ended.unwrap_or_else(|failure| panic!("{failure}: {reasons:?}"));
    assert_eq!(strikes.next().map(|(_, kind, _)| kind), None, "{reasons:?}");
    assert!(reasons[0].contains("57014"), "{reasons:?}");
    let all = reasons.join("\n");
    for part in ["57P01", "from the source", "to the target"] {
        assert!(all.contains(part), "no {part} in {all}");
    }
    bed.is_equal().await;
    bed.nothing_is_left_open().await;
}

async fn while_it_follows(bed: &Bed) {
    let mut following = Following::start(&bed.spec).await;
    let strikes = [
        (&bed.from, ENDS, WALSENDER, "57P01"),
        (&bed.from, CANCELS, WALSENDER, "57014"),
        (&bed.to, ENDS, WRITES, "57P01"),
        (&bed.from, ENDS, OF_THE_RUN, ""),
        (&bed.to, ENDS, HOLDS_THE_RUN, ""),
    ];
    for (number, (server, how, kind, code)) in strikes.into_iter().enumerate() {
        until(server, &are_there(kind)).await;
        server.sql(&strike(how, kind)).await;
        bed.from.sql(&format!("INSERT INTO source VALUES (-1 - {number}, '{kind:.9}')")).await;
        if !code.is_empty() {
            let reason = following.waits().await;
            assert!(reason.contains(code), "no {code} in {reason}");
        }
        until(&bed.to, &format!("SELECT count(*) = 1 FROM target WHERE id = -1 - {number}")).await;
    }
    // Told to stop, with the session gone that has held the migration all the while.
    following.end().await;
    bed.ends().await;
}

async fn sessions(binaries: Binaries) {
    let bed = make_bed(&binaries).await;
    in_the_backfill(&bed).await;
    while_it_follows(&bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_somebody_ends_or_cancels_are_opened_again() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(sessions(binaries));
    }
    scenes.join_all().await;
}

/// Kills a server's process that serves nobody but the test. The server ends all the others, and
/// recovers.
async fn crashes(server: &Own) {
    let (victim, mut witness) = (server.connect().await, server.connect().await);
    let pid = victim.process_id().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    witness.query("SELECT pg_sleep(600)").await.unwrap_err();
}

async fn processes(binaries: Binaries) {
    let two = Two::start(&binaries);
    two.source.sql(TABLE).await;
    let is_page = |event: &Event| matches!(event, Event::Progress { .. });
    let is_change = |event: &Event| matches!(event, Event::CatchUp { .. });
    type Moment = fn(&Event) -> bool;
    let crash: [(&Own, Moment); 4] = [
        (&two.source, is_page),
        (&two.target, is_page),
        (&two.source, is_change),
        (&two.target, is_change),
    ];
    let (mut crash, mut reasons) = (crash.into_iter().peekable(), Vec::new());
    let (mut resumed, mut pages) = (true, 0);
    let spec = two.spec();
    let ended = migrate_with(&spec, |event| {
        match event {
            Event::Waiting { reason, .. } => reasons.push(reason.clone()),
            Event::Resumed { .. } => resumed = true,
            _ => {}
        }
        pages += u32::from(is_page(event));
        if pages == 1 && is_page(event) {
            now(two.source.sql("UPDATE source SET v = v || '!'; DELETE FROM source WHERE id < 9"));
        }
        if resumed && let Some((server, _)) = crash.next_if(|(_, is_time)| is_time(event)) {
            resumed = false;
            now(crashes(server));
        }
    });
    ended.await.unwrap_or_else(|failure| panic!("{failure}: {reasons:?}"));
    assert!(crash.next().is_none(), "{reasons:?}");
    // A walsender says nothing as it dies.
    let told = |side| reasons.iter().filter(|r| r.contains("57P02") && r.contains(side)).count();
    assert!(told("source") >= 1 && told("target") >= 2, "{reasons:#?}");
    migrate_with(&two.spec(), |_| {}).await.unwrap();
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_process_that_dies_is_outlived() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(processes(binaries));
    }
    scenes.join_all().await;
}
