//! Stops a server whose owner was killed.
//!
//! Who is killed (SIGKILL) can't clean up, and a server would run on until the next one is started
//! somewhere and sweeps. So a small shell waits for the end of a pipe whose other end is ours
//! alone: it ends with us, whatever ends us. What the server leaves on the disk is swept later.
//!
//! Not the system's own signal for a parent's death: it has to be asked for by the child, between
//! fork and exec, where nothing safe can be run.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
};

use super::user::Runner;

/// A line tells it that all is well. The file outlives a crash, and by then the id may be somebody
/// else's.
const WATCH: &str = r#"trap "" INT TERM HUP QUIT
read -r well && exit
read -r pid < "$1/postmaster.pid" || exit
line=$(tr '\0' ' ' < "/proc/$pid/cmdline" || ps -o args= -p "$pid")
case "$line" in *"$1"*) kill -QUIT "$pid" ;; esac"#;

/// The shell that waits.
#[derive(Debug)]
pub(super) struct Watchdog(Option<Child>);

impl Watchdog {
    /// Over what runs in a data directory. Where there is no shell there is none, and what is left
    /// is swept later all the same.
    pub(super) fn over(data: &Path, runner: &Runner) -> Self {
        let mut shell = runner.runs("sh");
        shell.args(["-c", WATCH, "sh"]).arg(data);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What kills our process group is not to kill it.
        Self(shell.process_group(0).spawn().ok())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let Some(mut shell) = self.0.take() else { return };
        if let Some(mut pipe) = shell.stdin.take() {
            let _ = pipe.write_all(b"well\n");
        }
        let _ = shell.wait();
    }
}
