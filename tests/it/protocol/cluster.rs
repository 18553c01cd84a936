//! Throwaway servers, on every release that can be had.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support;
use pghost::cluster::{Binaries, ClusterError, Server, StopMode};

/// When set, this test program starts a server, prints where it is, and waits to be killed.
const ABANDON: &str = "GHOST_TEST_ABANDON";

/// When set, this test program has a temporary directory to itself.
const ALONE: &str = "GHOST_TEST_ALONE";

fn major_of(server: &Server) -> String {
    let text = fs::read_to_string(server.data_dir().join("PG_VERSION")).unwrap();
    text.trim().to_owned()
}

fn socket_of(server: &Server) -> PathBuf {
    let sock = server.data_dir().parent().unwrap().join("sock");
    sock.join(format!(".s.PGSQL.{}", server.port()))
}

/// Whether a process lives; one that has ended and is not waited for does not.
fn lives(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// The server's processes: the postmaster and all its children.
fn processes(postmaster: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| {
            let mut ids = line.split_whitespace().map(|id| id.parse::<u32>().unwrap());
            let (pid, parent) = (ids.next()?, ids.next()?);
            (pid == postmaster || parent == postmaster).then_some(pid)
        })
        .collect()
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    processes(of).into_iter().filter(|pid| *pid != of && lives(*pid)).collect()
}

fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < patience {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

/// One test of this module, in a process of its own.
fn ourselves(test: &str) -> Command {
    let (_this_crate, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
    command
}

/// Runs one test of this program in another process, with a temporary directory to itself: a process's
/// own can't be changed, and whoever starts a server sweeps what is in his, other tests too. Fails
/// when something is left in it.
fn alone(test: &str) {
    let base =
        std::env::temp_dir().join(format!("ghost-test-{}-{}", std::process::id(), test.len()));
    fs::create_dir(&base).unwrap();
    // As whoever moves his data has it, who looks at the demo first.
    let secrets = [("GHOST_SOURCE", "postgres://u:hunter2@h/d"), ("PGPASSWORD", "hunter2")];
    let mut command = ourselves(test);
    let output = command.envs(secrets).env("TMPDIR", &base).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    fs::remove_dir(&base).unwrap();
}

/// A process that does not outlive the test, whichever way that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Logs in as `postgres` and returns the kind of the server's first message, with a holder of
/// the session.
fn log_in(server: &Server) -> (char, UnixStream) {
    let mut stream = UnixStream::connect(socket_of(server)).unwrap();
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(body.len() + 4).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut kind = [0];
    stream.read_exact(&mut kind).unwrap();
    (char::from(kind[0]), stream)
}

#[test]
fn servers_of_every_release_start_restart_in_each_mode_and_leave_nothing() {
    for binaries in support::versions_to_test() {
        let since = Instant::now();
        let mut server = Server::start(&binaries, &[("work_mem", "8MB")]).unwrap();
        let started = since.elapsed();
        assert_eq!(major_of(&server), binaries.version.major().to_string());
        assert_eq!(server.version(), binaries.version);
        TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        assert_eq!(log_in(&server).0, 'R', "{}", server.log_tail(20));

        let port = server.port();
        for mode in [StopMode::Smart, StopMode::Fast, StopMode::Immediate] {
            let before = server.pid().unwrap();
            server.restart(mode).unwrap();
            assert_ne!(server.pid().unwrap(), before, "{mode:?}");
            assert_eq!(server.port(), port);
            assert_eq!(log_in(&server).0, 'R', "{mode:?}: {}", server.log_tail(20));
        }
        let log = server.log_tail(200);
        for said in ["smart shutdown", "fast shutdown", "immediate shutdown", "redo"] {
            assert!(log.contains(said), "{said} in {log}");
        }

        let processes = processes(server.pid().unwrap());
        assert!(processes.len() > 3, "{processes:?}");
        let dir = server.data_dir().parent().unwrap().to_owned();
        drop(server);
        assert!(!dir.exists());
        assert_eq!(processes.iter().find(|pid| lives(**pid)), None);
        eprintln!("PostgreSQL {}: started in {started:?}", binaries.version);
    }
}

#[test]
fn a_stopped_server_can_be_started_again_and_a_dead_one_too() {
    let Some(binaries) = any() else { return };
    let mut server = Server::start(&binaries, &[]).unwrap();
    server.stop(StopMode::Fast).unwrap();
    server.stop(StopMode::Fast).unwrap();
    assert_eq!(server.pid(), None);
    assert!(UnixStream::connect(socket_of(&server)).is_err());
    assert!(matches!(server.reload(), Err(ClusterError::Stopped)));
    server.start_again().unwrap();
    server.start_again().unwrap();
    assert_eq!(log_in(&server).0, 'R');

    let pid = server.pid().unwrap().to_string();
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    assert!(within(Duration::from_mins(1), || !lives(pid.parse().unwrap())));
    // The dead server's children let go of its memory when they have noticed.
    assert!(within(Duration::from_mins(2), || server.start_again().is_ok()));
    assert_eq!(log_in(&server).0, 'R');
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let Some(binaries) = any() else { return };
    let error = Server::start(&binaries, &[("shared_buffers", "many")]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClusterError::NotStarted { .. }), "{text}");
    assert!(text.contains("shared_buffers"), "{text}");

    let taken = Server::start(&binaries, &[]).unwrap();
    let port = taken.port().to_string();
    let text = Server::start(&binaries, &[("port", &port)]).unwrap_err().to_string();
    assert!(text.contains("Address already in use"), "{text}");
}

#[test]
fn a_server_that_cannot_start_leaves_nothing() {
    alone("a_server_that_cannot_start_says_why");
}

#[test]
fn a_new_hba_is_in_force_at_once_and_a_wrong_one_is_an_error() {
    for binaries in support::versions_to_test() {
        let server = Server::start(&binaries, &[]).unwrap();
        server.set_hba("local all postgres reject").unwrap();
        assert_eq!(log_in(&server).0, 'E');
        let text = server.set_hba("local all postgres nonsense").unwrap_err().to_string();
        assert!(text.contains("nonsense"), "{text}");
        assert_eq!(log_in(&server).0, 'E', "the old lines stay in force");
        server.set_hba("local all all trust").unwrap();
        assert_eq!(log_in(&server).0, 'R');
    }
}

#[test]
fn what_a_killed_process_leaves_is_swept_by_the_next_start() {
    let Some(binaries) = any() else { return };
    if std::env::var_os(ALONE).is_none() {
        return alone("what_a_killed_process_leaves_is_swept_by_the_next_start");
    }
    let (owner, pid, dir) = abandon(&binaries);

    drop(Server::start(&binaries, &[]).unwrap());
    assert!(dir.exists() && lives(pid), "its owner lives");

    // Also its watchdog is killed, so that nothing is left that would stop the server.
    let children = children(owner.0.id());
    assert_eq!(children.len(), 2, "{children:?}");
    for child in children.into_iter().filter(|child| *child != pid) {
        let killed = Command::new("kill").args(["-KILL", &child.to_string()]).status().unwrap();
        assert!(killed.success());
    }
    drop(owner);
    assert!(dir.exists() && lives(pid), "nobody has cleaned up yet");
    drop(Server::start(&binaries, &[]).unwrap());
    assert!(!dir.exists());
    assert!(!lives(pid));
}

#[test]
fn a_server_does_not_outlive_its_owner_that_is_killed() {
    let Some(binaries) = any() else { return };
    if std::env::var_os(ALONE).is_none() {
        return alone("a_server_does_not_outlive_its_owner_that_is_killed");
    }
    let (owner, pid, dir) = abandon(&binaries);
    assert!(lives(pid));
    drop(owner);
    assert!(within(Duration::from_mins(1), || !lives(pid)), "it was not stopped");
    // What it has left on the disk goes with the next start.
    assert!(dir.exists());
    drop(Server::start(&binaries, &[]).unwrap());
    assert!(!dir.exists());
}

/// A server in a process that can be killed, the process id of the server, and its directory.
fn abandon(binaries: &Binaries) -> (Killed, u32, PathBuf) {
    let owner = ourselves("abandoned_by_a_process_that_is_killed")
        .env(ABANDON, binaries.version.major().to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut owner = Killed(owner.unwrap());
    let lines = BufReader::new(owner.0.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("abandoned: ").map(|(_, rest)| rest.to_owned()))
        .unwrap();
    let (pid, dir) = line.split_once(' ').unwrap();
    (owner, pid.parse().unwrap(), PathBuf::from(dir))
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_knows_nothing_of_pghosts_settings() {
    let Some(binaries) = any() else { return };
    if std::env::var_os(ALONE).is_none() {
        return alone("a_server_knows_nothing_of_pghosts_settings");
    }
    assert!(std::env::var_os("GHOST_SOURCE").is_some() && std::env::var_os("PGPASSWORD").is_some());
    let server = Server::start(&binaries, &[]).unwrap();
    for process in children(std::process::id()) {
        let text = fs::read(format!("/proc/{process}/environ")).unwrap();
        let text = String::from_utf8(text).unwrap();
        let names: Vec<_> = text.split('\0').filter_map(|line| line.split_once('=')).collect();
        assert!(names.iter().any(|(name, _)| *name == "PATH"), "{text}");
        let ours = |name: &str| name.starts_with("GHOST_") || name.starts_with("PG");
        assert!(!names.iter().any(|(name, _)| ours(name)) && !text.contains("hunter2"), "{text}");
    }
    assert!(server.pid().is_some());
}

/// The other half of the test above; by itself it does nothing.
#[test]
fn abandoned_by_a_process_that_is_killed() {
    let Ok(major) = std::env::var(ABANDON) else {
        return;
    };
    let binaries = support::version_to_test(major.parse().unwrap()).unwrap();
    let server = Server::start(&binaries, &[]).unwrap();
    let dir = server.data_dir().parent().unwrap();
    println!("\nabandoned: {} {}", server.pid().unwrap(), dir.display());
    thread::sleep(Duration::from_secs(600));
}

/// One release to test on, where the release makes no difference.
fn any() -> Option<Binaries> {
    support::versions_to_test().pop()
}
