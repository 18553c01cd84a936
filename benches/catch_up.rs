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
//!    its end; its part of the processor time that the run took, and the most memory it held.
//!
//!  - far, with `GHOST_BENCH_FAR=1`: pghost twice more, over a proxy to the target, with 10 ms in
//!    each direction and without.
//!
//! `GHOST_BENCH_HUGE=10` measures one transaction of so many GB instead, by pghost alone: what
//! matters there is its memory, and the others would need the disk once more each.
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
#[path = "common/proxy.rs"]
mod proxy;

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
/// Where pghost brings them over proxies, and how much later each byte comes.
const OVER_PROXIES: [(&str, Duration); 2] =
    [("near", Duration::ZERO), ("far", Duration::from_millis(10))];

fn main() -> Result<(), AnyError> {
    // `cargo test --benches` and `cargo bench --no-run` only ask whether it builds.
    if env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let rows = number("GHOST_BENCH_ORDERS", 1_000_000);
    let binaries = Binaries::find(&mut |line| println!("{line}"))?;
    let settings = [("max_wal_size", "8GB"), ("checkpoint_timeout", "1h")];
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
        let is_far = env::var_os("GHOST_BENCH_FAR").is_some();
        let pair = Pair { binaries, source, target, is_far };
        let huge = number("GHOST_BENCH_HUGE", 0);
        if huge > 0 {
            return pair.huge(&workloads::huge(huge)).await;
        }
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
    connection.leave_search_path();
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
    is_far: bool,
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
        let end = self.make_changes(workload).await?;
        self.settle().await?;
        let decode = [self.decode_text(end)?, self.decode(end).await?];
        self.settle().await?;
        let native = self.native(end).await?;
        self.settle().await?;
        let usage = self.pghost(workload, DATABASE, self.target.port()).await?;
        self.compare(workload, &[NATIVE, DATABASE]).await?;
        print(workload.name, decode, native, &usage);
        if self.is_far {
            self.over_proxies(workload).await?;
        }
        self.tear_down().await?;
        if env::var_os("GHOST_BENCH_PHASES").is_some() {
            println!("{}", usage.finished["seconds"]);
        }
        Ok(())
    }

    /// Makes the changes, and gives the position behind them.
    async fn make_changes(&self, workload: &Workload) -> Result<Lsn, AnyError> {
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
        on_source.close().await;
        Ok(end)
    }

    /// The target near and far.
    async fn over_proxies(&self, workload: &Workload) -> Result<(), AnyError> {
        let mut seconds = Vec::new();
        for (database, delay) in OVER_PROXIES {
            let port = proxy::start(self.target.port(), delay).await?;
            self.settle().await?;
            let usage = self.pghost(workload, database, port).await?;
            seconds.push(usage.seconds("catch_up"));
        }
        self.compare(workload, &OVER_PROXIES.map(|(database, _)| database)).await?;
        let (near, far) = (seconds[0], seconds[1]);
        println!("{:<27} near {near:.1}s, far {far:.1}s, near to far {:.2}", "", near / far);
        Ok(())
    }

    /// One transaction of many GB, by pghost alone.
    async fn huge(&self, workload: &Workload) -> Result<(), AnyError> {
        for server in [&self.source, &self.target] {
            let create = format!("CREATE DATABASE {DATABASE}");
            connect(server, "postgres").await?.query(&create).await?;
        }
        let mut on_source = connect(&self.source, DATABASE).await?;
        let tables = format!(
            "{}; CREATE TABLE gate (id int PRIMARY KEY); CREATE PUBLICATION pub FOR ALL TABLES",
            workloads::HUGE
        );
        on_source.query(&tables).await?;
        on_source.close().await;
        self.stop_at_the_gate(workload, DATABASE).await?;
        self.make_changes(workload).await?;
        self.settle().await?;
        let usage = self.pghost(workload, DATABASE, self.target.port()).await?;
        self.compare(workload, &[DATABASE]).await?;
        let (took, memory) = (usage.took.as_secs_f64(), usage.memory_kb / 1024);
        println!("{:<27} pghost {took:.1}s, {:.0}%, {memory} MB", workload.name, usage.percent());
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
        let mut on_target = vec![create(NATIVE)];
        on_target.extend(self.databases().map(|name| format!("CREATE DATABASE {name}")));
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
        on_source.close().await;
        for database in self.databases() {
            self.stop_at_the_gate(workload, database).await?;
        }
        Ok(())
    }

    /// The databases of the target that pghost fills.
    fn databases(&self) -> impl Iterator<Item = &'static str> {
        let over_proxies = OVER_PROXIES.iter().filter(|_| self.is_far).map(|(name, _)| *name);
        std::iter::once(DATABASE).chain(over_proxies)
    }

    /// A migration of its own for the database, stopped when all tables but the last are there.
    async fn stop_at_the_gate(&self, workload: &Workload, database: &str) -> Result<(), AnyError> {
        let mut on_source = connect(&self.source, DATABASE).await?;
        // Pages of a table that is locked can't be read: there the run is stopped.
        let backfill = Backfill::start(&self.arguments(workload, database, self.target.port()))?;
        run_all(&mut on_source, &["BEGIN".into(), "LOCK TABLE gate".into()]).await?;
        backfill.stop_at_the_last_table()?;
        on_source.query("ROLLBACK").await?;
        on_source.close().await;
        Ok(())
    }

    /// The database's name is the migration's, and the port the target's or a proxy's.
    fn arguments(&self, workload: &Workload, database: &str, port: u16) -> Vec<String> {
        let jobs = number("GHOST_BENCH_JOBS", 0);
        let mut arguments = ["migrate", "--name", database, "--publication", "pub", "--source"]
            .map(String::from)
            .to_vec();
        let target = match port == self.target.port() {
            true => self.target.dsn(database),
            false => (self.target.tcp_dsn(database))
                .replace(&self.target.port().to_string(), &port.to_string()),
        };
        arguments.extend([self.source.dsn(DATABASE), "--target".into(), target]);
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

    async fn pghost(
        &self,
        workload: &Workload,
        database: &str,
        port: u16,
    ) -> Result<Usage, AnyError> {
        let arguments = self.arguments(workload, database, port);
        // The proxies are tasks of this runtime.
        let run = move || process::run(&arguments).map_err(|error| error.to_string());
        Ok(tokio::task::spawn_blocking(run).await??)
    }

    /// What was measured must have been done.
    async fn compare(&self, workload: &Workload, databases: &[&str]) -> Result<(), AnyError> {
        let of_target = databases.iter().map(|database| (&self.target, *database));
        let all: Vec<_> = std::iter::once((&self.source, DATABASE)).chain(of_target).collect();
        for table in workload.tables {
            let mut sums = Vec::new();
            for &(server, database) in &all {
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
        let mut of_target = vec![drop(NATIVE)];
        of_target.extend(self.databases().map(drop));
        run_all(&mut connect(&self.target, "postgres").await?, &of_target).await?;
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
        usage.percent(),
        usage.memory_kb / 1024,
    );
}
