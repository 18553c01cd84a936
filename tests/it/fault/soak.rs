//! Faults of every kind, one after the other, drawn from a seed: whatever happens, both sides are
//! equal in the end. The table is written to all the while, with big values and keys that change,
//! and what is drawn among the faults: values of a unique index that are exchanged, and truncates.
//! The table is altered under the run, too, which that may end (exit code 4), with nothing wrong on
//! the target.
//!
//! `GHOST_SOAK=3600` goes on for so many seconds instead of twenty, `GHOST_SOAK_SEED=7` begins with
//! another seed than 1. It says how many faults of each kind were survived.

mod altered;

use std::{collections::BTreeMap, env, time::Duration};

use fastrand::Rng;
use pghost::{
    cluster::{Binaries, StopMode},
    demo::{
        orders,
        workload::{Workload, WorkloadOptions},
    },
    pg::QualifiedName,
};
use tokio::time::{Instant, sleep_until};

use crate::support::{
    in_ci,
    own_servers::{Own, Two},
    program::{Ended, Program},
    proxy::Proxy,
    versions_to_test,
};

/// How long one table is tormented.
const ROUND: Duration = Duration::from_secs(5);

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Killed,
    ToldToStop,
    SourceRestarts,
    SourceCrashes,
    TargetRestarts,
    TargetCrashes,
    SourceCut,
    TargetCut,
    SourceSessionEnded,
    TargetSessionEnded,
    SourceSlow,
    TargetSlow,
    SourceSilent,
    TargetSilent,
    SourceLost,
    TargetLost,
    Exchanged,
    Truncated,
    Renamed,
    TablesExchanged,
    ColumnsExchanged,
    ColumnsExchangedForGood,
    Retyped,
}

use Fault::{
    ColumnsExchanged, ColumnsExchangedForGood, Exchanged, Killed, Renamed, Retyped, SourceCrashes,
    SourceCut, SourceLost, SourceRestarts, SourceSessionEnded, SourceSilent, SourceSlow,
    TablesExchanged, TargetCrashes, TargetCut, TargetLost, TargetRestarts, TargetSessionEnded,
    TargetSilent, TargetSlow, ToldToStop, Truncated,
};

const FAULTS: [Fault; 23] = [
    Killed,
    ToldToStop,
    SourceRestarts,
    SourceCrashes,
    TargetRestarts,
    TargetCrashes,
    SourceCut,
    TargetCut,
    SourceSessionEnded,
    TargetSessionEnded,
    SourceSlow,
    TargetSlow,
    SourceSilent,
    TargetSilent,
    // Elsewhere than on Linux, as if they were cut.
    SourceLost,
    TargetLost,
    Exchanged,
    Truncated,
    Renamed,
    TablesExchanged,
    ColumnsExchanged,
    ColumnsExchangedForGood,
    Retyped,
];

impl Fault {
    /// Whether the table is altered.
    const fn alters(self) -> bool {
        matches!(
            self,
            Renamed | TablesExchanged | ColumnsExchanged | ColumnsExchangedForGood | Retyped
        )
    }
}

/// Connections that are lost without a word are noticed within a second.
const TIMERS: &str =
    "?keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1000";

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// Two servers behind proxies, and what goes on between them.
struct Soak {
    two: Two,
    source: Proxy,
    target: Proxy,
    rng: Rng,
    survived: Survived,
    /// Runs that ended because the table was altered.
    stopped: u32,
}

type Survived = BTreeMap<Fault, u32>;

/// One table on its way.
struct Round {
    name: String,
    table: QualifiedName,
    options: Vec<String>,
    run: Option<Program>,
    workload: Option<Workload>,
    /// Whether the table was altered.
    altered: bool,
}

impl Soak {
    async fn start(binaries: &Binaries, seed: u64) -> Self {
        let two = Two::start(binaries);
        let (source, target) =
            (Proxy::start(two.source.port).await, Proxy::start(two.target.port).await);
        Self {
            two,
            source,
            target,
            rng: Rng::with_seed(seed),
            survived: BTreeMap::new(),
            stopped: 0,
        }
    }

    fn migrate(&self, round: &Round, then: &str) -> Program {
        let (from, to) =
            (self.two.source.dsn_by(self.source.port), self.two.target.dsn_by(self.target.port));
        let (from, to) = (from + TIMERS, to + TIMERS);
        let args =
            ["--table", round.table.name.as_str(), "--name", &round.name, "--page-rows", "100"];
        let more = ["--wait-for-server", "60s", "--then", then];
        let drawn: Vec<_> = round.options.iter().map(String::as_str).collect();
        Program::migrate_between(&from, &to, &[&args[..], &more, &drawn].concat())
    }

