//! How pages are cut, by arithmetic and by the index, and what is told of how far they are.

use pghost::{
    backfill::Paging,
    migrate::{self, Event, Exit, MigrationSpec},
};
use tokio::sync::watch;

use crate::{
    check::refusals::refused,
    support::{
        Database, assert_same, migrate,
        moments::{drop_slot, migrate_with, now, sums},
        nothing_is_left_open, oldest_and_newest,
        program::Program,
        server, some_releases, spec,
    },
};

/// Panics unless the pages in the ledger follow one another from before every key to after every
/// key; gives their number.
async fn chain(db: &Database) -> u64 {
    let sql = "SELECT bool_and(CASE WHEN last IS NULL THEN lower_bound IS NULL AND number = 0
                                    ELSE lower_bound = upper END) AND count(*) FILTER (WHERE upper_bound IS NULL) = 1
                 FROM (SELECT *, lag(number) OVER w AS last, lag(upper_bound) OVER w AS upper
                         FROM pghost.page WINDOW w AS (ORDER BY number)) p";
    assert_eq!(
        db.value(sql).await,
        "t",
        "{}",
        db.value("SELECT json_agg(p) FROM pghost.page p").await
    );
    db.value("SELECT count(*) FROM pghost.page").await.parse().unwrap()
}

/// Both ends of the key and the keys around a gap of four billion; more come at either end, and
/// within the gap, while pages are copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_key_is_passed_at_once() {
    for binaries in some_releases() {
        let server = server(&binaries);
        for jobs in [1, 3] {
            let db = Database::create(&server, "gap").await;
            db.sql(
                "CREATE TABLE source (id bigint PRIMARY KEY, v text);
                 INSERT INTO source SELECT i, 'v' FROM generate_series(1, 1000) i;
                 INSERT INTO source SELECT i, 'v' FROM generate_series(4000000000, 4000001000) i",
            )
            .await;
            let mut spec = spec(&db, &db, "source", "target");
            (spec.paging, spec.page_rows, spec.copy_jobs) = (Paging::Range, Some(100), jobs);
            let mut changes = [
                "INSERT INTO source SELECT i, 'low' FROM generate_series(-500, 0) i",
                "INSERT INTO source SELECT i, 'high' FROM generate_series(4000001001, 4000001500) i",
                "INSERT INTO source VALUES (-9223372036854775808, 'min'), (9223372036854775807, 'max'), (2000000000, 'mid')",
                "UPDATE source SET id = id + 10000 WHERE id BETWEEN 1 AND 10",
                "UPDATE source SET id = id - 3000000000 WHERE id BETWEEN 4000000990 AND 4000001000",
            ]
            .into_iter();
            let events = migrate_with(&spec, |event| {
                if let (Event::Progress { .. }, Some(change)) = (event, changes.next()) {
                    now(db.sql(change));
                }
            })
            .await
            .unwrap_or_else(|failure| panic!("{}: {failure}", server.version()));
            assert_eq!(changes.next(), None);
            sums(&migrate(&spec).await.unwrap());
            assert_same((&db, "source"), (&db, "target"), "id").await;
            let pages = chain(&db).await;
            assert!((20..60).contains(&pages), "{pages} pages");
            let told = |e: &Event| matches!(e, Event::Notice { message } if message.contains("by arithmetic on source_pkey"));
            assert!(events.iter().any(told), "{events:?}");
            drop_slot(&db, &spec).await;
        }
    }
}

/// Runs until `pages` pages are copied, or to the end.
async fn some_pages(spec: &MigrationSpec, pages: u32) -> bool {
    let (stop, interrupt) = watch::channel(false);
    let mut copied = 0;
    let mut listener = |event: &Event| {
        copied += u32::from(matches!(event, Event::Progress { .. }));
        if copied == pages {
            let _ = stop.send(true);
        }
    };
    match migrate::run(spec, interrupt, &mut listener).await {
        Ok(()) => true,
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Stopped, "{failure}");
            // A page that was just being committed is there or not, for good.
            nothing_is_left_open(&spec.target).await;
            false
        }
    }
}

