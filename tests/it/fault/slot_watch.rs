//! The slot while a run is under way: lost, dropped or read by somebody else, it ends the backfill
//! at once; and where slots may not idle, it is kept from that.

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    migrate::{
        Event, Exit, Failure, MigrationSpec,
        verdict::{Sign, rule_of},
    },
};

use crate::{
    fault::killed_at_events::forget,
    support::{
        moments::{migrate_with, now},
        own_servers::{Own, Two},
        selected, some_releases,
    },
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i";

/// Writes so much log, and makes no checkpoint.
fn writes(table: &str) -> String {
    let row = format!("SELECT pg_switch_wal(); INSERT INTO {table} VALUES (1);");
    format!("SELECT pg_switch_wal(); CREATE TABLE {table} AS SELECT 1 a; {}", row.repeat(2))
}

/// A backfill in which every page waits for a lock, once there are some.
struct Held {
    two: Two,
    spec: MigrationSpec,
}

impl Held {
    async fn start(binaries: &Binaries, settings: &[(&str, &str)]) -> Self {
        let two = Two::with(binaries, settings, &[]);
        two.source.sql(TABLE).await;
        let spec = MigrationSpec { page_rows: Some(500), ..two.spec() };
        Self { two, spec }
    }

    /// Runs it; after some pages no more are written, and `what` is done to the source.
    async fn run(&self, what: &str) -> (Result<Vec<Event>, Failure>, Vec<Event>) {
        let mut lock = self.two.target.connect().await;
        let (source, mut seen) = (self.two.source.clone(), Vec::new());
        let (mut held, mut watched, mut done) = (false, false, false);
        let ended = migrate_with(&self.spec, |event| {
            if let Event::Progress { .. } = event
                && !std::mem::replace(&mut held, true)
            {
                // Nothing but the watch can end this backfill now.
                now(lock.query("BEGIN; LOCK TABLE public.target IN EXCLUSIVE MODE")).unwrap();
            }
            watched |= matches!(event, Event::Slot { .. });
            // The watch has seen the slot as it was.
            if held && watched && !std::mem::replace(&mut done, true) {
                now(source.sql(what));
            }
            seen.push(event.clone());
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        (ended.expect("the backfill goes on without its slot"), seen)
    }

    /// As before the migration.
    async fn anew(&self) {
        forget(&self.spec).await;
        self.two.target.sql("DROP TABLE target").await;
    }

    /// It ends at once because of the slot, in these words, and nothing is left open.
    async fn ends_by(&self, what: &str, words: &str) -> Vec<Event> {
        let (ended, seen) = self.run(what).await;
        let failure = ended.map(|_| words).unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        assert!(failure.message.contains(words), "no {words} in {failure}");
        assert!(failure.hint.contains("pghost cleanup"), "{failure}");
        let copied = "SELECT count(*) < 20000 AND count(*) > 0 FROM target";
        assert_eq!(self.two.target.value(copied).await, "t");
        self.two.nothing_is_left_open().await;
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_dropped_ends_the_backfill_at_once() {
    for binaries in some_releases() {
        let held = Held::start(&binaries, &[]).await;
        let drop = "SELECT pg_drop_replication_slot('pghost_outage')";
        held.ends_by(drop, "dropped").await;
        held.anew().await;
        // And with nobody there to see it: the watch's session is ended as well.
        let unwatched = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE query LIKE '%FROM pg_replication_slots s WHERE%' AND pid <> pg_backend_pid(); {drop}"
        );
        held.ends_by(&unwatched, "dropped").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_somebody_else_reads_ends_the_backfill_at_once() {
    for binaries in some_releases() {
        let held = Held::start(&binaries, &[]).await;
        let read = "INSERT INTO source SELECT -1; COMMIT; SELECT pg_logical_slot_get_binary_changes('pghost_outage',
            NULL, NULL, 'proto_version', '1', 'publication_names', 'pghost_outage')";
        held.ends_by(read, "somebody else has read it").await;
    }
}

/// More log is written than is kept for the slot, and no checkpoint comes: people are told what is to
/// be done at once. A run that catches up before it comes has lost nothing.
async fn is_just_caught(held: &Held) {
    let (two, mut seen) = (&held.two, Vec::new());
    let (mut lock, mut written) = (Some(two.target.connect().await), false);
    let ended = migrate_with(&held.spec, |event| {
        match event {
            Event::Progress { .. } if !std::mem::replace(&mut written, true) => {
                let lock = lock.as_mut().unwrap();
                now(lock.query("BEGIN; LOCK TABLE public.target IN EXCLUSIVE MODE")).unwrap();
                now(two.source.sql(&writes("early")));
                now(two.source.sql("UPDATE source SET v = 'new' WHERE id % 10 = 0"));
            }
            Event::Slot { wal_status, safe_bytes, .. } if wal_status == "unreserved" => {
                assert_eq!(*safe_bytes, Some(0));
                drop(lock.take());
            }
            _ => {}
        }
        seen.push(event.clone());
    });
    ended.await.unwrap();
    let told = |event: &Event| match event {
        Event::Notice { message } => message.contains("max_slot_wal_keep_size = -1"),
        _ => false,
    };
    assert_eq!(seen.iter().filter(|event| told(event)).count(), 1, "{seen:#?}");
    migrate_with(&held.spec, |_| {}).await.unwrap();
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

/// The same between two runs, with a checkpoint.
async fn is_lost_between(held: &Held) {
    held.two.source.sql(&(writes("between") + "CHECKPOINT")).await;
    let failure = migrate_with(&held.spec, |_| {}).await.unwrap_err();
    assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
    for part in ["pghost_outage was invalidated", "max_slot_wal_keep_size"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    assert_eq!(failure.hint, rule_of(Sign::Slot).next);
    held.two.nothing_is_left_open().await;
}

/// With little log kept for a slot, it is told beforehand, then how little is left, then lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_lost_ends_the_backfill_at_once_and_was_told_before() {
    for binaries in some_releases() {
        let settings = [("max_slot_wal_keep_size", "16MB"), ("checkpoint_timeout", "1h")];
        let held = Held::start(&binaries, &settings).await;
        is_just_caught(&held).await;
        is_lost_between(&held).await;
        held.anew().await;
        let write = writes("w") + "CHECKPOINT";
        let seen = held.ends_by(&write, "max_slot_wal_keep_size").await;
        let told = |is: &dyn Fn(&Event) -> bool| seen.iter().any(is);
        assert!(told(
            &|event| matches!(event, Event::Notice { message } if message.contains("at most 16 MB"))
        ));
        assert!(
            told(&|event| matches!(event, Event::Slot { safe_bytes: Some(1..), .. })),
            "{seen:#?}"
        );
    }
}

/// A slot that idles is given up at a checkpoint (18). During a run it is not: something reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_kept_from_idling_while_pages_are_copied() {
    let Some(binaries) = selected(18) else { return };
    let source = Own::start(&binaries, &[("idle_replication_slot_timeout", "5s")]);
    let target = Own::start(&binaries, &[]);
    let two = Two { source, target };
    two.source.sql(TABLE).await;
    let spec = MigrationSpec { page_rows: Some(1_000), copy_jobs: 1, ..two.spec() };
    let mut lock = Some(two.target.connect().await);
    let (mut told, mut checkpoints) = (false, None);
    let idles = migrate_with(&spec, |event| {
        if let Event::Notice { message } = event {
            told |= message.contains("idle_replication_slot_timeout");
        }
        if let Event::Progress { .. } = event
            && let Some(mut lock) = lock.take()
        {
            now(lock.query("BEGIN; LOCK TABLE public.target IN EXCLUSIVE MODE")).unwrap();
            let source = two.source.clone();
            checkpoints = Some(tokio::spawn(async move {
                for _ in 0..14 {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    source.sql("CHECKPOINT").await;
                }
                lock.close().await;
            }));
        }
    });
    idles.await.unwrap();
    assert!(told && checkpoints.is_some_and(|checkpoints| checkpoints.is_finished()));
    two.are_equal().await;
    // Between runs nobody keeps it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    two.source.sql("CHECKPOINT").await;
    let failure = migrate_with(&spec, |_| {}).await.unwrap_err();
    assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
    assert!(failure.message.contains("idle_timeout"), "{failure}");
}
