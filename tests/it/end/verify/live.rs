//! Comparing while both sides change: nothing that is only on its way is told, and what does differ
//! is found all the same.

use std::sync::Arc;

use pghost::{
    cluster::{Binaries, Server},
    migrate::{Event, PhaseName},
    verify::Kind,
};

use super::{Seen, compare_as};
use crate::{
    run::journey::Writers,
    support::{
        Database,
        moments::{Following, begins, drop_slot, migrate_with, now, until},
        server, some_releases, spec, versions_to_test,
    },
};

/// Rows up to 3000 are written to, those above stay.
const TABLE: &str = "CREATE TABLE source (id bigint PRIMARY KEY, n int NOT NULL, v text, big text);
    ALTER TABLE source ALTER big SET STORAGE EXTERNAL;
    INSERT INTO source SELECT i, 0, 'v' || i, CASE WHEN i % 500 = 0 THEN repeat('x', 5000) END
      FROM generate_series(1, 4000) i";

/// One row that is never at rest, one that comes and goes, rows that move, and all the others.
const WRITES: [&str; 5] = [
    "UPDATE source SET n = n + 1 WHERE id = 1500",
    "DELETE FROM source WHERE id = 2000000 AND $n % 2 = 0;
     INSERT INTO source SELECT 2000000, 1, 'comes' WHERE $n % 2 = 1 ON CONFLICT DO NOTHING",
    "UPDATE source SET n = $n, v = 'w' || $n WHERE id = ($n * 7919) % 3000",
    "UPDATE source SET id = 1000000 + id WHERE id = ($n * 104729) % 3000 AND id <> 1500;
     UPDATE source SET id = id - 1000000 WHERE id = 1000000 + (($n - 20) * 104729) % 3000",
    "DELETE FROM source WHERE id = 3000000 + $n - 5; INSERT INTO source VALUES (3000000 + $n, 0, 'new')",
];

/// Rows that are changed on the target by somebody else, none of which the writers touch.
const DAMAGE: &str =
    "UPDATE target SET v = 'damaged' WHERE id = 3500; DELETE FROM target WHERE id = 3600;
    INSERT INTO target VALUES (-7, 0, 'extra')";

fn is_the_damage(seen: &Seen) {
    let mut found: Vec<_> = seen
        .rows_told
        .iter()
        .map(|(key, kind, columns)| (key[0].1.as_str(), *kind, columns.join(",")))
        .collect();
    found.sort_by_key(|(key, ..)| *key);
    let expected = [
        ("-7", Kind::ExtraOnTarget, String::new()),
        ("3500", Kind::Different, "v".to_owned()),
        ("3600", Kind::MissingOnTarget, String::new()),
    ];
    assert_eq!(found, expected);
    assert_eq!(seen.different, 3);
    assert_eq!(seen.failure.as_ref().map(|failure| failure.exit.code()), Some(3));
}

fn is_equal(seen: &Seen) {
    assert_eq!(seen.failure, None, "{:?}", seen.rows_told);
    assert!(seen.different == 0 && seen.moving <= 1 && seen.rows >= 3900, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_migration_follows_only_what_does_differ_is_told() {
    for (from, to) in &super::pairs() {
        let source = Database::create(&server(from), "live_from").await;
        let target = Database::create(&server(to), "live_to").await;
        source.sql(TABLE).await;
        let spec = spec(&source, &target, "source", "target");
        let writers = Writers::start(&source, &WRITES);
        let following = Following::start(&spec).await;
        let name = spec.name.as_deref();
        for _ in 0..2 {
            is_equal(&compare_as(&source, &target, "source=target", name, None, 200).await);
        }
        target.sql(DAMAGE).await;
        is_the_damage(&compare_as(&source, &target, "source=target", name, None, 200).await);
        assert!(writers.stop().await > 0);
        // It waits for the last change.
        is_the_damage(&compare_as(&source, &target, "source=target", name, None, 200).await);
        following.end().await;
        // Nobody follows any more: what the source has changed since then differs.
        source.sql("UPDATE source SET n = -1 WHERE id = 3700").await;
        let seen = compare_as(&source, &target, "source=target", name, None, 200).await;
        assert!(seen.notices.iter().any(|notice| notice.contains("nobody applies")), "{seen:?}");
        assert_eq!(seen.different, 4, "{seen:?}");
        drop_slot(&source, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_verifies_under_load_ends_well_or_tells_what_differs() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "verified").await;
        db.sql(TABLE).await;
        let mut spec = spec(&db, &db, "source", "target");
        (spec.verify, spec.page_rows) = (true, Some(200));
        let writers = Writers::start(&db, &WRITES);
        let events = migrate_with(&spec, |_| {}).await.unwrap();
        let verified = |event: &&Event| matches!(event, Event::Verified { .. });
        let Some(Event::Verified { rows, pages, different_rows, .. }) =
            events.iter().find(verified)
        else {
            panic!("{events:#?}");
        };
        assert!(*rows >= 3900 && *pages >= 19 && *different_rows == 0, "{events:#?}");
        let Some(Event::Finished { seconds, longest_snapshot_seconds, .. }) = events.last() else {
            panic!("no end")
        };
        assert!(seconds.verify > 0.0 && *longest_snapshot_seconds > 0.0);

        // Somebody writes to the target after it has caught up.
        let mut told = Vec::new();
        let failure = migrate_with(&spec, |event| {
            if begins(event, PhaseName::Verify) {
                now(db.sql(DAMAGE));
            }
            told.push(event.clone());
        })
        .await
        .unwrap_err();
        is_the_damage(&Seen::of(&told, Some(failure)));
        assert!(writers.stop().await > 0);
        drop_slot(&db, &spec).await;
    }
}

/// Another server than the shared one, where the release is the same: a subscription to a database
/// of its own server would wait for itself.
fn another(binaries: &Binaries) -> Arc<Server> {
    Arc::new(Server::start(binaries, &[]).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_subscription_is_waited_for_too() {
    let versions = versions_to_test();
    let (Some(from), Some(to)) = (versions.first(), versions.last()) else { return };
    let source = Database::create(&server(from), "native_from").await;
    let target = Database::create(&another(to), "native_to").await;
    source.sql(TABLE).await;
    let name = source.name.clone();
    source.sql(&format!("CREATE PUBLICATION {name} FOR TABLE source")).await;
    target
        .sql("CREATE TABLE source (id bigint PRIMARY KEY, n int NOT NULL, v text, big text)")
        .await;
    let dsn = source.dsn().replace('\'', "''");
    target.sql(&format!("CREATE SUBSCRIPTION {name} CONNECTION '{dsn}' PUBLICATION {name}")).await;
    until(&target, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel").await;
    let writers = Writers::start(&source, &WRITES);
    is_equal(&compare_as(&source, &target, "source", None, Some(&name), 200).await);
    target.sql(&DAMAGE.replace("target", "source")).await;
    is_the_damage(&compare_as(&source, &target, "source", None, Some(&name), 200).await);
    assert!(writers.stop().await > 0);
    target.sql(&format!("DROP SUBSCRIPTION {name}")).await;
    let refused = compare_as(&source, &target, "source", None, Some(&name), 200).await;
    assert_eq!(refused.failure.map(|failure| failure.exit.code()), Some(2));
}
