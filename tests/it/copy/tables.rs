//! Several tables of one migration: copied side by side by one crew of workers, each with its own pages,
//! its own numbers, its own key.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use pghost::{
    backfill::Paging,
    cluster::Binaries,
    migrate::{self, Event, Exit, Failure, PhaseName, StepName, TableSpec},
    pg::QualifiedName,
};
use tokio::sync::watch;

use crate::{
    fault::killed::pages,
    support::{
        bed::Bed,
        limit::within,
        migrate,
        moments::{Gate, begins, beside, migrate_with, now, sums, until},
        oldest_and_newest,
        program::{Program, is},
        some_releases, versions_to_test,
    },
};

/// Sixty pages, ten and one.
const TABLES: &str = "
    CREATE TABLE big (id integer PRIMARY KEY, n integer, v text);
    INSERT INTO big SELECT i, i, 'row ' || i FROM generate_series(1, 600) i;
    CREATE TABLE small (k text PRIMARY KEY, n integer);
    INSERT INTO small SELECT 'k' || lpad(i::text, 3, '0'), i FROM generate_series(1, 95) i;
    CREATE TABLE empty (a text, b bigint, n integer, PRIMARY KEY (b, a))";

/// Made by hand, so that gates can stand in them; the third one pghost makes.
const TARGETS: &str = "CREATE TABLE big (id integer PRIMARY KEY, n integer, v text);
    CREATE TABLE small (k text PRIMARY KEY, n integer)";

const BIG_FIRST: [&str; 3] = ["big", "small", "empty"];

/// All kinds of changes in each table; may be made again and again.
const CHANGES: &str = "
    UPDATE big SET n = n + 1 WHERE id % 3 = 0; DELETE FROM big WHERE id % 60 = 11;
    UPDATE big SET id = id + 10000 WHERE id % 50 = 7;
    INSERT INTO big SELECT (SELECT max(id) FROM big) + i, i, 'new' FROM generate_series(1, 30) i;
    UPDATE small SET n = n + 1000 WHERE n % 4 = 0; DELETE FROM small WHERE n % 20 = 11;
    UPDATE small SET k = 'moved ' || k WHERE n % 10 = 3;
    INSERT INTO small SELECT 'new ' || (SELECT count(*) FROM small) || ' ' || i, i FROM generate_series(1, 9) i;
    UPDATE empty SET n = n + 1; UPDATE empty SET b = b + 1000 WHERE b % 7 = 2; DELETE FROM empty WHERE b % 9 = 4;
    INSERT INTO empty SELECT 'a', (SELECT coalesce(max(b), 0) FROM empty) + i, 0 FROM generate_series(1, 50) i";

/// Three tables, moved in this order.
async fn make_bed(binaries: &Binaries, order: [&str; 3]) -> Bed {
    let mut bed = Bed::make(binaries, "tables", TABLES).await;
    bed.to.sql(TARGETS).await;
    bed.spec.tables = of_same_name(&order);
    bed.spec.page_rows = Some(10);
    bed
}

fn of_same_name(tables: &[&str]) -> Vec<TableSpec> {
    let name = |table: &&str| QualifiedName::new("public", *table);
    tables.iter().map(|t| TableSpec { source: name(t), target: name(t) }).collect()
}

impl Bed {
    /// Holds a page in the middle of the one and the last page of the other.
    async fn gates(&self) -> (Gate, Gate) {
        let big = Gate::close(&self.to, "big", 1, "NEW.id = 305").await;
        (big, Gate::close(&self.to, "small", 2, "NEW.n = 95").await)
    }

    /// The migration as a process.
    fn migrate(&self) -> Program {
        let mut args = vec!["--name", &self.from.name, "--page-rows", "10", "--copy-jobs", "2"];
        args.extend(BIG_FIRST.iter().flat_map(|table| ["--table", table]));
        Program::migrate(&self.from, &self.to, &args)
    }

    /// Every row on the target came with a page that the ledger has. Sessions of a run that has ended may
    /// still commit, so each look is a single statement.
    async fn has_whole_pages_only(&self) {
        let rows_and_listed = "SELECT string_agg(concat_ws(' ', name, count, coalesce(sum, 0)), ', ')
             FROM (SELECT 'big' AS name, count(*) FROM big UNION ALL SELECT 'small', count(*) FROM small
                   UNION ALL SELECT 'empty', count(*) FROM empty) rows
             LEFT JOIN (SELECT target_name AS name, sum(row_count) FROM pghost.page
                   JOIN pghost.migration_table USING (migration, ordinal) GROUP BY 1) listed USING (name)
            WHERE count <> coalesce(sum, 0)";
        assert_eq!(self.to.value(rows_and_listed).await, "");
        let strays = "SELECT count(*) FROM big WHERE NOT EXISTS (SELECT FROM pghost.page
            JOIN pghost.migration_table USING (migration, ordinal) WHERE target_name = 'big'
             AND id > coalesce(lower_bound[1]::int, 0) AND id <= coalesce(upper_bound[1]::int, id))";
        assert_eq!(self.to.value(strays).await, "0");
    }
}

