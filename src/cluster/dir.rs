//! A server's directory, and the sweeping of those whose owner has died.
//!
//! ```text
//!   <base>/pghost-<pid>-<n>/ ours; open to the group of the user who runs the server
//!     owner                  which process this belongs to
//!     data/                  the server's, as are the others
//!     sock/                  its unix socket
//!     log                    what it and initdb say
//! ```
//!
//! A process that is killed cannot clean up after itself, so whoever starts the next server does
//! it. That must never touch what is in use: only directories of our own user are looked at, and
//! only those whose `owner` names a process that is known to be gone.

use std::{
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Binaries, ClusterError, base, command::command, error::Doing, user::Runner};

const PREFIX: &str = "pghost-";

/// How long an abandoned server may take to stop.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// A server's directory; removed when dropped.
#[derive(Debug)]
pub(super) struct ServerDir {
    root: PathBuf,
}

impl ServerDir {
    pub(super) fn create(runner: &Runner) -> Result<Self, ClusterError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = base::choose(runner);
        let root = loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let root = base.join(format!("{PREFIX}{}-{n}", process::id()));
            match DirBuilder::new().mode(0o700).create(&root) {
                Ok(()) => break root,
                // Of an earlier process that had our id; not ours to touch before it is swept.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).doing(|| format!("creating {root:?}")),
            }
        };
        let dir = Self { root };
        let owner = dir.root.join("owner");
        fs::write(&owner, owner_text(process::id()).unwrap_or_default())
            .doing(|| format!("writing {owner:?}"))?;
        // A trusting server's socket is as good as its user's password: no door for others.
        runner.share(&dir.root)?;
        fs::set_permissions(&dir.root, Permissions::from_mode(0o750))
            .doing(|| format!("opening {:?} to the server's user", dir.root))?;
        for sub in [dir.data(), dir.sock()] {
            DirBuilder::new().mode(0o700).create(&sub).doing(|| format!("creating {sub:?}"))?;
            runner.give(&sub)?;
        }
        Ok(dir)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn sock(&self) -> PathBuf {
        self.root.join("sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Stops the servers of owners that have died, and removes their directories. Best effort:
    /// what cannot be removed is left for the next time.
    pub(super) fn sweep(binaries: &Binaries, runner: &Runner) {
        let entries = base::all(runner).into_iter().flat_map(fs::read_dir).flatten();
        for root in entries.flatten().map(|entry| entry.path()) {
            if is_ours(&root, runner) && owner_is_gone(&root) {
                stop_abandoned(&root, binaries, runner);
                let _ = fs::remove_dir_all(&root);
            }
        }
    }
}

impl Drop for ServerDir {
    fn drop(&mut self) {
        // A server that had to be killed leaves children that take a moment to notice, and
        // may still be writing.
        for _ in 0..50 {
            match fs::remove_dir_all(&self.root) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    thread::sleep(Duration::from_millis(100));
                }
                _ => return,
            }
        }
    }
}

/// Whether this is one of our own user's directories, and not a link that only looks like one.
fn is_ours(root: &Path, runner: &Runner) -> bool {
    let named = root.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    named && fs::symlink_metadata(root).is_ok_and(|meta| meta.is_dir() && meta.uid() == runner.uid)
}

/// Whether the process that a directory belongs to has died.
///
/// In doubt it has not: without a readable `owner`, or with one from another container that
/// shares this temporary directory and counts processes by itself.
fn owner_is_gone(root: &Path) -> bool {
    let Ok(text) = fs::read_to_string(root.join("owner")) else {
        return false;
    };
    let mut lines = text.lines();
    let (Some(pid), Some(space)) = (lines.next(), lines.next()) else {
        return false;
    };
    let Ok(pid) = pid.parse() else {
        return false;
    };
    space == process_space() && owner_text(pid).is_none_or(|now| now != text)
}

/// What `owner` holds for a process, if it lives: its id, which processes that counts among, and
/// when it started, since ids are used again.
fn owner_text(pid: u32) -> Option<String> {
    Some(format!("{pid}\n{}\n{}\n", process_space(), started(pid)?))
}

/// Containers with process namespaces of their own give the same ids to different processes.
fn process_space() -> String {
    fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default()
}

/// When a process started, in the system's own words; nothing when there is no such process.
fn started(pid: u32) -> Option<String> {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        // Field 22 (proc_pid_stat(5)); the second is a name in parentheses that may hold
        // anything, so counting starts behind it.
        let (_, fields) = stat.rsplit_once(") ")?;
        return fields.split(' ').nth(19).map(str::to_owned);
    }
    if has_proc() {
        return None;
    }
    ps(pid, "lstart=")
}

/// The command a process was started with; nothing when there is no such process.
pub(super) fn command_line(pid: u32) -> Option<String> {
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => Some(String::from_utf8_lossy(&line).replace('\0', " ")),
        Err(_) if has_proc() => None,
        Err(_) => ps(pid, "args="),
    }
}

/// Whether processes can be looked up in `/proc`, as on Linux.
fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// One column of `ps`, for systems without `/proc`. Times must read the same whenever they are
/// asked for, in whatever time zone and language.
fn ps(pid: u32, column: &str) -> Option<String> {
    let output = command("ps")
        .args(["-o", column, "-p", &pid.to_string()])
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Stops the server that runs in a directory, if one does.
fn stop_abandoned(root: &Path, binaries: &Binaries, runner: &Runner) {
    let data = root.join("data");
    let Some(pid) = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse().ok())
    else {
        return;
    };
    // The file outlives a crash, and by then the id may be somebody else's.
    let runs_here = || {
        let marker = data.display().to_string();
        command_line(pid).is_some_and(|line| line.contains(&marker))
    };
    for signal in ["QUIT", "KILL"] {
        if !runs_here() {
            return;
        }
        let _ = runner.signal(binaries, signal, pid);
        let since = Instant::now();
        while runs_here() && since.elapsed() < SWEEP_PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_owners_until_the_owner_is_known_to_be_gone() {
        let runner = Runner::current().unwrap();
        let dir = ServerDir::create(&runner).unwrap();
        let owner = dir.root.join("owner");
        assert!(is_ours(&dir.root, &runner));
        assert!(!owner_is_gone(&dir.root), "we live");

        let ours = fs::read_to_string(&owner).unwrap();
        let gone = |text: &str| {
            fs::write(&owner, text).unwrap();
            owner_is_gone(&dir.root)
        };
        // Larger than any process id Linux or macOS give out.
        let no_such_process = ours.replacen(&process::id().to_string(), "4199999", 1);
        assert!(gone(&no_such_process));
        assert!(gone(&format!("{}9\n", ours.trim_end())), "started at another time");
        assert!(!gone(""), "unreadable");
        assert!(!gone("4199999\n"), "half written");
        assert!(!gone("4199999\npid:[1]\n1\n"), "of another container");
        fs::remove_file(&owner).unwrap();
        assert!(!owner_is_gone(&dir.root), "without an owner");
    }

    #[test]
    fn a_directory_goes_with_its_value() {
        let dir = ServerDir::create(&Runner::current().unwrap()).unwrap();
        let root = dir.root.clone();
        fs::write(dir.data().join("file"), "x").unwrap();
        assert!(root.is_dir());
        drop(dir);
        assert!(!root.exists());
    }

    #[test]
    fn our_own_command_line_can_be_read() {
        assert!(command_line(process::id()).is_some_and(|line| !line.trim().is_empty()));
        assert_eq!(command_line(4_199_999), None);
    }
}
