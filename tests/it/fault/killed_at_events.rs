//! Runs that die at each of a run's named moments, on both sides of every commit, and are taken up
//! again: the target ends equal to the source, and nothing is done twice.
//!
//! Twice: in this process, where a run's task ends exactly at the event and its connections with
//! it; and as a process that is killed as soon as the event's line is read, a little later.

use std::{collections::BTreeSet, fs, panic::resume_unwind, path::Path, thread};

use pghost::{
    demo::{
        orders,
        workload::{Workload, WorkloadOptions},
    },
    migrate::{self, Cleaned, CleanupSpec, Event, MigrationSpec, Then},
    pg::QualifiedName,
};
use serde_json::Value;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    end::handoff,
    support::{
        self, Database, assert_same,
        moments::{now, sums},
        nobody_reads,
        program::Program,
        server, slot_of, some_releases, spec, versions_to_test,
    },
};

/// A moment: what its event holds, and which of several of the kind it is.
pub(crate) type Moment = (&'static [(&'static str, &'static str)], usize);

const CATCH_UP: &[(&str, &str)] = &[("event", "phase"), ("phase", "catch_up")];

const FOLLOW: &[(&str, &str)] = &[("event", "phase"), ("phase", "follow")];

const MOMENTS: &[Moment] = &[
    (&[("event", "phase"), ("phase", "prepare")], 1),
    (&[("step", "ledger_made")], 1),
    (&[("step", "table_made")], 1),
    (&[("step", "publication_made")], 1),
    (&[("step", "slot_made")], 1),
    (&[("phase", "backfill")], 1),
    (&[("step", "page_read")], 1),
    (&[("step", "page_read")], 4),
    (&[("event", "progress")], 1),
    (&[("event", "progress")], 5),
    (&[("step", "key_built")], 1),
    (&[("step", "checkpoint_taken")], 1),
    (&[("event", "checkpoint")], 1),
    (CATCH_UP, 1),
    (&[("event", "catch_up")], 1),
    (&[("step", "checkpoint_passed")], 1),
    (&[("phase", "finish")], 1),
    (&[("step", "object_made")], 1),
    (&[("step", "object_made")], 2),
    (&[("phase", "verify")], 1),
    (FOLLOW, 1),
    (&[("phase", "done")], 1),
    (&[("event", "finished")], 1),
];

pub(crate) fn is_of(event: &Value, moment: Moment) -> bool {
    moment.0.iter().all(|(field, value)| event[*field] == *value)
}

const TABLE: &str = "CREATE TABLE source (id serial PRIMARY KEY, n int, v text);
    ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
    INSERT INTO source (n, v) SELECT i, repeat('x', 2100) FROM generate_series(1, 60) i;
    CREATE INDEX ON source (n); ALTER TABLE source ADD CHECK (n > -1000)";

const CHANGES: &str = "UPDATE source SET n = n + 1 WHERE id % 5 = 0;
    UPDATE source SET id = id + 1000 WHERE id % 11 = 3; DELETE FROM source WHERE id % 17 = 1;
    INSERT INTO source (n, v) VALUES (7, repeat('y', 3000))";

/// A run whose task dies at a moment; `false` if the run never came to it.
async fn dies_at(db: &Database, moment: Moment) -> bool {
    let mut spec = spec(db, db, "source", "target");
    (spec.page_rows, spec.verify) = (Some(10), true);
    if moment.0 == FOLLOW {
        spec.then = Then::Follow;
    }
    let (db, mut seen) = (db.clone(), 0);
    dies_when(spec, move |event| {
        if is_of(event, (CATCH_UP, 1)) {
            now(db.sql(CHANGES));
        }
        seen += usize::from(is_of(event, moment));
        seen == moment.1
    })
    .await
}

/// A run whose task dies at the first event of which this is true; `false` if none came.
pub(crate) async fn dies_when(
    spec: MigrationSpec,
    mut is_it: impl FnMut(&Value) -> bool + Send + 'static,
) -> bool {
    let handle = Handle::current();
    let run = thread::spawn(move || {
        let (_stay, interrupt) = watch::channel(false);
        let mut listener = |event: &Event| {
            if is_it(&serde_json::to_value(event).unwrap()) {
                // As a panic, but silent.
                resume_unwind(Box::new(()));
            }
        };
        handle.block_on(migrate::run(&spec, interrupt, &mut listener))
    });
    match tokio::task::block_in_place(|| run.join()) {
        Err(_) => true,
        Ok(ended) => {
            ended.unwrap();
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_at_any_event_goes_on_as_if_it_had_not() {
    for binaries in some_releases() {
        // Databases take longer to make than tables.
        let db = Database::create(&server(&binaries), "moment").await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(10);
        for moment in MOMENTS {
            db.sql(TABLE).await;
            assert!(dies_at(&db, *moment).await, "{moment:?} never came");
            db.sql(CHANGES).await;
            // Up to the checkpoint, if that was taken before; then all.
            for _ in 0..2 {
                let ended = support::migrate(&spec).await;
                sums(&ended.unwrap_or_else(|failure| panic!("{moment:?}: {failure}")));
            }
            assert_same((&db, "source"), (&db, "target"), "id").await;
            let made = "SELECT count(*) FROM pg_index WHERE indrelid = 'target'::regclass";
            assert_eq!(db.value(made).await, "2", "{moment:?}");
            forget(&spec).await;
            db.sql("DROP TABLE source, target").await;
        }
    }
}

/// Removes all that a migration has made but its tables.
pub(crate) async fn forget(spec: &MigrationSpec) -> Cleaned {
    nobody_reads(&spec.source, &slot_of(spec)).await;
    let (source, target) = (spec.source.clone(), spec.target.clone());
    let name = spec.name.clone().unwrap();
    migrate::cleanup(&CleanupSpec::new(source, target, name)).await.unwrap()
}

/// A table under a live workload goes from one database to another, and the run is killed.
async fn killed_at((from, to): (&Database, &Database), number: usize, moment: Moment) {
    let (name, table) = (format!("{}_{number}", from.name), format!("orders_{number}"));
    let in_public = QualifiedName::new("public", &*table);
    from.sql(&orders::create(&in_public, 2_000)).await;
    from.sql(&format!("CREATE INDEX ON {table} (created_at); CREATE INDEX ON {table} (paid)"))
        .await;
    let options = WorkloadOptions::new(from.config(), in_public, 0x6d6f);
    let mut workload = Workload::start(options).await.unwrap();
    workload.reaches(50).await;
    let args = ["--table", &table, "--name", &name, "--page-rows", "200"];
    let then = if moment.0 == FOLLOW { "follow" } else { "stop" };
    let killed = [&args[..], &["--verify", "--then", then]].concat();
    let mut run = Program::migrate(from, to, &killed);
    for _ in 0..moment.1 {
        run.event(|event| is_of(event, moment)).await;
    }
    run.kill();
    let enough = workload.counts().changes() + 50;
    workload.reaches(enough).await;
    Program::migrate(from, to, &args).ends_with(0).await.finished();
    workload.stop().await.unwrap();
    Program::migrate(from, to, &args).ends_with(0).await.finished();
    assert_same((from, &table), (to, &table), "id").await;
    from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{name}')")).await;
}

/// The releases take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_at_any_event_loses_nothing() {
    let releases = versions_to_test();
    for (turn, binaries) in releases.iter().enumerate() {
        let server = server(binaries);
        let from = Database::create(&server, "killed_at").await;
        let to = Database::create(&server, "killed_at").await;
        let of_turn = MOMENTS.iter().enumerate().skip(turn).step_by(releases.len());
        for (number, moment) in of_turn {
            killed_at((&from, &to), number, *moment).await;
        }
    }
}

/// The variants of an enum of `event.rs`, as they are serialised.
fn variants(of: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/migrate/event.rs");
    let text = fs::read_to_string(path).unwrap();
    let (_, body) = text.split_once(&format!("pub enum {of} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let in_snake_case = |name: &str| {
        let mut text = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.extend(letter.to_lowercase());
        }
        text
    };
    names.map(in_snake_case).collect()
}

/// Whoever adds a phase or a step adds a moment at which a run dies.
#[test]
fn a_run_dies_in_every_phase_and_at_every_step() {
    let named = |field: &str| -> BTreeSet<String> {
        let of = MOMENTS.iter().flat_map(|moment| moment.0).filter(|(key, _)| *key == field);
        of.map(|(_, value)| (*value).to_owned()).collect()
    };
    let of_handover = handoff::STEPS.iter().map(|step| serde_json::to_value(step).unwrap());
    let of_handover = of_handover.map(|step| step.as_str().unwrap().to_owned()).collect();
    let (steps, phases) = (named("step"), named("phase"));
    assert!(variants("StepName").len() > handoff::STEPS.len());
    assert_eq!(variants("StepName"), steps.union(&of_handover).cloned().collect());
    // The handover's begins with its first step.
    let of_handover = BTreeSet::from(["handoff".to_owned()]);
    assert_eq!(variants("PhaseName"), phases.union(&of_handover).cloned().collect());
}