    async fn writes(&mut self, round: &Round) -> Workload {
        let options = WorkloadOptions {
            statements_per_second: 400,
            ..WorkloadOptions::new(self.two.source.config(), round.table.clone(), self.rng.u64(..))
        };
        Workload::start(options).await.unwrap()
    }

    /// Torments one table, then lets it come to its end and compares.
    async fn round(&mut self, number: u64) {
        let table = QualifiedName::new("public", format!("orders_{number}"));
        self.two.source.sql(&orders::create(&table, 4_000)).await;
        let name = &table.name;
        let unique =
            format!("CREATE UNIQUE INDEX ON {name} (reference); CREATE INDEX ON {name} (amount)");
        self.two.source.sql(&unique).await;
        self.two.source.sql(&altered::mark(name.as_str())).await;
        let jobs = |rng: &mut Rng| rng.u64(1..=3).to_string();
        let mut options = vec!["--copy-jobs".into(), jobs(&mut self.rng)];
        options.extend(["--apply-jobs".into(), jobs(&mut self.rng)]);
        let name = format!("soak_{number}");
        let mut round = Round { name, table, options, run: None, workload: None, altered: false };
        let end = Instant::now() + ROUND;
        while Instant::now() < end {
            if round.workload.is_none() {
                round.workload = Some(self.writes(&round).await);
            }
            let mut run = match round.run.take() {
                Some(run) => run,
                None => self.migrate(&round, "follow"),
            };
            let pause = Duration::from_millis(self.rng.u64(20..600));
            if goes_on(&mut run, pause).await {
                round.run = Some(run);
                let fault = self.rng.choice(FAULTS).unwrap();
                if !fault.alters() || self.has_begun(&round).await {
                    self.strike(fault, &mut round).await;
                    *self.survived.entry(fault).or_default() += 1;
                }
            } else {
                self.has_ended(&run.ended().await, &round).await;
            }
        }
        self.comes_to_its_end(round).await;
    }

    async fn strike(&mut self, fault: Fault, round: &mut Round) {
        let late = Duration::from_millis(self.rng.u64(..300));
        let restart = |server: &Own, how| {
            let restart = server.restart(how, late);
            tokio::task::block_in_place(|| restart.join().unwrap());
        };
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name NOT LIKE 'test%'
            AND usename IS NOT NULL AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
        match fault {
            Killed => drop(round.run.take().map(Program::kill)),
            ToldToStop => {
                if let Some(run) = round.run.take() {
                    run.signal("-TERM");
                    self.has_ended(&run.ended().await, round).await;
                }
            }
            SourceRestarts => restart(&self.two.source, StopMode::Fast),
            SourceCrashes => restart(&self.two.source, StopMode::Immediate),
            TargetRestarts => restart(&self.two.target, StopMode::Fast),
            TargetCrashes => restart(&self.two.target, StopMode::Immediate),
            SourceCut => self.source.cut(),
            TargetCut => self.target.cut(),
            // Perhaps one of the workload's.
            SourceSessionEnded => drop(self.two.source.sql(ends).await),
            TargetSessionEnded => drop(self.two.target.sql(ends).await),
            SourceSlow => self.source.delay(self.rng.u64(..4)),
            TargetSlow => self.target.delay(self.rng.u64(..4)),
            SourceSilent => silent(&self.source, late).await,
            TargetSilent => silent(&self.target, late).await,
            SourceLost => lost(&self.source),
            TargetLost => lost(&self.target),
            Exchanged => {
                for _ in 0..self.rng.u64(1..5) {
                    self.two.source.sql(&exchange(&round.table)).await;
                }
            }
            Truncated => {
                let rows = self.rng.u64(1..4_000);
                let keys = orders::Keys { first: 1, count: rows, step: 1 };
                let again = orders::insert(&round.table, keys, self.rng.u32(..));
                self.two.source.sql(&format!("TRUNCATE {}; {again}", round.table)).await;
            }
            Renamed | TablesExchanged | ColumnsExchanged => {
                self.altered_for_a_moment(fault, round).await;
            }
            ColumnsExchangedForGood | Retyped => self.altered_for_good(fault, round).await,
        }
        if [SourceRestarts, SourceCrashes, SourceSessionEnded].contains(&fault) {
            // Its writers have been cut off in the middle of what they wrote.
            round.workload = None;
        }
    }

    /// A run has ended, perhaps because the table was altered.
    async fn has_ended(&mut self, ended: &Ended, round: &Round) {
        may_have_ended(ended, round.altered);
        if ended.code == Some(4) {
            self.stopped += 1;
            self.nothing_wrong(round).await;
            // Names that were exchanged and a TRUNCATE leave together what a rewrite leaves.
            if ended.notes.join(" ").contains("its rows were rewritten") {
                self.begins_anew(round).await;
            }
        }
    }

