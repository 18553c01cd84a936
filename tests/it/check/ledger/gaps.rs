//! A table is whole when the ledger's pages leave out no key of it: nobody's counter is believed.

use pghost::{
    cluster::Binaries,
    migrate::{
        Event, Failure,
        verdict::{Place, Sign},
    },
};

use crate::{
    fault::verdicts_by_cause::as_the_table_says,
    support::{
        bed::Bed,
        migrate,
        moments::{migrate_with, now},
        oldest_and_newest,
    },
};

/// Pages by arithmetic, and pages of a key of two columns of two types.
const KEYS: &[(&str, &str)] = &[
    (
        "CREATE TABLE source (id int PRIMARY KEY, v text);
         INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 60) i",
        "CREATE TABLE target (id int PRIMARY KEY, v text)",
    ),
    (
        "CREATE TABLE source (a text, b numeric, v text, PRIMARY KEY (a, b));
         INSERT INTO source SELECT 'it''s, ' || i % 3, i / 7.0, 'x' FROM generate_series(1, 60) i",
        "CREATE TABLE target (a text, b numeric, v text, PRIMARY KEY (a, b))",
    ),
];

/// What somebody does to the lines of pages, and what is said of it.
const HARM: &[(&str, &str)] = &[
    ("DELETE FROM pghost.page WHERE number = 0", "begin only after the key ("),
    ("DELETE FROM pghost.page WHERE number = 2", "do not chain: one ends with ("),
    ("DELETE FROM pghost.page WHERE upper_bound IS NULL", "end with the key ("),
    ("DELETE FROM pghost.page", "are all gone"),
    (
        "UPDATE pghost.page SET upper_bound[1] = upper_bound[1] || '0' WHERE number = 1",
        "do not chain: one ends with (",
    ),
    ("UPDATE pghost.page SET upper_bound = NULL WHERE number = 1", "one ends with no bound"),
    ("UPDATE pghost.page SET lower_bound = NULL WHERE number = 1", "begins after no bound"),
    // Twice without a bound in the middle: none of them follows on the other.
    (
        "UPDATE pghost.page SET upper_bound = CASE number WHEN 1 THEN NULL ELSE upper_bound END,
             lower_bound = CASE number WHEN 2 THEN NULL ELSE lower_bound END",
        "one ends with no bound, and the next begins after no bound",
    ),
];

async fn bed(binaries: &Binaries, (source, target): (&str, &str), is_made: bool) -> Bed {
    let mut bed = Bed::make(binaries, "gaps", source).await;
    (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(10), 1);
    if !is_made {
        bed.to.sql(target).await;
    }
    bed
}

/// A run, with something done on the target when the last page has been committed and before
/// anything is concluded from that.
async fn harmed(bed: &Bed, harm: &str) -> Result<Vec<Event>, Failure> {
    let ended = migrate_with(&bed.spec, |event| {
        if matches!(event, Event::Progress { percent: Some(100.0), .. }) {
            now(bed.to.sql(&format!("CREATE TABLE kept AS TABLE pghost.page; {harm}")));
        }
    });
    ended.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_not_whole_while_its_pages_leave_keys_out() {
    for binaries in oldest_and_newest() {
        for (number, (harm, words)) in HARM.iter().enumerate() {
            let (key, is_made) = (KEYS[number % 2], number % 4 < 2);
            let bed = bed(&binaries, key, is_made).await;
            let ended = harmed(&bed, harm).await;
            let message = as_the_table_says(Sign::Gap, Place::Anywhere, ended);
            assert!(message.contains(words) && message.contains("public.source"), "{message}");
            bed.nothing_is_left_open().await;
            let whole = "SELECT bool_or(backfilled) FROM pghost.migration_table";
            assert_eq!(bed.to.value(whole).await, "f", "{harm}");
            let keys = "SELECT count(*) FROM pg_index WHERE indrelid = 'target'::regclass";
            assert_eq!(bed.to.value(keys).await, if is_made { "0" } else { "1" }, "{harm}");
            // As they were, they are whole.
            bed.to.sql("DELETE FROM pghost.page; INSERT INTO pghost.page TABLE kept").await;
            migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{harm}: {failure}"));
            bed.ends().await;
        }
    }
}

/// What no page has brought comes with the next run; what one has brought is not brought twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_run_copies_what_is_missing() {
    for binaries in oldest_and_newest() {
        for is_made in [true, false] {
            let line = "DELETE FROM pghost.page WHERE number = 1";
            let bed = bed(&binaries, KEYS[0], is_made).await;
            as_the_table_says(Sign::Gap, Place::Anywhere, harmed(&bed, line).await);
            let failure = migrate(&bed.spec).await.unwrap_err();
            assert!(failure.message.contains("23505"), "{failure}");
            let sql = "DELETE FROM target WHERE id BETWEEN 11 AND 20";
            bed.to.sql(&format!("{line}; {sql}")).await;
            migrate(&bed.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
            bed.ends().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_table_that_is_empty_or_emptied_meanwhile_leave_nothing_out() {
    for binaries in oldest_and_newest() {
        for (key, at) in [(KEYS[0], 0), (KEYS[1], 0), (KEYS[0], 3), (KEYS[1], 3)] {
            let bed = bed(&binaries, key, true).await;
            if at == 0 {
                bed.from.sql("TRUNCATE source").await;
            }
            let mut pages = 0;
            let ended = migrate_with(&bed.spec, |event| {
                pages += usize::from(matches!(event, Event::Progress { .. }));
                if pages == at && at > 0 {
                    now(bed.from.sql("TRUNCATE source"));
                }
            });
            ended.await.unwrap_or_else(|failure| panic!("{failure}"));
            bed.ends().await;
        }
    }
}
