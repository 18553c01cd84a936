//! Poolers between pghost and its servers: pgbouncer in each of its modes, and a proxy that drops the
//! settings of a session. What can't work is refused with the reason, before anything is made.

use std::{
    net::TcpListener as Port,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use pghost::{
    config::Config,
    conn::{Connection, Error, SessionKind, parse_dsn},
    migrate::{Exit, Failure, MigrationSpec},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    fault::killed_at_events::forget,
    support::{Database, bed::Bed, in_ci, limit::within, migrate, oldest_and_newest},
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, f float8);
                     INSERT INTO source SELECT g, 1 / g::float8 FROM generate_series(1, 500) g";

/// Every setting that pghost sends, as somebody would list them whom pgbouncer has refused.
const IGNORED: &str = "ignore_startup_parameters = DateStyle, IntervalStyle, \
    extra_float_digits, client_encoding, bytea_output, TimeZone, lc_monetary, xmloption, xmlbinary, \
    array_nulls, standard_conforming_strings, transform_null_equals, gin_fuzzy_search_limit, \
    client_min_messages, exit_on_error, search_path, quote_all_identifiers, statement_timeout, \
    lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, \
    default_transaction_isolation, default_transaction_read_only, row_security, tcp_user_timeout, \
    wal_sender_timeout, tcp_keepalives_idle, tcp_keepalives_interval, tcp_keepalives_count, \
    synchronize_seqscans, replication";

/// A running pgbouncer. It does not outlive the test.
struct Bouncer {
    child: Child,
    directory: PathBuf,
    port: u16,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Bouncer {
    /// Starts one before a server, with these settings; `None`, said loudly, where there is none.
    async fn start(server: u16, settings: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let port = Port::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let name = format!(
            "ghost-bouncer-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let users = directory.join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let file = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             {settings}\n",
            users.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("pgbouncer");
        command
            .arg("-q")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if is_root() {
            // It does not run as root.
            command.uid(65_534).gid(65_534);
        }
        let child = match command.env("PATH", path()).spawn() {
            Ok(child) => child,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&directory);
                assert!(!in_ci(), "pgbouncer must be there in CI: {error}");
                eprintln!("\n=== SKIPPED: nothing was tested through pgbouncer: {error} ===\n");
                return None;
            }
        };
        let bouncer = Self { child, directory, port };
        within("pgbouncer", async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        Some(bouncer)
    }

    fn config(&self, database: &Database) -> Config {
        parse_dsn(&database.dsn_by(self.port)).unwrap()
    }
}

/// Debian has it where only root looks.
fn path() -> String {
    format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Runs a migration that must be refused, and finds nothing of it on either side.
async fn refused(bed: &Bed, spec: &MigrationSpec) -> Failure {
    let failure = migrate(spec).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Refused, "{failure}");
    let made = "SELECT concat_ws(' ', to_regnamespace('pghost'), to_regclass('public.target'),
                    (SELECT string_agg(pubname, ' ') FROM pg_publication),
                    (SELECT string_agg(slot_name, ' ') FROM pg_replication_slots
                      WHERE database = current_database()))";
    for database in [&bed.from, &bed.to] {
        assert_eq!(database.value(made).await, "", "{failure}");
    }
    failure
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_gives_no_whole_sessions_is_refused() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "pooled", TABLE).await;
        for (settings, says) in [
            ("pool_mode = transaction", "transaction mode"),
            ("pool_mode = transaction\ndefault_pool_size = 1", "transaction mode"),
            (
                "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 5",
                "transaction mode",
            ),
            (&format!("pool_mode = transaction\n{IGNORED}"), "transaction mode"),
            ("pool_mode = statement", "statement mode"),
            (&format!("pool_mode = statement\n{IGNORED}"), "statement mode"),
            ("pool_mode = session\nserver_reset_query =", "resetting"),
        ] {
            let Some(bouncer) = Bouncer::start(bed.from.server.port(), settings).await else {
                return;
            };
            let target = MigrationSpec { target: bouncer.config(&bed.to), ..bed.spec.clone() };
            let source = MigrationSpec { source: bouncer.config(&bed.from), ..bed.spec.clone() };
            for spec in [target, source] {
                let failure = refused(&bed, &spec).await.to_string();
                assert!(failure.contains(says), "{settings}: {failure}");
                assert!(failure.contains("past the pooler"), "{settings}: {failure}");
            }
        }
    }
}

