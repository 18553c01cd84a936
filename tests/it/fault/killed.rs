//! Runs of the program itself that are killed or told to stop, and go on.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use pghost::{
    cluster::Binaries,
    demo::{
        orders,
        workload::{Workload, WorkloadOptions},
    },
    pg::{Lsn, QualifiedName},
};
use serde_json::Value;

use crate::support::{
    Database, assert_same,
    moments::{Gate, until},
    nobody_reads,
    program::{Ended, Program, enters, is},
    server, some_releases, versions_to_test,
};

const ROWS: u64 = 12_000;
const PAGE_ROWS: u64 = 300;

/// Keys that the workload never touches: it has looked for the highest before they come.
const MARK: u64 = 1_000_000_000;

/// Ends the sessions that stand before a gate; what they have open is undone.
const END_WHO_WAITS: &str = "SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";

/// A table under a live workload, and a database that it goes to.
struct Bed {
    from: Database,
    to: Database,
    workload: Workload,
}

fn table() -> QualifiedName {
    QualifiedName::new("public", "orders")
}

impl Bed {
    async fn make(binaries: &Binaries, what: &str) -> Self {
        let server = server(binaries);
        let from = Database::create(&server, what).await;
        let to = Database::create(&server, what).await;
        from.sql(&orders::create(&table(), ROWS)).await;
        // Made by hand, so that gates can stand in it.
        to.sql(&orders::create(&table(), 0)).await;
        let options = WorkloadOptions::new(from.config(), table(), 0x6b69_6c6c_6564);
        let mut workload = Workload::start(options).await.unwrap();
        workload.reaches(50).await;
        Self { from, to, workload }
    }

    /// Slots are of the whole server; the database's name is a test's own.
    fn name(&self) -> &str {
        &self.from.name
    }

    /// Gives the command, always the same.
    fn migrate(&self) -> Program {
        self.migrate_and(&[])
    }

    fn migrate_and(&self, more: &[&str]) -> Program {
        let page_rows = PAGE_ROWS.to_string();
        let mut args = vec!["--table", "orders", "--name", self.name()];
        args.extend(["--page-rows", &page_rows, "--copy-jobs", "2"]);
        args.extend(more);
        Program::migrate(&self.from, &self.to, &args)
    }

    /// Holds the run in a page of about these keys.
    async fn gate(&self, number: u32, first: u64) -> Gate {
        let when = format!("NEW.id BETWEEN {first} AND {}", first + 3 * PAGE_ROWS);
        Gate::close(&self.to, "orders", number, &when).await
    }

    /// Lets the workload write.
    async fn changes(&mut self, changes: u64) {
        let enough = self.workload.counts().changes() + changes;
        self.workload.reaches(enough).await;
    }

    /// Writes a row that the workload leaves alone, and one page sees or one change brings.
    async fn mark(&self, number: u64) {
        let key = orders::Keys::one(MARK + number);
        self.from.sql(&orders::insert(&table(), key, 1)).await;
    }

    async fn pages(&self) -> BTreeSet<String> {
        pages(&self.to).await
    }

    async fn ledger(&self, column: &str) -> String {
        let sql = format!("SELECT {column} FROM pghost.migration");
        self.to.value(&sql).await
    }

    /// Everything on both sides that a run could touch.
    async fn everything(&self) -> Vec<String> {
        let rows = |table: &str| {
            format!(
                "SELECT coalesce(string_agg(concat_ws(' ', xmin, ctid, t), chr(10) ORDER BY ctid),
                     '') FROM {table} AS t"
            )
        };
        let of = "FROM pg_publication";
        let mut all = vec![self.from.value(&format!("SELECT string_agg(pubname, ' ') {of}")).await];
        let slots = "SELECT string_agg(concat_ws(' ', slot_name, confirmed_flush_lsn), chr(10))
                       FROM pg_replication_slots WHERE database = current_database()";
        all.push(self.from.value(slots).await);
        for table in ["pghost.migration", "pghost.migration_table", "pghost.page", "orders"] {
            all.push(self.to.value(&rows(table)).await);
        }
        all
    }

    async fn drop_slot(&self) {
        let slot = format!("pghost_{}", self.name());
        nobody_reads(&self.from.config(), &slot).await;
        self.from.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    }

    /// Ends the writing, brings the rest, and compares both sides whole.
    async fn ends_equal(self) {
        let Self { from, to, workload } = self;
        let written = workload.stop().await.unwrap();
        assert!(written.moved > 0 && written.big > 0, "{written:?}");
        let ended = Program::migrate(&from, &to, &["--name", &from.name]);
        ended.ends_with(0).await.finished();
        assert_same((&from, "orders"), (&to, "orders"), "id").await;
        let slot = format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name);
        from.sql(&slot).await;
    }
}

