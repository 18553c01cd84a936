//! The catch-up beside native replication's apply and beside the walsender alone, on two servers
//! of this machine's own.
//!
//! `cargo bench --bench catch_up` prints seconds and ratios. For each workload the same changes
//! wait in four slots of one source, and are taken from them in turn:
//!
//!  - decode: `pg_recvlogical` writes them to a file, values as text, as a subscription gets them;
//!  - binary: the walsender sends them as pghost asks for them, and they are thrown away unread;
//!  - native: a subscription applies them, set up as CREATE SUBSCRIPTION does by itself;
//!  - pghost: the program itself, started again after its backfill was stopped, from its start to
//!    its end; its processor time and its most memory are those of the process.
//!
//! All targets hold the same rows to begin with. `GHOST_BENCH_ORDERS` sets the rows of `orders`
//! (1,000,000), `GHOST_BENCH_ROUNDS` the rounds (1), `GHOST_BENCH_ONLY` names workloads by a part
//! of their names, `GHOST_BENCH_JOBS` the lanes. Only the ratios mean something elsewhere.

mod catch_up {
    pub(crate) mod stopped;
    pub(crate) mod workloads;
}
#[path = "common/process.rs"]
mod process;

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use catch_up::{
    stopped::Backfill,
    workloads::{self, Workload},
};
use pghost::{
    cluster::{Binaries, Server},
    conn::{Connection, Error, SessionKind, parse_dsn},
    demo::orders,
    pg::{Ident, Lsn, QualifiedName},
    replication::{StreamMessage, StreamOptions},
    sql::quote_literal,
};
use process::Usage;

type AnyError = Box<dyn std::error::Error>;

/// Databases that hold the rows before any change; on the source all of them, on the target none.
const BEFORE: &str = "before";
/// Where a workload runs, and where pghost brings its changes.
const DATABASE: &str = "bench";
/// Where native replication brings them.
const NATIVE: &str = "native";

fn main() -> Result<(), AnyError> {
    // `cargo test --benches` and `cargo bench --no-run` only ask whether it builds.
    if env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let rows = number("GHOST_BENCH_ORDERS", 1_000_000);
    let binaries = Binaries::find(&mut |line| println!("{line}"))?;
    let settings =
        [("listen_addresses", ""), ("max_wal_size", "8GB"), ("checkpoint_timeout", "1h")];
    let source = Server::start(&binaries, &settings)?;
    let target = Server::start(&binaries, &settings)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "Postgres {}, two servers on this machine, {cores} cores, orders: {rows} rows",
        binaries.version
    );
    println!(
        "{:<27} {:>7} {:>7} {:>7} {:>7} {:>10} {:>9} {:>5} {:>7}",
        "", "decode", "binary", "native", "pghost", "x native", "/ decode", "CPU", "memory"
    );
    let only = env::var("GHOST_BENCH_ONLY").unwrap_or_default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all();
    runtime.build()?.block_on(async {
        let pair = Pair { binaries, source, target };
        pair.prepare(rows).await?;
        for _ in 0..number("GHOST_BENCH_ROUNDS", 1) {
            for workload in workloads::all(rows).iter().filter(|w| w.name.contains(&only)) {
                pair.round(workload).await?;
            }
        }
        Ok(())
    })
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn connect(server: &Server, database: &str) -> Result<Connection, AnyError> {
    let config = parse_dsn(&server.dsn(database))?;
    let mut connection = Connection::connect(&config, SessionKind::Sql).await?;
    connection.query("SET search_path = public").await?;
    Ok(connection)
}

async fn run_all(connection: &mut Connection, statements: &[String]) -> Result<(), Error> {
    for sql in statements {
        connection.query(sql).await?;
    }
    Ok(())
}

/// The two servers.
struct Pair {
    binaries: Binaries,
    source: Server,
    target: Server,
}

impl Pair {
    /// The rows before any change, on both servers.
    async fn prepare(&self, rows: u64) -> Result<(), AnyError> {
        let orders = orders::create(&QualifiedName::new("public", "orders"), rows);
        for server in [&self.source, &self.target] {
            connect(server, "postgres").await?.query(&format!("CREATE DATABASE {BEFORE}")).await?;
            let mut before = connect(server, BEFORE).await?;
            let all = [orders.clone(), workloads::TPC_B.into(), "VACUUM ANALYZE".into()];
            run_all(&mut before, &all).await?;
            before.close().await;
        }
        Ok(())
    }