    async fn comes_to_its_end(&mut self, mut round: Round) {
        for proxy in [&self.source, &self.target] {
            proxy.delay(0);
            proxy.clear();
        }
        if let Some(run) = round.run.take() {
            run.signal("-INT");
            self.has_ended(&run.ended().await, &round).await;
        }
        if let Some(workload) = round.workload.take() {
            workload.stop().await.unwrap();
        }
        // Twice: first up to the checkpoint if that was not passed, then to the newest position.
        for _ in 0..2 {
            let mut ended = self.migrate(&round, "stop").ended().await;
            if ended.code == Some(4) {
                self.has_ended(&ended, &round).await;
                ended = self.migrate(&round, "stop").ended().await;
            }
            assert_eq!(ended.code, Some(0), "{:#?}", ended.notes);
            ended.finished();
        }
        let rows = format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, chr(10) ORDER BY id)), '') FROM {} t",
            round.table.name.as_str()
        );
        let (source, target) =
            (self.two.source.value(&rows).await, self.two.target.value(&rows).await);
        assert_eq!(source, target, "{} after {:?}", round.name, self.survived);
        self.two.nothing_is_left_open().await;
        self.two
            .source
            .sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", round.name))
            .await;
    }
}

async fn silent(proxy: &Proxy, how_long: Duration) {
    proxy.hold(true);
    tokio::time::sleep(how_long).await;
    proxy.hold(false);
}

fn lost(proxy: &Proxy) {
    if cfg!(target_os = "linux") {
        proxy.lose();
    } else {
        proxy.cut();
    }
}

/// Two rows, of those that nobody is at, exchange a value of the unique index.
fn exchange(table: &QualifiedName) -> String {
    let any = format!("FROM {table} ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED");
    let set =
        |value: &str, id: &str| format!("UPDATE {table} SET reference = {value} WHERE id = {id};");
    format!(
        "DO $$ DECLARE a record; b record; BEGIN
             SELECT id, reference INTO a {any}; SELECT id, reference INTO b {any};
             IF a.id <> b.id THEN {} {} {} END IF;
         END $$",
        set("gen_random_uuid()", "a.id"),
        set("a.reference", "b.id"),
        set("b.reference", "a.id"),
    )
}

/// Whether a run goes on for so long.
async fn goes_on(run: &mut Program, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            () = sleep_until(until) => return true,
            event = run.next() => if event.is_none() { return false },
        }
    }
}

/// How it is told that a table is altered, or that it was away for a moment.
const ALTERED: [&str; 6] = [
    "was altered on the source",
    "another table of the same name",
    "has changed on the source",
    "does not exist",
    "was altered while it was looked at",
    "the source has no table",
];

/// A run may be told to stop, or begin while a server is away; it may not be beyond help, unless
/// its table was altered.
fn may_have_ended(ended: &Ended, altered: bool) {
    let last = if altered { 4 } else { 2 };
    let code = ended.code.filter(|code| *code != 3 && *code <= last);
    assert!(code.is_some(), "{:?}: {:#?}", ended.code, ended.notes);
    let notes = ended.notes.join(" ");
    let is_known = ended.code == Some(0)
        || [
            "interrupted",
            "connect",
            "closed",
            "57P0",
            "running the migration",
            "works with the slot",
        ]
        .iter()
        .any(|word| notes.contains(word))
        || altered && ALTERED.iter().any(|words| notes.contains(words));
    assert!(is_known, "{:?}: {notes}", ended.code);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_both_sides_are_equal_in_the_end() {
    let seconds = number("GHOST_SOAK").unwrap_or(20);
    let seeds = number("GHOST_SOAK_SEED").unwrap_or(1)..;
    let end = Instant::now() + Duration::from_secs(seconds);
    let releases = versions_to_test();
    let (mut rounds, mut survived, mut stopped) = (0, Survived::new(), 0);
    // The newest first, and each while there is time.
    for (seed, binaries) in seeds.zip(releases.iter().rev().cycle()) {
        if Instant::now() >= end {
            break;
        }
        let mut soak = Soak::start(binaries, seed).await;
        eprintln!("PostgreSQL {}, seed {seed}", binaries.version);
        for number in 0..2 {
            soak.round(number).await;
        }
        eprintln!("PostgreSQL {}, seed {seed}: survived {:?}", binaries.version, soak.survived);
        rounds += 2;
        stopped += soak.stopped;
        for (fault, times) in soak.survived {
            *survived.entry(fault).or_default() += times;
        }
    }
    let faults: u32 = survived.values().sum();
    eprintln!(
        "{rounds} tables survived {faults} faults: {survived:?}; {stopped} runs ended with exit \
         code 4, altered, with nothing wrong on the target"
    );
    assert!(!in_ci() || !releases.is_empty());
}