/// Of each table pages are told one by one, the percentage never falls, and the last page is the last.
fn numbers_are_right(events: &[Event]) {
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        if let Event::Progress { table, pages_done, pages_total, percent, eta_seconds, .. } = event
        {
            let numbers = (*pages_done, *pages_total, *percent, *eta_seconds);
            tables.entry(table).or_default().push(numbers);
        }
    }
    for (table, pages) in tables {
        let of_pages = pages.iter().map(|page| page.0);
        assert!(of_pages.eq(1..=pages.len() as u64), "{table}: {pages:?}");
        let (last, before) = pages.split_last().unwrap();
        assert_eq!(*last, (last.0, Some(last.0), Some(100.0), Some(0.0)), "{table}");
        assert!(before.iter().all(|page| page.1 != Some(page.0)), "{table}: {before:?}");
        let percents: Vec<_> = pages.iter().filter_map(|page| page.2).collect();
        assert!(percents.windows(2).all(|two| two[0] <= two[1]), "{table}: {percents:?}");
    }
}

fn place(events: &[Event], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is).unwrap()
}

fn is_of(event: &Event, name: &str) -> bool {
    matches!(event, Event::Progress { table, .. } if table.ends_with(name))
}

fn is_last_of(event: &Event, name: &str) -> bool {
    matches!(event, Event::Progress { table, pages_done, pages_total, .. }
        if table.ends_with(name) && *pages_total == Some(*pages_done))
}

fn is_key(event: &Event) -> bool {
    matches!(event, Event::Step { step: StepName::KeyBuilt, .. })
}

/// Neither waits for the other, whichever is named first; and the key of one is built while pages of
/// another are still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_copied_side_by_side() {
    let orders = [BIG_FIRST, ["empty", "small", "big"]];
    for (binaries, order) in versions_to_test().into_iter().zip(orders.into_iter().cycle()) {
        let bed = make_bed(&binaries, order).await;
        let (big, small) = bed.gates().await;
        let (tell, mut there) = watch::channel((false, false));
        let on = |event: &Event| {
            tell.send_if_modified(|(small, key)| {
                *small |= is_last_of(event, "small");
                *key |= is_key(event);
                true
            });
        };
        let script = async {
            big.reached().await;
            small.reached().await;
            bed.from.sql(CHANGES).await;
            small.open().await;
            within("the other tables", there.wait_for(|there| *there == (true, true)))
                .await
                .unwrap();
            bed.from.sql(CHANGES).await;
            big.open().await;
        };
        let events = beside(&bed.spec, on, script).await.unwrap();
        sums(&events);
        numbers_are_right(&events);
        let first_of_big = place(&events, |event| is_of(event, "big"));
        let small = place(&events, |event| is_last_of(event, "small"));
        let big = place(&events, |event| is_last_of(event, "big"));
        assert!(first_of_big < small && small < big && place(&events, is_key) < big);
        let left = "SELECT count(*) FROM pghost.migration_table WHERE NOT backfilled";
        assert_eq!(bed.to.value(left).await, "0");
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_with_two_tables_half_done_goes_on_with_both() {
    for binaries in some_releases() {
        let bed = make_bed(&binaries, BIG_FIRST).await;
        let ((big, small), mut run) = (bed.gates().await, bed.migrate());
        run.meets(big.reached()).await;
        run.meets(small.reached()).await;
        run.kill();
        let before = pages(&bed.to).await;
        let of = |pages: &BTreeSet<String>, ordinal: &str| {
            pages.iter().filter(|page| page.starts_with(&format!("{ordinal} | "))).count()
        };
        assert!(
            (1..60).contains(&of(&before, "0")) && (1..10).contains(&of(&before, "1")),
            "{before:#?}"
        );
        bed.has_whole_pages_only().await;
        bed.from.sql(CHANGES).await;
        // The servers' sessions of the killed run go on, beside the next run.
        big.open().await;
        small.open().await;
        let ended = bed.migrate().ends_with(0).await;
        let after = pages(&bed.to).await;
        assert!(after.is_superset(&before), "{before:#?} became {after:#?}");
        for (ordinal, table) in [("0", "public.big"), ("1", "public.small")] {
            let told: Vec<_> =
                ended.events.iter().filter(|e| is(e, "progress") && e["table"] == table).collect();
            let copied = of(&after, ordinal) - of(&before, ordinal);
            // The killed run's sessions may have committed what they had after that look.
            assert!((1..=copied).contains(&told.len()), "{table}: {} of {copied}", told.len());
            let (first, last) = (told[0], told[told.len() - 1]);
            assert!(first["pages_done"].as_u64().unwrap() > of(&before, ordinal) as u64, "{first}");
            assert_eq!(last["pages_done"], last["pages_total"], "{last}");
            assert_eq!(last["pages_done"], of(&after, ordinal), "{last}");
        }
        bed.ends().await;
    }
}

/// How many of pghost's sessions wait for a lock on the first table.
const WAITING: &str =
    "SELECT (SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND NOT granted)";
const ONE_WAITS: &str =
    "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'big'::regclass AND NOT granted";
/// How many of those that wait hold a snapshot.
const HELD_IN_WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL
    AND wait_event_type = 'Lock' AND datname = current_database()";

/// Nothing can be read of the first table, and the others come to their end all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_locked_on_the_source_holds_up_no_other() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries, BIG_FIRST).await;
        let mut holder = bed.from.connect().await;
        let pid = holder.process_id();
        let (tell, mut told) = watch::channel((false, false, false));
        let on = |event: &Event| {
            if begins(event, PhaseName::Backfill) {
                now(holder.query("BEGIN; LOCK TABLE public.big")).unwrap();
            }
            tell.send_if_modified(|(big, small, key)| {
                *big |= is_of(event, "big");
                *small |= is_last_of(event, "small");
                *key |= is_key(event);
                true
            });
        };
        let script = async {
            let others = told.wait_for(|(_, small, key)| *small && *key);
            let (big, ..) = *within("the other tables", others).await.unwrap();
            assert!(!big);
            until(&bed.from, ONE_WAITS).await;
            assert_eq!(bed.from.value(HELD_IN_WAITING).await, "0");
            bed.from.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
        };
        let events = beside(&bed.spec, on, script).await.unwrap();
        numbers_are_right(&events);
        bed.ends().await;
    }
}

