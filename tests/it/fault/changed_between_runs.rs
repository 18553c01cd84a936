//! What becomes of servers, tables and publications between two runs, or between two looks of one,
//! and leaves no trace in the stream.

use std::{path::Path, process::Command, sync::Mutex};

use pghost::{
    cluster::{Binaries, StopMode},
    conn::parse_dsn,
    migrate::{self, Event, Exit, Failure, MigrationSpec, PhaseName, StepName, verdict::Sign},
};
use tokio::sync::watch;

use crate::{
    fault::killed_at_events::forget,
    support::{
        bed::Bed,
        migrate,
        moments::{Following, begins, migrate_with, now, until},
        oldest_and_newest,
        own_servers::Two,
        proxy::Proxy,
    },
};

const TABLE: &str = "CREATE TABLE source (id text COLLATE \"C\" PRIMARY KEY, v int);
    INSERT INTO source SELECT 'k' || i, i FROM generate_series(1, 100) i";
const TARGET: &str = "CREATE TABLE target (id text COLLATE \"C\" PRIMARY KEY, v int)";

async fn make_bed(binaries: &Binaries) -> Bed {
    let mut bed = Bed::make(binaries, "between", TABLE).await;
    bed.to.sql(TARGET).await;
    (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(10), 1);
    bed
}

impl Bed {
    /// Copies some pages and stops.
    async fn halfway(&self) {
        let (stop, interrupt) = watch::channel(false);
        let mut listener = |event: &Event| {
            if matches!(event, Event::Progress { .. }) {
                stop.send_replace(true);
            }
        };
        let ended = migrate::run(&self.spec, interrupt, &mut listener).await;
        assert_eq!(ended.unwrap_err(), Failure::interrupted());
        assert_ne!(self.to.value("SELECT count(*) FROM target").await, "0");
    }

    async fn cannot_go_on(&self, words: &str) -> Failure {
        cannot_resume(migrate(&self.spec).await, words)
    }

    /// An ALTER PUBLICATION, of the one that pghost made.
    async fn alter_publication(&self, what: &str) {
        let name = self.spec.name.as_deref().unwrap();
        self.from.sql(&format!("ALTER PUBLICATION \"pghost_{name}\" {what}")).await;
    }
}

fn cannot_resume(ended: Result<Vec<Event>, Failure>, words: &str) -> Failure {
    let failure = ended.map(|_| words).unwrap_err();
    assert_eq!(failure.exit, Exit::CannotResume, "{words}: {failure}");
    assert!(failure.message.contains(words), "no {words} in {failure}");
    failure
}

/// Rows that were before a page's bound are behind it, and would never be copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_ordered_otherwise_than_before_is_recognised() {
    for binaries in oldest_and_newest() {
        let mut bed = make_bed(&binaries).await;
        let other = "ALTER TABLE source ALTER id TYPE text COLLATE \"POSIX\"";
        bed.halfway().await;
        bed.from.sql(other).await;
        bed.cannot_go_on("ordered otherwise").await;
        bed.from.sql("ALTER TABLE source ALTER id TYPE text COLLATE \"C\"").await;
        migrate(&bed.spec).await.unwrap();
        bed.is_equal().await;
        // Once all pages are there it does no harm.
        bed.from.sql(&format!("{other}; INSERT INTO source VALUES ('new', 1)")).await;
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;

        // The same while pages are copied.
        bed = make_bed(&binaries).await;
        let mut altered = false;
        let ended = migrate_with(&bed.spec, |event| {
            if matches!(event, Event::Progress { .. }) && !altered {
                now(bed.from.sql(other));
                altered = true;
            }
        });
        cannot_resume(ended.await, "ordered otherwise");
        forget(&bed.spec).await;
    }
}

/// Its pages count as copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_was_emptied_or_made_again_is_recognised() {
    for binaries in oldest_and_newest() {
        for (made, words) in [
            ("TRUNCATE target", "empty"),
            ("DROP TABLE target", "made again"),
            ("ALTER TABLE target DROP v; ALTER TABLE target ADD v int", "another one than values"),
        ] {
            let bed = make_bed(&binaries).await;
            bed.halfway().await;
            bed.to.sql(made).await;
            if made.starts_with("DROP TABLE") {
                bed.to.sql(TARGET).await;
            }
            let failure = bed.cannot_go_on(words).await;
            assert_eq!(failure.rule.unwrap().sign, Sign::Emptied);
            forget(&bed.spec).await;
        }
        // What the source empties is another matter.
        let bed = make_bed(&binaries).await;
        bed.from.sql("TRUNCATE source").await;
        for _ in 0..2 {
            migrate(&bed.spec).await.unwrap();
        }
        bed.ends().await;
    }
}