    async fn round(&self, workload: &Workload) -> Result<(), AnyError> {
        self.set_up(workload).await?;
        let mut on_source = connect(&self.source, DATABASE).await?;
        on_source.query("SET synchronous_commit = off; SELECT setseed(0.5)").await?;
        on_source.query(&workload.sql).await?;
        let end: Lsn = on_source
            .query("SELECT pg_current_wal_insert_lsn() AS end")
            .await?
            .row()?
            .get("end")?;
        // So that a keepalive can tell that the end was passed.
        on_source.query("SELECT pg_logical_emit_message(false, 'bench', 'the end')").await?;

        self.settle().await?;
        let decode = [self.decode_text(end)?, self.decode(end).await?];
        self.settle().await?;
        let native = self.native(end).await?;
        self.settle().await?;
        let usage = self.pghost(workload)?;
        self.compare(workload).await?;
        on_source.close().await;
        self.tear_down().await?;
        print(workload.name, decode, native, &usage);
        if env::var_os("GHOST_BENCH_PHASES").is_some() {
            println!("{}", usage.finished["seconds"]);
        }
        Ok(())
    }

    /// What was written before goes to the disk first: it would be charged to what comes next.
    async fn settle(&self) -> Result<(), AnyError> {
        for server in [&self.source, &self.target] {
            connect(server, "postgres").await?.query("CHECKPOINT").await?;
        }
        Command::new("sync").status()?;
        Ok(())
    }

    /// Slots on the source; on the target what the slots begin with, once as a copy and once by
    /// pghost's own backfill.
    async fn set_up(&self, workload: &Workload) -> Result<(), AnyError> {
        let create = |name| format!("CREATE DATABASE {name} TEMPLATE {BEFORE}");
        connect(&self.source, "postgres").await?.query(&create(DATABASE)).await?;
        let on_target = [create(NATIVE), format!("CREATE DATABASE {DATABASE}")];
        run_all(&mut connect(&self.target, "postgres").await?, &on_target).await?;
        let mut on_source = connect(&self.source, DATABASE).await?;
        let tables = workload.tables.join(", ");
        let slot =
            |name| format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        let statements = [
            "CREATE TABLE gate (id int PRIMARY KEY)".into(),
            format!("CREATE PUBLICATION pub FOR TABLE {tables}, gate"),
            slot("decode"),
            slot("recvlogical"),
            slot("native"),
        ];
        run_all(&mut on_source, &statements).await?;
        connect(&self.target, NATIVE)
            .await?
            .query("CREATE TABLE gate (id int PRIMARY KEY)")
            .await?;
        // Pages of a table that is locked can't be read: there the run is stopped.
        let backfill = Backfill::start(&self.arguments(workload))?;
        run_all(&mut on_source, &["BEGIN".into(), "LOCK TABLE gate".into()]).await?;
        backfill.stop_at_the_last_table()?;
        on_source.query("ROLLBACK").await?;
        on_source.close().await;
        Ok(())
    }

    fn arguments(&self, workload: &Workload) -> Vec<String> {
        let jobs = number("GHOST_BENCH_JOBS", 0);
        let mut arguments = ["migrate", "--name", "bench", "--publication", "pub", "--source"]
            .map(String::from)
            .to_vec();
        arguments.extend([self.source.dsn(DATABASE), "--target".into(), self.target.dsn(DATABASE)]);
        for table in workload.tables.iter().chain(&["gate"]) {
            arguments.extend(["--table".into(), (*table).into()]);
        }
        if jobs > 0 {
            arguments.extend(["--apply-jobs".into(), jobs.to_string()]);
        }
        arguments
    }

