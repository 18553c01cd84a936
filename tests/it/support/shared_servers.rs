//! Servers that tests use one after the other: making one takes longer than most tests.
//!
//! A test has its server for itself, in databases of its own; what it leaves there (roles, slots of
//! a test that failed) is gone when the server has served some tests, or with this process. Tests
//! that stop, crash or configure a server start one of their own instead.

use std::{
    collections::HashMap,
    mem,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use pghost::cluster::{Binaries, Server};

/// How many tests one server serves: databases are not dropped, and memory is not endless.
const TESTS: u32 = 12;

/// Most of the time they stand by, with many databases that need no care.
const SETTINGS: &[(&str, &str)] = &[("autovacuum_naptime", "10min"), ("max_wal_size", "256MB")];

/// A server, whether it is in use or waits for a test.
struct Shared {
    // Dropped first: a process id may be another's once the server is gone.
    _undertaker: Undertaker,
    server: Arc<Server>,
    /// The test that has it, or had it last.
    test: ThreadId,
    tests: u32,
}

impl Shared {
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.server) == 1
    }
}

/// By major release.
static ALL: Mutex<Option<HashMap<u32, Vec<Shared>>>> = Mutex::new(None);

fn all() -> MutexGuard<'static, Option<HashMap<u32, Vec<Shared>>>> {
    // A test that could not start a server says so itself; the others go on.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server of a release, for the test that asks. Asking again gives the same one, as long as the
/// test has it.
pub(crate) fn server(binaries: &Binaries) -> Arc<Server> {
    let (major, me) = (binaries.version.major(), thread::current().id());
    let (found, worn_out): (_, Vec<_>) = {
        let mut all = all();
        let servers = all.get_or_insert_default().entry(major).or_default();
        let (keep, gone) = mem::take(servers)
            .into_iter()
            .partition(|shared| !shared.is_free() || shared.tests < TESTS);
        *servers = keep;
        let mine = servers.iter().position(|shared| shared.test == me && !shared.is_free());
        let found = mine.or_else(|| servers.iter().position(Shared::is_free)).map(|at| {
            let shared = &mut servers[at];
            shared.tests += u32::from(shared.is_free());
            shared.test = me;
            shared.server.clone()
        });
        (found, gone)
    };
    // Both take their time, in which others may ask.
    drop(worn_out);
    found.unwrap_or_else(|| {
        let server = Arc::new(Server::start(binaries, SETTINGS).unwrap());
        let undertaker = Undertaker::of(&server);
        let shared = Shared { _undertaker: undertaker, server: server.clone(), test: me, tests: 1 };
        all().get_or_insert_default().entry(major).or_default().push(shared);
        server
    })
}

/// Stops a server and removes its directory when this process is gone, whichever way that ends:
/// what stands in a static is not dropped.
struct Undertaker(Child);

const WHEN_WE_ARE_GONE: &str = r#"
    read -r _
    kill -QUIT "$1"
    n=0
    while [ -e "$2/data/postmaster.pid" ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
    rm -rf -- "$2"
"#;

impl Undertaker {
    fn of(server: &Server) -> Self {
        let (pid, dir) = (server.pid().unwrap(), server.data_dir().parent().unwrap());
        let child = Command::new("sh")
            .args(["-c", WHEN_WE_ARE_GONE, "sh", &pid.to_string()])
            .arg(dir)
            // Nobody writes: it reads on until the other end is closed, which is with us.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is not for it.
            .process_group(0)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Undertaker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
