//! A running throwaway server: made, started, stopped, started again, and gone when dropped.
//!
//! `postgres` is our own child rather than `pg_ctl`'s, so that its end is seen at once and its
//! process id cannot become somebody else's while we hold it. How it is configured is
//! [`super::conf`]'s work.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use super::{
    Binaries, ClusterError,
    conf::{self, Port},
    dir::ServerDir,
    error::Doing,
    user::{Runner, run},
    watchdog::Watchdog,
};
use crate::pg::ServerVersion;

/// How long a server may take to be ready; recovery after an immediate stop is part of it.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to stop when it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to stop at once. Postgres gives its own children 5 seconds.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// How often things waited for are looked at: a start takes some 50 ms, and tests do it often.
const POLL: Duration = Duration::from_millis(5);

/// How many ports are tried before the machine is called full.
const PORT_TRIES: u32 = 10;

/// How much of the log's end is searched for its last lines.
const LOG_READ: u64 = 64 * 1024;

/// How many lines of the log an error shows.
const LOG_SHOWN: usize = 20;

/// How a server is told to stop; the words are `pg_ctl`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Lets no new session in and waits until the last one has gone.
    Smart,
    /// Ends all sessions and writes a checkpoint.
    Fast,
    /// Drops everything as a crash would; the next start recovers from the log.
    Immediate,
}

impl StopMode {
    const fn signal(self) -> &'static str {
        match self {
            Self::Smart => "TERM",
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A throwaway server. Dropping it stops it at once and removes its directory.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    runner: Runner,
    port: u16,
    child: Option<Child>,
    data: PathBuf,
    _watchdog: Watchdog,
    // Dropped after `Server::drop` has stopped what runs in it.
    dir: ServerDir,
}

impl Server {
    /// Makes a new server and starts it.
    ///
    /// `settings` are lines of `postgresql.conf` that come after the defaults for throwaway
    /// servers: no fsync, `wal_level = logical`, a free port of 127.0.0.1. Where the sockets and
    /// the log go cannot be set. Everybody on this machine can reach that port and is trusted;
    /// `("listen_addresses", "")` leaves the unix socket, which only our user can reach.
    ///
    /// Leftovers of earlier processes that were killed are swept first.
    ///
    /// # Errors
    ///
    /// When there is no room or right to make it, or the server does not start; then with the
    /// end of its log.
    pub fn start(binaries: &Binaries, settings: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let runner = Runner::current()?;
        let mut port = Port::choose(settings)?;
        let dir = ServerDir::create(&runner)?;
        ServerDir::sweep(binaries, &runner);
        let watchdog = Watchdog::over(&dir.data(), &runner);
        let mut server = Self {
            binaries: binaries.clone(),
            runner,
            port: port.number(),
            child: None,
            data: dir.data(),
            _watchdog: watchdog,
            dir,
        };
        server.init()?;
        for _ in 1..PORT_TRIES {
            server.configure(settings)?;
            match server.start_again() {
                // Somebody was quicker to take the port that was free a moment ago.
                Err(ClusterError::NotStarted { log, .. })
                    if port.is_ours_to_choose() && log.contains("Address already in use") =>
                {
                    port = Port::choose(settings)?;
                    server.port = port.number();
                }
                other => return other.map(|()| server),
            }
        }
        server.configure(settings)?;
        server.start_again().map(|()| server)
    }

    /// A connection string for the unix socket, in key=value form, as user `postgres`.
    #[must_use]
    pub fn dsn(&self, dbname: &str) -> String {
        conf::dsn(&self.dir.sock(), self.port, dbname)
    }

    /// A connection URI for 127.0.0.1, as user `postgres`.
    #[must_use]
    pub fn tcp_dsn(&self, dbname: &str) -> String {
        conf::tcp_dsn(self.port, dbname)
    }

    /// The port of its TCP and unix sockets; it stays the same over restarts.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Its release.
    #[must_use]
    pub const fn version(&self) -> ServerVersion {
        self.binaries.version
    }