    /// `pg_recvlogical` into a file.
    fn decode_text(&self, end: Lsn) -> Result<Duration, AnyError> {
        let file = env::temp_dir().join(format!("pghost-bench-{}", std::process::id()));
        let mut command = Command::new(self.binaries.bin.join("pg_recvlogical"));
        if let Some(lib) = &self.binaries.lib {
            command.env("LD_LIBRARY_PATH", lib);
        }
        let started = Instant::now();
        let ended = command
            .args(["--start", "--slot", "recvlogical", "--no-loop", "--endpos", &end.to_string()])
            .args(["-o", "proto_version=1", "-o", "publication_names=pub", "--dbname"])
            .args([self.source.dsn(DATABASE).as_ref(), "--file".as_ref(), file.as_os_str()])
            .output()?;
        let took = started.elapsed();
        std::fs::remove_file(&file)?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(format!("pg_recvlogical: {said}").into());
        }
        Ok(took)
    }

    async fn decode(&self, end: Lsn) -> Result<Duration, AnyError> {
        let config = parse_dsn(&self.source.dsn(DATABASE))?;
        let started = Instant::now();
        let walsender = Connection::connect(&config, SessionKind::Replication).await?;
        let options =
            StreamOptions { binary: true, ..StreamOptions::plain(vec![Ident::new("pub")]) };
        let command = format!("START_REPLICATION SLOT decode LOGICAL 0/0 {options}");
        let mut copy = walsender.copy_both(&command).await?;
        let mut passed = false;
        while !passed {
            let frames = copy.frames().await?;
            for frame in pghost::wire::Frames::new(&frames) {
                passed |= match StreamMessage::parse(frame.body)? {
                    StreamMessage::XLogData { start, .. } => start >= end,
                    StreamMessage::Keepalive { wal_end, .. } => wal_end >= end,
                };
            }
        }
        Ok(started.elapsed())
    }

    async fn native(&self, end: Lsn) -> Result<Duration, AnyError> {
        let conninfo = quote_literal(&self.source.dsn(DATABASE));
        let mut on_target = connect(&self.target, NATIVE).await?;
        let mut on_source = connect(&self.source, DATABASE).await?;
        let applied = format!(
            "SELECT confirmed_flush_lsn >= '{end}' AS applied FROM pg_replication_slots
              WHERE slot_name = 'native'"
        );
        let started = Instant::now();
        on_target
            .query(&format!(
                "CREATE SUBSCRIPTION native CONNECTION {conninfo} PUBLICATION pub
                 WITH (create_slot = false, slot_name = native, copy_data = false)"
            ))
            .await?;
        while !on_source.query(&applied).await?.row()?.get::<bool>("applied")? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = started.elapsed();
        on_target.query("DROP SUBSCRIPTION native").await?;
        on_target.close().await;
        on_source.close().await;
        Ok(took)
    }

    fn pghost(&self, workload: &Workload) -> Result<Usage, AnyError> {
        process::run(&self.arguments(workload))
    }

    /// What was measured must have been done.
    async fn compare(&self, workload: &Workload) -> Result<(), AnyError> {
        for table in workload.tables {
            let mut sums = Vec::new();
            for (server, database) in
                [(&self.source, DATABASE), (&self.target, NATIVE), (&self.target, DATABASE)]
            {
                let mut connection = connect(server, database).await?;
                let sql = format!(
                    "SELECT count(*) || ' ' || coalesce(sum(hashtext(t::text)), 0) AS sum
                       FROM {table} t"
                );
                sums.push(connection.query(&sql).await?.row()?.get::<String>("sum")?);
                connection.close().await;
            }
            if sums.iter().any(|sum| *sum != sums[0]) {
                return Err(format!("{}: {table} differs: {sums:?}", workload.name).into());
            }
        }
        Ok(())
    }

    async fn tear_down(&self) -> Result<(), AnyError> {
        let mut on_source = connect(&self.source, "postgres").await?;
        let slots = "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots";
        let drop = |name| format!("DROP DATABASE {name} WITH (FORCE)");
        run_all(&mut on_source, &[slots.into(), drop(DATABASE)]).await?;
        run_all(&mut connect(&self.target, "postgres").await?, &[drop(DATABASE), drop(NATIVE)])
            .await?;
        Ok(())
    }
}

fn print(name: &str, decode: [Duration; 2], native: Duration, usage: &Usage) {
    let [text, binary] = decode.map(|took| took.as_secs_f64());
    let (native, pghost) = (native.as_secs_f64(), usage.took.as_secs_f64());
    println!(
        "{name:<27} {text:>6.1}s {binary:>6.1}s {native:>6.1}s {pghost:>6.1}s {:>10.2} {:>9.2} \
         {:>4.0}% {:>4} MB",
        native / pghost,
        pghost / text,
        100.0 * usage.processor.as_secs_f64() / pghost,
        usage.memory_kb / 1024,
    );
}