/// What counts is the chain of pages in the ledger, however each of them was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_with_another_paging() {
    let changes = [
        "UPDATE source SET id = -id WHERE id % 7 = 0",
        "UPDATE source SET id = 1000000 - id WHERE id % 5 = 0",
        "DELETE FROM source WHERE id % 11 = 0; INSERT INTO source SELECT i, 2 FROM generate_series(2000000, 2000300) i",
        // The greatest key is below where the pages have come to.
        "DELETE FROM source WHERE id > 150",
        "INSERT INTO source SELECT i, 3 FROM generate_series(500, 600) i",
    ];
    for binaries in some_releases() {
        let server = server(&binaries);
        for first in 0..2 {
            let db = Database::create(&server, "paging").await;
            db.sql(
                "CREATE TABLE source (id integer PRIMARY KEY, n integer);
                 INSERT INTO source SELECT i, 1 FROM generate_series(1, 300) i;
                 INSERT INTO source SELECT i * 1000, 1 FROM generate_series(1, 200) i",
            )
            .await;
            let mut spec = spec(&db, &db, "source", "target");
            spec.page_rows = Some(10);
            let mut ways = [Paging::Range, Paging::Keyset].into_iter().cycle().skip(first);
            let mut changes = changes.into_iter();
            let mut runs = 0;
            loop {
                spec.paging = ways.next().unwrap();
                runs += 1;
                if some_pages(&spec, 5).await {
                    break;
                }
                if let Some(change) = changes.next() {
                    db.sql(change).await;
                }
            }
            assert!(runs > 4, "{runs} runs");
            sums(&migrate(&spec).await.unwrap());
            assert_same((&db, "source"), (&db, "target"), "id").await;
            chain(&db).await;
            drop_slot(&db, &spec).await;
        }
    }
}

/// At first, and when a migration that was begun otherwise goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arithmetic_needs_an_integer() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "arithmetic").await;
        for (name, key, why) in [
            ("by_text", "a text PRIMARY KEY", "its key \"a\" is text"),
            ("by_number", "a numeric PRIMARY KEY", "its key \"a\" is numeric"),
            ("by_two", "a integer, b integer, PRIMARY KEY (a, b)", "its key has 2 columns"),
        ] {
            db.sql(&format!("CREATE TABLE {name} ({key})")).await;
            let mut spec = spec(&db, &db, name, &format!("{name}_target"));
            spec.paging = Paging::Range;
            let words = [name, why, "--paging range", "--paging keyset"];
            refused(&db, &db, &spec, &words).await;
        }
        let mut spec = spec(&db, &db, "by_text", "target");
        db.sql("INSERT INTO by_text SELECT i::text FROM generate_series(1, 100) i").await;
        spec.page_rows = Some(5);
        assert!(!some_pages(&spec, 3).await);
        spec.paging = Paging::Range;
        refused(&db, &db, &spec, &["its key \"a\" is text"]).await;
        spec.paging = Paging::Auto;
        sums(&migrate(&spec).await.unwrap());
        assert_same((&db, "by_text"), (&db, "target"), "a").await;
        drop_slot(&db, &spec).await;
    }
}

/// The percentages of the pages of a run, `None` where nothing was said.
fn percents(events: &[Event]) -> Vec<Option<f64>> {
    let percent = |event: &Event| match event {
        Event::Progress { percent, .. } => Some(*percent),
        _ => None,
    };
    let all: Vec<_> = events.iter().filter_map(percent).collect();
    let said: Vec<_> = all.iter().flatten().copied().collect();
    assert!(said.iter().all(|percent| (0.0..=100.0).contains(percent)), "{all:?}");
    assert!(said.windows(2).all(|pair| pair[0] <= pair[1]), "{all:?}");
    let before_the_end = all.iter().rev().skip(1).flatten();
    assert!(before_the_end.copied().all(|percent| percent < 100.0), "{all:?}");
    assert_eq!(all.last(), Some(&Some(100.0)), "{all:?}");
    all
}

