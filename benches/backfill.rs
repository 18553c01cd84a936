//! The backfill beside native replication's initial copy, on two servers of this machine's own.
//!
//! `cargo bench --bench backfill` prints seconds and ratios; `GHOST_BENCH_ROWS` sets the rows of
//! `yolos` (10,000,000). Both ways copy the same table into an empty one with its key, in turn,
//! as often as `GHOST_BENCH_ROUNDS` says (3). Only the ratios mean something elsewhere.

use std::{
    env,
    time::{Duration, Instant},
};

use pghost::{
    cluster::{Binaries, Server},
    conn::{Connection, Error, SessionKind, parse_dsn},
    migrate::{self, Event, MigrationSpec, TableSpec, Then},
    pg::QualifiedName,
};
use tokio::sync::watch;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    // `cargo test --benches` and `cargo bench --no-run` only ask whether it builds.
    if env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let binaries = Binaries::find(&mut |line| println!("{line}"))?;
    let settings = [("listen_addresses", ""), ("max_wal_size", "8GB")];
    let source = Server::start(&binaries, &settings)?;
    let target = Server::start(&binaries, &settings)?;
    println!("Postgres {}, two servers on this machine", binaries.version);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all();
    runtime.build()?.block_on(rounds(&source, &target))
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn rounds(source: &Server, target: &Server) -> Result<(), AnyError> {
    let rows = number("GHOST_BENCH_ROWS", 10_000_000);
    let mut on_source = connect(source).await?;
    on_source
        .query(&format!(
            "CREATE TABLE yolos (id serial PRIMARY KEY);
             INSERT INTO yolos SELECT generate_series(1, {rows});
             CREATE PUBLICATION pub_on_yolos FOR TABLE yolos"
        ))
        .await?;
    on_source.query("VACUUM (ANALYZE) yolos").await?;
    on_source.query("CHECKPOINT").await?;
    println!("yolos: {rows} rows of one int\n\nround   native   pghost   pghost / native");
    for round in 1..=number("GHOST_BENCH_ROUNDS", 3) {
        let native = native(source, target).await?;
        let pghost = pghost(source, target).await?;
        let ratio = pghost.as_secs_f64() / native.as_secs_f64();
        println!(
            "{round:>5}   {:>5.1}s   {:>5.1}s   {ratio:.2}",
            native.as_secs_f64(),
            pghost.as_secs_f64()
        );
    }
    Ok(())
}

async fn connect(server: &Server) -> Result<Connection, AnyError> {
    let config = parse_dsn(&server.dsn("postgres"))?;
    let mut connection = Connection::connect(&config, SessionKind::Sql).await?;
    connection.query("SET search_path = public").await?;
    Ok(connection)
}

/// An empty table with its key, and a checkpoint behind us, on both servers. What the round before
/// left to be written goes to the disk first: it would be charged to this one.
async fn fresh_target(source: &Server, target: &Server) -> Result<Connection, AnyError> {
    connect(source).await?.query("CHECKPOINT").await?;
    let mut on_target = connect(target).await?;
    on_target
        .query("DROP TABLE IF EXISTS yolos; CREATE TABLE yolos (id serial PRIMARY KEY)")
        .await?;
    on_target.query("CHECKPOINT").await?;
    std::process::Command::new("sync").status()?;
    Ok(on_target)
}

/// From CREATE SUBSCRIPTION to the table being in sync.
async fn native(source: &Server, target: &Server) -> Result<Duration, AnyError> {
    let mut on_target = fresh_target(source, target).await?;
    let conninfo = pghost::sql::quote_literal(&source.dsn("postgres"));
    let create =
        format!("CREATE SUBSCRIPTION native CONNECTION {conninfo} PUBLICATION pub_on_yolos");
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

/// The whole run: looking, preparing, backfill, catch-up.
async fn pghost(source: &Server, target: &Server) -> Result<Duration, AnyError> {
    let mut on_target = fresh_target(source, target).await?;
    let yolos = QualifiedName::new("public", "yolos");
    let spec = MigrationSpec {
        source: parse_dsn(&source.dsn("postgres"))?,
        target: parse_dsn(&target.dsn("postgres"))?,
        tables: vec![TableSpec { source: yolos.clone(), target: yolos }],
        name: Some("bench".into()),
        publication: Some("pub_on_yolos".into()),
        slot: None,
        page_rows: None,
        copy_jobs: usize::try_from(number("GHOST_BENCH_JOBS", 2))?,
        then: Then::Stop,
    };
    let (_stay, interrupt) = watch::channel(false);
    let started = Instant::now();
    migrate::run(&spec, interrupt, &mut |_: &Event| {}).await?;
    let took = started.elapsed();
    let drop_slot = "SELECT pg_drop_replication_slot('pghost_bench')";
    connect(source).await?.query(drop_slot).await?;
    on_target.query("DROP SCHEMA pghost CASCADE").await?;
    Ok(took)
}