/// The same where many pages of the first table are known already. No snapshot is held in waiting, nor is
/// waiting taken for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_locked_in_the_middle_of_its_pages_holds_up_no_other() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries, BIG_FIRST).await;
        // The other tables have not begun when this one is locked.
        let gate = Gate::close(&bed.to, "small", 2, "NEW.n = 5").await;
        let mut holder = bed.from.connect().await;
        let pid = holder.process_id();
        let (tell, mut told) = watch::channel((false, false));
        let mut locked = false;
        let on = |event: &Event| {
            if is_of(event, "big") && !std::mem::replace(&mut locked, true) {
                now(holder.query("BEGIN; LOCK TABLE public.big")).unwrap();
            }
            tell.send_if_modified(|(small, key)| {
                *small |= is_last_of(event, "small");
                *key |= is_key(event);
                true
            });
        };
        let script = async {
            until(&bed.from, &format!("{WAITING} >= 2")).await;
            let since = Instant::now();
            gate.reached().await;
            gate.open().await;
            let others = told.wait_for(|(small, key)| *small && *key);
            within("the other tables", others).await.unwrap();
            until(&bed.from, ONE_WAITS).await;
            assert_eq!(bed.from.value(HELD_IN_WAITING).await, "0");
            tokio::time::sleep(Duration::from_secs(2)).await;
            let waited = since.elapsed();
            bed.from.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
            waited
        };
        let (events, waited) = tokio::join!(migrate_with(&bed.spec, on), script);
        let events = events.unwrap();
        let Some(Event::Finished { longest_snapshot_seconds, .. }) = events.last() else {
            panic!("{events:?}")
        };
        assert!(*longest_snapshot_seconds < waited.as_secs_f64(), "{waited:?} {events:?}");
        numbers_are_right(&events);
        bed.ends().await;
    }
}

/// What ends a run while pages of two tables are being written and the key of a third is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A row that a table does not take.
    Failure,
    /// Somebody wants it to stop.
    Interrupt,
}