/// What makes the statistics lie of a table: its kind, done when it has 500 rows, done when it has
/// 10,000, and whether the truth can still be told from its size.
const LIES: &[(&str, &str, &str, bool)] = &[
    ("never analyzed", "SELECT", "SELECT", true),
    ("analyzed long ago", "ANALYZE source", "SELECT", true),
    ("empty", "ANALYZE source", "UPDATE pg_class SET reltuples = 0 WHERE relname = 'source'", true),
    (
        "too low",
        "SELECT",
        "ANALYZE source; UPDATE pg_class SET reltuples = 3 WHERE relname = 'source'",
        false,
    ),
    (
        "too high",
        "SELECT",
        "ANALYZE source; UPDATE pg_class SET reltuples = 1e9 WHERE relname = 'source'",
        false,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_true_whatever_the_statistics_say() {
    for binaries in some_releases() {
        let server = server(&binaries);
        for (what, early, late, size_tells) in LIES {
            for key in ["integer", "text"] {
                let db = Database::create(&server, "lies").await;
                let rows = format!(
                    "INSERT INTO source SELECT lpad(i::text, 5, '0')::{key}, repeat('v', 90) FROM"
                );
                db.sql(&format!(
                    "CREATE TABLE source (id {key} PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
                     {rows} generate_series(1, 500) i; {early}; {rows} generate_series(501, 10000) i; {late}"
                ))
                .await;
                let mut spec = spec(&db, &db, "source", "target");
                (spec.page_rows, spec.copy_jobs) = (Some(500), 1);
                // Stopped on its way: the next run goes on from there.
                assert!(!some_pages(&spec, 6).await);
                let pages: usize =
                    db.value("SELECT count(*) FROM pghost.page").await.parse().unwrap();
                let events = migrate(&spec).await.unwrap();
                let all = percents(&events);
                let context = format!("{}, {what}, {key}: {all:?}", server.version());
                for (at, percent) in all.iter().enumerate().take(all.len() - 1) {
                    let true_percent = ((pages + at + 1) * 500) as f64 / 100.0;
                    match percent {
                        Some(percent) if key == "integer" => {
                            assert!((percent - true_percent.min(99.9)).abs() < 1e-9, "{context}");
                        }
                        Some(percent) if *size_tells => {
                            assert!((percent - true_percent).abs() < 15.0, "{context}");
                        }
                        // What lies and can't be seen through is not more than said, or nothing.
                        Some(_) => {}
                        // An estimate within the same bounds may be passed before the end.
                        None => assert!(
                            key == "text" && (!size_tells || true_percent > 85.0),
                            "{context}"
                        ),
                    }
                }
                drop_slot(&db, &spec).await;
            }
        }
    }
}

/// Pages that a run has left out in the middle are cut again as they were, not made one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_out_is_cut_into_as_many_pages() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        for key in ["integer", "text"] {
            let db = Database::create(&server, "left_out").await;
            db.sql(&format!(
                "CREATE TABLE source (id {key} PRIMARY KEY);
                 INSERT INTO source SELECT lpad(i::text, 3, '0')::{key} FROM generate_series(1, 200) i"
            ))
            .await;
            let mut spec = spec(&db, &db, "source", "target");
            (spec.page_rows, spec.copy_jobs) = (Some(10), 1);
            assert!(!some_pages(&spec, 10).await);
            // As if these had been under way and the others had not.
            db.sql(
                "DELETE FROM pghost.page WHERE number BETWEEN 2 AND 6;
                 DELETE FROM target WHERE id::text::int > 20 AND id::text::int <= 70",
            )
            .await;
            sums(&migrate(&spec).await.unwrap());
            let again =
                "SELECT count(*) FROM pghost.page WHERE number BETWEEN 2 AND 6 AND row_count = 10";
            assert_eq!(db.value(again).await, "5", "{key}");
            chain(&db).await;
            assert_same((&db, "source"), (&db, "target"), "id").await;
            drop_slot(&db, &spec).await;
        }
    }
}

/// How long a page or the look for a bound has had its snapshot at least, in seconds: since it was asked,
/// as its transaction has begun before, without one, and up to when this looks. Who looks may be held up
/// after it has seen it, and it may be over then.
const HELD: &str =
    "SELECT coalesce(max(extract(epoch FROM statement_timestamp() - query_start)), 0)::float8 AS held
    FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL
     AND application_name = 'pghost' AND query ~ '^COPY|OFFSET|LIMIT'";

/// Rows of a few bytes and of 20 kB in a table that was never analyzed: pages are some 16 MiB. Nothing
/// that the server sees is longer than what is told, and memory is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_bounded_and_no_snapshot_is_longer_than_told() {
    for binaries in oldest_and_newest() {
        let server = server(&binaries);
        let from = Database::create(&server, "adapts").await;
        let to = Database::create(&server, "adapts").await;
        from.sql(
            "CREATE TABLE source (id uuid PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
             ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
             INSERT INTO source SELECT md5(i::text)::uuid,
                    CASE WHEN i % 25 = 0 THEN repeat(md5(i::text), 640) ELSE 'v' END
               FROM generate_series(1, 100000) i",
        )
        .await;
        to.sql("CREATE TABLE source (id uuid PRIMARY KEY, v text)").await;
        let mut run = Program::migrate(&from, &to, &["--table", "source", "--name", &from.name]);
        let (stop, stopped) = watch::channel(false);
        let mut looking = from.connect().await;
        let looks = tokio::spawn(async move {
            let mut held = Vec::new();
            while !*stopped.borrow() {
                held.push(looking.query(HELD).await.unwrap().row().unwrap().get("held").unwrap());
            }
            held
        });
        let mut memory = 0;
        let finished = loop {
            let event = run.next().await.unwrap();
            if event["event"] == "finished" {
                break event;
            }
            memory = memory.max(run.memory_mb().unwrap_or_default());
        };
        stop.send_replace(true);
        let longest = looks.await.unwrap().into_iter().fold(0.0, f64::max);
        run.ends_with(0).await;
        let told = finished["longest_snapshot_seconds"].as_f64().unwrap();
        assert!(longest > 0.0 && longest <= told, "{longest} s seen, {told} s told");
        assert!(memory > 0 && memory <= 64, "{memory} MB");
        let pages = "SELECT bool_and(byte_count < 40 << 20) AND count(*) > 3 FROM pghost.page";
        let all = to.value("SELECT json_agg(p ORDER BY number) FROM pghost.page p").await;
        assert_eq!(to.value(pages).await, "t", "{all}");
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}
