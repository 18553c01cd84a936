//! Where servers' directories are made: in the system's temporary directory, or in memory for a
//! process that asks for it. What is in such a directory is [`super::dir`]'s work.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::user::Runner;

/// The longest temporary directory in which sockets still have room: addresses of unix sockets
/// end at 103 bytes on macOS and 107 on Linux, and `/pghost-<pid>-<n>/sock/.s.PGSQL.<port>` takes
/// up to 45 of them.
const LONGEST: usize = 58;

/// Linux's file system in memory that everybody may write to.
const MEMORY: &str = "/dev/shm";

/// How much memory must be free for one more server to be made in it: several may grow at once, by
/// hundreds of megabytes each, and the programs need some as well.
const FREE_MEMORY: u64 = 8 << 30;

static IN_MEMORY: AtomicBool = AtomicBool::new(false);

/// From now on this process makes servers in memory, as long as the system has plenty.
///
/// A server and each of its databases begin as hundreds of small files: making a database took a
/// tenth to a fifth of the time in `/dev/shm` that it took on ext4. That makes tests quick; who
/// fills a server with rows may rather want them on disk.
pub fn prefer_memory() {
    IN_MEMORY.store(true, Ordering::Relaxed);
}

/// Where the next server's directory is to be made.
pub(super) fn choose(runner: &Runner) -> PathBuf {
    let memory = Path::new(MEMORY);
    if IN_MEMORY.load(Ordering::Relaxed) && has_room(memory) && runner.can_enter(memory) {
        return memory.to_owned();
    }
    on_disk(runner)
}

/// Every place in which an earlier process may have left something.
pub(super) fn all(runner: &Runner) -> [PathBuf; 2] {
    [on_disk(runner), PathBuf::from(MEMORY)]
}

/// The system's temporary directory, unless it is too long for a socket's address or closed to
/// the one who runs the server.
fn on_disk(runner: &Runner) -> PathBuf {
    let base = env::temp_dir();
    let short = base.as_os_str().len() <= LONGEST;
    if short && base.is_absolute() && runner.can_enter(&base) {
        base
    } else {
        PathBuf::from("/tmp")
    }
}

/// Whether a file system in memory has room for a server: what it may hold still, and what the
/// machine has. Containers often get one of 64 MB.
fn has_room(memory: &Path) -> bool {
    let holds = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    holds.min(free_memory().unwrap_or(0)) >= FREE_MEMORY
}

/// The machine's free memory in bytes (`MemAvailable` of proc_meminfo(5)), where it can be asked.
fn free_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_passed_over() {
        assert!(!has_room(Path::new("/no/such/directory")));
    }

    #[test]
    fn free_memory_can_be_asked_for_on_linux() {
        assert_eq!(free_memory().is_some(), cfg!(target_os = "linux"));
        assert!(free_memory().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn servers_are_made_on_disk_unless_asked_otherwise() {
        let runner = Runner::current().unwrap();
        assert_ne!(choose(&runner), Path::new(MEMORY));
        assert!(all(&runner).contains(&choose(&runner)));
    }
}
