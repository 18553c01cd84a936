//! The backfill beside native replication's initial copy and beside what the servers can do at
//! most, on two servers of this machine's own.
//!
//! `cargo bench --bench backfill` prints seconds and ratios. All ways copy the same table to the
//! other server, in turn, as often as `GHOST_BENCH_ROUNDS` says (3):
//!
//!  - native: `CREATE SUBSCRIPTION` into an empty table with its key, until the table is in sync;
//!  - limit: one binary COPY into a bare table, then the key, and nothing else;
//!  - pgcopydb, if it is installed: `clone` of that one table with four jobs;
//!  - pghost: the program itself, from its start to having caught up. Its part of the
//!    processor time that the run took of the machine, and the most memory it held;
//!  - far: pghost once more, with 10 ms more to and from either server, beside itself over the
//!    same proxies without a delay: the whole run, and the backfill alone, without the some hundred
//!    round trips before and after it, whose number does not depend on the table's size.
//!
//! `GHOST_BENCH_YOLOS` and `GHOST_BENCH_ORDERS` set the rows (10,000,000 of one int; 3,000,000 of
//! nine columns), 0 leaves a table out; `GHOST_BENCH_JOBS` the pages under way at once. Only the
//! ratios mean something elsewhere.

#[path = "common/process.rs"]
mod process;
#[path = "common/proxy.rs"]
mod proxy;

use std::{
    env,
    os::unix::process::CommandExt,
    process::Command,
    time::{Duration, Instant},
};

use pghost::{
    cluster::{Binaries, Server},
    conn::{Connection, Error, SessionKind, parse_dsn},
    demo::orders,
    pg::QualifiedName,
};
use process::Usage;

type AnyError = Box<dyn std::error::Error>;

/// How far away either server is made to be, in each direction.
const FAR: Duration = Duration::from_millis(10);

/// A table to be copied.
struct Subject {
    name: &'static str,
    rows: u64,
    /// Makes and fills it on the source.
    create: String,
    /// Makes it on the target, without its key.
    bare: &'static str,
}

fn subjects() -> Vec<Subject> {
    let (yolos, orders) =
        (number("GHOST_BENCH_YOLOS", 10_000_000), number("GHOST_BENCH_ORDERS", 3_000_000));
    let all = [
        Subject {
            name: "orders",
            rows: orders,
            create: orders::create(&QualifiedName::new("public", "orders"), orders),
            bare: "CREATE TABLE orders (id bigint NOT NULL, reference uuid NOT NULL, note text,
                   amount numeric(12, 2) NOT NULL, tags text[] NOT NULL, details jsonb NOT NULL,
                   paid boolean NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz)",
        },
        Subject {
            name: "yolos",
            rows: yolos,
            create: format!(
                "CREATE TABLE yolos (id serial PRIMARY KEY);
                 INSERT INTO yolos SELECT generate_series(1, {yolos})"
            ),
            bare: "CREATE TABLE yolos (id int NOT NULL)",
        },
    ];
    all.into_iter().filter(|subject| subject.rows > 0).collect()
}

