//! The only place where a program is made to be run.
//!
//! Whatever pghost runs inherits its environment, and that may hold passwords: `GHOST_SOURCE` and
//! `GHOST_TARGET` are connection strings, `PGPASSWORD` is one by itself. A server's environment
//! can be read by every process of its user (`/proc/<pid>/environ`), for as long as it runs. And
//! PGPORT, PGDATA and their like would change what Postgres's own programs do.

use std::{env, ffi::OsStr, process::Command};

/// What the names of variables begin with that are for pghost and for libpq.
const OURS: [&str; 2] = ["GHOST_", "PG"];

/// A program to be run, with nothing of pghost's and libpq's settings in its environment.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            command.env_remove(name);
        }
    }
    command
}