    /// The process id of its postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The last lines of its log; what cannot be read is left out.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.dir.log(), 0, lines)
    }

    /// Stops it and waits until it has stopped. Nothing happens when it is stopped already.
    ///
    /// # Errors
    ///
    /// When it does not stop in time; then it is still there and can be stopped another way.
    pub fn stop(&mut self, how: StopMode) -> Result<(), ClusterError> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        self.runner.signal(&self.binaries, how.signal(), child.id())?;
        if !ended_within(child, STOP_PATIENCE)? {
            return Err(ClusterError::NotStopped {
                version: self.version().to_string(),
                how: how.name(),
                seconds: STOP_PATIENCE.as_secs(),
                log: self.log_tail(LOG_SHOWN),
            });
        }
        self.child = None;
        Ok(())
    }

    /// Stops it and starts it again on the same port with the same data.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`] and [`Self::start_again`].
    pub fn restart(&mut self, how: StopMode) -> Result<(), ClusterError> {
        self.stop(how)?;
        self.start_again()
    }

    /// Starts it after it was stopped, or has died. Nothing happens when it runs.
    ///
    /// # Errors
    ///
    /// When it does not become ready; then with the end of its log.
    pub fn start_again(&mut self) -> Result<(), ClusterError> {
        if let Some(child) = &mut self.child {
            if !ended_within(child, Duration::ZERO)? {
                return Ok(());
            }
            self.child = None;
        }
        let log = self.open_log()?;
        let from = log.metadata().map_or(0, |meta| meta.len());
        let stderr = log.try_clone().doing(|| "using the server's log".to_owned())?;
        let mut command = self.runner.command(&self.binaries, "postgres");
        command.arg("-D").arg(&self.data).stdout(log).stderr(stderr);
        // A terminal's Ctrl-C goes to its whole process group. It is for us to decide when the
        // server stops, or a demo could not end in order.
        command.process_group(0);
        let child = command.spawn().doing(|| {
            let program = command.get_program().display();
            format!("starting {program}")
        })?;
        let child = self.child.insert(child);
        let pid = child.id();
        let since = Instant::now();
        let why = loop {
            match child.try_wait() {
                Ok(Some(status)) => break format!("it ended with {status}"),
                Ok(None) if since.elapsed() > START_PATIENCE => {
                    break format!("it was not ready after {} s", START_PATIENCE.as_secs());
                }
                Ok(None) => {}
                Err(error) => break format!("it cannot be waited for: {error}"),
            }
            let socket = self.dir.sock().join(format!(".s.PGSQL.{}", self.port));
            if says_ready(&self.data, pid) && knock(&socket) {
                return Ok(());
            }
            thread::sleep(POLL);
        };
        self.stop_at_once();
        Err(ClusterError::NotStarted {
            version: self.version().to_string(),
            why,
            log: tail(&self.dir.log(), from, LOG_SHOWN),
        })
    }

    /// Replaces `pg_hba.conf` and waits until the server goes by it. A stopped server will when
    /// it starts.
    ///
    /// The file then holds these lines and nothing else: a way in is theirs to leave open.
    ///
    /// # Errors
    ///
    /// When the server finds the lines wrong and keeps the old ones; then with the end of its
    /// log.
    pub fn set_hba(&self, lines: &str) -> Result<(), ClusterError> {
        let path = self.data.join("pg_hba.conf");
        fs::write(&path, format!("{}\n", lines.trim_end()))
            .doing(|| format!("writing {path:?}"))?;
        if self.child.is_none() {
            return Ok(());
        }
        self.reload()
    }

    /// Has the server read its configuration files again, and waits until it has.
    ///
    /// # Errors
    ///
    /// When the server is stopped, does not answer, or finds a mistake in them.
    pub fn reload(&self) -> Result<(), ClusterError> {
        let pid = self.pid().ok_or(ClusterError::Stopped)?;
        let log = self.dir.log();
        let from = fs::metadata(&log).map_or(0, |meta| meta.len());
        self.runner.signal(&self.binaries, "HUP", pid)?;
        let socket = self.dir.sock().join(format!(".s.PGSQL.{}", self.port));
        let since = Instant::now();
        while since.elapsed() < STOP_PATIENCE {
            // The line comes before the files are read. But the postmaster does one thing at a
            // time: once it has answered a knock that came after the line, they have been.
            let seen = tail(&log, from, usize::MAX).contains("received SIGHUP");
            if seen && knock(&socket) {
                let log = tail(&log, from, LOG_SHOWN);
                let wrong = ["was not reloaded", "contains errors"];
                return if wrong.iter().any(|words| log.contains(words)) {
                    Err(ClusterError::NotReloaded { log })
                } else {
                    Ok(())
                };
            }
            thread::sleep(POLL);
        }
        Err(ClusterError::NotReloaded { log: self.log_tail(LOG_SHOWN) })
    }

    /// Runs initdb. Never a copy of a directory made before: servers would share a system
    /// identifier, by which a source is told from its target.
    fn init(&self) -> Result<(), ClusterError> {
        let mut command = self.runner.command(&self.binaries, "initdb");
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-U", "postgres", "--auth=trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"]);
        run(&mut command, || {
            format!("making a new PostgreSQL {} server with initdb", self.version())
        })
        .map(drop)
    }

    /// Writes the settings to a file of their own, which `postgresql.conf` includes.
    fn configure(&self, settings: &[(&str, &str)]) -> Result<(), ClusterError> {
        let ours = self.data.join(conf::FILE);
        let text = conf::text(self.port, &self.dir.sock(), settings);
        fs::write(&ours, text).doing(|| format!("writing {ours:?}"))?;
        self.runner.give(&ours)?;
        let main = self.data.join("postgresql.conf");
        let text = fs::read_to_string(&main).doing(|| format!("reading {main:?}"))?;
        let include = format!("include '{}'\n", conf::FILE);
        if text.ends_with(&include) {
            return Ok(());
        }
        OpenOptions::new()
            .append(true)
            .open(&main)
            .and_then(|mut file| file.write_all(format!("\n{include}").as_bytes()))
            .doing(|| format!("writing {main:?}"))
    }

    fn open_log(&self) -> Result<File, ClusterError> {
        let path = self.dir.log();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .doing(|| format!("opening {path:?}"))
    }

    /// Stops the child by whatever means, in bounded time. Nothing is left to report to.
    fn stop_at_once(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Once it has been waited for, its process id may be anybody's.
        if matches!(ended_within(&mut child, Duration::ZERO), Ok(true)) {
            return;
        }
        let _ = self.runner.signal(&self.binaries, "QUIT", child.id());
        if !matches!(ended_within(&mut child, DROP_PATIENCE), Ok(true)) {
            // Its children see that it is gone and end by themselves.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_at_once();
    }
}

fn ended_within(child: &mut Child, patience: Duration) -> Result<bool, ClusterError> {
    let since = Instant::now();
    loop {
        let status = child.try_wait().doing(|| "waiting for the server to stop".to_owned())?;
        if status.is_some() || since.elapsed() >= patience {
            return Ok(status.is_some());
        }
        thread::sleep(POLL);
    }
}

/// Whether the server that this process id belongs to says in `postmaster.pid` that it is ready
/// (line 8, `LOCK_FILE_LINE_PM_STATUS` in Postgres's `miscadmin.h`). Standbys say `standby`.
fn says_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&pid.to_string())
        && lines.nth(6).is_some_and(|status| ["ready", "standby"].contains(&status))
}

/// Asks for encryption, which every server answers with one byte before anything else is said;
/// going away after it leaves no line in the log.
fn knock(socket: &Path) -> bool {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let answered = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&SSL_REQUEST)?;
        stream.read_exact(&mut [0])
    };
    answered().is_ok()
}

/// The last lines of a file behind an offset.
fn tail(path: &Path, from: u64, lines: usize) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LOG_READ))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