fn main() -> Result<(), AnyError> {
    // `cargo test --benches` and `cargo bench --no-run` only ask whether it builds.
    if env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let binaries = Binaries::find(&mut |line| println!("{line}"))?;
    let settings = [("listen_addresses", "127.0.0.1"), ("max_wal_size", "8GB")];
    let source = Server::start(&binaries, &settings)?;
    let target = Server::start(&binaries, &settings)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("Postgres {}, two servers on this machine, {cores} cores", binaries.version);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all();
    runtime.build()?.block_on(async {
        for subject in subjects() {
            rounds(&source, &target, &subject).await?;
        }
        Ok(())
    })
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn rounds(source: &Server, target: &Server, subject: &Subject) -> Result<(), AnyError> {
    let (name, rows) = (subject.name, subject.rows);
    let mut on_source = connect(source).await?;
    on_source.query(&subject.create).await?;
    on_source.query(&format!("CREATE PUBLICATION pub_on_{name} FOR TABLE {name}")).await?;
    on_source.query(&format!("VACUUM (ANALYZE) {name}")).await?;
    println!("\n{name}: {rows} rows");
    println!(
        "round   native    limit pgcopydb   pghost      far  to native   to limit    CPU  memory  \
         near to far  backfill alone"
    );
    for round in 1..=number("GHOST_BENCH_ROUNDS", 3) {
        let native = native(source, target, subject).await?.as_secs_f64();
        let limit = limit(source, target, subject).await?.as_secs_f64();
        let peer = pgcopydb(source, target, subject).await?;
        let peer = peer.map_or_else(|| "-".into(), |took| format!("{:.1}s", took.as_secs_f64()));
        let ours = pghost(source, target, subject, None).await?;
        let near = pghost(source, target, subject, Some(Duration::ZERO)).await?;
        let far = pghost(source, target, subject, Some(FAR)).await?;
        let pghost = ours.took.as_secs_f64();
        let (to_native, to_limit) = (pghost / native, pghost / limit);
        println!(
            "{round:>5}   {native:>5.1}s   {limit:>5.1}s {peer:>8}   {pghost:>5.1}s   {:>5.1}s  \
             {to_native:>9.2}  {to_limit:>9.2}  {:>4.0}%  {:>3} MB  {:>11.2}  {:>14.2}",
            far.took.as_secs_f64(),
            ours.percent(),
            ours.memory_kb / 1024,
            near.took.as_secs_f64() / far.took.as_secs_f64(),
            near.seconds("backfill") / far.seconds("backfill"),
        );
    }
    // pgcopydb would copy it beside the next table's.
    on_source.query(&format!("DROP PUBLICATION pub_on_{name}")).await?;
    Ok(())
}

async fn connect(server: &Server) -> Result<Connection, AnyError> {
    let config = parse_dsn(&server.dsn("postgres"))?;
    let mut connection = Connection::connect(&config, SessionKind::Sql).await?;
    connection.query("SET search_path = public").await?;
    connection.leave_search_path();
    Ok(connection)
}

/// A target without the table, or with what `make` says, and a checkpoint behind us, on both
/// servers. What the round before left to be written goes to the disk first: it would be charged
/// to this one.
async fn fresh_target(
    source: &Server,
    target: &Server,
    subject: &Subject,
    make: &str,
) -> Result<Connection, AnyError> {
    connect(source).await?.query("CHECKPOINT").await?;
    let mut on_target = connect(target).await?;
    let drop = format!("DROP TABLE IF EXISTS {}", subject.name);
    for sql in [&drop, make, "CHECKPOINT"] {
        on_target.query(sql).await?;
    }
    Command::new("sync").status()?;
    Ok(on_target)
}

fn add_key(subject: &Subject) -> String {
    format!("ALTER TABLE {} ADD PRIMARY KEY (id)", subject.name)
}

/// From CREATE SUBSCRIPTION to the table being in sync.
async fn native(source: &Server, target: &Server, subject: &Subject) -> Result<Duration, AnyError> {
    let make = format!("{}; {}", subject.bare, add_key(subject));
    let mut on_target = fresh_target(source, target, subject, &make).await?;
    let conninfo = pghost::sql::quote_literal(&source.dsn("postgres"));
    let name = subject.name;
    let create =
        format!("CREATE SUBSCRIPTION native CONNECTION {conninfo} PUBLICATION pub_on_{name}");
    let started = Instant::now();
    on_target.query(&create).await?;
    while !is_in_sync(&mut on_target).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = started.elapsed();
    on_target.query("DROP SUBSCRIPTION native").await?;
    Ok(took)
}

async fn is_in_sync(target: &mut Connection) -> Result<bool, Error> {
    let sql = "SELECT count(*) > 0 AND bool_and(srsubstate IN ('s', 'r')) AS done
                 FROM pg_subscription_rel";
    target.query(sql).await?.row()?.get("done")
}

/// What the two servers can do: one COPY, then the key.
async fn limit(source: &Server, target: &Server, subject: &Subject) -> Result<Duration, AnyError> {
    let mut into = fresh_target(source, target, subject, subject.bare).await?;
    let mut from = connect(source).await?;
    let name = subject.name;
    let started = Instant::now();
    from.queue_query(&format!("COPY {name} TO STDOUT (FORMAT binary)"));
    into.queue_query(&format!("COPY {name} FROM STDIN (FORMAT binary)"));
    let mut out = from.copy_out().await?;
    let mut copy = into.copy_in().await?;
    while let Some(frames) = out.next().await? {
        copy.forward(&frames).await?;
    }
    out.finish().await?;
    copy.finish().await?;
    into.query("SET maintenance_work_mem = '256MB'").await?;
    into.query(&add_key(subject)).await?;
    Ok(started.elapsed())
}

/// pgcopydb's `clone` of the one table; `None` if it is not installed.
async fn pgcopydb(
    source: &Server,
    target: &Server,
    subject: &Subject,
) -> Result<Option<Duration>, AnyError> {
    if Command::new("pgcopydb").arg("--version").output().is_err() {
        return Ok(None);
    }
    let unpublish = format!("DROP PUBLICATION IF EXISTS pub_on_{}", subject.name);
    fresh_target(source, target, subject, &unpublish).await?.close().await;
    let dir = env::temp_dir().join(format!("pghost-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let filters = dir.join("filters.ini");
    std::fs::write(&filters, format!("[include-only-table]\npublic.{}\n", subject.name))?;
    let started = Instant::now();
    // In a process group of its own: when it fails it ends everything in its group.
    let ended = Command::new("pgcopydb")
        .process_group(0)
        .args([
            "clone",
            "--table-jobs",
            "4",
            "--index-jobs",
            "4",
            "--no-owner",
            "--no-acl",
            "--restart",
            "--not-consistent",
        ])
        .args(["--source", &source.dsn("postgres"), "--target", &target.dsn("postgres")])
        .args([std::ffi::OsStr::new("--filters"), filters.as_os_str()])
        .args([std::ffi::OsStr::new("--dir"), dir.join("work").as_os_str()])
        .output()?;
    let took = started.elapsed();
    std::fs::remove_dir_all(&dir)?;
    if !ended.status.success() {
        return Err(format!("pgcopydb: {}", String::from_utf8_lossy(&ended.stderr)).into());
    }
    Ok(Some(took))
}

/// The program's whole run: looking, preparing, backfill, key, catch-up. Over proxies, if a delay
/// is given.
async fn pghost(
    source: &Server,
    target: &Server,
    subject: &Subject,
    delay: Option<Duration>,
) -> Result<Usage, AnyError> {
    let mut on_target = fresh_target(source, target, subject, "").await?;
    let mut dsns = [source.dsn("postgres"), target.dsn("postgres")];
    if let Some(delay) = delay {
        for (dsn, server) in dsns.iter_mut().zip([source, target]) {
            let port = proxy::start(server.port(), delay).await?;
            *dsn =
                server.tcp_dsn("postgres").replace(&server.port().to_string(), &port.to_string());
        }
    }
    let [from, to] = dsns;
    let jobs = number("GHOST_BENCH_JOBS", 2).to_string();
    let publication = format!("pub_on_{}", subject.name);
    let arguments = [
        "migrate",
        "--source",
        &from,
        "--target",
        &to,
        "--table",
        subject.name,
        "--name",
        "bench",
        "--publication",
        &publication,
        "--copy-jobs",
        &jobs,
    ]
    .map(String::from);
    // The proxies are tasks of this runtime.
    let usage =
        tokio::task::spawn_blocking(move || process::run(&arguments).map_err(|e| e.to_string()))
            .await??;
    if env::var_os("GHOST_BENCH_PHASES").is_some() {
        println!("{}", usage.finished["seconds"]);
    }
    let drop_slot = "SELECT pg_drop_replication_slot('pghost_bench')";
    connect(source).await?.query(drop_slot).await?;
    on_target.query("DROP SCHEMA pghost CASCADE").await?;
    Ok(usage)
}