/// What was written while a table was out of it is not in the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_a_table_had_left_is_recognised() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        migrate(&bed.spec).await.unwrap();
        // Neither does harm.
        bed.from.sql("CREATE TABLE other (id int PRIMARY KEY)").await;
        bed.alter_publication("ADD TABLE other").await;
        bed.from.sql("CREATE ROLE between_owner SUPERUSER").await;
        bed.alter_publication("OWNER TO between_owner").await;
        migrate(&bed.spec).await.unwrap();

        for (left, joined) in [
            ("DROP TABLE source", "ADD TABLE source"),
            ("SET (publish = 'insert')", "SET (publish = 'insert, update, delete, truncate')"),
        ] {
            bed.alter_publication(left).await;
            bed.from.sql("UPDATE source SET v = v + 1").await;
            bed.cannot_go_on("may be missing from the stream").await;
            bed.alter_publication(joined).await;
            let failure = bed.cannot_go_on("altered or made again").await;
            // Who knows that nothing is missing, or has mended it, goes on.
            let hint = failure.hint.split("UPDATE ").nth(1).unwrap().split("; and").next().unwrap();
            bed.to.sql(&format!("UPDATE {hint}; UPDATE target SET v = v + 1")).await;
            bed.from.sql("INSERT INTO source VALUES ('more', 0) ON CONFLICT DO NOTHING").await;
            migrate(&bed.spec).await.unwrap();
            bed.is_equal().await;
        }
        bed.ends().await;
        bed.from.sql("DROP ROLE between_owner").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_a_table_leaves_in_mid_run_stops_it() {
    for binaries in oldest_and_newest() {
        // While pages are copied, and for a moment only.
        let bed = make_bed(&binaries).await;
        let mut left = false;
        let ended = migrate_with(&bed.spec, |event| {
            if matches!(event, Event::Progress { .. }) && !left {
                left = true;
                now(bed.alter_publication("DROP TABLE source"));
                now(bed.from.sql("UPDATE source SET v = -1"));
                now(bed.alter_publication("ADD TABLE source"));
            }
        });
        cannot_resume(ended.await, "altered or made again");
        forget(&bed.spec).await;

        // After the last page.
        let bed = make_bed(&binaries).await;
        let ended = migrate_with(&bed.spec, |event| {
            if begins(event, PhaseName::CatchUp) {
                now(bed.alter_publication("DROP TABLE source"));
            }
        });
        cannot_resume(ended.await, "may be missing from the stream");
        forget(&bed.spec).await;

        // While changes are followed.
        let bed = make_bed(&binaries).await;
        let following = Following::start(&bed.spec).await;
        bed.alter_publication("DROP TABLE source").await;
        let failure = following.failed().await;
        cannot_resume(Err(failure), "may be missing from the stream");
        forget(&bed.spec).await;
    }
}

/// What it writes from then on comes under positions that count as applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_put_back_is_recognised() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql("CREATE TABLE source (id int PRIMARY KEY, v text)").await;
        two.source.sql("INSERT INTO source SELECT i, 'v' FROM generate_series(1, 100) i").await;
        migrate(&two.spec()).await.unwrap();
        two.source.stop(StopMode::Fast);
        let data = two.source.server(|server| server.data_dir().to_owned());
        let kept = data.with_extension("kept");
        copy(&data, &kept);
        two.source.start_again();
        two.source.sql("UPDATE source SET v = repeat('w', 1000)").await;
        migrate(&two.spec()).await.unwrap();

        two.source.stop(StopMode::Fast);
        std::fs::remove_dir_all(&data).unwrap();
        copy(&kept, &data);
        two.source.start_again();
        let before = two.target.value("SELECT applied_lsn FROM pghost.migration").await;
        cannot_resume(migrate(&two.spec()).await, "earlier state");
        assert_eq!(two.target.value("SELECT applied_lsn FROM pghost.migration").await, before);
        std::fs::remove_dir_all(&kept).unwrap();
        two.nothing_is_left_open().await;
    }
}

/// As whoever owns it, and with all rights.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// The ledger says that the migration has begun, and the one who said it has not heard the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_as_the_migration_begins_undoes_nothing() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let proxy = Proxy::start(bed.to.server.port()).await;
        let target = parse_dsn(&bed.to.dsn_by(proxy.port)).unwrap();
        let spec = MigrationSpec { target, ..bed.spec.clone() };
        let holder = Mutex::new(Some(bed.to.connect().await));
        let mut waits = 0;
        let run = migrate_with(&spec, |event| {
            if matches!(event, Event::Step { step: StepName::SlotMade, .. }) {
                let mut holder = holder.lock().unwrap();
                let lock = "BEGIN; SELECT FROM pghost.migration FOR UPDATE";
                now(holder.as_mut().unwrap().query(lock)).unwrap();
            }
            waits += u32::from(matches!(event, Event::Waiting { .. }));
        });
        let cut = async {
            let stands = "SELECT count(*) > 0 FROM pg_stat_activity
                           WHERE wait_event = 'transactionid' AND datname = current_database()";
            until(&bed.to, stands).await;
            proxy.cut();
            let holder = holder.lock().unwrap().take();
            holder.unwrap().close().await;
        };
        let (ended, ()) = tokio::join!(run, cut);
        ended.unwrap();
        assert_eq!(waits, 1);
        bed.ends().await;
    }
}
