//! Locks that a run waits for without end: people are told what it waits for, who is in the way, and
//! what to do.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use pghost::{
    cluster::Binaries,
    migrate::{Event, PhaseName},
};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    bed::Bed,
    limit::within,
    moments::{begins, beside, now, until},
    oldest_and_newest,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n int);
    INSERT INTO source SELECT i, 0 FROM generate_series(1, 100) i";

/// From when on a wait is told of.
const LONG: Duration = Duration::from_secs(7);

async fn make_bed(binaries: &Binaries) -> Bed {
    let mut bed = Bed::make(binaries, "blocked", TABLE).await;
    bed.to.sql("CREATE TABLE target (id int PRIMARY KEY, n int)").await;
    // Many, and few of them ahead of what is told.
    (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(5), 1);
    bed
}

/// What is told of one process. Others may be told of as well: to make a slot, a run waits for every
/// transaction of the server, those of other tests too.
fn blocked_by(pid: i32, event: &Event) -> Option<&str> {
    let who = format!("in the way is pid {pid} (user ");
    match event {
        Event::Notice { message } if message.contains(&who) => Some(message),
        _ => None,
    }
}

fn all_of(pid: i32, events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| blocked_by(pid, event)).collect()
}

async fn a_row_of_the_target(binaries: Binaries) {
    let bed = make_bed(&binaries).await;
    let mut holder = bed.to.connect().await;
    let pid = holder.process_id();
    let (tell, mut told) = watch::channel(String::new());
    let on = |event: &Event| match event {
        Event::Progress { pages_done: 1, .. } => {
            now(bed.from.sql("UPDATE source SET n = n + 1 WHERE id % 5 = 0"));
        }
        // The row was copied, and what is to be done to it is before the checkpoint.
        Event::Checkpoint { .. } => {
            let hold = "BEGIN; SELECT FROM target WHERE id = 50 FOR UPDATE";
            now(holder.query(hold)).unwrap();
        }
        event => {
            if let Some(message) = blocked_by(pid, event) {
                tell.send_replace(message.to_owned());
            }
        }
    };
    let script = async {
        let message = within("the notice", told.wait_for(|told| !told.is_empty())).await;
        let message = message.unwrap().clone();
        for part in [
            "on the target",
            "a lock on public.target",
            "application test",
            "idle in transaction",
            &format!("pg_terminate_backend({pid})"),
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        bed.to.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
    };
    let events = beside(&bed.spec, on, script).await.unwrap();
    assert_eq!(all_of(pid, &events).len(), 1, "{events:?}");
    bed.ends().await;
}

/// One that holds the run up for a moment, and one that does so for long.
async fn the_table_on_the_source(binaries: Binaries) {
    let bed = make_bed(&binaries).await;
    let mut holders = [bed.from.connect().await, bed.from.connect().await];
    let [short, long] = [holders[0].process_id(), holders[1].process_id()];
    let (tell, mut told) = watch::channel(String::new());
    let lock = "BEGIN; LOCK TABLE source";
    let (began, lasted) = (Instant::now(), OnceLock::new());
    let on = |event: &Event| match event {
        event if begins(event, PhaseName::Backfill) => {
            now(holders[0].query(lock)).unwrap();
        }
        Event::Progress { pages_done: 1, .. } => {
            now(holders[1].query(lock)).unwrap();
        }
        event => {
            if let Some(message) = blocked_by(long, event) {
                tell.send_replace(message.to_owned());
            }
        }
    };
    let script = async {
        // That one has its lock, and somebody else waits for it.
        let is_held_up = format!(
            "SELECT bool_or(pid = {short} AND state = 'idle in transaction')
                AND bool_or(wait_event_type = 'Lock')
               FROM pg_stat_activity WHERE datname = current_database()"
        );
        until(&bed.from, &is_held_up).await;
        bed.from.sql(&format!("SELECT pg_terminate_backend({short}, 60000)")).await;
        lasted.set(began.elapsed()).unwrap();
        let message = within("the notice", told.wait_for(|told| !told.is_empty())).await;
        let message = message.unwrap().clone();
        for part in ["on the source", "a lock on public.source"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        bed.from.sql(&format!("SELECT pg_terminate_backend({long}, 60000)")).await;
    };
    let events = beside(&bed.spec, on, script).await.unwrap();
    assert_eq!(all_of(long, &events).len(), 1, "{events:?}");
    // On a busy machine even the moment may be long.
    if *lasted.get().unwrap() < LONG {
        assert!(all_of(short, &events).is_empty(), "{events:?}");
    }
    bed.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_run_up_for_long_is_told() {
    // Side by side: it is told after some seconds.
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(a_row_of_the_target(binaries.clone()));
        scenes.spawn(the_table_on_the_source(binaries));
    }
    scenes.join_all().await;
}