/// Nothing of it stays in the pool either: the next client has a session as it should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_journey_goes_through_a_pooler_in_session_mode() {
    for binaries in oldest_and_newest() {
        for settings in ["", IGNORED] {
            let mut bed = Bed::make(&binaries, "session_mode", TABLE).await;
            let digits = "SET extra_float_digits = -5";
            for database in [&bed.from, &bed.to] {
                database.sql(&format!("ALTER DATABASE \"{}\" {digits}", database.name)).await;
            }
            let settings = format!("pool_mode = session\n{settings}");
            let Some(bouncer) = Bouncer::start(bed.from.server.port(), &settings).await else {
                return;
            };
            bed.spec.target = bouncer.config(&bed.to);
            bed.spec.verify = true;
            migrate(&bed.spec).await.unwrap();
            bed.from.sql("UPDATE source SET f = f / 3; DELETE FROM source WHERE id > 400").await;
            migrate(&bed.spec).await.unwrap();
            let mut next = Connection::open(&bouncer.config(&bed.to), SessionKind::Sql).await;
            if let Ok(next) = &mut next {
                let sql = "SELECT current_setting('session_replication_role') AS role";
                let role: String =
                    next.query(sql).await.unwrap().row().unwrap().get("role").unwrap();
                assert_eq!(role, "origin");
            }
            let sums = "SELECT sum(hashfloat8(f)) FROM";
            let of = |table| format!("{sums} {table}");
            assert_eq!(bed.from.value(&of("source")).await, bed.to.value(&of("target")).await);
            assert_eq!(forget(&bed.spec).await.removed.len(), 3);
        }
    }
}

/// The walsender comes by the same connection string, and there is no way through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_behind_a_pooler_without_replication_is_refused() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "no_walsender", TABLE).await;
        for settings in ["", IGNORED] {
            let settings = format!("pool_mode = session\n{settings}");
            let Some(bouncer) = Bouncer::start(bed.from.server.port(), &settings).await else {
                return;
            };
            let spec = MigrationSpec { source: bouncer.config(&bed.from), ..bed.spec.clone() };
            let failure = refused(&bed, &spec).await.to_string();
            assert!(failure.contains("replication connections"), "{settings}: {failure}");
            assert!(failure.contains("the server itself"), "{settings}: {failure}");
        }
    }
}

/// A proxy that passes a startup packet on without its settings.
async fn forgetful(server: u16) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
                let length = usize::try_from(client.read_u32().await?).unwrap();
                let mut packet = vec![0; length - 4];
                client.read_exact(&mut packet).await?;
                let fields: Vec<_> = packet[4..].split(|byte| *byte == 0).collect();
                let mut kept = packet[..4].to_vec();
                for pair in fields.chunks_exact(2) {
                    if [&b"user"[..], b"database", b"replication"].contains(&pair[0]) {
                        kept.extend([pair[0], b"\0", pair[1], b"\0"].concat());
                    }
                }
                kept.push(0);
                server.write_u32(u32::try_from(kept.len() + 4).unwrap()).await?;
                server.write_all(&kept).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (port, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_something_drops_on_the_way_are_noticed() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "dropped", TABLE).await;
        let digits = "SET extra_float_digits = -5";
        for database in [&bed.from, &bed.to] {
            database.sql(&format!("ALTER DATABASE \"{}\" {digits}", database.name)).await;
        }
        let (port, proxy) = forgetful(bed.from.server.port()).await;
        let by = |database: &Database| {
            let mut config = parse_dsn(&database.dsn_by(port)).unwrap();
            config.sslmode = pghost::config::SslMode::Disable;
            config
        };
        let target = MigrationSpec { target: by(&bed.to), ..bed.spec.clone() };
        let source = MigrationSpec { source: by(&bed.from), ..bed.spec.clone() };
        for spec in [target, source] {
            let failure = refused(&bed, &spec).await.to_string();
            assert!(failure.contains("extra_float_digits"), "{failure}");
            assert!(failure.contains("'-5'") && failure.contains("pooler"), "{failure}");
        }
        // The walsender prints what is streamed, and is asked as well.
        let walsender = Connection::connect(&by(&bed.from), SessionKind::Replication).await;
        assert!(matches!(walsender, Err(Error::SettingDropped { .. })), "{walsender:?}");
        proxy.abort();
    }
}