/// The ledger's lines of pages, each with the transaction that wrote it.
pub(crate) async fn pages(to: &Database) -> BTreeSet<String> {
    let sql = "SELECT coalesce(string_agg(concat_ws(' | ', ordinal, number, lower_bound,
                          upper_bound, row_count, byte_count, snapshot, lsn, xmin), chr(10)), '')
                 FROM pghost.page";
    let lines = to.value(sql).await;
    lines.lines().map(str::to_owned).collect()
}

/// Checks what a run that came to its end says of its pages against the ledger, and that it left
/// alone those that were there before it.
async fn no_page_was_copied_twice(bed: &Bed, before: &BTreeSet<String>, ended: &Ended) {
    let after = bed.pages().await;
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.is_empty(), "{gone:#?} became {:#?}", &after);
    let copied = ended.events.iter().filter(|e| is(e, "progress")).count();
    assert!(before.len() + copied <= after.len(), "{copied} more");
    let sum = "SELECT sum(row_count) FROM pghost.page";
    let rows = &ended.finished()["tables"][0]["rows_copied"];
    assert_eq!(bed.to.value(sum).await, rows.to_string());
}

fn lsn(value: &Value) -> Lsn {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_in_the_backfill_goes_on_with_the_pages_that_are_missing() {
    for binaries in some_releases() {
        let bed = Bed::make(&binaries, "killed_backfill").await;
        let mut gates = Vec::new();
        for (number, first) in (1..).zip([400, 4_000, 9_000]) {
            gates.push(bed.gate(number, first).await);
        }
        let mut before = BTreeSet::new();
        for gate in gates {
            let mut run = bed.migrate();
            run.event(|event| is(event, "progress")).await;
            run.meets(gate.reached()).await;
            run.kill();
            assert_eq!(bed.ledger("phase").await, "backfill");
            let pages = bed.pages().await;
            assert!(pages.is_superset(&before), "{before:#?} became {pages:#?}");
            assert!(pages.len() > before.len() && pages.len() < 35, "{pages:#?}");
            before = pages;
            // The servers' sessions of the killed run go on, beside the next run.
            gate.open().await;
        }
        let ended = bed.migrate().ends_with(0).await;
        no_page_was_copied_twice(&bed, &before, &ended).await;
        bed.ends_equal().await;
    }
}

/// The last page is held while changes are made, so that there is much to catch up with; among
/// them are the rows at which the applying is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_while_it_catches_up_goes_on_from_its_position() {
    for binaries in some_releases() {
        let mut bed = Bed::make(&binaries, "killed_catch_up").await;
        bed.mark(0).await;
        let mut gates = Vec::new();
        for number in 0..4 {
            let when = format!("NEW.id = {}", MARK + number);
            let number = u32::try_from(number).unwrap();
            gates.push(Gate::close(&bed.to, "orders", number, &when).await);
        }
        let mut gates = gates.into_iter();
        let (last_page, mut run) = (gates.next().unwrap(), bed.migrate());
        run.meets(last_page.reached()).await;
        for number in 1..4 {
            bed.changes(400).await;
            bed.mark(number).await;
        }
        bed.changes(400).await;
        last_page.open().await;
        let mut applied = Lsn::INVALID;
        while let Some(gate) = gates.next() {
            run.meets(gate.reached()).await;
            run.kill();
            assert_eq!(bed.ledger("phase").await, "catch_up");
            let now: Lsn = bed.ledger("applied_lsn").await.parse().unwrap();
            let checkpoint: Lsn = bed.ledger("checkpoint_lsn").await.parse().unwrap();
            assert!(now >= applied && now < checkpoint, "{applied} {now} {checkpoint}");
            applied = now;
            let pages = bed.pages().await;
            if gates.len() > 0 {
                // It has been sent more, and would stand before the next gate.
                bed.to.sql(END_WHO_WAITS).await;
            }
            gate.open().await;
            run = bed.migrate();
            run.event(|event| enters(event, "catch_up")).await;
            assert_eq!(bed.pages().await, pages);
        }
        let ended = run.ends_with(0).await;
        assert!(!ended.events.iter().any(|e| is(e, "progress")));
        no_page_was_copied_twice(&bed, &BTreeSet::new(), &ended).await;
        bed.ends_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_at_the_checkpoint_keeps_it() {
    for binaries in some_releases() {
        let bed = Bed::make(&binaries, "killed_checkpoint").await;
        let mut run = bed.migrate();
        let checkpoint = run.event(|event| is(event, "checkpoint")).await;
        run.kill();
        let pages = bed.pages().await;
        let stored: Lsn = bed.ledger("checkpoint_lsn").await.parse().unwrap();
        assert!(stored >= lsn(&checkpoint["lsn"]), "{stored} {checkpoint}");
        let ended = bed.migrate().ends_with(0).await;
        assert!(!ended.events.iter().any(|e| enters(e, "backfill")));
        // Rows that had to be fetched may have raised it.
        assert!(lsn(&ended.finished()["checkpoint_lsn"]) >= stored);
        assert_eq!(bed.pages().await, pages);
        no_page_was_copied_twice(&bed, &pages, &ended).await;
        bed.ends_equal().await;
    }
}

/// Kills at any moment, those before the first page and after the checkpoint too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_again_and_again_loses_nothing() {
    for (binaries, seed) in versions_to_test().into_iter().zip(7..) {
        let mut rng = Rng::with_seed(seed);
        let mut bed = Bed::make(&binaries, "killed_often").await;
        let mut before = BTreeSet::new();
        for _ in 0..8 {
            let (events, moment) = (rng.u32(1..12), rng.u64(..20_000));
            let mut run = bed.migrate();
            for _ in 0..events {
                run.next().await;
            }
            // Between two events anything can happen.
            tokio::time::sleep(Duration::from_micros(moment)).await;
            run.kill();
            let has_ledger = "SELECT to_regclass('pghost.page') IS NOT NULL";
            if bed.to.value(has_ledger).await == "t" {
                let pages = bed.pages().await;
                assert!(pages.is_superset(&before), "{before:#?} became {pages:#?}");
                before = pages;
            }
            bed.changes(20).await;
        }
        let ended = bed.migrate().ends_with(0).await;
        no_page_was_copied_twice(&bed, &before, &ended).await;
        bed.ends_equal().await;
    }
}

/// The slot is made only once every open transaction has ended. The walsender of a killed run
/// waits on, and makes it when nobody asks for it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_while_its_slot_is_being_made_starts_again() {
    for binaries in some_releases() {
        let bed = Bed::make(&binaries, "killed_slot").await;
        let mut open = bed.from.connect().await;
        open.query("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
        let slot = format!("slot_name = 'pghost_{}'", bed.name());
        let makes_it = format!("SELECT active_pid FROM pg_replication_slots WHERE {slot}");
        let mut run = bed.migrate();
        let waits = format!("SELECT ({makes_it}) IS NOT NULL");
        run.meets(until(&bed.from, &waits)).await;
        let killed = bed.from.value(&makes_it).await;
        run.kill();
        let mut run = bed.migrate();
        let waits = format!("SELECT ({makes_it}) <> {killed}");
        run.meets(until(&bed.from, &waits)).await;
        open.query("COMMIT").await.unwrap();
        run.ends_with(0).await.finished();
        bed.ends_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_run_exits_with_1_and_its_name_is_enough_to_go_on() {
    for binaries in some_releases() {
        let mut bed = Bed::make(&binaries, "terminated").await;
        bed.mark(0).await;
        let page = bed.gate(1, 2_000).await;
        let last_page = Gate::close(&bed.to, "orders", 2, &format!("NEW.id = {MARK}")).await;
        let change = Gate::close(&bed.to, "orders", 3, &format!("NEW.id = {}", MARK + 1)).await;
        let by_name = ["--name", bed.name()];

        let mut run = bed.migrate();
        run.meets(page.reached()).await;
        run.signal("-TERM");
        let ended = run.ends_with(1).await;
        assert_eq!(ended.error()["message"], "interrupted");
        let pages = bed.pages().await;
        page.open().await;

        let mut run = Program::migrate(&bed.from, &bed.to, &by_name);
        run.meets(last_page.reached()).await;
        let name = bed.name().to_owned();
        bed.changes(100).await;
        bed.mark(1).await;
        bed.changes(100).await;
        last_page.open().await;
        run.meets(change.reached()).await;
        run.signal("-TERM");
        run.note("stopping at the next safe point").await;
        change.open().await;
        let ended = run.ends_with(1).await;
        assert_eq!(ended.error()["message"], "interrupted");
        // What was on its way to the target when it was told to stop was waited for.
        let moved = bed.ledger("applied_lsn > slot_start_lsn").await;
        assert_eq!(moved, "t");

        let run = Program::migrate(&bed.from, &bed.to, &["--name", &name]);
        let ended = run.ends_with(0).await;
        no_page_was_copied_twice(&bed, &pages, &ended).await;
        bed.ends_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_ends_with_0_when_interrupted_and_a_later_run_goes_on() {
    for binaries in some_releases() {
        let mut bed = Bed::make(&binaries, "followed").await;
        let mut applied = Lsn::INVALID;
        for _ in 0..2 {
            let mut run = bed.migrate_and(&["--then", "follow"]);
            run.event(|event| enters(event, "follow")).await;
            bed.changes(100).await;
            run.event(|e| is(e, "catch_up") && e["changes"].as_u64() > Some(0)).await;
            run.signal("-INT");
            let ended = run.ends_with(0).await;
            let stored: Lsn = bed.ledger("applied_lsn").await.parse().unwrap();
            assert_eq!(lsn(&ended.finished()["applied_lsn"]), stored);
            assert!(stored > applied, "{stored} after {applied}");
            applied = stored;
            bed.changes(100).await;
        }
        bed.ends_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_of_the_same_name_is_refused_while_the_first_one_runs() {
    for binaries in some_releases() {
        let bed = Bed::make(&binaries, "twice").await;
        let gate = bed.gate(1, 2_000).await;
        let mut first = bed.migrate();
        first.meets(gate.reached()).await;
        let ended = bed.migrate().ends_with(2).await;
        let message = ended.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("another pghost is running"), "{message}");
        gate.open().await;
        let ended = first.ends_with(0).await;
        no_page_was_copied_twice(&bed, &BTreeSet::new(), &ended).await;
        bed.ends_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_slot_is_gone_exits_with_4_and_touches_nothing() {
    for binaries in some_releases() {
        let bed = Bed::make(&binaries, "slotless").await;
        let gate = bed.gate(1, 2_000).await;
        let mut run = bed.migrate();
        run.meets(gate.reached()).await;
        run.kill();
        gate.open().await;
        bed.drop_slot().await;
        // What the killed run had open is undone first.
        let alone = "SELECT count(*) = 1 FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend'";
        until(&bed.to, alone).await;

        let before = bed.everything().await;
        let ended = bed.migrate().ends_with(4).await;
        let message = ended.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("slot") && message.contains("gone"), "{message}");
        assert_eq!(bed.everything().await, before);

        // One that was made again under the same name is not the same.
        let made = "SELECT pg_create_logical_replication_slot($s$pghost_$name$s$, 'pgoutput')";
        bed.from.sql(&made.replace("$name", bed.name())).await;
        let before = bed.everything().await;
        bed.migrate().ends_with(4).await.error();
        assert_eq!(bed.everything().await, before);
        bed.drop_slot().await;
        bed.workload.stop().await.unwrap();
    }
}