/// The key waits for a lock of this test's, and two pages stand before their gates; then the run ends,
/// and the gates are opened.
async fn ends_in_the_middle(bed: &Bed, end: End) -> Failure {
    let (big, small) = bed.gates().await;
    let mut small = Some(small);
    let (stop, interrupt) = watch::channel(false);
    let mut lock = Some(bed.to.connect().await);
    let mut held = None;
    let mut listener = |event: &Event| {
        if begins(event, PhaseName::Backfill)
            && let Some(mut lock) = lock.take()
        {
            now(lock.query("BEGIN; LOCK TABLE public.empty IN ROW SHARE MODE")).unwrap();
            held = Some(lock);
        }
    };
    let key_waits =
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'empty'::regclass AND NOT granted";
    let script = async {
        big.reached().await;
        small.as_ref().unwrap().reached().await;
        until(&bed.to, key_waits).await;
        match end {
            End::Failure => small.take().unwrap().open().await,
            End::Interrupt => drop(stop.send_replace(true)),
        }
        // The interrupt's other end stays until the run is over.
        stop
    };
    let run = within("the end", migrate::run(&bed.spec, interrupt, &mut listener));
    let (ended, _stop) = tokio::join!(run, script);
    let failure = ended.unwrap_err();
    // Nor does the server go on with the key for nobody.
    assert_eq!(bed.to.value(key_waits).await, "f", "{failure}");
    bed.has_whole_pages_only().await;
    held.unwrap().close().await;
    big.open().await;
    if let Some(small) = small {
        small.open().await;
    }
    failure
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_in_the_middle_of_several_tables_leaves_whole_pages() {
    for binaries in oldest_and_newest() {
        for end in [End::Failure, End::Interrupt] {
            let mut bed = make_bed(&binaries, BIG_FIRST).await;
            // The trial would meet the row before any page.
            bed.spec.trial = false;
            // Judged after the gate: by name.
            bed.to.sql("ALTER TABLE small ADD CONSTRAINT never CHECK (n <> 95)").await;
            let failure = ends_in_the_middle(&bed, end).await;
            assert_eq!(failure.exit, Exit::Stopped, "{failure}");
            let words = match end {
                End::Failure => "of public.small (keys after (k090)) to the target: ",
                End::Interrupt => "interrupted",
            };
            assert!(failure.message.contains(words), "{failure}");
            let before = pages(&bed.to).await;
            bed.from.sql(CHANGES).await;
            bed.to.sql("ALTER TABLE small DROP CONSTRAINT never").await;
            let events = migrate(&bed.spec).await.unwrap();
            sums(&events);
            assert!(pages(&bed.to).await.is_superset(&before));
            bed.ends().await;
        }
    }
}

const FIVE: [&str; 5] = ["t1", "t2", "t3", "t4", "t5"];

/// Pghost's sessions in a database.
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name NOT LIKE 'test%' AND backend_type = 'client backend'";

/// However many tables there are, no more sessions are opened than for one, but for those that look
/// for pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_as_many_as_the_jobs_ask_for() {
    for binaries in oldest_and_newest() {
        let mut bed = Bed::make(&binaries, "five", "").await;
        let mut lock_all = vec!["BEGIN".to_owned()];
        for (number, table) in FIVE.iter().enumerate() {
            let (of, step) = (["smallint", "integer", "bigint"][number % 3], number % 2 + 1);
            let made = format!("CREATE TABLE {table} (id {of} PRIMARY KEY, v text)");
            bed.to.sql(&made).await;
            bed.from.sql(&format!(
                "{made}; INSERT INTO {table} SELECT i * {step}, i FROM generate_series(-100, 100) i"
            ))
            .await;
            lock_all.push(format!("LOCK TABLE public.{table} IN EXCLUSIVE MODE"));
        }
        bed.spec.tables = of_same_name(&FIVE);
        (bed.spec.page_rows, bed.spec.paging, bed.spec.copy_jobs) = (Some(5), Paging::Range, 2);
        let mut holder = bed.to.connect().await;
        let pid = holder.process_id();
        let (tell, mut locked) = watch::channel(false);
        let on = |event: &Event| {
            if let Event::Progress { .. } = event
                && !tell.send_replace(true)
            {
                now(holder.query(&lock_all.join("; "))).unwrap();
            }
        };
        let script = async {
            locked.wait_for(|locked| *locked).await.unwrap();
            // All that write pages now wait, and one more has the ledger.
            let waiting = format!(
                "SELECT count(*) = 4 FROM pg_locks WHERE locktype = 'relation' AND NOT granted AND pid <> {pid}
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            );
            until(&bed.to, &waiting).await;
            // And one looks for whom they wait.
            until(&bed.to, &format!("SELECT ({SESSIONS}) BETWEEN 5 AND 6")).await;
            // Two look for pages, one asks, one watches the slot, and one looks for locks.
            until(&bed.from, &format!("SELECT ({SESSIONS}) BETWEEN 6 AND 9")).await;
            bed.to.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
        };
        let events = beside(&bed.spec, on, script).await.unwrap();
        sums(&events);
        numbers_are_right(&events);
        bed.ends().await;
    }
}

/// Who asks for one page at a time gets one page after the other, and so one table after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_job_copies_table_after_table() {
    for binaries in oldest_and_newest() {
        let order = ["small", "big", "empty"];
        let mut bed = make_bed(&binaries, order).await;
        bed.spec.copy_jobs = 1;
        let events = migrate_with(&bed.spec, |_| {}).await.unwrap();
        numbers_are_right(&events);
        let mut tables: Vec<_> = (events.iter())
            .filter_map(|event| match event {
                Event::Progress { table, .. } => Some(&table["public.".len()..]),
                _ => None,
            })
            .collect();
        tables.dedup();
        assert_eq!(tables, order);
        bed.ends().await;
    }
}
